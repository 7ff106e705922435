//! The node's own packets for which a link had no room: they go before those of programs as soon as there is some.
//!
//! What shares a socket with bulk traffic of programs would otherwise be lost whenever that fills the socket, and a
//! way whose probes are lost looks broken.

use std::collections::{BTreeMap, VecDeque};

use abi::LinkAddress;
use drivers::DriverError;

use crate::links::Links;

/// Trains of packets that wait for one link. More are lost, as in a network that is too slow.
const TRAINS_MAX: usize = 64;

/// What waits, for each link.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    links: BTreeMap<u8, VecDeque<Train>>,
}

#[derive(Debug)]
struct Train {
    to: LinkAddress,
    bytes: Vec<u8>,
    segment: usize,
}

impl Unsent {
    /// Sends packets, behind those that wait. True if the link is full since now: somebody has to look for room.
    pub(crate) fn send(
        &mut self,
        links: &Links,
        link: u8,
        to: &LinkAddress,
        (bytes, segment): (&[u8], usize),
    ) -> bool {
        let waiting = self.links.get(&link).map_or(0, VecDeque::len);
        let taken = if waiting == 0 {
            send(links, link, to, bytes, segment)
        } else {
            0
        };
        if taken == bytes.len() {
            return false;
        }
        if waiting == TRAINS_MAX {
            tracing::debug!("link {link} is full: packets are lost here");
            return false;
        }
        let train = Train {
            to: *to,
            bytes: bytes[taken..].to_vec(),
            segment,
        };
        self.links.entry(link).or_default().push_back(train);
        waiting == 0
    }

    /// Sends what waits for a link, as far as there is room. True if something still waits.
    pub(crate) fn go_on(&mut self, links: &Links, link: u8) -> bool {
        let Some(trains) = self.links.get_mut(&link) else {
            return false;
        };
        while let Some(train) = trains.front_mut() {
            let taken = send(links, link, &train.to, &train.bytes, train.segment);
            if taken < train.bytes.len() {
                train.bytes.drain(..taken);
                return true;
            }
            trains.pop_front();
        }
        self.links.remove(&link);
        false
    }
}

/// The bytes that went, or never will.
fn send(links: &Links, link: u8, to: &LinkAddress, bytes: &[u8], segment: usize) -> usize {
    let Some(driver) = links.driver(link) else {
        return bytes.len();
    };
    match driver.send(to, bytes, segment) {
        Ok(sent) => sent,
        Err(DriverError::WouldBlock) => 0,
        // The transport makes it good.
        Err(error) => {
            tracing::debug!("a packet over link {link} is lost here: {error}");
            bytes.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link_place::Own;
    use crate::netlink::Netlink;
    use drivers::{NeighbourDriver, PacketDriver, ReceiveBatch};

    #[test]
    fn packets_for_a_full_link_go_in_order_when_it_has_room() {
        let directory = tempfile::tempdir().unwrap();
        let own = Own {
            port: 0,
            name: [7; 8],
        };
        let (_, interfaces) = Netlink::open().unwrap();
        let wanted = format!("memory:{}", directory.path().display());
        let links = Links::open(vec![wanted.parse().unwrap()], own, &interfaces).unwrap();
        let far = NeighbourDriver::open(directory.path(), [8; 8], 0).unwrap();
        let to = far.local_address();
        let mut unsent = Unsent::default();
        let mut full = 0;
        let mut sent = 0_u16;
        // As many as the system holds, and then some.
        while full == 0 || unsent.links[&0].len() < 5 {
            let bytes = sent.to_le_bytes();
            full += usize::from(unsent.send(&links, 0, &to, (&bytes, 2)));
            sent += 1;
            assert!(sent < 20_000, "it is never full");
        }
        assert_eq!(full, 1, "said once");
        let mut batch = ReceiveBatch::new();
        let mut next = 0;
        while next < sent {
            assert_ne!(far.receive(&mut batch), Ok(0), "all arrive");
            for at in 0..batch.len() {
                assert_eq!(&*batch.packet(at).unwrap().1, next.to_le_bytes());
                next += 1;
            }
            unsent.go_on(&links, 0);
        }
        assert!(!unsent.go_on(&links, 0), "nothing is left");
        for _ in 0..20_000 {
            unsent.send(&links, 0, &to, (&[0; 2], 2));
        }
        assert_eq!(unsent.links[&0].len(), TRAINS_MAX);
    }
}
