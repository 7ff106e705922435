//! UDP over IPv4 on a machine with two devices.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod network;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use network::{Cable, in_own_network};
use slashnet_drivers::{PacketDriver, ReceiveBatch, UdpDriver};

#[test]
fn packets_leave_and_enter_by_the_device_of_the_link_only() {
    let name = "packets_leave_and_enter_by_the_device_of_the_link_only";
    in_own_network(name, || {
        let cable = Cable::new();
        // A second cable, over which the far end believes our address to be.
        let place = cable.far.path();
        let other = format!("link add near1 type veth peer name far1 netns {place}");
        cable.near.ip(&other);
        // Otherwise IPv6 has something to say.
        cable.near.ip("link set near1 addrgenmode none");
        cable.far.ip("link set far1 addrgenmode none");
        cable.near.ip("link set near1 address 02:00:00:00:00:01 up");
        cable.far.ip("link set far1 up");
        cable.near.await_carrier("near1");
        cable.far.await_carrier("far1");
        cable.far.ip("route add 10.9.8.1/32 dev far1");
        cable
            .far
            .ip("neigh add 10.9.8.1 lladdr 02:00:00:00:00:01 dev far1");
        cable.near.run(|| {
            for device in ["all", "near0", "near1"] {
                let file = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
                std::fs::write(file, "0").unwrap();
            }
        });
        let bind = |host: u8, device: Option<&str>| {
            let local = SocketAddr::from(([10, 9, 8, host], 8192));
            UdpDriver::bind(local, device).unwrap()
        };
        let far = cable.far.run(|| bind(2, None));
        let anywhere = cable.near.run(|| bind(1, None));
        assert_eq!(far.send(&anywhere.local_address(), b"crossed", 7), Ok(7));
        assert_eq!(receive(&anywhere), b"crossed");
        drop(anywhere);
        let near = cable.near.run(|| bind(1, Some("near0")));
        assert_eq!(far.send(&near.local_address(), b"crossed", 7), Ok(7));
        cable.far.ip("route del 10.9.8.1/32 dev far1");
        assert_eq!(far.send(&near.local_address(), b"straight", 8), Ok(8));
        assert_eq!(receive(&near), b"straight");
        // The other way our routing table points to the wrong device.
        cable.near.ip("route add 10.9.8.2/32 dev near1");
        for connected in [false, true, false] {
            near.focus(connected.then(|| far.local_address()).as_ref());
            assert_eq!(near.send(&far.local_address(), b"straight", 8), Ok(8));
            assert_eq!(receive(&far), b"straight");
            assert_eq!(near.send(&far.local_address(), &[1; 2000], 1000), Ok(2000));
            receive(&far);
        }
        let counted = cable.near.ip("-s link show near1");
        // The lines after "TX:": bytes, packets.
        let sent = counted
            .split("TX:")
            .nth(1)
            .and_then(|text| text.lines().nth(1));
        let packets = sent.and_then(|line| line.split_whitespace().nth(1));
        assert_eq!(packets, Some("0"), "{counted}");
    });
}

fn receive(driver: &UdpDriver) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut batch = ReceiveBatch::new();
    while driver.receive(&mut batch).unwrap() == 0 {
        assert!(Instant::now() < deadline, "nothing came");
    }
    batch.packet(0).unwrap().1.to_vec()
}
