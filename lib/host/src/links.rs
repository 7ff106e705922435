//! Which network interfaces the node uses, and its UDP socket on each.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use abi::LinkAddress;
use abi::system::LinkKind;
use node::LinkConfig;
use node::limits::LINKS_MAX;

use crate::StartError;

/// Headers of IPv4 and UDP, of IPv6 and UDP.
const HEADERS_V4: u32 = 28;
const HEADERS_V6: u32 = 48;
/// No packet is larger, whatever an interface says: what UDP and the transport can carry.
const PACKET_MAX: u32 = 65_472;
/// What every interface can carry: the smallest MTU of IPv6.
const MTU_MIN: u32 = 1280;

/// One address of one interface, as the kernel lists it.
#[derive(Clone, Debug)]
struct Interface {
    name: String,
    address: IpAddr,
    prefix: u32,
    up: bool,
    loopback: bool,
}

/// A link with the node's socket on it.
#[derive(Debug)]
pub(crate) struct OpenLink {
    pub(crate) config: LinkConfig,
    pub(crate) socket: UdpSocket,
}

/// Opens the links that are wanted: names of interfaces or addresses; none means every interface that is up and not
/// the loopback.
pub(crate) fn open(wanted: &[String], port: u16) -> Result<Vec<OpenLink>, StartError> {
    let known = interfaces()?;
    let mut chosen: Vec<(String, IpAddr, String)> = Vec::new();
    for want in wanted {
        let found = match want.parse::<IpAddr>() {
            Ok(address) => (want.clone(), address, String::new()),
            Err(_) => (want.clone(), address_of(&known, want)?, want.clone()),
        };
        chosen.push(found);
    }
    if wanted.is_empty() {
        let names: BTreeSet<&str> = known
            .iter()
            .filter(|i| i.up && !i.loopback)
            .map(|i| i.name.as_str())
            .collect();
        for name in names {
            if let Ok(address) = address_of(&known, name) {
                chosen.push((name.to_owned(), address, name.to_owned()));
            }
        }
    }
    if chosen.len() > LINKS_MAX {
        let text = format!(
            "{} links are too many: a node can use {LINKS_MAX}; name them with --link",
            chosen.len()
        );
        return Err(StartError::new(text));
    }
    chosen
        .into_iter()
        .map(|(name, address, device)| open_one(&known, name, address, device, port))
        .collect()
}

fn open_one(
    known: &[Interface],
    name: String,
    address: IpAddr,
    device: String,
    port: u16,
) -> Result<OpenLink, StartError> {
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program uses it, perhaps another node: give another --port or --link"
                    .to_owned()
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has that address".to_owned()
            }
            _ => error.to_string(),
        };
        StartError::new(format!(
            "link {name}: cannot use {address} port {port}: {why}"
        ))
    };
    let socket = UdpSocket::bind(SocketAddr::new(address, port)).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let headers = if address.is_ipv4() {
        HEADERS_V4
    } else {
        HEADERS_V6
    };
    let owner = known
        .iter()
        .find(|i| i.address == address)
        .or_else(|| known.iter().find(|i| i.covers(address)));
    let mtu = owner
        .and_then(|interface| interface_mtu(&interface.name))
        .unwrap_or(MTU_MIN)
        .max(MTU_MIN);
    let mtu = (mtu - headers).min(PACKET_MAX);
    let config = LinkConfig {
        device,
        ..LinkConfig::new(
            name,
            LinkKind::Udp,
            LinkAddress::from(bound),
            u16::try_from(mtu).unwrap_or(u16::MAX),
        )
    };
    Ok(OpenLink { config, socket })
}

/// An interface's address: IPv4 if it has one, else a global IPv6 one.
fn address_of(known: &[Interface], name: &str) -> Result<IpAddr, StartError> {
    let of_name: Vec<&Interface> = known
        .iter()
        .filter(|interface| interface.name == name)
        .collect();
    let usable = |interface: &&&Interface| match interface.address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let best = of_name
        .iter()
        .filter(usable)
        .min_by_key(|interface| interface.address.is_ipv6());
    if let Some(interface) = best {
        return Ok(interface.address);
    }
    if !of_name.is_empty() || interface_mtu(name).is_some() {
        let text =
            format!("link {name}: the interface has no address; give it one, or name another link");
        return Err(StartError::new(text));
    }
    let names: BTreeSet<&str> = known
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let text = format!(
        "link {name}: expected an address or an interface of this machine ({}), found neither",
        names.join(", ")
    );
    Err(StartError::new(text))
}

