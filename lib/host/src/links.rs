//! The node's links: which ones are wanted, and a socket on each that is there.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use abi::LinkAddress;
use abi::system::LinkKind;
use drivers::{EthernetDriver, NeighbourDriver, PacketDriver, UdpDriver};
use node::LinkConfig;
use node::limits::LINKS_MAX;
use rustix::event::epoll::{self, EventData};

use crate::StartError;
use crate::interfaces::Interfaces;
use crate::kernel_settings::ThisKernel;
use crate::link_place::{self, At, Found, Own, SocketPlace};
use crate::link_spec::LinkSpec;
use crate::neighbour_wait::NeighbourWait;
use crate::setting_records::Records;
use crate::shared_network::SharedNetworks;

/// All links, by number. A link keeps its number while the node runs, whether it is there or not.
#[derive(Debug)]
pub(crate) struct Links {
    slots: Vec<Slot>,
    own: Own,
    /// Nobody named links: every interface that is up is one.
    all: bool,
    /// Once is enough to say so.
    said_full: bool,
    shared: SharedNetworks<ThisKernel>,
    wait: NeighbourWait<ThisKernel>,
}

struct Slot {
    spec: LinkSpec,
    config: LinkConfig,
    open: Option<Open>,
    /// Where the last socket was.
    before: Option<SocketPlace>,
}

struct Open {
    place: SocketPlace,
    driver: Box<dyn PacketDriver>,
}

/// What an update has led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    /// The node should be told.
    pub(crate) changed: bool,
    /// A link is there but could not be opened: try again after a while.
    pub(crate) again: bool,
}

impl Links {
    /// Opens the links that are wanted, none meaning every interface that is up. A link that is not there yet is
    /// opened when it comes; one that is there and cannot be used is an error.
    pub(crate) fn open(
        wanted: Vec<LinkSpec>,
        own: Own,
        interfaces: &Interfaces,
    ) -> Result<Self, StartError> {
        let records = Records::of_this_machine();
        records.clear();
        records.recover(&ThisKernel);
        let mut links = Self {
            all: wanted.is_empty(),
            slots: Vec::new(),
            own,
            said_full: false,
            shared: SharedNetworks::new(ThisKernel, records.clone()),
            wait: NeighbourWait::new(ThisKernel, records),
        };
        let wanted = if links.all {
            eligible(interfaces).collect()
        } else {
            wanted
        };
        if wanted.len() > LINKS_MAX {
            let text = format!(
                "{} links are too many: a node can use {LINKS_MAX}; name them with --link",
                wanted.len()
            );
            return Err(StartError::new(text));
        }
        for spec in wanted {
            if links
                .slots
                .iter()
                .any(|slot| slot.spec.place == spec.place && slot.spec.kind == spec.kind)
            {
                return Err(StartError::new(format!("link {spec} is named twice")));
            }
            let mut slot = Slot::new(spec);
            // Policies name links: one interface in two ways has two names.
            let name = &slot.config.name;
            if links.slots.iter().any(|other| other.config.name == *name) {
                slot.config.name = slot.spec.to_string();
            }
            if let Err(error) = slot.update(own, interfaces) {
                return Err(slot.explained(own.port, &error));
            }
            if !slot.config.why.is_empty() {
                let there = match slot.spec.kind {
                    LinkKind::Memory => String::new(),
                    _ => format!(" (there are {})", interfaces.names()),
                };
                tracing::warn!(
                    "link {} is not used yet: {}{there}",
                    slot.spec,
                    slot.config.why
                );
            }
            links.slots.push(slot);
        }
        links.tell_kernel(interfaces);
        Ok(links)
    }

