//! Links of a node, and how lanes over them stand.

use alloc::vec::Vec;

use super::field::{choice, record};
use crate::link_address::LinkAddress;

choice! {
    /// What carries the packets of a link.
    pub enum LinkKind {
        /// UDP, over IPv4 or IPv6.
        Udp = 0,
        /// Frames of an Ethernet interface.
        Ethernet = 1,
        /// Memory that nodes of one machine share.
        Memory = 2,
    }
}

choice! {
    /// How packets of a lane are protected; the strongest is the least.
    #[derive(Default)]
    pub enum Protection {
        /// Encrypted and authenticated.
        #[default]
        Sealed = 0,
        /// A checksum against accidents: the medium is trusted not to lie.
        Checksum = 1,
        /// Not at all: the medium is trusted neither to lie nor to err.
        Plain = 2,
    }
}

choice! {
    /// How fast a broken way must be noticed.
    #[derive(Default)]
    pub enum Detect {
        /// Within 100 ms.
        #[default]
        Default = 0,
        /// Within 30 ms, for more packets and less patience with busy machines.
        Fast = 1,
        /// Within 500 ms.
        Relaxed = 2,
    }
}

choice! {
    /// Whether packets get through, as both ends see it.
    pub enum LaneState {
        /// They do not.
        Down = 1,
        /// This end hears the other one and waits for its agreement.
        Init = 2,
        /// They do, both ways.
        Up = 3,
    }
}

choice! {
    /// Why a lane is not up.
    #[derive(Default)]
    pub enum LaneWhy {
        /// It is up, or has not been tried yet.
        #[default]
        Nothing = 0,
        /// Nobody answers there.
        NoAnswer = 1,
        /// The peer does not hear us, or we do not hear it.
        OneWay = 2,
        /// Our link has no carrier or is gone.
        Carrier = 3,
        /// The peer's link has no carrier or is gone.
        PeerCarrier = 4,
        /// Answers have stopped.
        Silent = 5,
        /// It works again but failed too often lately: it must prove itself first.
        Damped = 6,
        /// The node is not being watched: nobody has sessions with it.
        Idle = 7,
        /// Its node answers on no lane at all, so nothing is known of this one.
        NodeSilent = 8,
        /// The peer's node has forgotten this one: it does not trust it any more.
        Forgotten = 9,
    }
}

impl LaneWhy {
    /// Whether only answers are missing: whoever has traffic on the lane may know better.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        !matches!(self, Self::Carrier | Self::PeerCarrier | Self::Damped)
    }

    /// For people; empty for [`Self::Nothing`].
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::NoAnswer => "no answer",
            Self::OneWay => "heard one way only",
            Self::Carrier => "no carrier here",
            Self::PeerCarrier => "no carrier there",
            Self::Silent => "answers stopped",
            Self::Damped => "failed too often",
            Self::Idle => "not watched",
            Self::NodeSilent => "its node is silent",
            Self::Forgotten => "it has forgotten this node",
        }
    }
}

record! {
    /// A local network interface that the node uses.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Link {
        /// Its number, stable while the node runs.
        pub index: u8,
        /// Of the interface (`eth0`), or the address as text if none was named.
        pub name: Vec<u8>,
        /// What packets of it are.
        pub kind: LinkKind,
        /// The node's own socket on it; programs bind to the same host address with a port of their own.
        pub address: LinkAddress,
        /// Largest packet in bytes, without the medium's headers.
        pub mtu: u16,
        /// The interface to bind to, if the link was named by interface and binding is wanted; else empty.
        pub device: Vec<u8>,
        /// This program must pass its packets through the node (`Relay`); it may do so in any case.
        pub relayed: bool,
        /// Another number means that a socket on the link must be made anew.
        pub epoch: u32,
        /// It is there and has a carrier.
        pub up: bool,
    }
}
