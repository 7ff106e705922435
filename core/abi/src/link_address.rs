//! Where packets of a link go: opaque to everything but the driver that made it.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

/// An address that one packet driver understands. The first byte is the kind of address.
///
/// Drivers for Internet addresses use [`Self::ipv4`] and [`Self::ipv6`], that for bare Ethernet
/// [`Self::ethernet`]; another driver takes a kind of its own with [`Self::from_raw`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddress {
    // Unused bytes are zero, so that equal addresses are equal as a whole.
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

/// What an address made by [`LinkAddress::ipv4`] or [`LinkAddress::ipv6`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internet {
    /// Address in network order, port.
    V4([u8; 4], u16),
    /// Address in network order, port, scope id.
    V6([u8; 16], u16, u32),
}

/// What an address made by [`LinkAddress::ethernet`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Address of the interface, or [`Ethernet::EVERYBODY`].
    pub mac: [u8; 6],
    /// Tells the sockets of one interface apart, like a port of UDP.
    pub port: u16,
}

impl Ethernet {
    /// The broadcast address.
    pub const EVERYBODY: [u8; 6] = [0xff; 6];
}

/// What an address made by [`LinkAddress::neighbour`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Names the node among those that share a directory.
    pub host: [u8; 8],
    /// Tells the sockets of one node apart.
    pub port: u16,
}

const KIND_NEIGHBOUR: u8 = 1;
const KIND_ETHERNET: u8 = 2;
const KIND_IPV4: u8 = 4;
const KIND_IPV6: u8 = 6;

impl LinkAddress {
    /// Most bytes of an address, its kind included.
    pub const LEN_MAX: usize = 27;

    /// The address of nobody.
    pub const NONE: Self = Self {
        len: 0,
        bytes: [0; Self::LEN_MAX],
    };

    /// An address from its bytes, or `None` if they are more than [`Self::LEN_MAX`].
    #[must_use]
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LEN_MAX];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self {
            len: raw.len() as u8,
            bytes,
        })
    }

    /// An IPv4 address (network order) and port.
    #[must_use]
    pub fn ipv4(address: [u8; 4], port: u16) -> Self {
        Self::build(KIND_IPV4, &address, port, 0)
    }

    /// An IPv6 address (network order), port and scope id (0 if none). Scope ids are only
    /// meaningful on one node: whoever passes the address on sets the receiver's.
    #[must_use]
    pub fn ipv6(address: [u8; 16], port: u16, scope: u32) -> Self {
        Self::build(KIND_IPV6, &address, port, scope)
    }

    /// The hardware address of an Ethernet interface, and a port on it.
    #[must_use]
    pub fn ethernet(mac: [u8; 6], port: u16) -> Self {
        Self::build(KIND_ETHERNET, &mac, port, 0)
    }

    /// The name of a node among those that share a directory on one machine, and a port of it.
    #[must_use]
    pub fn neighbour(host: [u8; 8], port: u16) -> Self {
        Self::build(KIND_NEIGHBOUR, &host, port, 0)
    }

    fn build(kind: u8, address: &[u8], port: u16, scope: u32) -> Self {
        let mut bytes = [0; Self::LEN_MAX];
        let mut w = Writer::fixed(&mut bytes);
        w.u8(kind);
        w.bytes(address);
        w.u16(port);
        if kind == KIND_IPV6 {
            w.u32(scope);
        }
        let len = w.written() as u8;
        Self { len, bytes }
    }

    /// The Internet address, if this is one.
    #[must_use]
    pub fn internet(&self) -> Option<Internet> {
        let mut r = Reader::new(self.as_bytes());
        let address = match r.u8().ok()? {
            KIND_IPV4 => Internet::V4(r.array().ok()?, r.u16().ok()?),
            KIND_IPV6 => Internet::V6(r.array().ok()?, r.u16().ok()?, r.u32().ok()?),
            _ => return None,
        };
        r.finish().ok()?;
        Some(address)
    }

    /// The Ethernet address, if this is one.
    #[must_use]
    pub fn as_ethernet(&self) -> Option<Ethernet> {
        let mut r = Reader::new(self.as_bytes());
        if r.u8().ok()? != KIND_ETHERNET {
            return None;
        }
        let address = Ethernet {
            mac: r.array().ok()?,
            port: r.u16().ok()?,
        };
        r.finish().ok()?;
        Some(address)
    }

    /// The place in a shared directory, if this is one.
    #[must_use]
    pub fn as_neighbour(&self) -> Option<Neighbour> {
        let mut r = Reader::new(self.as_bytes());
        if r.u8().ok()? != KIND_NEIGHBOUR {
            return None;
        }
        let address = Neighbour {
            host: r.array().ok()?,
            port: r.u16().ok()?,
        };
        r.finish().ok()?;
        Some(address)
    }

    /// The same address with another port; unchanged where addresses have no port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        match (self.internet(), self.as_ethernet()) {
            (Some(Internet::V4(address, _)), _) => Self::ipv4(address, port),
            (Some(Internet::V6(address, _, scope)), _) => Self::ipv6(address, port, scope),
            (None, Some(ethernet)) => Self::ethernet(ethernet.mac, port),
            (None, None) => self
                .as_neighbour()
                .map_or(*self, |neighbour| Self::neighbour(neighbour.host, port)),
        }
    }

    /// The port, for the kinds that have one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let internet = self.internet().map(|address| match address {
            Internet::V4(_, port) | Internet::V6(_, port, _) => port,
        });
        let ethernet = || self.as_ethernet().map(|ethernet| ethernet.port);
        let neighbour = || self.as_neighbour().map(|neighbour| neighbour.port);
        internet.or_else(ethernet).or_else(neighbour)
    }

    /// The bytes, the kind first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this is [`Self::NONE`].
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.len == 0
    }
}

