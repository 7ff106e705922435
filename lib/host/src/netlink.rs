//! What the kernel says of interfaces and addresses, over netlink.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkMessage, NlaBuffer, NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage,
};
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkHeader, LinkLayerType, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::interfaces::{Address, Change, Interface, Interfaces};
use crate::link_speed;

/// Multicast groups: interfaces, IPv4 addresses, IPv6 addresses.
const GROUPS: u32 = 1 | 1 << 4 | 1 << 8;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
/// The loopback carries whole frames.
const ETHERNETS: [LinkLayerType; 2] = [LinkLayerType::Ether, LinkLayerType::Loopback];
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// The kernel writes no more in one piece.
const PIECE: usize = 64 * 1024;
/// Lists are asked for again when something changed while they were written. Interfaces that change faster than they
/// can be listed so many times in a row are told as far as they got.
const LISTS_MAX: u32 = 8;
/// Pieces read before whoever waits for the news gets it.
const PIECES_MAX: usize = 256;

/// The kernel's news.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    piece: Vec<u8>,
}

impl Netlink {
    /// Subscribes, then lists what there is. Blocks until the kernel has answered.
    pub(crate) fn open() -> io::Result<(Self, Interfaces)> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        let mut netlink = Self {
            socket,
            piece: Vec::with_capacity(PIECE),
        };
        let mut list = 0;
        loop {
            list += 1;
            // Interfaces first: an address of an unknown interface means nothing.
            let mut interfaces = Interfaces::default();
            let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
            let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
            let complete = netlink.list(links, &mut interfaces)?;
            let complete = netlink.list(addresses, &mut interfaces)? && complete;
            if complete || list == LISTS_MAX {
                netlink.socket.set_non_blocking(true)?;
                return Ok((netlink, interfaces));
            }
        }
    }

    /// Readable when there is news.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as it is borrowed here.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Takes the news that there is, without waiting.
    ///
    /// An error means that some was lost (`ENOBUFS`) or that no more will come: open anew.
    pub(crate) fn read(&mut self, interfaces: &mut Interfaces) -> io::Result<()> {
        for _ in 0..PIECES_MAX {
            match self.receive() {
                Ok(()) => each_message(&self.piece, |message| {
                    changes(message, interfaces);
                    Ok(())
                })?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks for a list and takes it, with what happens meanwhile. False if something changed while it was written.
    fn list(&mut self, what: RouteNetlinkMessage, interfaces: &mut Interfaces) -> io::Result<bool> {
        let mut request = NetlinkMessage::from(what);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.header.sequence_number = 1;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let (mut complete, mut done) = (true, false);
        while !done {
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            each_message(&self.piece, |message| {
                complete &= message.flags() & NLM_F_DUMP_INTR == 0;
                done |= message.message_type() == NLMSG_DONE;
                if message.message_type() == NLMSG_ERROR {
                    return Err(io::Error::other("the kernel refuses to list them"));
                }
                changes(message, interfaces);
                Ok(())
            })?;
        }
        Ok(complete)
    }

    fn receive(&mut self) -> io::Result<()> {
        self.piece.clear();
        let (_, from) = self.socket.recv_from(&mut self.piece, 0)?;
        if from.port_number() != 0 {
            // Not the kernel.
            self.piece.clear();
        }
        Ok(())
    }
}

fn each_message(
    piece: &[u8],
    mut take: impl FnMut(&NetlinkBuffer<&[u8]>) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = piece;
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        take(&message)?;
        let len = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// Attributes that the parser does not understand are passed over one by one: newer kernels say more.
fn changes(message: &NetlinkBuffer<&[u8]>, interfaces: &mut Interfaces) {
    let body = message.payload();
    let change = match message.message_type() {
        NEW_LINK => interface(body).map(Change::Interface),
        DEL_LINK => gone(body).map(Change::InterfaceGone),
        NEW_ADDRESS => address(body).map(|(index, ip, usable)| match usable {
            Some(address) => Change::Address(index, address),
            None => Change::AddressGone(index, ip),
        }),
        DEL_ADDRESS => address(body).map(|(index, ip, _)| Change::AddressGone(index, ip)),
        _ => None,
    };
    if let Some(change) = change {
        interfaces.apply(change);
    }
}

fn interface(body: &[u8]) -> Option<Interface> {
    let header = LinkHeader::parse(body).ok()?;
    if header.interface_family != AddressFamily::Unspec {
        // A bridge speaking of its ports.
        return None;
    }
    let mut interface = Interface {
        name: String::new(),
        index: header.index,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
            && !header.flags.contains(LinkFlags::Dormant),
        loopback: header.flags.contains(LinkFlags::Loopback),
        mac: None,
        mtu: 0,
        speed: None,
        addresses: Vec::new(),
    };
    for attribute in attributes(body.get(LINK_HEADER..)?) {
        match LinkAttribute::parse_with_param(&attribute, AddressFamily::Unspec) {
            Ok(LinkAttribute::IfName(name)) => interface.name = name,
            Ok(LinkAttribute::Mtu(mtu)) => interface.mtu = mtu,
            Ok(LinkAttribute::Address(mac)) if ETHERNETS.contains(&header.link_layer_type) => {
                interface.mac = mac.try_into().ok();
            }
            _ => {}
        }
    }
    interface.speed = link_speed::of(&interface.name);
    (!interface.name.is_empty()).then_some(interface)
}

fn gone(body: &[u8]) -> Option<u32> {
    let header = LinkHeader::parse(body).ok()?;
    // A port that leaves its bridge is deleted in the eyes of the bridge only.
    (header.interface_family == AddressFamily::Unspec).then_some(header.index)
}

/// Of which interface, which address, and the address again if a socket can be bound to it.
fn address(body: &[u8]) -> Option<(u32, std::net::IpAddr, Option<Address>)> {
    let header = AddressHeader::parse(body).ok()?;
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    let (mut own, mut other) = (None, None);
    for attribute in attributes(body.get(ADDRESS_HEADER..)?) {
        match AddressAttribute::parse(&attribute) {
            Ok(AddressAttribute::Local(ip)) => own = Some(ip),
            // Of the other end where there are two, else our own.
            Ok(AddressAttribute::Address(ip)) => other = Some(ip),
            Ok(AddressAttribute::Flags(all)) => flags = all,
            _ => {}
        }
    }
    let ip = own.or(other)?;
    let unusable = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
        && !flags.contains(AddressFlags::Optimistic);
    let temporary = ip.is_ipv6() && flags.contains(AddressFlags::Secondary);
    let address = Address {
        ip,
        prefix: header.prefix_len,
        fleeting: temporary || flags.contains(AddressFlags::Deprecated),
    };
    Some((header.index, ip, (!unusable).then_some(address)))
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

#[cfg(test)]
#[allow(
    dead_code,
    reason = "made for the tests of the drivers, which use all of it"
)]
#[path = "../../drivers/tests/network/mod.rs"]
mod network;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::process::{Command, Stdio};

    /// Makes so many pairs of interfaces at once.
    fn make_interfaces(pairs: usize) {
        let lines = (0..pairs).map(|n| format!("link add near{n} type veth peer name far{n}\n"));
        let batch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(batch.path(), lines.collect::<String>()).unwrap();
        let mut command = Command::new("ip");
        command.arg("-batch").arg(batch.path()).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    }

    #[test]
    fn news_that_are_lost_are_noticed_and_a_long_list_is_taken_whole() {
        let name = "netlink::tests::news_that_are_lost_are_noticed_and_a_long_list_is_taken_whole";
        network::in_own_network(name, || {
            let (mut netlink, mut interfaces) = Netlink::open().unwrap();
            make_interfaces(400);
            let lost = netlink.read(&mut interfaces).unwrap_err();
            assert_eq!(lost.raw_os_error(), Some(libc::ENOBUFS));
            let (mut netlink, mut interfaces) = Netlink::open().unwrap();
            assert_eq!(interfaces.iter().count(), 801, "the loopback, too");
            assert!(
                interfaces
                    .by_name("far399")
                    .is_some_and(|far| !far.up && far.mac.is_some())
            );
            let delete = ["link", "delete", "near7"];
            assert!(Command::new("ip").args(delete).status().unwrap().success());
            netlink.read(&mut interfaces).unwrap();
            assert_eq!(interfaces.iter().count(), 799);
            assert!(interfaces.by_name("far7").is_none());
        });
    }

    #[test]
    fn the_loopback_is_listed_with_what_the_kernel_shows_elsewhere() {
        let (_, interfaces) = Netlink::open().unwrap();
        let lo = interfaces.by_name("lo").unwrap();
        let shown = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(lo.mtu, shown.trim().parse::<u32>().unwrap());
        assert!(lo.loopback);
        assert!(lo.up);
        assert_eq!(lo.index, 1);
        assert_eq!(lo.mac, Some([0; 6]));
        let v4 = IpAddr::from([127, 0, 0, 1]);
        assert!(lo.addresses.iter().any(|a| a.ip == v4 && a.prefix == 8));
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 16 + body.len()];
        let len = u32::try_from(bytes.len()).unwrap();
        let mut buffer = NetlinkBuffer::new(bytes.as_mut_slice());
        buffer.set_length(len);
        buffer.set_message_type(kind);
        bytes[16..].copy_from_slice(body);
        bytes
    }

    fn taken(bytes: &[u8]) -> Interfaces {
        let mut interfaces = Interfaces::default();
        each_message(bytes, |message| {
            changes(message, &mut interfaces);
            Ok(())
        })
        .unwrap();
        interfaces
    }

    fn link_body(family: u8) -> Vec<u8> {
        use netlink_packet_core::Emitable;
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.header.link_layer_type = LinkLayerType::Ether;
        link.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        link.attributes = vec![
            LinkAttribute::IfName("eth7".to_owned()),
            LinkAttribute::Mtu(1400),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
        ];
        let mut body = vec![0; link.buffer_len()];
        link.emit(&mut body);
        body[0] = family;
        body
    }

    #[test]
    fn an_attribute_that_cannot_be_read_costs_only_itself() {
        let mut body = link_body(0);
        // An MTU of one byte, before the rest.
        body.splice(16..16, [5, 0, 4, 0, 9, 0, 0, 0]);
        let interfaces = taken(&message(NEW_LINK, &body));
        let eth7 = interfaces.by_name("eth7").unwrap();
        assert_eq!((eth7.index, eth7.mtu, eth7.up), (7, 1400, true));
        assert_eq!(eth7.mac, Some([2, 0, 0, 0, 0, 9]));
    }

    #[test]
    fn what_a_bridge_says_of_its_ports_is_not_taken_for_the_interfaces() {
        let whole = message(NEW_LINK, &link_body(0));
        let port = message(DEL_LINK, &link_body(7));
        assert!(
            taken(&[whole.clone(), port].concat())
                .by_name("eth7")
                .is_some()
        );
        let gone = message(DEL_LINK, &link_body(0));
        assert!(taken(&[whole, gone].concat()).by_name("eth7").is_none());
    }

    #[test]
    fn whatever_is_cut_off_is_passed_over() {
        let whole = message(NEW_LINK, &link_body(0));
        for len in 0..whole.len() {
            taken(&whole[..len]);
            let body = &link_body(0)[..len.min(40)];
            taken(&message(NEW_LINK, body));
            taken(&message(NEW_ADDRESS, body));
        }
    }
}
