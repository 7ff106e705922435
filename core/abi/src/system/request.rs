//! What a program may ask its node.

use alloc::vec::Vec;
use core::time::Duration;

use super::field::{choice, messages, record};
use super::rights::{Denied, SetRights, Why};
use super::session::{Accept, LiveSession, OpenSession, OwnSockets};
use crate::errno::Errno;
use crate::flags::{AttachFlags, FileType};
use crate::ids::{ChannelId, Handle, Nd, NodeName, Pid, SessionId};
use crate::link_address::LinkAddress;

messages! {
    /// A program's packet to its node. The serial is never 0, except for what needs no answer; the answer carries
    /// the same serial.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Request {
        /// First packet of a connection. Answer: [`Reply::Welcome`](super::Reply) with the node page's descriptor.
        1 => Hello(hello: Hello),
        /// Claims a prefix. Answer: `Attached`.
        2 => Attach(attach: Attach),
        /// Gives a prefix up. Answer: `Done`, or EBADF.
        3 => Detach(detach: Detach),
        /// Makes a process-manager symlink (P60). Answer: `Done`.
        4 => Link(link: Link),
        /// Removes a process-manager symlink or a sticky prefix (P46). Answer: `Done`.
        5 => Unlink(unlink: Unlink),
        /// Asks a process manager who owns a path. Answer: `Resolved`.
        6 => Resolve(resolve: Resolve),
        /// Asks a network manager; the path is what follows `/net/`. Answer: `Redirect`.
        7 => Network(network: Network),
        /// Lists a directory of a prefix tree. Answer: `Listing`.
        8 => List(list: List),
        /// Describes a directory or symlink of a prefix tree. Answer: `Described`.
        9 => Stat(stat: Stat),
        /// Asks for a session with a process. Answer: `Ticket`, on the own node with the client's doorbells.
        10 => OpenSession(open: OpenSession),
        /// A session ended at this end. Answer: `Done`.
        11 => CloseSession(close: CloseSession),
        /// Answers an offer, under the offer's serial. Not answered.
        12 => Accept(accept: Accept),
        /// Refuses an offer, under the offer's serial. Not answered.
        13 => Refuse(refuse: Refuse),
        /// A session's lane is silent. A hint, not answered.
        14 => Suspect(suspect: Suspect),
        /// Asks for a table. Answer: `Table`.
        15 => Query(query: Query),
        /// Makes a one-time code for another node. Answer: `Code`.
        16 => Invite(invite: Invite),
        /// Joins the node that made a code. Answer: `Joined`.
        17 => Join(join: Join),
        /// Ends the trust in a node and all sessions with it. Answer: `Done`.
        18 => Forget(forget: Forget),
        /// Stops the node. Answer: `Done`.
        19 => Shutdown,
        /// The node descriptor of a node's name. Answer: `Redirect` with an empty path.
        20 => Lookup(lookup: Lookup),
        /// What the link policy in a node descriptor is. Answer: `Policy`.
        21 => Policy(nd: Nd),
        /// What this program has moved over lanes since it said so last, and which of them it suspects. At most one a
        /// second, but at once for a suspicion. Not answered.
        22 => Traffic(traffic: Traffic),
        /// Gives the node the memory of a ring, one descriptor, over which packets pass for links on which this program
        /// has no socket of its own. Answer: `Done` with the doorbell to ring and the one to hear. Once per connection.
        23 => Relay,
        /// What a node calls a node: N11. Answer: `Nd`.
        24 => RemoteNd(remote: RemoteNd),
        /// Opens a second entrance to the node, for programs that shall see only what is below a path (P42). It lasts as
        /// long as this connection; who came in by it keeps the smaller view. Answer: `Door`.
        25 => Narrow(narrow: Narrow),
        /// Where this program is on all links, when its sockets have changed while it has sessions with other nodes: from
        /// this the node knows which lanes they can get. Not answered.
        26 => Sockets(own: OwnSockets),
        /// Answers [`Notice::MoreLanes`](super::Notice) under its serial, with the sockets of the lanes that were taken.
        /// Not answered.
        27 => TookLanes(own: OwnSockets),
        /// Asks for the rules of the node. Answer: `Rights`.
        40 => Rights,
        /// Replaces some of the rules. Answer: `Done`.
        41 => SetRights(set: SetRights),
        /// Asks what a client might do, and why. Answer: `Because`.
        42 => Why(why: Why),
        /// A server tells what it has refused because of a rule. Not answered.
        43 => Denied(denied: Denied),
    }
}