impl Default for LinkAddress {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(feature = "std")]
impl From<SocketAddr> for LinkAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(a) => Self::ipv4(a.ip().octets(), a.port()),
            SocketAddr::V6(a) => Self::ipv6(a.ip().octets(), a.port(), a.scope_id()),
        }
    }
}

#[cfg(feature = "std")]
impl LinkAddress {
    /// The socket address, if this is an Internet address.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        use std::net::{Ipv4Addr, SocketAddrV6};
        Some(match self.internet()? {
            Internet::V4(a, port) => SocketAddr::from((Ipv4Addr::from(a), port)),
            Internet::V6(a, port, scope) => SocketAddrV6::new(a.into(), port, 0, scope).into(),
        })
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
        match self.internet() {
            Some(Internet::V4(a, port)) => SocketAddrV4::new(Ipv4Addr::from(a), port).fmt(f),
            Some(Internet::V6(a, port, scope)) => {
                SocketAddrV6::new(Ipv6Addr::from(a), port, 0, scope).fmt(f)
            }
            None if self.is_none() => f.pad("-"),
            None => match (self.as_ethernet(), self.as_neighbour()) {
                (Some(address), _) => address.fmt(f),
                (None, Some(address)) => address.fmt(f),
                (None, None) => self
                    .as_bytes()
                    .iter()
                    .try_for_each(|byte| write!(f, "{byte:02x}")),
            },
        }
    }
}

impl fmt::Display for Ethernet {
    /// Written with hyphens, as IEEE 802 does, the address ends where the port begins.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.mac.iter().enumerate() {
            let separator = if index == 0 { "" } else { "-" };
            write!(f, "{separator}{byte:02x}")?;
        }
        write!(f, ":{}", self.port)
    }
}

impl fmt::Display for Neighbour {
    /// Sixteen hexadecimal digits and the port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = self.host.iter();
        digits.try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ":{}", self.port)
    }
}

/// Reads what [`Display`](fmt::Display) writes of Internet, Ethernet and neighbours' addresses, each with its port.
impl FromStr for LinkAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(match address {
                SocketAddr::V4(a) => Self::ipv4(a.ip().octets(), a.port()),
                SocketAddr::V6(a) => Self::ipv6(a.ip().octets(), a.port(), a.scope_id()),
            });
        }
        let (digits, port) = text.split_once(':').ok_or(Malformed::Invalid)?;
        let port = port.parse().map_err(|_none| Malformed::Invalid)?;
        if digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let host = u64::from_str_radix(digits, 16).map_err(|_digits| Malformed::Invalid)?;
            let mut bytes = [0; 8];
            for (byte, shift) in bytes.iter_mut().zip((0..64).step_by(8).rev()) {
                *byte = (host >> shift) as u8;
            }
            return Ok(Self::neighbour(bytes, port));
        }
        let mut mac = [0; 6];
        let mut pairs = digits.split('-');
        for byte in &mut mac {
            let pair = pairs.next().filter(|pair| pair.len() == 2);
            // A sign is a number to from_str_radix, too.
            let pair = pair.filter(|pair| !pair.starts_with('+'));
            let pair = pair.ok_or(Malformed::Invalid)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_digits| Malformed::Invalid)?;
        }
        match pairs.next() {
            None => Ok(Self::ethernet(mac, port)),
            Some(_more) => Err(Malformed::Invalid),
        }
    }
}

