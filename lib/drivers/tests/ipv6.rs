//! UDP over IPv6, over a virtual cable between two network namespaces.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod network;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use abi::link_address::Internet;
use network::{Cable, in_own_network};
use slashnet_drivers::{
    DriverError, LinkAddress, PacketDriver, ReceiveBatch, UdpDriver, conformance,
};

const LINK_LOCAL: u16 = 0xfe80;
const UNIQUE_LOCAL: u16 = 0xfd00;

#[test]
fn the_udp_driver_conforms_over_ipv6_on_a_cable() {
    in_own_network("the_udp_driver_conforms_over_ipv6_on_a_cable", || {
        let cable = Cable::new();
        conformance::check(|| pair(&cable, UNIQUE_LOCAL));
    });
}

#[test]
fn it_conforms_with_addresses_that_only_the_link_knows() {
    in_own_network(
        "it_conforms_with_addresses_that_only_the_link_knows",
        || {
            let cable = Cable::new();
            conformance::check(|| pair(&cable, LINK_LOCAL));
        },
    );
}

#[test]
fn the_number_that_the_peer_has_for_the_link_does_not_matter() {
    let name = "the_number_that_the_peer_has_for_the_link_does_not_matter";
    in_own_network(name, || {
        let cable = Cable::new();
        cable.near.ip("link del near0");
        cable.plug(60, 61);
        let (near, far) = pair_at(&cable, LINK_LOCAL, 8192);
        let there = far.local_socket_address();
        let SocketAddr::V6(v6) = there else {
            panic!("{there}")
        };
        assert_eq!(v6.scope_id(), 61);
        for scope in [0, 61, 60, 7] {
            let to = LinkAddress::ipv6(v6.ip().octets(), v6.port(), scope);
            assert_eq!(near.send(&to, b"hello", 5), Ok(5), "scope {scope}");
            let (from, bytes) = receive(&far);
            assert_eq!(bytes, b"hello");
            assert_eq!(from, scoped(&near.local_address(), 61));
            // Trains take another way into the kernel.
            assert_eq!(near.send(&to, &[1; 3000], 1000), Ok(3000), "scope {scope}");
            receive(&far);
            near.focus(Some(&to));
        }
    });
}

#[test]
fn a_cable_that_is_unplugged_is_down_and_works_again() {
    in_own_network("a_cable_that_is_unplugged_is_down_and_works_again", || {
        let cable = Cable::new();
        for prefix in [UNIQUE_LOCAL, LINK_LOCAL] {
            let (near, far) = pair(&cable, prefix);
            assert_eq!(near.send(&far.local_address(), b"hello", 5), Ok(5));
            receive(&far);
            cable.near.ip("link set near0 down");
            let refused = near.send(&far.local_address(), b"hello", 5);
            assert_eq!(refused, Err(DriverError::Down));
            // IPv6 addresses go with the link.
            cable.near.ip("link set near0 up");
            for prefix in ["fe80", "fd00"] {
                cable
                    .near
                    .ip(&format!("addr replace {prefix}::1/64 dev near0 nodad"));
            }
            cable.near.await_carrier("near0");
            cable.far.await_carrier("far0");
            assert_eq!(near.send(&far.local_address(), b"again", 5), Ok(5));
            assert_eq!(receive(&far).1, b"again");
        }
    });
}

fn pair(cable: &Cable, prefix: u16) -> (UdpDriver, UdpDriver) {
    pair_at(cable, prefix, 0)
}

fn pair_at(cable: &Cable, prefix: u16, port: u16) -> (UdpDriver, UdpDriver) {
    let bind = |host, device| {
        let address = Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, host);
        let local = SocketAddrV6::new(address, port, 0, 0);
        UdpDriver::bind(local.into(), Some(device)).unwrap()
    };
    (
        cable.near.run(|| bind(1, "near0")),
        cable.far.run(|| bind(2, "far0")),
    )
}

fn receive(driver: &UdpDriver) -> (LinkAddress, Vec<u8>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut batch = ReceiveBatch::new();
    while driver.receive(&mut batch).unwrap() == 0 {
        assert!(Instant::now() < deadline, "nothing came");
    }
    let (from, bytes) = batch.packet(0).unwrap();
    (*from, bytes.to_vec())
}

fn scoped(address: &LinkAddress, scope: u32) -> LinkAddress {
    match address.internet() {
        Some(Internet::V6(octets, port, _)) => LinkAddress::ipv6(octets, port, scope),
        _ => *address,
    }
}
