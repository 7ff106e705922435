//! Two links in one network, which Linux mixes up unless it is told not to.
//!
//! It answers ARP requests for any of its addresses on any of its interfaces, so packets for one come in at another. The
//! node tells the kernel that an address belongs to its interface, for the interfaces of its own links only and for as
//! long as it runs; where it may not, it says what its user should tell the kernel.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::interfaces::{Interface, Interfaces};
use crate::kernel_settings::{Changes, Kernel, Setting};
use crate::setting_records::Records;

const TABLE: &str = "ipv4/conf";
const WHY: &str = "two of its links are in one network";

/// Keeps links of one network apart.
#[derive(Debug)]
pub(crate) struct SharedNetworks<K: Kernel> {
    changes: Changes<K>,
    said: BTreeSet<(String, String)>,
}

/// A setting that lets links of one network be mixed up. The kernel takes the larger one of what is said for all
/// interfaces and for the one.
struct Wanted {
    name: &'static str,
    is_bad: fn(u32) -> bool,
    good: u32,
}

const WANTED: [Wanted; 3] = [
    // Answer for an address only on its own interface.
    Wanted {
        name: "arp_ignore",
        is_bad: |value| value == 0,
        good: 1,
    },
    // Ask by the address of the interface that asks.
    Wanted {
        name: "arp_announce",
        is_bad: |value| value != 2,
        good: 2,
    },
    // Take what comes in by an interface that the route back does not use.
    Wanted {
        name: "rp_filter",
        is_bad: |value| value == 1,
        good: 2,
    },
];

impl<K: Kernel> SharedNetworks<K> {
    pub(crate) const fn new(kernel: K, records: Records) -> Self {
        Self {
            changes: Changes::new(kernel, records),
            said: BTreeSet::new(),
        }
    }

    /// Looks at links at these addresses of these interfaces, and keeps apart those of one network. What there is to say
    /// of links that may not be kept apart, once for each pair.
    pub(crate) fn look(&mut self, links: &[(u32, IpAddr)], interfaces: &Interfaces) -> Vec<String> {
        let places: Vec<_> = links
            .iter()
            .filter_map(|(index, ip)| Some((interfaces.by_index(*index)?, *ip)))
            .collect();
        let mut warnings = Vec::new();
        for (at, (one, ip)) in places.iter().enumerate() {
            for (other, second) in &places[at + 1..] {
                if one.index == other.index || !share(one, *ip, *second) {
                    continue;
                }
                let pair = [one.name.as_str(), other.name.as_str()];
                let refused: Vec<&Wanted> = WANTED
                    .iter()
                    .filter(|wanted| {
                        pair.iter()
                            .any(|name| self.keep_apart(name, wanted).is_err())
                    })
                    .collect();
                let names = (one.name.clone(), other.name.clone());
                if !refused.is_empty() && self.said.insert(names) {
                    warnings.push(advice(pair, &refused));
                }
            }
        }
        warnings
    }

    fn keep_apart(&mut self, interface: &str, wanted: &Wanted) -> io::Result<()> {
        let place = Setting::new(TABLE, interface, wanted.name);
        let own = self.changes.get(&place);
        let all = self.changes.get(&Setting::new(TABLE, "all", wanted.name));
        let (Some(own), Some(all)) = (own, all) else {
            return Ok(());
        };
        if !(wanted.is_bad)(own.max(all)) {
            self.changes.share(&place);
            return Ok(());
        }
        self.changes.make(place, own, wanted.good, WHY)
    }
}

/// Whether both are IPv4 addresses of one network, by the prefix of the first.
fn share(interface: &Interface, ip: IpAddr, other: IpAddr) -> bool {
    let own = interface.addresses.iter().find(|address| address.ip == ip);
    ip.is_ipv4() && own.is_some_and(|address| address.covers(other))
}

