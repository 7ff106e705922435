//! The driver for bare Ethernet, over a virtual cable between two network namespaces.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod network;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use network::{Cable, Network, alone, in_own_network};
use slashnet_drivers::ethernet::Header;
use slashnet_drivers::{
    DriverError, EthernetDriver, LinkAddress, PacketDriver, ReceiveBatch, conformance,
};

#[test]
fn the_ethernet_driver_conforms() {
    in_own_network("the_ethernet_driver_conforms", || {
        let cable = Cable::new();
        conformance::check(|| pair(&cable));
    });
}

#[test]
fn it_conforms_with_large_and_with_small_frames() {
    in_own_network("it_conforms_with_large_and_with_small_frames", || {
        for mtu in [9000, 65535, 1280] {
            let cable = Cable::new();
            cable.near.ip(&format!("link set near0 mtu {mtu}"));
            cable.far.ip(&format!("link set far0 mtu {mtu}"));
            let (near, _far) = pair(&cable);
            assert_eq!(near.properties().max_frame, mtu - Header::LEN);
            conformance::check(|| pair(&cable));
        }
    });
}

#[test]
fn it_conforms_on_the_loopback() {
    in_own_network("it_conforms_on_the_loopback", || {
        let network = Network::here();
        network.ip("link set lo up");
        let open = || EthernetDriver::open("lo", 0).unwrap();
        conformance::check(|| (open(), open()));
    });
}

#[test]
fn a_port_hears_its_own_frames_and_those_to_everybody_and_no_others() {
    let name = "a_port_hears_its_own_frames_and_those_to_everybody_and_no_others";
    in_own_network(name, || {
        let cable = Cable::new();
        let near = cable
            .near
            .run(|| EthernetDriver::open("near0", 8192).unwrap());
        let far = cable
            .far
            .run(|| EthernetDriver::open("far0", 8192).unwrap());
        let mac = far.local_ethernet().mac;
        let to = |mac, port| {
            near.send(&LinkAddress::ethernet(mac, port), b"hi", 2)
                .unwrap()
        };
        // A byte-swapped port is another one.
        to(mac, 0x0020);
        to([2, 1, 1, 1, 1, 1], 8192);
        assert_eq!(heard(&near, &far), 0);
        to(mac, 8192);
        to([0xff; 6], 8192);
        assert_eq!(heard(&near, &far), 2);
        // A bridge that does not know the place of an address sends its frames everywhere; a card that is listened
        // to takes them in.
        cable.far.ip("link set far0 promisc on");
        to([2, 1, 1, 1, 1, 1], 8192);
        to(mac, 8192);
        assert_eq!(heard(&near, &far), 1);
    });
}

#[test]
fn a_port_has_one_owner() {
    in_own_network("a_port_has_one_owner", || {
        let cable = Cable::new();
        let open = || cable.near.run(|| EthernetDriver::open("near0", 8192));
        let first = open().unwrap();
        assert_eq!(open().unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(cable.near.run(|| EthernetDriver::open("near0", 0)).is_ok());
        assert!(cable.far.run(|| EthernetDriver::open("far0", 8192)).is_ok());
        drop(first);
        assert!(open().is_ok());
    });
}

#[test]
fn a_link_that_goes_down_is_told_and_works_again_when_it_is_up() {
    let name = "a_link_that_goes_down_is_told_and_works_again_when_it_is_up";
    in_own_network(name, || {
        let cable = Cable::new();
        let (near, far) = pair(&cable);
        let to = far.local_address();
        assert_eq!(near.send(&to, b"hi", 2), Ok(2));
        cable.near.ip("link set near0 down");
        assert_eq!(near.send(&to, b"hi", 2), Err(DriverError::Down));
        let mut batch = ReceiveBatch::new();
        assert_eq!(near.receive(&mut batch), Err(DriverError::Down));
        assert_eq!(near.receive(&mut batch), Ok(0));
        cable.near.ip("link set near0 up");
        cable.near.await_carrier("near0");
        cable.far.await_carrier("far0");
        assert_eq!(heard(&near, &far), 1);
        assert_eq!(near.send(&to, b"hi", 2), Ok(2));
        assert_eq!(heard(&near, &far), 1);
        assert_eq!(far.send(&near.local_address(), b"hi", 2), Ok(2));
        assert_eq!(heard(&far, &near), 1);
    });
}

#[test]
fn an_interface_that_vanishes_is_down_and_can_be_opened_anew_when_it_is_back() {
    let name = "an_interface_that_vanishes_is_down_and_can_be_opened_anew_when_it_is_back";
    in_own_network(name, || {
        let cable = Cable::new();
        let (near, far) = pair(&cable);
        let to = far.local_address();
        cable.near.ip("link del near0");
        assert_eq!(near.send(&to, b"hi", 2), Err(DriverError::Down));
        cable.plug(60, 61);
        assert_eq!(near.send(&to, b"hi", 2), Err(DriverError::Down));
        let (near, far) = pair(&cable);
        assert_eq!(near.send(&far.local_address(), b"hi", 2), Ok(2));
        assert_eq!(heard(&near, &far), 1);
    });
}

#[test]
fn a_packet_that_is_too_big_now_is_told_with_what_would_go() {
    let name = "a_packet_that_is_too_big_now_is_told_with_what_would_go";
    in_own_network(name, || {
        let cable = Cable::new();
        let (near, far) = pair(&cable);
        let max = near.properties().max_frame;
        assert_eq!(max, 1494);
        cable.near.ip("link set near0 mtu 1300");
        let refused = near.send(&far.local_address(), &vec![1; max], max);
        assert_eq!(refused, Err(DriverError::TooBig(1294)));
        assert_eq!(near.send(&far.local_address(), &[1; 1294], 1294), Ok(1294));
        assert_eq!(heard(&near, &far), 1);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    in_own_network("what_cannot_be_opened_says_why", || {
        let network = Network::here();
        network.ip("tuntap add tun0 mode tun");
        for (name, kind) in [
            ("tun0", ErrorKind::Unsupported),
            ("nosuch0", ErrorKind::NotFound),
            ("", ErrorKind::NotFound),
            ("a-name-longer-than-any", ErrorKind::NotFound),
        ] {
            let error = EthernetDriver::open(name, 0).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    });
}

#[test]
fn without_the_right_to_it_the_error_names_the_right() {
    // The network is that of the machine, over which the root of a user namespace has no power.
    alone(
        "without_the_right_to_it_the_error_names_the_right",
        &["--user", "--map-root-user"],
        || {
            let error = EthernetDriver::open("lo", 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
        },
    );
}

fn pair(cable: &Cable) -> (EthernetDriver, EthernetDriver) {
    (
        cable.near.run(|| EthernetDriver::open("near0", 0).unwrap()),
        cable.far.run(|| EthernetDriver::open("far0", 0).unwrap()),
    )
}

/// Packets that `to` has had from `from` by now.
fn heard(from: &EthernetDriver, to: &EthernetDriver) -> usize {
    assert_eq!(from.send(&to.local_address(), b"end", 3), Ok(3));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut batch = ReceiveBatch::new();
    let mut count = 0;
    loop {
        assert!(Instant::now() < deadline, "the last packet did not come");
        for index in 0..to.receive(&mut batch).unwrap() {
            if batch.packet(index).unwrap().1 == b"end" {
                return count;
            }
            count += 1;
        }
    }
}
