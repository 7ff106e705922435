//! Where a link is now: which interface, which address.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use abi::LinkAddress;
use abi::system::{LinkKind, Protection};
use drivers::{ethernet, neighbour};

use crate::interfaces::{Address, Interface, Interfaces};
use crate::link_spec::{LinkSpec, MTU_MIN, Place};

/// Headers of IPv4 and UDP, of IPv6 and UDP.
const HEADERS_V4: u32 = 28;
const HEADERS_V6: u32 = 48;
/// No packet is larger, whatever an interface says: what UDP and the transport can carry.
const PACKET_MAX: u32 = 65_472;
const NEIGHBOUR_MAX: u32 = neighbour::Head::TRAIN_MAX as u32;

/// A link that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) socket: SocketPlace,
    /// With a carrier.
    pub(crate) up: bool,
    /// Largest packet in bytes, without headers.
    pub(crate) mtu: u16,
    /// Bytes per second.
    pub(crate) speed: Option<u64>,
}

/// What a socket is bound to. Another one needs another socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketPlace {
    /// Interface index: an interface that vanished and returned is another one. Of a directory, what tells it from a
    /// later one of the same name.
    pub(crate) interface: u32,
    /// The interface to bind to, or empty.
    pub(crate) device: String,
    pub(crate) at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Port included, 0 for any.
    Udp(SocketAddr),
    /// Hardware address and port.
    Ethernet([u8; 6], u16),
    /// The node's name and port in a directory.
    Neighbour([u8; 8], u16),
}

impl At {
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Udp(address) => address.port(),
            Self::Ethernet(_, port) | Self::Neighbour(_, port) => *port,
        }
    }

    /// Takes the port that the socket got.
    pub(crate) fn set_port(&mut self, bound: &LinkAddress) {
        match self {
            Self::Udp(address) => {
                address.set_port(bound.socket_address().map_or(0, |bound| bound.port()));
            }
            Self::Ethernet(_, port) => *port = bound.as_ethernet().map_or(0, |bound| bound.port),
            Self::Neighbour(_, port) => *port = bound.as_neighbour().map_or(0, |bound| bound.port),
        }
    }
}

/// Who the node is, where links are told apart by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// 0 for any.
    pub(crate) port: u16,
    /// Its name in directories: the head of its public key, so that it stays the same.
    pub(crate) name: [u8; 8],
}

/// Finds a link. `own.port` is the node's; `before` is where the link was, which it stays unless there is something better.
///
/// The error says in the middle of a sentence why it is not there.
pub(crate) fn find(
    spec: &LinkSpec,
    own: Own,
    interfaces: &Interfaces,
    before: Option<&SocketPlace>,
) -> Result<Found, String> {
    let port = own.port;
    let (interface, device, at) = match &spec.place {
        Place::Interface(name) => {
            let interface = named(name, interfaces)?;
            let at = match spec.kind {
                LinkKind::Ethernet => {
                    let mac = interface.mac.ok_or("the interface is no Ethernet")?;
                    At::Ethernet(mac, port)
                }
                _ => At::Udp(best_address(interface, port, before)?),
            };
            (interface, name.clone(), at)
        }
        Place::Directory(directory) => return in_directory(directory, spec, own),
        Place::Address {
            ip,
            interface,
            port: special,
        } => {
            let interface = owner(*ip, interface.as_deref(), interfaces)?;
            // Without its interface a link-local address says nothing; and what is not sealed must not be read or forged
            // on another medium than the one that is trusted.
            let device = if is_link_local(*ip) || spec.protection != Protection::Sealed {
                interface.name.clone()
            } else {
                String::new()
            };
            let at = At::Udp(socket_address(*ip, special.unwrap_or(port), interface));
            (interface, device, at)
        }
    };
    Ok(Found {
        socket: SocketPlace {
            interface: interface.index,
            device,
            at,
        },
        up: interface.up,
        mtu: packet_max(interface.mtu.min(spec.mtu.unwrap_or(u32::MAX)), at),
        speed: spec.speed.or(interface.speed),
    })
}

