//! Identities. Each is meaningful only within the scope its documentation names.

use core::fmt;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::errno::Errno;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident($raw:ident)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Encode for $name {
            fn encode(&self, w: &mut Writer<'_>) {
                w.$raw(self.0);
            }
        }

        impl Decode<'_> for $name {
            fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                r.$raw().map(Self)
            }
        }
    };
}

identity! {
    /// A node descriptor: the number by which one node knows another. It means nothing on any
    /// other node, so whoever passes one on translates it (P44).
    #[doc(alias = "nd")]
    Nd(u32)
}

impl Nd {
    /// The node that uses the descriptor.
    #[doc(alias = "ND_LOCAL_NODE")]
    pub const LOCAL: Self = Self(0);

    /// A descriptor for `node` with the link policy of index `qos`.
    #[must_use]
    pub const fn new(node: u16, qos: u16) -> Self {
        Self((qos as u32) << 16 | node as u32)
    }

    /// The node, without the link policy.
    #[must_use]
    pub const fn node(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Index of the link policy; 0 is the default policy.
    #[must_use]
    pub const fn qos(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether both name the same node, whatever their link policies (I8).
    #[doc(alias = "ND_NODE_CMP")]
    #[must_use]
    pub const fn same_node(self, other: Self) -> bool {
        self.node() == other.node()
    }

    /// Whether this is the node that uses the descriptor.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.node() == 0
    }
}

identity! {
    /// A process on one node. Further endpoints of the same process are told apart by high bits.
    Pid(u32)
}

impl Pid {
    /// The process manager of a node.
    pub const PROCESS_MANAGER: Self = Self(1);
}

identity! {
    /// A channel within one process.
    #[doc(alias = "chid")]
    ChannelId(u32)
}

impl ChannelId {
    /// The process manager's well-known channel.
    pub const PROCESS_MANAGER: Self = Self(1);
}

identity! {
    /// A connection within one client process.
    #[doc(alias = "coid")]
    ConnectionId(u32)
}

identity! {
    /// A server's number for one client's connection.
    #[doc(alias = "scoid")]
    SenderId(u32)
}

identity! {
    /// What a server chose when it attached a prefix; comes back in every connect message.
    Handle(u32)
}

identity! {
    /// A session within one process.
    SessionId(u32)
}

identity! {
    /// One life of a node or process: a restarted one has another.
    Incarnation(u64)
}

identity! {
    /// A user, in the numbers of the node that says it.
    Uid(u32)
}

impl Uid {
    /// The superuser.
    pub const ROOT: Self = Self(0);
}

identity! {
    /// A group, in the numbers of the node that says it.
    Gid(u32)
}

/// The name of a node, for people: 1 to 63 bytes of `[A-Za-z0-9_-]`. Its identity is its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    // Unused bytes are zero, so the derived order is the order of the texts.
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

/// Why a text is not the name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNodeName {
    /// It has no bytes.
    Empty,
    /// It has more than [`NodeName::LEN_MAX`] bytes.
    TooLong,
    /// The byte at this position is not one of `[A-Za-z0-9_-]`.
    Character(usize),
}

impl fmt::Display for BadNodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a node name must not be empty"),
            Self::TooLong => write!(f, "a node name has at most {} bytes", NodeName::LEN_MAX),
            Self::Character(at) => write!(
                f,
                "a node name consists of letters, digits, '_' and '-', but byte {} is another",
                at + 1
            ),
        }
    }
}

impl core::error::Error for BadNodeName {}

impl From<BadNodeName> for Errno {
    fn from(cause: BadNodeName) -> Self {
        match cause {
            BadNodeName::TooLong => Self::ENAMETOOLONG,
            BadNodeName::Empty | BadNodeName::Character(_) => Self::EINVAL,
        }
    }
}

impl NodeName {
    /// Most bytes of a name.
    pub const LEN_MAX: usize = 63;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BadNodeName`] says what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, BadNodeName> {
        Self::from_name_bytes(name.as_bytes())
    }

    /// As [`Self::parse`], for bytes.
    ///
    /// # Errors
    /// [`BadNodeName`] says what is wrong with them.
    pub fn from_name_bytes(name: &[u8]) -> Result<Self, BadNodeName> {
        if name.is_empty() {
            return Err(BadNodeName::Empty);
        }
        let mut bytes = [0; Self::LEN_MAX];
        let room = bytes.get_mut(..name.len()).ok_or(BadNodeName::TooLong)?;
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if let Some(at) = name.iter().position(|b| !good(b)) {
            return Err(BadNodeName::Character(at));
        }
        room.copy_from_slice(name);
        Ok(Self {
            bytes,
            len: name.len() as u8,
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("a node name is ASCII")
    }

    /// The name as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeName({:?})", self.as_str())
    }
}

impl core::str::FromStr for NodeName {
    type Err = BadNodeName;

    fn from_str(name: &str) -> Result<Self, BadNodeName> {
        Self::parse(name)
    }
}

impl Encode for NodeName {
    fn encode(&self, w: &mut Writer<'_>) {
        w.str16(self.as_bytes());
    }
}

impl Decode<'_> for NodeName {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_name_bytes(r.str16(Self::LEN_MAX)?).map_err(|_| Malformed::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    // qnx: I8
    #[test]
    fn nodes_are_compared_by_their_low_half_only() {
        let nd = Nd(0x0003_0007);
        assert_eq!((nd.node(), nd.qos()), (7, 3));
        assert_eq!(nd, Nd::new(7, 3));
        assert!(nd.same_node(Nd(7)));
        assert!(!nd.same_node(Nd(0x0003_0008)));
        assert!(Nd::new(0, 9).is_local());
    }

    #[test]
    fn node_names_have_one_to_63_plain_bytes() {
        let longest = "a".repeat(63);
        assert_eq!(NodeName::parse(&longest).unwrap().as_str(), longest);
        assert_eq!(NodeName::parse(&"a".repeat(64)), Err(BadNodeName::TooLong));
        assert_eq!(NodeName::parse(""), Err(BadNodeName::Empty));
        assert_eq!(NodeName::parse("lab2~x"), Err(BadNodeName::Character(4)));
        assert_eq!(NodeName::parse("lab/2"), Err(BadNodeName::Character(3)));
        assert_eq!(
            NodeName::parse("..").unwrap_err(),
            BadNodeName::Character(0)
        );
        assert_eq!(NodeName::parse("Lab_2-x").unwrap().to_string(), "Lab_2-x");
        assert!(NodeName::parse("a").unwrap() < NodeName::parse("aa").unwrap());
    }

    #[test]
    fn a_node_name_travels_as_text_and_is_checked_on_arrival() {
        let name = NodeName::parse("lab2").unwrap();
        assert_eq!(name.to_bytes().unwrap(), [4, 0, b'l', b'a', b'b', b'2']);
        assert_eq!(
            NodeName::from_bytes(&[4, 0, b'l', b'a', b'b', b'2']),
            Ok(name)
        );
        assert_eq!(NodeName::from_bytes(&[1, 0, b'/']), Err(Malformed::Invalid));
        assert_eq!(NodeName::from_bytes(&[0, 0]), Err(Malformed::Invalid));
        assert_eq!(NodeName::from_bytes(&[64, 0]), Err(Malformed::NameTooLong));
    }
}
