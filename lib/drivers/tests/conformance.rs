//! The drivers of this crate keep the promises of every driver.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use slashnet_drivers::{MemoryDriver, UdpDriver, conformance};

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

fn pair(local: SocketAddr) -> (UdpDriver, UdpDriver) {
    let bind = || UdpDriver::bind(local, None).expect("a loopback address");
    (bind(), bind())
}
