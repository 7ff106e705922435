//! Two links in one network, which Linux mixes up unless it is told not to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::interfaces::{Interface, Interfaces};

/// Says once for each pair of links what the kernel should be told.
#[derive(Debug, Default)]
pub(crate) struct SharedNetworks {
    said: BTreeSet<(String, String)>,
}

impl SharedNetworks {
    /// What there is to say of links at these addresses of these interfaces. `setting` reads a file below
    /// `/proc/sys/net/ipv4/conf`.
    pub(crate) fn look(
        &mut self,
        links: &[(u32, IpAddr)],
        interfaces: &Interfaces,
        setting: impl Fn(&str) -> Option<u32>,
    ) -> Vec<String> {
        let places: Vec<_> = links
            .iter()
            .filter_map(|(index, ip)| Some((interfaces.by_index(*index)?, *ip)))
            .collect();
        let mut warnings = Vec::new();
        for (at, (one, ip)) in places.iter().enumerate() {
            for (other, second) in &places[at + 1..] {
                let pair = (one.name.clone(), other.name.clone());
                if one.index == other.index || !share(one, *ip, *second) || !self.said.insert(pair)
                {
                    continue;
                }
                warnings.extend(advice([one, other], &setting));
            }
        }
        warnings
    }
}

/// Whether both are IPv4 addresses of one network, by the prefix of the first.
fn share(interface: &Interface, ip: IpAddr, other: IpAddr) -> bool {
    let own = interface.addresses.iter().find(|address| address.ip == ip);
    ip.is_ipv4() && own.is_some_and(|address| address.covers(other))
}

fn advice(pair: [&Interface; 2], setting: &impl Fn(&str) -> Option<u32>) -> Option<String> {
    // The kernel takes the larger one of what is said for all and for the interface.
    let least = |name: &str| {
        let of = |interface: &str| setting(&format!("{interface}/{name}")).unwrap_or(0);
        pair.map(|interface| of(&interface.name).max(of("all")))
    };
    let mut wanted = Vec::new();
    if least("arp_ignore").contains(&0) {
        wanted.push("net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
    }
    if least("rp_filter").contains(&1) {
        wanted.push("net.ipv4.conf.all.rp_filter=2");
    }
    (!wanted.is_empty()).then(|| {
        format!(
            "links {} and {} are in one network, where packets for one may come in at the other and are lost then; \
             this keeps them apart: sysctl -w {}",
            pair[0].name,
            pair[1].name,
            wanted.join(" ")
        )
    })
}

/// Reads a setting of this network namespace.
pub(crate) fn setting(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::{Address, Change};

    fn interfaces(addresses: [&str; 2]) -> (Interfaces, Vec<(u32, IpAddr)>) {
        let mut all = Interfaces::default();
        let mut links = Vec::new();
        for (text, index) in addresses.into_iter().zip(1..) {
            let ip = text.parse().unwrap();
            all.apply(Change::Interface(Interface {
                name: format!("eth{index}"),
                index,
                up: true,
                loopback: false,
                mac: None,
                mtu: 1500,
                speed: None,
                addresses: Vec::new(),
            }));
            let address = Address {
                ip,
                prefix: 24,
                fleeting: false,
            };
            all.apply(Change::Address(index, address));
            links.push((index, ip));
        }
        (all, links)
    }

    #[test]
    fn two_links_in_one_network_are_spoken_of_once() {
        let (all, links) = interfaces(["10.0.0.1", "10.0.0.2"]);
        let mut networks = SharedNetworks::default();
        let said = networks.look(&links, &all, |_| Some(0));
        assert_eq!(said.len(), 1);
        for part in ["eth1 and eth2", "arp_ignore=1", "arp_announce=2"] {
            assert!(said[0].contains(part), "{said:?}");
        }
        assert!(!said[0].contains("rp_filter"), "{said:?}");
        assert!(networks.look(&links, &all, |_| Some(0)).is_empty());
    }

    #[test]
    fn nothing_is_said_where_nothing_is_wrong() {
        let quiet = |addresses, setting: &dyn Fn(&str) -> Option<u32>| {
            let (all, links) = interfaces(addresses);
            SharedNetworks::default().look(&links, &all, setting)
        };
        assert!(quiet(["10.0.0.1", "10.0.1.1"], &|_| Some(0)).is_empty());
        assert!(quiet(["fd00::1", "fd00::2"], &|_| Some(0)).is_empty());
        let told = |name: &str| match name {
            "all/arp_ignore" => Some(1),
            "all/rp_filter" => Some(2),
            // The larger number is what holds.
            "eth1/rp_filter" => Some(1),
            _ => Some(0),
        };
        assert!(quiet(["10.0.0.1", "10.0.0.2"], &told).is_empty());
        let strict = |name: &str| Some(u32::from(name != "all/rp_filter"));
        let said = quiet(["10.0.0.1", "10.0.0.2"], &strict);
        assert!(
            said[0].ends_with("sysctl -w net.ipv4.conf.all.rp_filter=2"),
            "{said:?}"
        );
    }
}