/// Whoever may write to the directory could forge packets, so nobody else may.
fn in_directory(directory: &Path, spec: &LinkSpec, own: Own) -> Result<Found, String> {
    let found = std::fs::metadata(directory).map_err(|_none| "there is no such directory now")?;
    if !found.is_dir() {
        return Err("it is no directory".to_owned());
    }
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    if !ours || found.mode() & 0o022 != 0 {
        return Err("others may write to that directory and forge packets: make it root's or yours, mode 755".to_owned());
    }
    let most = NEIGHBOUR_MAX
        .min(PACKET_MAX)
        .min(spec.mtu.unwrap_or(u32::MAX));
    Ok(Found {
        socket: SocketPlace {
            // One that was removed and made anew is another one.
            interface: found.ino() as u32,
            device: directory.display().to_string(),
            at: At::Neighbour(own.name, own.port),
        },
        up: true,
        mtu: u16::try_from(most).unwrap_or(u16::MAX),
        speed: spec.speed,
    })
}

fn named<'a>(name: &str, interfaces: &'a Interfaces) -> Result<&'a Interface, String> {
    let unknown = || "there is no such interface now".to_owned();
    interfaces.by_name(name).ok_or_else(unknown)
}

fn owner<'a>(
    ip: IpAddr,
    interface: Option<&str>,
    interfaces: &'a Interfaces,
) -> Result<&'a Interface, String> {
    let owner = match interface {
        Some(name) => Some(named(name, interfaces)?)
            .filter(|found| found.addresses.iter().any(|address| address.ip == ip)),
        None => interfaces.owner(ip),
    };
    owner.ok_or_else(|| "no interface of this machine has that address now".to_owned())
}

/// IPv4, global IPv6, link-local IPv6, in this order, and none that runs out if there is another. Of several that are
/// as good the one that the link had.
fn best_address(
    interface: &Interface,
    port: u16,
    before: Option<&SocketPlace>,
) -> Result<SocketAddr, String> {
    let had = before.and_then(|place| match place.at {
        At::Udp(address) => Some(address.ip()),
        At::Ethernet(..) | At::Neighbour(..) => None,
    });
    let rank = |address: &&Address| {
        let family = match address.ip {
            IpAddr::V4(_) => 0,
            ip if !is_link_local(ip) => 1,
            _ => 2,
        };
        (address.fleeting, family, Some(address.ip) != had)
    };
    let best = interface.addresses.iter().min_by_key(rank);
    match best {
        Some(address) => Ok(socket_address(address.ip, port, interface)),
        None => Err(
            "the interface has no address now; 'ethernet:' before its name needs none".to_owned(),
        ),
    }
}

/// Whether [`find`] would take the interface for a link if nobody named it: up, not the loopback, and with an address
/// that reaches further than its cable.
pub(crate) fn is_eligible(interface: &Interface) -> bool {
    let far = |address: &Address| !is_link_local(address.ip);
    interface.up && !interface.loopback && interface.addresses.iter().any(far)
}

