//! What a node answers, and what it tells a program unasked.

use alloc::vec::Vec;

use super::field::{choice, messages, record};
use super::link::Link;
use super::rights::{Because, NewRights, RightsList};
use super::session::{MoreLanes, Offer, Ticket};
use super::table::Table;
use crate::connect::Candidate;
use crate::errno::Errno;
use crate::flags::PathFlags;
use crate::ids::{ChannelId, Incarnation, Nd, NodeName, Pid, SessionId};

messages! {
    /// The answer to a [`Request`](super::Request), under its serial.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Reply {
        /// It failed.
        0x100 => Error(refusal: Refusal),
        /// It is done; nothing more to say.
        0x101 => Done,
        /// To `Hello`.
        0x102 => Welcome(welcome: Welcome),
        /// To `Attach`.
        0x103 => Attached(attached: Attached),
        /// To `Resolve`.
        0x104 => Resolved(resolved: Resolved),
        /// To `Resolve`, when a process-manager symlink is on the way (P62).
        0x105 => Symlink(symlink: Symlink),
        /// To `Network` and `Lookup`.
        0x106 => Redirect(redirect: Redirect),
        /// To `List`.
        0x107 => Listing(listing: Listing),
        /// To `Stat`.
        0x108 => Described(description: Description),
        /// To `OpenSession`.
        0x109 => Ticket(ticket: Ticket),
        /// To `Query`.
        0x10a => Table(table: Table),
        /// To `Invite`.
        0x10b => Code(code: Code),
        /// To `Join`.
        0x10c => Joined(joined: Joined),
        /// To `Policy`.
        0x10d => Policy(policy: Policy),
        /// To `RemoteNd`.
        0x10e => Nd(nd: Nd),
        /// To `Narrow`.
        0x10f => Door(door: Door),
        /// To `Rights`.
        0x120 => Rights(rights: RightsList),
        /// To `Why`.
        0x121 => Because(because: Because),
    }
}

messages! {
    /// What a node tells a program unasked.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Notice {
        /// Somebody wants a session; the packet's serial must be repeated in the answer.
        0x200 => Offer(offer: Offer),
        /// The peers of these sessions are gone, for sure. Serial 0.
        0x201 => Death(death: Death),
        /// The node of these sessions' peers does not answer: check them yourself. Serial 0.
        0x202 => Verify(verify: Verify),
        /// These sessions are no longer allowed (trust ended): drop their keys. Serial 0.
        0x203 => Revoke(revoke: Revoke),
        /// Links of the node have changed: address, mtu, gone, come back. Sockets on links whose epoch has changed must
        /// be made anew. Serial 0.
        0x204 => Links(links: Links),
        /// Lane rows of the node page have changed: only a wake-up, several changes may be one notice. Serial 0.
        0x205 => Lanes,
        /// A session gets more lanes. At the server's end with a serial, to be repeated in `TookLanes`; at the client's
        /// end with serial 0, once the server has them.
        0x206 => MoreLanes(more: MoreLanes),
        /// The rules have changed, and with them what the clients of these sessions may do. Serial 0.
        0x210 => Rights(rights: NewRights),
    }
}

record! {
    /// Why a request failed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Refusal {
        /// For programs.
        pub errno: Errno,
        /// For people; may be empty.
        pub text: Vec<u8>,
    }

    /// The node's first answer. Comes with the descriptor of the node page, see
    /// [`GENERATION_OFFSET`](super::GENERATION_OFFSET).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Welcome {
        /// The node's protocol version.
        pub version: u16,
        /// What this endpoint is called on this node.
        pub pid: Pid,
        /// The node's name.
        pub node: NodeName,
        /// Of this run of the node daemon.
        pub incarnation: Incarnation,
        /// The node's links.
        pub links: Vec<Link>,
    }

    /// A prefix is attached.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Attached {
        /// For `Detach`.
        pub id: u32,
    }

    /// Who may own a path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Resolved {
        /// The normalised path. A candidate sees what follows its `prefix_len`.
        pub path: Vec<u8>,
        /// How the path ended.
        pub path_flags: PathFlags,
        /// How many bytes at the beginning of the path are the program's root, which it does not see (P31, P42); 0 for
        /// a program that sees everything.
        pub root: u16,
        /// In the order in which to try them; their nds are the asker's.
        pub candidates: Vec<Candidate>,
    }

    /// A second entrance to the node is open.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Door {
        /// The directory that stands for the node's own for programs with the smaller view.
        pub directory: Vec<u8>,
    }

    /// A process-manager symlink is on the way.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Symlink {
        /// The whole path to resolve instead; ends in a slash if the one asked for did.
        pub path: Vec<u8>,
        /// It starts at the client's root, not at the root of the process manager that answered (P62).
        pub absolute: bool,
    }

    /// Ask somebody else.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Redirect {
        /// Whom: node,
        pub nd: Nd,
        /// process,
        pub pid: Pid,
        /// and channel.
        pub channel: ChannelId,
        /// What to ask for there, without a leading slash.
        pub path: Vec<u8>,
    }

    /// A piece of a directory.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Listing {
        /// In byte order of the names.
        pub entries: Vec<Entry>,
        /// There are more after the last one.
        pub more: bool,
    }

    /// One name in a directory of a prefix tree.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Entry {
        /// The component.
        pub name: Vec<u8>,
        /// Its inode number; for nodes below `/net`, the node descriptor (P52).
        pub inode: u64,
        /// File mode with its type bits. `0` type bits: only its server knows.
        pub mode: u32,
    }

    /// What a process manager knows of a path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Description {
        /// Directory 0555 or symlink 0777.
        pub mode: u32,
        /// Its inode number.
        pub inode: u64,
        /// Directories in it, or 1.
        pub links: u32,
        /// A symlink's text; else empty.
        pub target: Vec<u8>,
    }

    /// A one-time code.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Code {
        /// To be given to `slashnet join`, in groups for reading aloud.
        pub code: Vec<u8>,
    }

    /// Another node is now trusted and trusts us.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Joined {
        /// Its name.
        pub node: NodeName,
        /// Its node descriptor here.
        pub nd: Nd,
    }

    /// What the upper half of a node descriptor means.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Policy {
        /// As it is written after the tilde of a path: `loadbalance`, `preferred:en1`.
        pub text: Vec<u8>,
    }

    /// All links of the node, as they are now.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Links {
        /// Each with the number that it has always had.
        pub links: Vec<Link>,
    }

    /// Sessions whose peer is gone.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Death {
        /// Local numbers.
        pub sessions: Vec<SessionId>,
        /// What died.
        pub cause: DeathCause,
    }

    /// Sessions to check.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Verify {
        /// Local numbers.
        pub sessions: Vec<SessionId>,
    }

    /// Sessions to drop.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Revoke {
        /// Local numbers.
        pub sessions: Vec<SessionId>,
    }
}

choice! {
    /// What died.
    pub enum DeathCause {
        /// The process exited, or its endpoint closed.
        Process = 0,
        /// The whole node was started anew.
        Node = 1,
        /// The peer closed this session.
        Session = 2,
    }
}

impl Refusal {
    /// A refusal with a text for people.
    pub fn new(errno: Errno, text: &str) -> Self {
        Self {
            errno,
            text: text.as_bytes().to_vec(),
        }
    }
}
