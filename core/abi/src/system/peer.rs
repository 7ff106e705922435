//! What two node daemons say to each other, as requests and replies of the session between them.
//!
//! Everything in a message is in the *sender's* terms; node descriptors never travel. A node is named by its public
//! key, or by its part in the conversation ([`Whose`]).

use alloc::vec::Vec;

use super::field::{Field, messages, record};
use super::link::{Detect, LinkKind, Protection};
use super::reply::{Description, Listing, Refusal, Symlink};
use super::session::{Lane, SocketOnLink};
use super::table::PrefixRow;
use crate::codec::{Malformed, Reader, Writer};
use crate::connect::Candidate;
use crate::credentials::Credentials;
use crate::flags::{FileType, PathFlags};
use crate::ids::{Incarnation, NodeName, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;

messages! {
    /// One node daemon asks another.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum PeerRequest {
        /// Are you there? Answer: `Done`.
        1 => Ping,
        /// Who owns a path of yours? Answer: `Resolved`, `Symlink`.
        2 => Resolve(resolve: PeerResolve),
        /// A directory of your prefix tree. Answer: `Listing`.
        3 => List(list: PeerList),
        /// A directory or symlink of your prefix tree. Answer: `Described`.
        4 => Stat(stat: PeerPath),
        /// Your prefix tree. Answer: `Prefixes`.
        5 => Prefixes(part: PeerTable),
        /// A program of mine wants a session with one of yours. Answer: `Accepted`.
        6 => Introduce(introduce: Introduce),
        /// These sessions are over at my end. Answer: `Done`.
        7 => Ended(ended: Ended),
        /// Which of these sessions do you not know? Answer: `Unknown`.
        8 => Check(check: Check),
        /// Names of mine have changed since you asked. Answer: `Done`.
        9 => Changed,
        /// I stop. Programs live on. Answer: `Done`.
        10 => Goodbye,
        /// A path below your `/net/` (P54). Answer: `Redirect`.
        11 => Network(network: PeerPath),
        /// The links of mine, after each handshake and when they change. Answer: `Done`.
        12 => Links(links: PeerLinks),
        /// From now on a channel has these lanes too. Only who began its handshake says so. Answer: `Done`.
        13 => Lanes(lanes: PeerLanes),
        /// What number do you have for a node? Answer: `Number`. The only descriptor that travels, for N11.
        14 => Number(whose: Whose),
        /// A session of a client of mine can have lanes over links that came later. Answer: `MoreLanes`.
        15 => Extend(extend: Extend),
    }
}

messages! {
    /// The answer to a [`PeerRequest`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum PeerReply {
        /// It failed. Says no more than the error number; details are in the other node's log.
        0x100 => Error(refusal: Refusal),
        /// It is done.
        0x101 => Done,
        /// To `Resolve`.
        0x102 => Resolved(resolved: PeerResolved),
        /// To `Resolve`.
        0x103 => Symlink(symlink: Symlink),
        /// To `List`.
        0x104 => Listing(listing: Listing),
        /// To `Stat`.
        0x105 => Described(description: Description),
        /// To `Prefixes`.
        0x106 => Prefixes(prefixes: PeerPrefixes),
        /// To `Introduce`.
        0x107 => Accepted(accepted: Accepted),
        /// To `Check`.
        0x108 => Unknown(unknown: Check),
        /// To `Network`.
        0x109 => Redirect(redirect: PeerRedirect),
        /// To `Number`.
        0x10a => Number(number: u16),
        /// To `Extend`.
        0x10b => MoreLanes(more: PeerMoreLanes),
    }
}

/// A node, in terms that both ends of a node channel understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// The one that answers.
    Mine,
    /// The one that asked.
    Yours,
    /// A third one, by its public key.
    Other([u8; 32]),
}

impl Field for Whose {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Self::Mine => w.u8(0),
            Self::Yours => w.u8(1),
            Self::Other(key) => {
                w.u8(2);
                w.bytes(key);
            }
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(Self::Mine),
            1 => Ok(Self::Yours),
            2 => r.array().map(Self::Other),
            _ => Err(Malformed::Unknown),
        }
    }
}

record! {
    /// Who owns a path?
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerResolve {
        /// Absolute path, from your root (P43).
        pub path: Vec<u8>,
        /// Wanted.
        pub file_type: FileType,
        /// The last component itself is meant.
        pub no_follow: bool,
        /// My program that asks, for P16.
        pub asker: Pid,
        /// Its user, in my numbers.
        pub user: Uid,
    }

