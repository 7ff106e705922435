//! The tables behind `slashnet nodes`, `links`, `sessions`, `ps` and `prefixes`.

use alloc::vec::Vec;
use core::time::Duration;

use super::field::{choice, messages, record};
use super::link::{LaneState, LinkKind};
use super::rights::DenialRow;
use super::session::SessionRole;
use crate::flags::{AttachFlags, FileType};
use crate::ids::{ChannelId, Handle, Incarnation, Nd, NodeName, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;

messages! {
    /// Rows of one kind.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Rows {
        /// Known nodes.
        0 => Nodes(rows: Vec<NodeRow>),
        /// Links, and peers over them.
        1 => Links(rows: Vec<LinkRow>),
        /// Sessions.
        2 => Sessions(rows: Vec<SessionRow>),
        /// Programs.
        3 => Processes(rows: Vec<ProcessRow>),
        /// Prefixes.
        4 => Prefixes(rows: Vec<PrefixRow>),
        /// Denials.
        20 => Denials(rows: Vec<DenialRow>),
    }
}

choice! {
    /// How a node stands to this one.
    pub enum NodeState {
        /// It is this one.
        Local = 0,
        /// Authenticated and answering.
        Up = 1,
        /// A handshake is under way.
        Connecting = 2,
        /// It answered before and does not now.
        Down = 3,
        /// Trusted, and not asked yet.
        Idle = 4,
    }
}

record! {
    /// A piece of a table.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Table {
        /// The rows.
        pub rows: Rows,
        /// Where to go on, if there are more.
        pub next: Option<u32>,
    }

    /// A node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NodeRow {
        /// Its descriptor here.
        pub nd: Nd,
        /// Its name here.
        pub name: NodeName,
        /// How it stands.
        pub state: NodeState,
        /// Of its daemon; 0 if never seen.
        pub incarnation: Incarnation,
        /// Where it was reached last.
        pub addresses: Vec<LinkAddress>,
        /// Smallest round-trip time of the node channel seen, if any.
        pub round_trip: Option<Duration>,
        /// Sessions of our programs with it.
        pub sessions: u32,
        /// First and last four bytes of its public key, for comparing by eye.
        pub fingerprint: [u8; 8],
    }

    /// A link, or the way over it to one address of a peer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LinkRow {
        /// Number of the link.
        pub index: u8,
        /// Its name.
        pub name: Vec<u8>,
        /// Our address on it.
        pub address: LinkAddress,
        /// Largest packet in bytes, without the medium's headers: for a peer, what was found to pass.
        pub mtu: u16,
        /// The peer, or absent for the link itself.
        pub peer: Option<NodeName>,
        /// The peer's address, or [`LinkAddress::NONE`].
        pub peer_address: LinkAddress,
        /// What packets of the link are.
        pub kind: LinkKind,
        /// Whether it carries packets now: for the link itself, whether it has a carrier.
        pub state: LaneState,
        /// How long it has been in that state.
        pub since: Duration,
        /// Why it is not up, or what is odd about it; else empty.
        pub why: Vec<u8>,
        /// Smoothed round-trip time, if any was measured.
        pub rtt: Option<Duration>,
        /// Lost packets of a million, both directions together.
        pub loss: u32,
        /// Bytes per second that it is believed to carry; 0 if not known.
        pub rate: u64,
        /// Bytes sent: what programs reported, and what the node itself sent.
        pub sent: u64,
        /// Bytes received, in the same way.
        pub received: u64,
        /// How often sessions moved away from it, as programs report.
        pub switches: u32,
    }

    /// A session of a program of this node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SessionRow {
        /// Its number at the local end.
        pub local: SessionId,
        /// Its number at the other end.
        pub peer: SessionId,
        /// Which end the local program is.
        pub role: SessionRole,
        /// The local program.
        pub pid: Pid,
        /// The node of the peer.
        pub nd: Nd,
        /// Its name.
        pub node: NodeName,
        /// The peer process.
        pub peer_pid: Pid,
        /// The client's user at the server's node.
        pub uid: Uid,
        /// How long it has existed, since this daemon knows of it.
        pub age: Duration,
        /// Lanes that it has, as far as its nodes know; 0 is memory.
        pub lanes: u8,
    }

    /// A program.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ProcessRow {
        /// What this node calls it.
        pub pid: Pid,
        /// Its own name for itself.
        pub name: Vec<u8>,
        /// Its user.
        pub uid: Uid,
        /// Prefixes it owns.
        pub prefixes: u32,
        /// Its sessions.
        pub sessions: u32,
        /// How long it has been registered.
        pub age: Duration,
    }

    /// A prefix.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PrefixRow {
        /// Node of its server, in the asker's terms.
        pub nd: Nd,
        /// Its server.
        pub pid: Pid,
        /// The server's channel.
        pub channel: ChannelId,
        /// The server's handle.
        pub handle: Handle,
        /// What is there.
        pub file_type: FileType,
        /// How it was attached.
        pub flags: AttachFlags,
        /// The prefix.
        pub path: Vec<u8>,
        /// A symlink's text; else empty.
        pub target: Vec<u8>,
    }
}
