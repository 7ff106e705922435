//! What goes into a node and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;

use abi::system::{Detect, LaneRow, LinkKind, Protection};
use abi::{Gid, Incarnation, Instant, LinkAddress, NodeName, Pid, SessionId, Uid};
use rights::Rules;

use crate::network_manager::trust::{InviteRecord, TrustRecord};

/// One connection of a program to the daemon socket, numbered by the host and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramKey(pub u64);

/// File descriptors that came with a packet, held by the host until an output names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptors {
    /// The host's number for them.
    pub key: u64,
    /// How many there are.
    pub count: u8,
}

/// Who is at the other end of the daemon socket, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process.
    pub pid: Pid,
    /// When the process started, in any unit that tells it from a later one with the same number.
    pub started: u64,
    /// Effective user when it connected.
    pub uid: Uid,
    /// Effective group when it connected.
    pub gid: Gid,
    /// Supplementary groups.
    pub groups: Vec<Gid>,
}

/// A link of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Name of the interface, or the address as text.
    pub name: String,
    /// What its packets are.
    pub kind: LinkKind,
    /// The node's own socket on it; [`LinkAddress::NONE`] if there never was one.
    pub address: LinkAddress,
    /// Largest packet in bytes, without the medium's headers.
    pub mtu: u16,
    /// The interface to bind to, or empty.
    pub device: String,
    /// It is there and has a carrier.
    pub up: bool,
    /// Another number after its socket was made anew.
    pub epoch: u32,
    /// The weakest protection that lanes over it may have. Both ends must allow it.
    pub protection: Protection,
    /// Whoever is on the medium may read and forge what goes over it. Without this, lanes are sealed whatever
    /// `protection` says.
    pub trusted: bool,
    /// Bytes per second, as the interface says.
    pub speed: Option<u64>,
    /// For people: why it is not there; empty if it is.
    pub why: String,
}

impl LinkConfig {
    /// A link with a carrier, sealed lanes and a rate that nobody knows.
    #[must_use]
    pub const fn new(name: String, kind: LinkKind, address: LinkAddress, mtu: u16) -> Self {
        Self {
            name,
            kind,
            address,
            mtu,
            device: String::new(),
            up: true,
            epoch: 0,
            protection: Protection::Sealed,
            trusted: false,
            speed: None,
            why: String::new(),
        }
    }
}

/// What outlives a run of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Nodes that are trusted.
    pub trust: Vec<TrustRecord>,
    /// Codes that are open, or whose second use is to get a clear answer.
    pub invites: Vec<InviteRecord>,
    /// Rules that were made while the node ran.
    pub rights: Rules,
}

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: NodeName,
    /// The user whose node it is: may attach prefixes and manage trust, as root may.
    pub owner: Uid,
    /// Of this run of the daemon; never used before.
    pub incarnation: Incarnation,
    /// Hash of the machine's boot id: processes live no longer than this stays the same.
    pub boot: u64,
    /// The node's links; at most 16.
    pub links: Vec<LinkConfig>,
    /// How fast broken ways are to be found.
    pub detect: Detect,
    /// Programs have no sockets of their own: all packets pass through the node's.
    pub one_port: bool,
    /// What was kept of an earlier run.
    pub kept: Kept,
    /// The rules of the config file; those that are kept come before them.
    pub rights: Rules,
    /// Connections of programs for which the host has room; more than [`PROGRAMS_MAX`](crate::limits::PROGRAMS_MAX) are
    /// not taken.
    pub programs_max: usize,
    /// For session numbers and jitter; nothing secret depends on it.
    pub seed: u64,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A program connected to the daemon socket.
    Connected {
        /// The new connection.
        program: ProgramKey,
        /// Who it is.
        caller: Caller,
    },
    /// A program connected to a socket that [`Output::OpenDoor`] had made.
    ConnectedByDoor {
        /// The new connection.
        program: ProgramKey,
        /// Who it is.
        caller: Caller,
        /// Whose door it is.
        owner: ProgramKey,
    },
    /// What came of [`Output::OpenDoor`].
    DoorOpened {
        /// Whose door it is.
        program: ProgramKey,
        /// As it was in the output.
        serial: u32,
        /// The directory that holds the socket, or why there is none, for a person.
        outcome: Result<Vec<u8>, String>,
    },
    /// A program sent a packet.
    Packet {
        /// From.
        program: ProgramKey,
        /// The packet.
        bytes: Vec<u8>,
        /// What came along.
        descriptors: Option<Descriptors>,
    },
    /// A program closed its connection, or its process ended.
    Disconnected {
        /// Which.
        program: ProgramKey,
    },
    /// A datagram came in on a link.
    Datagram {
        /// Index of the link.
        link: u8,
        /// From.
        from: LinkAddress,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Links have changed: all of them, in the order of their numbers. A link keeps its number while the node runs: one
    /// that is gone stays in the list, not [`up`](LinkConfig::up); a new one is added at the end.
    Links(Vec<LinkConfig>),
    /// The time that [`Output::Wait`] named has come.
    Timeout,
    /// Somebody outside asks the node to say goodbye before it stops.
    Stop,
}