impl fmt::Debug for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkAddress({self})")
    }
}

impl Encode for LinkAddress {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(self.len);
        w.bytes(self.as_bytes());
    }
}

impl Decode<'_> for LinkAddress {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = usize::from(r.u8()?);
        if len > Self::LEN_MAX {
            return Err(Malformed::TooMany);
        }
        Self::from_raw(r.bytes(len)?).ok_or(Malformed::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn internet_addresses_come_back_and_read_as_usual() {
        let four = LinkAddress::ipv4([127, 0, 0, 2], 8192);
        assert_eq!(four.internet(), Some(Internet::V4([127, 0, 0, 2], 8192)));
        assert_eq!(four.to_string(), "127.0.0.2:8192");
        let mut loopback = [0; 16];
        loopback[15] = 1;
        let six = LinkAddress::ipv6(loopback, 99, 3);
        assert_eq!(six.internet(), Some(Internet::V6(loopback, 99, 3)));
        assert_eq!(six.to_string(), "[::1%3]:99");
        assert_eq!(LinkAddress::NONE.to_string(), "-");
        assert_eq!(
            LinkAddress::from_raw(&[9, 0xab]).unwrap().to_string(),
            "09ab"
        );
    }

    #[test]
    fn ethernet_addresses_come_back_and_read_as_ieee_writes_them() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0xff];
        let address = LinkAddress::ethernet(mac, 8192);
        assert_eq!(address.as_ethernet(), Some(Ethernet { mac, port: 8192 }));
        assert_eq!(address.internet(), None);
        assert_eq!(address.to_string(), "52-54-00-12-34-ff:8192");
        assert_eq!(
            address.as_bytes(),
            [2, 0x52, 0x54, 0, 0x12, 0x34, 0xff, 0, 0x20]
        );
        let six = LinkAddress::ipv6([1; 16], 8192, 2);
        let neighbour = LinkAddress::neighbour([0xfe, 1, 2, 3, 4, 5, 6, 0x0a], 8192);
        assert_eq!(neighbour.to_string(), "fe0102030405060a:8192");
        for address in [
            address,
            six,
            neighbour,
            LinkAddress::ipv4([10, 0, 0, 1], 8192),
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
            assert_eq!(address.with_port(7).with_port(8192), address);
            assert_eq!(address.port(), Some(8192));
            assert_ne!(address.with_port(7), address);
        }
        for wrong in [
            "52-54-00-12-34-ff",
            "52-54-00-12-34:1",
            "52-54-00-12-34-ff-1:1",
            "52-54-00-12-34-+f:1",
            "52-54-00-12-34-fff:1",
            "52-54-00-12-34-ff:65536",
            "+e0102030405060a:8192",
            "fe0102030405060a",
            "",
        ] {
            assert!(wrong.parse::<LinkAddress>().is_err(), "{wrong}");
        }
        let longer = LinkAddress::from_raw(&[2, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        assert_eq!(longer.as_ethernet(), None);
        assert_eq!(longer.with_port(7), longer);
    }

    #[test]
    fn places_in_a_shared_directory_come_back() {
        let host = *b"lab-one!";
        let address = LinkAddress::neighbour(host, 8192);
        assert_eq!(address.as_neighbour(), Some(Neighbour { host, port: 8192 }));
        assert_eq!((address.internet(), address.as_ethernet()), (None, None));
        assert_eq!(address.with_port(7), LinkAddress::neighbour(host, 7));
        assert_eq!(address.with_port(7).port(), Some(7));
        let longer = LinkAddress::from_raw(&[1; 12]).unwrap();
        assert_eq!(longer.as_neighbour(), None);
    }

    #[test]
    fn an_address_travels_with_its_length() {
        let address = LinkAddress::ipv4([10, 0, 0, 1], 0x1234);
        assert_eq!(address.to_bytes().unwrap(), [7, 4, 10, 0, 0, 1, 0x34, 0x12]);
        assert_eq!(
            LinkAddress::from_bytes(&[7, 4, 10, 0, 0, 1, 0x34, 0x12]),
            Ok(address)
        );
        assert_eq!(LinkAddress::from_bytes(&[28]), Err(Malformed::TooMany));
        assert_eq!(LinkAddress::from_bytes(&[2, 1]), Err(Malformed::Truncated));
        let longer = LinkAddress::from_raw(&[4, 10, 0, 0, 1, 0x34, 0x12, 0]).unwrap();
        assert_eq!(longer.internet(), None);
        assert_eq!(LinkAddress::from_raw(&[0; 28]), None);
    }
}
