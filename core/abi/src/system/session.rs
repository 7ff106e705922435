//! What two processes must hold to talk to each other directly: ticket, offer, lanes, key.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

use super::field::{Field, choice, record};
use super::link::Protection;
use crate::codec::{Malformed, Reader, Writer};
use crate::credentials::Credentials;
use crate::ids::{Gid, Incarnation, Nd, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;

/// The secret from which both ends of a session derive their packet keys. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret(pub [u8; 32]);

impl Drop for SessionSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

impl Field for SessionSecret {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(&self.0);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Field::take(r).map(Self)
    }
}

choice! {
    /// Which end of a session a process is. Operations go from client to server.
    pub enum SessionRole {
        /// Sends operations.
        Client = 0,
        /// Answers them.
        Server = 1,
    }
}

record! {
    /// Who a root-owned program (the mount) speaks for.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Identity {
        /// User.
        pub uid: Uid,
        /// Group.
        pub gid: Gid,
        /// Supplementary groups, at most 64.
        pub groups: Vec<Gid>,
    }

    /// The address of one socket of a program: its own port on one of the node's links.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SocketOnLink {
        /// The link, as numbered in [`Welcome::links`](super::Welcome).
        pub link: u8,
        /// The socket's address. Its host part must be the link's own address.
        pub address: LinkAddress,
    }

    /// One way to the peer process: which of our links, to which of its sockets. Lanes that no medium must be trusted
    /// for are [`Protection::Sealed`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lane {
        /// Number of the lane, the same on both ends.
        pub id: u8,
        /// Our link, as numbered in [`Welcome::links`](super::Welcome).
        pub link: u8,
        /// The peer's socket.
        pub peer: LinkAddress,
        /// Largest packet in bytes, without the medium's headers.
        pub mtu: u16,
        /// How its packets are protected; both ends are told the same.
        pub protection: Protection,
    }

    /// Asks for a session with a process.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenSession {
        /// The server's node.
        pub nd: Nd,
        /// The server.
        pub pid: Pid,
        /// Speak for somebody else; only for root and the node's owner, else EPERM.
        pub identity: Option<Identity>,
        /// The client's sockets (for another node): one on each link, whatever the link policy of `nd` says. On a link
        /// over which the program passes its packets through the node, the node's own address. On the own node, the descriptor of the memory goes along instead.
        pub sockets: Vec<SocketOnLink>,
    }

    /// What the client gets: everything needed to send the first packet at once.
    /// From a server on the same node, two descriptors come along: the eventfd that the client rings, the epoll in
    /// which it hears the server.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Ticket {
        /// The session's number at this end: packets to us carry it.
        pub local: SessionId,
        /// Its number at the other end: packets to the peer carry it.
        pub peer: SessionId,
        /// The server's node, as asked.
        pub nd: Nd,
        /// The server.
        pub pid: Pid,
        /// Of the server process: another one means that all state there is gone.
        pub incarnation: Incarnation,
        /// Absent between processes of one node, whose memory lane needs no cipher.
        pub secret: Option<SessionSecret>,
        /// Empty for a memory lane.
        pub lanes: Vec<Lane>,
        /// Operations that may be outstanding at once.
        pub slots: u16,
        /// Bytes of a request that may be sent before the server asks for them.
        pub unscheduled: u32,
        /// What proves to a restarted node that this end of the session is this process's.
        pub proof: [u8; 16],
    }

    /// What the server gets; it answers with [`Accept`] or a refusal under the same serial, within 5 s.
    /// For a client on the same node, three descriptors come along: the memory, the eventfd that the server rings, the
    /// epoll in which it hears the client.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Offer {
        /// The session's number at this end.
        pub local: SessionId,
        /// Its number at the client's end.
        pub peer: SessionId,
        /// Who the client is, in this node's terms: from the kernel, or mapped by the trust store. Never from the
        /// client.
        pub credentials: Credentials,
        /// The client's user in the numbers of its own node, as that node vouches for it.
        pub user: Uid,
        /// What the client may do where, in the form of `core/rights`.
        pub rights: Vec<u8>,
        /// Of the client process.
        pub incarnation: Incarnation,
        /// Absent between processes of one node.
        pub secret: Option<SessionSecret>,
        /// Empty for a memory lane.
        pub lanes: Vec<Lane>,
        /// What proves to a restarted node that this end of the session is this process's.
        pub proof: [u8; 16],
    }

    /// The server takes the session.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Accept {
        /// The server's sockets, one for each link named in the offer's lanes.
        pub sockets: Vec<SocketOnLink>,
        /// Operations that may be outstanding at once, 1 to 4096.
        pub slots: u16,
        /// Bytes of a request that may be sent before the server asks for them.
        pub unscheduled: u32,
    }

    /// Lanes that a session gets while it lives, over links that came later. They have the session's keys.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MoreLanes {
        /// The session's number at this end.
        pub session: SessionId,
        /// What it gets beside the lanes that it has.
        pub lanes: Vec<Lane>,
    }

    /// Where a program is on links of the node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OwnSockets {
        /// At most one on each link.
        pub sockets: Vec<SocketOnLink>,
    }

    /// One live session, as a program tells a restarted node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LiveSession {
        /// The session's number at this end.
        pub local: SessionId,
        /// Its number at the other end.
        pub peer: SessionId,
        /// Which end we are.
        pub role: SessionRole,
        /// Name of the peer's node; absent for the own node.
        pub node: Option<crate::ids::NodeName>,
        /// The peer process.
        pub pid: Pid,
        /// Its lanes, as this end was told them last; empty for a memory lane.
        pub lanes: Vec<Lane>,
        /// At the server's end, the client's user as the offer named it; else 0.
        pub user: Uid,
        /// What came with the ticket or the offer. It is no secret: it is worth something to this process only.
        pub proof: [u8; 16],
    }
}