/// Asked of the kernel: `/sys` shows the interfaces of the namespace that mounted it, which need not be this one.
fn interface_mtu(name: &str) -> Option<u32> {
    // SAFETY: an ifreq is plain bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let places = request.ifr_name.split_last_mut()?.1;
    if name.len() > places.len() {
        return None;
    }
    for (place, byte) in places.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed() as libc::c_char;
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // SAFETY: the request is a whole ifreq with a name that ends in zero; the kernel writes within it only.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    if answer != 0 {
        return None;
    }
    // SAFETY: this is the field that the kernel has filled in.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

impl Interface {
    /// Whether the address belongs to the interface's network, as every 127.x.y.z does to the loopback.
    fn covers(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) if self.prefix > 0 => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) if self.prefix > 0 => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

fn interfaces() -> Result<Vec<Interface>, StartError> {
    let mut list = std::ptr::null_mut();
    // SAFETY: on success the list is valid until it is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(StartError::new(format!(
            "cannot list the network interfaces: {error}"
        )));
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list that is not freed yet.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: the pointers of an entry are null or valid as long as the list.
        let addresses = unsafe {
            (
                read_address(entry.ifa_addr),
                read_address(entry.ifa_netmask),
            )
        };
        let Some(address) = addresses.0 else { continue };
        // SAFETY: the name is a zero-terminated string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        let flag = |flag: libc::c_int| entry.ifa_flags & flag.cast_unsigned() != 0;
        found.push(Interface {
            name: name.to_string_lossy().into_owned(),
            address,
            prefix: addresses.1.map_or(0, prefix_length),
            up: flag(libc::IFF_UP) && flag(libc::IFF_RUNNING),
            loopback: flag(libc::IFF_LOOPBACK),
        });
    }
    // SAFETY: the list came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
/// `address` must be null or point to a socket address of the length its family has.
unsafe fn read_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: promised by the caller.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that it is this kind of address.
            let v4 = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is this kind of address.
            let v6 = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

fn prefix_length(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_the_mtu_that_the_system_shows_and_an_unknown_one_has_none() {
        let shown = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(interface_mtu("lo"), shown.trim().parse().ok());
        assert_eq!(interface_mtu("no-such-link"), None);
        assert_eq!(interface_mtu("a-name-longer-than-any"), None);
    }

    #[test]
    fn a_link_can_be_an_address_of_the_loopback_and_has_its_mtu() {
        let links = open(&["127.0.77.1".to_owned()], 0).unwrap();
        let [link] = links.as_slice() else {
            panic!("one link")
        };
        assert_eq!(link.config.name, "127.0.77.1");
        assert_eq!(
            link.config.address.socket_address().unwrap().ip(),
            IpAddr::from([127, 0, 77, 1])
        );
        let expected = interface_mtu("lo").unwrap() - HEADERS_V4;
        assert_eq!(u32::from(link.config.mtu), expected.min(PACKET_MAX));
    }

    #[test]
    fn an_interface_is_found_by_its_name() {
        let links = open(&["lo".to_owned()], 0).unwrap();
        assert_eq!(
            links[0].config.address.socket_address().unwrap().ip(),
            IpAddr::from([127, 0, 0, 1])
        );
        assert_eq!(links[0].config.device, "lo");
    }

    #[test]
    fn what_is_no_link_is_refused_with_what_there_is() {
        let text = open(&["nosuch0".to_owned()], 0).err().unwrap().to_string();
        assert!(text.contains("nosuch0") && text.contains("lo"), "{text}");
        let text = open(&["192.0.2.77".to_owned()], 0)
            .err()
            .unwrap()
            .to_string();
        assert!(
            text.contains("192.0.2.77") && text.contains("no interface"),
            "{text}"
        );
    }
}