    fn tell_kernel(&mut self, interfaces: &Interfaces) {
        let places = self.slots.iter().filter_map(|slot| slot.open.as_ref());
        let places = places.filter_map(|open| match open.place.at {
            At::Udp(address) => Some((open.place.interface, address.ip())),
            At::Ethernet(..) | At::Neighbour(..) => None,
        });
        let places: Vec<_> = places.collect();
        for warning in self.shared.look(&places, interfaces) {
            tracing::warn!("{warning}");
        }
        self.wait.look(&places, interfaces);
    }

    /// What the node is told of the links.
    pub(crate) fn configs(&self) -> Vec<LinkConfig> {
        self.slots.iter().map(|slot| slot.config.clone()).collect()
    }

    /// The socket on a link, if it is there.
    pub(crate) fn driver(&self, index: u8) -> Option<&dyn PacketDriver> {
        let open = self.slots.get(usize::from(index))?.open.as_ref()?;
        Some(open.driver.as_ref())
    }

    /// Waits for packets of all links: an event of link n has the number `base + n`.
    pub(crate) fn watch(&self, epoll: BorrowedFd<'_>, base: u64) -> rustix::io::Result<()> {
        (base..)
            .zip(&self.slots)
            .try_for_each(|(number, slot)| slot.watch(epoll, number))
    }

    /// Does what the interfaces as they are now ask for: opens, closes and opens anew.
    pub(crate) fn update(
        &mut self,
        interfaces: &Interfaces,
        epoll: BorrowedFd<'_>,
        base: u64,
    ) -> Update {
        let mut update = Update::default();
        if self.all {
            self.add_new(interfaces);
        }
        for (number, slot) in (base..).zip(&mut self.slots) {
            let before = slot.config.clone();
            if let Err(error) = slot.update(self.own, interfaces) {
                slot.config.why = slot.explained(self.own.port, &error).to_string();
                update.again = true;
            }
            if slot.config.epoch != before.epoch
                && let Err(error) = slot.watch(epoll, number)
            {
                slot.close(format!("it cannot be waited for: {error}"));
                update.again = true;
            }
            // Nobody tells of a directory that comes or goes.
            update.again |= slot.spec.kind == LinkKind::Memory;
            slot.tell(&before);
            update.changed |= slot.config != before;
        }
        if update.changed {
            self.tell_kernel(interfaces);
        }
        update
    }

    /// Makes room for interfaces that have come up, if need be at the cost of ones that are gone.
    fn add_new(&mut self, interfaces: &Interfaces) {
        let eligible: Vec<LinkSpec> = eligible(interfaces).collect();
        for spec in &eligible {
            if self.slots.iter().any(|slot| slot.spec == *spec) {
                continue;
            }
            let is_gone = |slot: &&mut Slot| slot.open.is_none() && !eligible.contains(&slot.spec);
            if self.slots.len() < LINKS_MAX {
                self.slots.push(Slot::new(spec.clone()));
            } else if let Some(gone) = self.slots.iter_mut().find(is_gone) {
                gone.replace(spec.clone());
            } else if !self.said_full {
                self.said_full = true;
                tracing::warn!(
                    "{spec} is not used: a node can use {LINKS_MAX} links; name them with --link"
                );
            }
        }
    }
}

fn eligible(interfaces: &Interfaces) -> impl Iterator<Item = LinkSpec> {
    let mut names: Vec<&str> = interfaces
        .iter()
        .filter(|interface| link_place::is_eligible(interface))
        .map(|interface| interface.name.as_str())
        .collect();
    names.sort_unstable();
    names.into_iter().map(LinkSpec::interface)
}

impl Slot {
    fn new(spec: LinkSpec) -> Self {
        let mut config = LinkConfig::new(spec.name(), spec.kind, LinkAddress::NONE, 0);
        config.up = false;
        config.protection = spec.protection;
        config.trusted = spec.trusted;
        config.speed = spec.speed;
        Self {
            spec,
            config,
            open: None,
            before: None,
        }
    }

    /// Another link takes the number of one that is gone.
    fn replace(&mut self, spec: LinkSpec) {
        let epoch = self.config.epoch;
        *self = Self::new(spec);
        self.config.epoch = epoch;
    }