    /// A directory's names.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerList {
        /// Absolute path.
        pub path: Vec<u8>,
        /// Entries after this name.
        pub after: Vec<u8>,
        /// The user of my program that asks, in my numbers.
        pub user: Uid,
    }

    /// A path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerPath {
        /// The path.
        pub path: Vec<u8>,
        /// The user of my program that asks, in my numbers.
        pub user: Uid,
    }

    /// A piece of a table.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerTable {
        /// First row wanted.
        pub from: u32,
        /// The user of my program that asks, in my numbers.
        pub user: Uid,
    }

    /// Ask another process manager.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerRedirect {
        /// Whose.
        pub node: Whose,
        /// What to ask for there.
        pub path: Vec<u8>,
        /// The link policy that was written behind the node's name, or nothing. It means links of the asker.
        pub policy: Vec<u8>,
    }

    /// Candidates of a path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerResolved {
        /// The normalised path.
        pub path: Vec<u8>,
        /// How it ended.
        pub path_flags: PathFlags,
        /// In order; the nd inside each is void.
        pub candidates: Vec<PeerCandidate>,
    }

    /// A candidate and its node (P44).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerCandidate {
        /// Its node.
        pub node: Whose,
        /// The rest.
        pub candidate: Candidate,
    }

    /// A piece of a prefix tree.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerPrefixes {
        /// The nd inside each is void.
        pub rows: Vec<PeerPrefix>,
        /// Where to go on.
        pub next: Option<u32>,
    }

    /// A prefix and its server's node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerPrefix {
        /// Its node.
        pub node: Whose,
        /// The rest.
        pub row: PrefixRow,
    }

    /// A client of mine for a server of yours.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Introduce {
        /// The session's number at the client.
        pub client: SessionId,
        /// Fresh random bytes for the key.
        pub nonce: [u8; 16],
        /// Who the client is, in my numbers; the node inside is void. Bound into the session's key.
        pub credentials: Credentials,
        /// Of the client process.
        pub incarnation: Incarnation,
        /// The server.
        pub target: Pid,
        /// The client's sockets.
        pub sockets: Vec<SocketOnLink>,
        /// Largest packet of each of the client's links, in the order of `sockets`.
        pub mtu: Vec<Mtu>,
    }

    /// Largest packet of a link in bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mtu {
        /// Without IP and UDP headers.
        pub bytes: u16,
    }

    /// The server takes the session.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Accepted {
        /// The session's number at the server.
        pub server: SessionId,
        /// Fresh random bytes for the key.
        pub nonce: [u8; 16],
        /// Of the server process.
        pub incarnation: Incarnation,
        /// Lanes as the client sees them.
        pub lanes: Vec<Lane>,
        /// Operations that may be outstanding at once.
        pub slots: u16,
        /// Bytes of a request that may be sent unasked.
        pub unscheduled: u32,
    }

    /// More lanes for a session: of a client of mine, with a server of yours.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Extend {
        /// The session.
        pub session: SessionPair,
        /// The client's sockets on links over which the session has no lane.
        pub sockets: Vec<SocketOnLink>,
        /// Largest packet of each of these links, in the order of `sockets`.
        pub mtu: Vec<Mtu>,
    }

    /// The server has these lanes now.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerMoreLanes {
        /// As the client sees them.
        pub lanes: Vec<Lane>,
    }

    /// Where and how a node can be reached.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerLinks {
        /// Grows with every message of one run of the daemon: an older one that comes later is void.
        pub serial: u64,
        /// How fast it wants failures to be found; the faster one of both nodes is done.
        pub detect: Detect,
        /// All its links.
        pub links: Vec<PeerLink>,
    }

    /// A link of another node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerLink {
        /// Its number there.
        pub index: u8,
        /// What packets of it are: links of different kinds cannot reach each other.
        pub kind: LinkKind,
        /// It has a carrier.
        pub up: bool,
        /// The node's own socket on it.
        pub address: LinkAddress,
        /// Largest packet in bytes, without the medium's headers.
        pub mtu: u16,
        /// The weakest protection that its node allows on it.
        pub protection: Protection,
        /// Bytes per second, as its interface says; 0 if it does not.
        pub speed: u64,
    }

    /// Lanes of a node channel beside the one it was made over.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PeerLanes {
        /// The channel: the number that probes to the receiver carry in it.
        pub channel: u32,
        /// At most 15.
        pub lanes: Vec<PeerLane>,
    }

    /// A lane between two links.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct PeerLane {
        /// Its number, 1 to 15: a number means the same links for the life of the channel.
        pub id: u8,
        /// The sender's link.
        pub mine: u8,
        /// The receiver's link.
        pub yours: u8,
    }

    /// A session, by its numbers at both ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct SessionPair {
        /// At the sender of this message.
        pub mine: SessionId,
        /// At its receiver.
        pub yours: SessionId,
    }

    /// Sessions that are over.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Ended {
        /// Which ones.
        pub sessions: Vec<SessionPair>,
        /// Why.
        pub cause: super::reply::DeathCause,
    }

    /// Sessions to be looked for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Check {
        /// Which ones; in an answer, with the numbers as they were asked.
        pub sessions: Vec<SessionPair>,
    }

    /// The encrypted part of both handshake messages between trusted nodes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Greeting {
        /// [`VERSION`](super::VERSION) of the sender.
        pub version: u16,
        /// Nanoseconds since the Unix epoch; grows with every handshake of a node.
        pub timestamp: u64,
        /// Of the sender's daemon.
        pub incarnation: Incarnation,
        /// Hash of the sender's boot id: another one means that all its processes are gone.
        pub boot: u64,
        /// The number that packets to the sender must carry in the session where it asks.
        pub asking: SessionId,
        /// The number that packets to the sender must carry in the session where it answers.
        pub answering: SessionId,
    }

    /// The encrypted part of both messages of a joining handshake.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Introduction {
        /// [`VERSION`](super::VERSION) of the sender.
        pub version: u16,
        /// Nanoseconds since the Unix epoch.
        pub timestamp: u64,
        /// The sender's name for itself.
        pub name: NodeName,
        /// Where the sender's node can be reached.
        pub addresses: Vec<LinkAddress>,
        /// 0, or why the code is not taken: EALREADY used, ETIME expired, EEXIST name taken.
        pub refusal: u16,
    }
}
impl super::field::Record for LinkAddress {}
