//! What network interfaces the machine has, as the kernel has told so far.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// Another one after the interface has vanished and returned.
    pub(crate) index: u32,
    /// Switched on, with a carrier: packets can leave.
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    /// The hardware address, where the interface speaks Ethernet.
    pub(crate) mac: Option<[u8; 6]>,
    /// In bytes, headers of IP included.
    pub(crate) mtu: u32,
    /// In bytes per second, where the interface knows.
    pub(crate) speed: Option<u64>,
    /// In the order in which they were given.
    pub(crate) addresses: Vec<Address>,
}

/// An address of an interface that sockets can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    /// Leading bits that all hosts of the network share.
    pub(crate) prefix: u8,
    /// For new connections there is a better one: it runs out, or is meant for outgoing connections only.
    pub(crate) fleeting: bool,
}

/// Something that the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An interface is there, or is different now. Addresses are told apart from it.
    Interface(Interface),
    InterfaceGone(u32),
    Address(u32, Address),
    AddressGone(u32, IpAddr),
}

/// All interfaces, by their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    by_index: BTreeMap<u32, Interface>,
}

impl Interfaces {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Interface(mut new) => {
                if let Some(known) = self.by_index.get_mut(&new.index) {
                    new.addresses = std::mem::take(&mut known.addresses);
                }
                self.by_index.insert(new.index, new);
            }
            Change::InterfaceGone(index) => {
                self.by_index.remove(&index);
            }
            Change::Address(index, address) => {
                let Some(interface) = self.by_index.get_mut(&index) else {
                    return;
                };
                let known = interface.addresses.iter().position(|a| a.ip == address.ip);
                match known {
                    Some(at) => interface.addresses[at] = address,
                    None => interface.addresses.push(address),
                }
            }
            Change::AddressGone(index, ip) => {
                if let Some(interface) = self.by_index.get_mut(&index) {
                    interface.addresses.retain(|address| address.ip != ip);
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_index.values()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Interface> {
        self.iter().find(|interface| interface.name == name)
    }

    pub(crate) fn by_index(&self, index: u32) -> Option<&Interface> {
        self.by_index.get(&index)
    }

    /// Whose address this is: that of an interface, or one of a network that is all its own, as 127.x.y.z is the
    /// loopback's.
    pub(crate) fn owner(&self, ip: IpAddr) -> Option<&Interface> {
        let owns = |interface: &&Interface| interface.addresses.iter().any(|a| a.ip == ip);
        let covers = |interface: &&Interface| {
            interface.loopback && interface.addresses.iter().any(|a| a.covers(ip))
        };
        self.iter().find(owns).or_else(|| self.iter().find(covers))
    }

    /// Whether an interface has fewer addresses than before and no new one, while nothing of it has gone up or down.
    pub(crate) fn only_lost_addresses(&self, before: &Self) -> bool {
        let mut lost = false;
        for old in before.iter() {
            let Some(new) = self.by_index(old.index).filter(|new| new.up == old.up) else {
                return false;
            };
            let has = |list: &Interface, ip| list.addresses.iter().any(|address| address.ip == ip);
            let gained = new.addresses.iter().any(|address| !has(old, address.ip));
            lost |= !gained && old.addresses.iter().any(|address| !has(new, address.ip));
        }
        lost
    }

    /// Whether an interface is up that was not, while none has gone down.
    pub(crate) fn only_came_up(&self, before: &Self) -> bool {
        let is_up = |list: &Self, index| list.by_index(index).is_some_and(|found| found.up);
        let up = |list: &Self| -> Vec<u32> {
            let up = list.iter().filter(|interface| interface.up);
            up.map(|interface| interface.index).collect()
        };
        let came = up(self).into_iter().any(|index| !is_up(before, index));
        came && up(before).into_iter().all(|index| is_up(self, index))
    }

    /// For messages about a name that is not there.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.iter().map(|i| i.name.as_str()).collect();
        names.join(", ")
    }
}

impl Address {
    /// Whether the other address is in the same network.
    pub(crate) fn covers(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix.into()
            }
            _ => false,
        }
    }
}

/// For tests.
#[cfg(test)]
impl Interface {
    /// One that works and has no address yet.
    pub(crate) fn working(index: u32, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            index,
            up: true,
            loopback: name == "lo",
            mac: None,
            mtu: 1500,
            speed: None,
            addresses: Vec::new(),
        }
    }
}

