//! The drivers of this crate keep the promises of every driver.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use slashnet_drivers::{MemoryDriver, PacketDriver, UdpDriver, conformance};

#[test]
fn the_memory_driver_conforms() {
    conformance::check(|| {
        let (a, parts) = MemoryDriver::create().unwrap();
        (a, MemoryDriver::attach(parts).unwrap())
    });
}

#[test]
fn the_memory_driver_conforms_with_small_rings() {
    for bytes in [4096, 8192, 65536] {
        conformance::check(|| {
            let (a, parts) = MemoryDriver::create_with(bytes).unwrap();
            (a, MemoryDriver::attach(parts).unwrap())
        });
    }
}

#[test]
fn packets_pass_through_the_ring_without_a_copy_between() {
    let (a, parts) = MemoryDriver::create_with(4096).unwrap();
    let b = MemoryDriver::attach(parts).unwrap();
    for round in 0..100u8 {
        let sent = a.send_in_place(1001, &mut |room| {
            assert!(room.fill(0, &[round]) && room.fill(1, &[7; 1000]));
            assert!(!room.fill(2, &[0; 1000]) && !room.fill(usize::MAX, &[0]));
        });
        assert_eq!(sent, Ok(true));
        let mut packet = [0; 1001];
        let taken = b.receive_in_place(&mut |arrived| {
            assert_eq!(arrived.len(), 1001);
            assert!(!arrived.copy(1, &mut packet));
            arrived.copy(0, &mut packet)
        });
        assert_eq!(taken, Ok(1));
        assert_eq!(
            (packet[0], packet[1..].iter().all(|byte| *byte == 7)),
            (round, true)
        );
    }
    let too_big = a.properties().max_frame + 1;
    assert!(
        a.send_in_place(too_big, &mut |_| panic!("no room was promised"))
            .is_err()
    );
}

#[test]
fn the_udp_driver_conforms_over_ipv4() {
    conformance::check(|| pair(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
}

#[test]
fn the_udp_driver_conforms_over_ipv6() {
    conformance::check(|| pair(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))));
}

#[test]
fn the_udp_driver_conforms_bound_to_a_device() {
    conformance::check(|| {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bind = || UdpDriver::bind(local, Some("lo")).unwrap();
        (bind(), bind())
    });
}

#[test]
fn a_socket_with_one_peer_hears_others_again_when_it_is_told_to() {
    let bind = |port| {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (port..port + 100)
            .find_map(|port| UdpDriver::bind(SocketAddr::new(local.ip(), port), None).ok())
            .expect("a free port")
    };
    let (driver, peer, other) = (bind(42_100), bind(42_300), bind(42_500));
    let at = driver.local_address();
    let mut batch = slashnet_drivers::ReceiveBatch::with_slots(1);
    let mut heard = |from: &UdpDriver| {
        from.send(&at, b"hello", 5).unwrap();
        // Loopback delivers before the call returns.
        driver.receive(&mut batch).unwrap()
    };
    assert_eq!((heard(&peer), heard(&other)), (1, 1));
    driver.focus(Some(&peer.local_address()));
    assert_eq!((heard(&peer), heard(&other)), (1, 0));
    driver.focus(Some(&other.local_address()));
    assert_eq!((heard(&peer), heard(&other)), (0, 1));
    assert_eq!(driver.send(&other.local_address(), b"hi", 2), Ok(2));
    assert_eq!(driver.send(&peer.local_address(), b"hi", 2), Ok(2));
    driver.focus(None);
    assert_eq!(driver.local_address(), at);
    assert_eq!((heard(&peer), heard(&other)), (1, 1));
}

fn pair(local: SocketAddr) -> (UdpDriver, UdpDriver) {
    let bind = || UdpDriver::bind(local, None).expect("a loopback address");
    (bind(), bind())
}