/// Something to be done, in the order given.
#[derive(Debug)]
pub enum Output {
    /// Send a packet to a program. A program that does not take its packets is to be disconnected.
    Packet {
        /// To.
        program: ProgramKey,
        /// The packet.
        bytes: Vec<u8>,
        /// Goes along.
        descriptors: Attached,
    },
    /// Close descriptors that are not passed on.
    Discard(Descriptors),
    /// Close a program's connection. No [`Input::Disconnected`] is expected for it.
    Disconnect(ProgramKey),
    /// Listen on a second socket, in a directory of its own; whoever connects to it is
    /// [`Input::ConnectedByDoor`]. It is closed and removed when the program is disconnected.
    OpenDoor {
        /// Whose door it is.
        program: ProgramKey,
        /// For [`Input::DoorOpened`].
        serial: u32,
        /// Names the directory with `started`: the same for the same process, also after the node was restarted, and
        /// never that of an earlier process with this number.
        process: Pid,
        /// As in [`Caller`].
        started: u64,
    },
    /// Send packets on a link, all `segment` bytes long but the last.
    Datagram {
        /// Index of the link.
        link: u8,
        /// To.
        to: LinkAddress,
        /// The packets.
        bytes: Vec<u8>,
        /// Length of each but the last.
        segment: usize,
    },
    /// A name may have come to mean something else: change the generation in the node page.
    NamesChanged,
    /// Write a row of the node page, below [`LANE_ROWS`](abi::system::LANE_ROWS); `None` empties it.
    LaneRow {
        /// Which.
        index: u16,
        /// What is in it.
        row: Option<LaneRow>,
    },
    /// Lane rows have changed their state: change the generation of the links in the node page.
    LinksChanged,
    /// A program has given the memory of its relay ring: open it, and keep the program's ends of two new doorbells under
    /// the same number; the packet that passes them on follows. The ring ends with the program's connection.
    RelayOpen {
        /// Whose.
        program: ProgramKey,
        /// The memory, one descriptor.
        memory: Descriptors,
    },
    /// Session packets with this number belong to a program without a socket, which may send to these targets only.
    RelayRoute {
        /// The number that packets to the program carry.
        session: SessionId,
        /// Whose ring they go to.
        program: ProgramKey,
        /// Link and address; empty when the session has ended. Whoever is behind the node of a target may change its
        /// port: only hosts are compared.
        targets: Vec<(u8, LinkAddress)>,
    },
    /// Keep this, in place of what was kept before.
    Keep {
        /// All of it.
        kept: Kept,
        /// A program that is to hear nothing more before it is kept: the answer that follows promises it. Others wait
        /// for nothing.
        promised: Option<ProgramKey>,
    },
    /// Something for the log.
    Log(Level, String),
    /// The node has said goodbye: stop.
    Stopped,
    /// Nothing more to do until there is an input, or until this time.
    Wait(Option<Instant>),
}

/// What descriptors go with a packet to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// None.
    Nothing,
    /// The node page.
    NodePage,
    /// Those that another program sent, or what is kept under their number.
    Passed(Descriptors),
    /// The memory that another program sent, followed by one half of each of two new doorbells, which only the host
    /// can make because neither end trusts the other: what the receiver rings, what it hears. What the other end
    /// rings and hears is kept under the same number, until it is passed or discarded.
    WithDoorbells(Descriptors),
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A decision off the usual way.
    Debug,
    /// A node or a program came or went.
    Info,
    /// An operator should look.
    Warn,
}