fn socket_address(ip: IpAddr, port: u16, interface: &Interface) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if is_link_local(ip) => {
            SocketAddrV6::new(v6, port, 0, interface.index).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn packet_max(mtu: u32, at: At) -> u16 {
    let headers = match at {
        At::Udp(SocketAddr::V4(_)) => HEADERS_V4,
        At::Udp(SocketAddr::V6(_)) => HEADERS_V6,
        At::Ethernet(..) => ethernet::Header::LEN as u32,
        At::Neighbour(..) => 0,
    };
    let bytes = (mtu.max(MTU_MIN) - headers).min(PACKET_MAX);
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::Change;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn interfaces(index: u32, addresses: &[(&str, bool)]) -> Interfaces {
        let mut all = Interfaces::default();
        all.apply(Change::Interface(Interface {
            mac: Some([2, 0, 0, 0, 0, 1]),
            speed: Some(125_000_000),
            ..Interface::working(index, "eth0")
        }));
        for (text, fleeting) in addresses {
            let address = Address {
                fleeting: *fleeting,
                ..Address::lasting(text, 24)
            };
            all.apply(Change::Address(index, address));
        }
        all
    }

    const OWN: Own = Own {
        port: 41_000,
        name: [7; 8],
    };

    fn found(text: &str, all: &Interfaces, before: Option<&SocketPlace>) -> Found {
        find(&text.parse().unwrap(), OWN, all, before).unwrap()
    }

    fn address(found: &Found) -> String {
        match found.socket.at {
            At::Udp(address) => address.to_string(),
            At::Ethernet(mac, port) => format!("{mac:?}:{port}"),
            At::Neighbour(name, port) => format!("{name:?}:{port}"),
        }
    }

    #[test]
    fn an_interface_gives_its_best_address_and_keeps_it() {
        let poor = interfaces(4, &[("fe80::1", false)]);
        assert_eq!(address(&found("eth0", &poor, None)), "[fe80::1%4]:41000");
        let all = [
            ("fe80::1", false),
            ("2001:db8::9", true),
            ("2001:db8::1", false),
        ];
        let v6 = interfaces(4, &all);
        let first = found("eth0", &v6, None);
        assert_eq!(address(&first), "[2001:db8::1]:41000");
        assert_eq!(first.mtu, 1452);
        let more = interfaces(4, &[("2001:db8::7", false), all[2]]);
        assert_eq!(address(&found("eth0", &more, None)), "[2001:db8::7]:41000");
        let second = found("eth0", &more, Some(&first.socket));
        assert_eq!(second.socket, first.socket, "it stays where it was");
        let both = interfaces(4, &[all[2], ("192.0.2.7", false)]);
        let third = found("eth0", &both, Some(&first.socket));
        assert_eq!(address(&third), "192.0.2.7:41000");
        assert_eq!(third.mtu, 1472);
    }

    #[test]
    fn an_interface_that_returned_is_another_place() {
        let before = found("eth0", &interfaces(4, &[("192.0.2.7", false)]), None);
        let returned = interfaces(9, &[("192.0.2.7", false)]);
        let after = found("eth0", &returned, Some(&before.socket));
        assert_ne!(after.socket, before.socket);
        assert_eq!(address(&after), address(&before));
    }

    #[test]
    fn ethernet_needs_no_address_and_udp_says_so() {
        let bare = interfaces(4, &[]);
        let ethernet = found("ethernet:eth0", &bare, None);
        assert_eq!(address(&ethernet), "[2, 0, 0, 0, 0, 1]:41000");
        let why = find(&LinkSpec::interface("eth0"), OWN, &bare, None).unwrap_err();
        assert!(why.contains("'ethernet:' before its name"), "{why}");
        let why = find(&LinkSpec::interface("eth7"), OWN, &bare, None).unwrap_err();
        assert!(why.contains("no such interface now"), "{why}");
    }

    #[test]
    fn options_take_the_place_of_what_the_interface_says() {
        let all = interfaces(4, &[("192.0.2.7", false), ("fe80::1", false)]);
        let small = found("eth0,mtu=1300,speed=8M", &all, None);
        assert_eq!((small.mtu, small.speed), (1272, Some(1_000_000)));
        let large = found("eth0,mtu=9000", &all, None);
        assert_eq!(large.mtu, 1472, "no more than the interface carries");
        let local = found("fe80::1%eth0", &all, None);
        assert_eq!(address(&local), "[fe80::1%4]:41000");
        assert_eq!(local.socket.device, "eth0");
        assert_eq!(found("192.0.2.7:5", &all, None).socket.device, "");
        let trusted = found("192.0.2.7,trusted", &all, None);
        assert_eq!(
            trusted.socket.device, "",
            "sealed, over whatever leads there"
        );
        let clear = found("192.0.2.7,trusted,cipher=off", &all, None);
        assert_eq!(
            clear.socket.device, "eth0",
            "that medium is trusted, no other"
        );
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_no_link() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("lab");
        let spec: LinkSpec = format!("memory:{}", directory.display()).parse().unwrap();
        let look = || find(&spec, OWN, &Interfaces::default(), None);
        assert!(look().unwrap_err().contains("no such directory"));
        std::fs::create_dir(&directory).unwrap();
        let mode =
            |mode| std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        let found = look().unwrap();
        assert!(found.up && found.mtu > 9000);
        assert_eq!(found.socket.at, At::Neighbour([7; 8], 41_000));
        mode(0o1777);
        assert!(look().unwrap_err().contains("forge packets"));
    }

    #[test]
    fn nobody_is_joined_to_an_interface_that_reaches_only_its_cable() {
        let eligible = |all: &Interfaces| is_eligible(all.by_name("eth0").unwrap());
        assert!(eligible(&interfaces(4, &[("192.0.2.7", false)])));
        assert!(!eligible(&interfaces(4, &[("fe80::1", false)])));
        assert!(!eligible(&interfaces(4, &[])));
    }
}