/// For tests.
#[cfg(test)]
impl Address {
    pub(crate) fn lasting(ip: &str, prefix: u8) -> Self {
        Self {
            ip: ip.parse().unwrap(),
            prefix,
            fleeting: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_keeps_its_addresses_when_something_else_of_it_changes() {
        let mut all = Interfaces::default();
        all.apply(Change::Interface(Interface::working(2, "eth0")));
        all.apply(Change::Address(2, Address::lasting("192.0.2.7", 24)));
        all.apply(Change::Interface(Interface {
            mtu: 9000,
            ..Interface::working(2, "eth0")
        }));
        let eth0 = all.by_name("eth0").unwrap();
        assert_eq!((eth0.mtu, eth0.addresses.len()), (9000, 1));
        all.apply(Change::AddressGone(2, "192.0.2.7".parse().unwrap()));
        assert_eq!(all.by_name("eth0").unwrap().addresses, []);
        all.apply(Change::InterfaceGone(2));
        assert_eq!(all.by_name("eth0"), None);
    }

    #[test]
    fn an_interface_that_returns_has_none_of_its_old_addresses() {
        let mut all = Interfaces::default();
        all.apply(Change::Interface(Interface::working(2, "eth0")));
        all.apply(Change::Address(2, Address::lasting("192.0.2.7", 24)));
        all.apply(Change::InterfaceGone(2));
        all.apply(Change::Interface(Interface::working(5, "eth0")));
        let eth0 = all.by_name("eth0").unwrap();
        assert_eq!((eth0.index, eth0.addresses.len()), (5, 0));
    }

    #[test]
    fn an_address_that_is_taken_away_alone_is_half_of_a_change() {
        let mut whole = Interfaces::default();
        whole.apply(Change::Interface(Interface::working(2, "eth0")));
        whole.apply(Change::Address(2, Address::lasting("192.0.2.7", 24)));
        assert!(!whole.only_lost_addresses(&whole));
        let mut half = whole.clone();
        half.apply(Change::AddressGone(2, "192.0.2.7".parse().unwrap()));
        assert!(half.only_lost_addresses(&whole));
        let mut changed = half.clone();
        changed.apply(Change::Address(2, Address::lasting("192.0.2.8", 24)));
        assert!(!changed.only_lost_addresses(&whole));
        let mut down = half.clone();
        down.apply(Change::Interface(Interface {
            up: false,
            ..Interface::working(2, "eth0")
        }));
        assert!(
            !down.only_lost_addresses(&whole),
            "a carrier is told at once"
        );
        assert!(!Interfaces::default().only_lost_addresses(&whole));
    }

    #[test]
    fn an_interface_that_comes_up_is_told_from_one_that_goes_down() {
        let mut down = Interfaces::default();
        down.apply(Change::Interface(Interface::working(1, "lo")));
        let off = |index, name| Interface {
            up: false,
            ..Interface::working(index, name)
        };
        down.apply(Change::Interface(off(2, "eth0")));
        let mut up = down.clone();
        up.apply(Change::Interface(Interface::working(2, "eth0")));
        assert!(up.only_came_up(&down) && up.only_came_up(&Interfaces::default()));
        assert!(!down.only_came_up(&up) && !up.only_came_up(&up));
        let mut both = up.clone();
        both.apply(Change::Interface(off(1, "lo")));
        assert!(!both.only_came_up(&down), "what goes down is told at once");
        let mut returned = up.clone();
        returned.apply(Change::InterfaceGone(2));
        assert!(!returned.only_came_up(&up));
        returned.apply(Change::Interface(Interface::working(3, "eth0")));
        assert!(!returned.only_came_up(&up), "another one has gone");
    }

    #[test]
    fn every_loopback_address_has_an_owner_and_a_neighbour_s_has_none() {
        let mut all = Interfaces::default();
        all.apply(Change::Interface(Interface::working(1, "lo")));
        all.apply(Change::Address(1, Address::lasting("127.0.0.1", 8)));
        all.apply(Change::Interface(Interface::working(2, "eth0")));
        all.apply(Change::Address(2, Address::lasting("192.0.2.7", 24)));
        let owner = |text: &str| all.owner(text.parse().unwrap()).map(|i| i.name.as_str());
        assert_eq!(owner("127.77.0.1"), Some("lo"));
        assert_eq!(owner("192.0.2.7"), Some("eth0"));
        assert_eq!(owner("192.0.2.8"), None);
    }
}