fn advice(pair: [&str; 2], refused: &[&Wanted]) -> String {
    let settings: Vec<String> = refused
        .iter()
        .map(|wanted| format!("net.ipv4.conf.all.{}={}", wanted.name, wanted.good))
        .collect();
    format!(
        "links {} and {} are in one network, where packets for one may come in at the other and are lost then; root \
         keeps them apart, as this node would do by itself if it might: sysctl -w {}",
        pair[0],
        pair[1],
        settings.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::{Address, Change};
    use crate::kernel_settings::Paper;

    fn all_of(paper: &Paper, interface: &str) -> [u32; 3] {
        WANTED.map(|wanted| {
            let place = Setting::new(TABLE, interface, wanted.name);
            paper.get(&place).unwrap()
        })
    }

    fn interfaces(addresses: [&str; 2]) -> (Interfaces, Vec<(u32, IpAddr)>) {
        let mut all = Interfaces::default();
        let mut links = Vec::new();
        for (text, index) in addresses.iter().zip(1..) {
            let name = format!("eth{index}");
            let address = Address::lasting(text, 24);
            all.apply(Change::Interface(Interface::working(index, &name)));
            all.apply(Change::Address(index, address));
            links.push((index, address.ip));
        }
        (all, links)
    }

    #[test]
    fn two_links_in_one_network_are_kept_apart_until_the_node_ends() {
        let (all, links) = interfaces(["10.0.0.1", "10.0.0.2"]);
        let paper = Paper::with(
            TABLE,
            &[("eth1", "rp_filter", 1), ("eth2", "arp_announce", 1)],
        );
        let mut networks = SharedNetworks::new(paper.clone(), Records::default());
        assert_eq!(networks.look(&links, &all), [""; 0]);
        assert_eq!(all_of(&paper, "eth1"), [1, 2, 2]);
        assert_eq!(all_of(&paper, "eth2"), [1, 2, 0]);
        assert_eq!(all_of(&paper, "all"), [0; 3]);
        // An interface that was made anew.
        let place = Setting::new(TABLE, "eth2", "arp_ignore");
        paper.set(&place, 0).unwrap();
        networks.look(&links, &all);
        assert_eq!(all_of(&paper, "eth2"), [1, 2, 0]);
        // Somebody else's word is left alone.
        let place = Setting::new(TABLE, "eth2", "arp_ignore");
        paper.set(&place, 8).unwrap();
        drop(networks);
        assert_eq!(all_of(&paper, "eth1"), [0, 0, 1]);
        assert_eq!(all_of(&paper, "eth2"), [8, 1, 0]);
    }

    #[test]
    fn where_that_is_forbidden_it_is_spoken_of_once() {
        let (all, links) = interfaces(["10.0.0.1", "10.0.0.2"]);
        let paper = Paper {
            is_forbidden: true,
            ..Paper::default()
        };
        let mut networks = SharedNetworks::new(paper, Records::default());
        let said = networks.look(&links, &all);
        assert_eq!(said.len(), 1);
        for part in ["eth1 and eth2", "arp_ignore=1", "arp_announce=2"] {
            assert!(said[0].contains(part), "{said:?}");
        }
        assert!(!said[0].contains("rp_filter"), "{said:?}");
        assert!(networks.look(&links, &all).is_empty());
    }

    #[test]
    fn nothing_is_changed_where_nothing_is_wrong() {
        let changed = |addresses, settings: &[(&str, &'static str, u32)]| {
            let (all, links) = interfaces(addresses);
            let paper = Paper::with(TABLE, settings);
            let before = paper.values.borrow().clone();
            let mut networks = SharedNetworks::new(paper.clone(), Records::default());
            assert!(networks.look(&links, &all).is_empty());
            let after = paper.values.borrow().clone();
            before != after
        };
        assert!(changed(["10.0.0.1", "10.0.0.2"], &[]));
        assert!(!changed(["10.0.0.1", "10.0.1.1"], &[]));
        assert!(!changed(["fd00::1", "fd00::2"], &[]));
        let told = [
            ("all", "arp_ignore", 1),
            ("all", "arp_announce", 2),
            ("all", "rp_filter", 2),
            // The larger number is what holds.
            ("eth1", "rp_filter", 1),
        ];
        assert!(!changed(["10.0.0.1", "10.0.0.2"], &told));
    }
}