record! {
    /// Opens the conversation.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Hello {
        /// [`VERSION`](super::VERSION); another one is refused with ENOTSUP.
        pub version: u16,
        /// What tables call this program, at most 255 bytes.
        pub program: Vec<u8>,
        /// The pid an earlier node gave this endpoint, or 0.
        pub previous: Pid,
        /// Sessions that outlived an earlier node.
        pub sessions: Vec<LiveSession>,
    }

    /// Claims a prefix for a channel of this program.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Attach {
        /// Absolute path; directories above it need not exist (P2).
        pub path: Vec<u8>,
        /// Order and matching.
        pub flags: AttachFlags,
        /// What kind of thing is there.
        pub file_type: FileType,
        /// The channel to which connect messages go.
        pub channel: ChannelId,
        /// Returned in every candidate, for the server's own use.
        pub handle: Handle,
    }

    /// Gives a prefix up.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Detach {
        /// From `Attached`.
        pub id: u32,
    }

    /// Makes a symlink in the process manager.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Link {
        /// Where the symlink is.
        pub path: Vec<u8>,
        /// Its text.
        pub target: Vec<u8>,
    }

    /// Removes a symlink or a sticky prefix.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Unlink {
        /// Which one.
        pub path: Vec<u8>,
    }

    /// Asks a process manager who owns a path.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Resolve {
        /// Whose process manager; [`Nd::LOCAL`] is this node's.
        pub nd: Nd,
        /// Absolute path; need not be normal.
        pub path: Vec<u8>,
        /// [`FileType`] wanted, or `ANY`.
        pub file_type: FileType,
        /// The last component itself is meant, not what it points to (P63).
        pub no_follow: bool,
    }

    /// Asks the network manager.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Network {
        /// Whose network manager; another node's when the way leads through that node (P54).
        pub nd: Nd,
        /// What follows `/net/`: a node's name, perhaps a link policy, perhaps the rest of a path.
        pub path: Vec<u8>,
    }

    /// Lists a directory.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct List {
        /// Whose process manager.
        pub nd: Nd,
        /// Absolute path of the directory.
        pub path: Vec<u8>,
        /// Entries after this name in byte order; empty for the beginning.
        pub after: Vec<u8>,
    }

    /// Describes a directory or symlink.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Stat {
        /// Whose process manager.
        pub nd: Nd,
        /// Absolute path.
        pub path: Vec<u8>,
    }

    /// A session ended at this end.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CloseSession {
        /// Its local number.
        pub session: SessionId,
    }

    /// An offer is refused.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Refuse {
        /// Given to the client.
        pub errno: Errno,
    }

    /// A lane is silent.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Suspect {
        /// Local number of the session.
        pub session: SessionId,
        /// The lane.
        pub lane: u8,
    }

    /// What went over lanes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Traffic {
        /// At most [`LANE_ROWS`](super::page::LANE_ROWS).
        pub rows: Vec<LaneTraffic>,
    }

    /// What went over the lanes of one program between two links, since its last report.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LaneTraffic {
        /// The peer's node.
        pub node: Nd,
        /// Our link.
        pub link: u8,
        /// Where the peer's socket is; the port does not matter.
        pub peer: LinkAddress,
        /// Bytes of packets.
        pub bytes_sent: u64,
        /// Bytes of packets.
        pub bytes_received: u64,
        /// Bytes per second that the lane is believed to carry; 0 if not known.
        pub rate: u64,
        /// How often operations moved from it to another lane.
        pub switches: u32,
        /// It is silent: the node is to look at once. A hint, never believed.
        pub suspect: bool,
    }

    /// Opens an entrance with a smaller view.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Narrow {
        /// The root of the view; absolute, below this program's own root.
        pub root: Vec<u8>,
    }

    /// Asks for another node's descriptor of a node.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RemoteNd {
        /// Whose descriptor is wanted.
        pub remote: Nd,
        /// The node meant, as this node calls it.
        pub local: Nd,
    }

    /// Asks for a table, in pieces that fit a packet.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Query {
        /// Which one.
        pub what: QueryKind,
        /// For `Prefixes`: whose. Otherwise [`Nd::LOCAL`].
        pub nd: Nd,
        /// First row wanted: 0, then `Table::next`.
        pub from: u32,
    }

    /// Makes a one-time code.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Invite {
        /// How long it may be used, 1 s to 7 days.
        pub ttl: Duration,
    }

    /// Joins the maker of a code.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Join {
        /// The code as printed; case, spaces and hyphens do not matter.
        pub code: Vec<u8>,
    }

    /// Ends the trust in a node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Forget {
        /// Its name.
        pub node: NodeName,
    }

    /// Looks a node up.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Lookup {
        /// Its name.
        pub node: NodeName,
    }
}

choice! {
    /// The tables a node can give.
    pub enum QueryKind {
        /// Known nodes, this one first.
        Nodes = 0,
        /// Links of this node and how each peer is reached over them.
        Links = 1,
        /// Sessions of programs of this node.
        Sessions = 2,
        /// Programs registered with this node.
        Processes = 3,
        /// The prefix tree of a node.
        Prefixes = 4,
        /// What was refused to whom because of a rule.
        Denials = 20,
    }
}