    /// Opens or closes the socket. An error is that of opening; a link that is not there is none.
    fn update(&mut self, own: Own, interfaces: &Interfaces) -> io::Result<()> {
        let own = Own {
            port: self.port(own.port),
            ..own
        };
        let found = match link_place::find(&self.spec, own, interfaces, self.before.as_ref()) {
            Ok(found) => found,
            Err(why) => {
                self.close(why);
                return Ok(());
            }
        };
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.place != found.socket)
        {
            self.close(String::new());
            match open(&found.socket) {
                Ok(driver) => self.opened(&found, driver),
                // It has gone since the list was made, which the next list says.
                Err(error) if is_gone(&error) => {
                    self.close(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.config.why.clear();
        self.config.up = found.up;
        self.config.mtu = found.mtu;
        self.config.speed = found.speed;
        Ok(())
    }

    /// The port for the next socket. What the kernel chose once is kept: peers know it.
    fn port(&self, port: u16) -> u16 {
        match &self.before {
            Some(before) if port == 0 => before.at.port(),
            _ => port,
        }
    }

    fn opened(&mut self, found: &Found, driver: Box<dyn PacketDriver>) {
        self.config.address = driver.local_address();
        self.config.device.clone_from(&found.socket.device);
        self.config.epoch += 1;
        let mut place = found.socket.clone();
        place.at.set_port(&self.config.address);
        self.before = Some(place.clone());
        self.open = Some(Open { place, driver });
    }

    /// The socket leaves the epoll set by being closed.
    fn close(&mut self, why: String) {
        self.open = None;
        self.config.up = false;
        self.config.why = why;
    }

    fn watch(&self, epoll: BorrowedFd<'_>, number: u64) -> rustix::io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let (socket, flags) = (open.driver.readable(), open.driver.events(false));
        epoll::add(epoll, socket, EventData::new_u64(number), flags)
    }

    fn explained(&self, port: u16, error: &io::Error) -> StartError {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses it, perhaps another node: give another --port or --link"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied if self.spec.kind == LinkKind::Ethernet => {
                "a link of Ethernet frames needs the right CAP_NET_RAW: run the node as root, or give it to the \
                 program with 'setcap cap_net_raw+ep'"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        StartError::new(format!("link {}: cannot use port {port}: {why}", self.spec))
    }

    /// Says in the log what has become of the link.
    fn tell(&self, before: &LinkConfig) {
        let (spec, address) = (&self.spec, self.config.address);
        if self.config.epoch != before.epoch {
            tracing::info!("link {spec} is used now, at {address}");
        } else if self.config.why != before.why && !self.config.why.is_empty() {
            let why = &self.config.why;
            // An interface that is made anew has no address at first: that it went was worth a warning.
            if before.why.is_empty() {
                tracing::warn!("link {spec} is not used: {why}");
            } else {
                tracing::info!("link {spec} is still not used: {why}");
            }
        } else if self.config.up != before.up {
            let carrier = if self.config.up { "a" } else { "no" };
            tracing::info!("link {spec} has {carrier} carrier now");
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn open(place: &SocketPlace) -> io::Result<Box<dyn PacketDriver>> {
    Ok(match place.at {
        At::Udp(address) => {
            let device = Some(place.device.as_str()).filter(|device| !device.is_empty());
            Box::new(UdpDriver::bind(address, device)?)
        }
        At::Ethernet(_, port) => Box::new(EthernetDriver::open(&place.device, port)?),
        At::Neighbour(name, port) => {
            let directory = Path::new(&place.device);
            Box::new(NeighbourDriver::open(directory, name, port)?)
        }
    })
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [libc::EADDRNOTAVAIL, libc::ENODEV, libc::ENXIO];
    error
        .raw_os_error()
        .is_some_and(|number| gone.contains(&number))
        || error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests;
