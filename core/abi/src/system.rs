//! The protocol between programs and their node daemon, and between node daemons.
//!
//! A program talks to its node over the Unix socket `DIR/node.sock` of type `SOCK_SEQPACKET`. One packet is a
//! `u32` serial followed by one [`Request`], [`Reply`] or [`Notice`] and is at most [`PACKET_MAX`] bytes; file
//! descriptors go along by `SCM_RIGHTS`. A serial is chosen by whoever asks; [`UNSOLICITED`] needs no answer.
//! `docs/protocol/system.md` has the order of things, `docs/protocol/node.md` what nodes say to each other.

mod field;
pub mod link;
pub mod page;
pub mod peer;
pub mod reply;
pub mod request;
pub mod rights;
pub mod row_words;
pub mod session;
pub mod table;

use alloc::vec::Vec;

pub use link::{Detect, LaneState, LaneWhy, Link as NodeLink, LinkKind, Protection};
pub use page::{
    GENERATION_OFFSET, HEARTBEAT_OFFSET, LANE_ROW_LEN, LANE_ROW_WORDS, LANE_ROWS, LANE_ROWS_OFFSET,
    LINKS_GENERATION_OFFSET, LaneRow, NODE_PAGE_LEN,
};
pub use reply::{
    Attached, Code, Death, DeathCause, Description, Door, Entry, Joined, Links, Listing, Notice,
    Policy, Redirect, Refusal, Reply, Resolved, Revoke, Symlink, Verify, Welcome,
};
pub use request::{
    Attach, CloseSession, Detach, Forget, Hello, Invite, Join, LaneTraffic, Link, List, Lookup,
    Narrow, Network, Query, QueryKind, Refuse, RemoteNd, Request, Resolve, Stat, Suspect, Traffic,
    Unlink,
};
pub use rights::{Because, DenialRow, Denied, NewRights, RightsLayer, RightsList, SetRights, Why};
pub use session::{
    Accept, Identity, Lane, LiveSession, MoreLanes, Offer, OpenSession, OwnSockets, SessionRole,
    SessionSecret, SocketOnLink, Ticket,
};
pub use table::{LinkRow, NodeRow, NodeState, PrefixRow, ProcessRow, Rows, SessionRow, Table};

use crate::codec::{Decode, Encode, Malformed, Overflow, Reader, Writer};
use crate::flags::FileType;
use crate::ids::{ChannelId, Nd};

/// Version of this protocol. Other versions are refused, not guessed at.
pub const VERSION: u16 = 2;

/// Most bytes in one packet of the daemon socket.
pub const PACKET_MAX: usize = 64 * 1024;

/// Most file descriptors with one packet.
pub const DESCRIPTORS_MAX: usize = 3;

/// Name of the daemon socket in the node's directory.
pub const SOCKET_NAME: &str = "node.sock";

/// The UDP port of a node unless told otherwise.
pub const NODE_PORT: u16 = 41_000;

/// Serial of a packet that needs no answer.
pub const UNSOLICITED: u32 = 0;

/// Channel of the network manager, in process 1. The process manager redirects `/net` to it; ask it with
/// [`Request::Network`].
pub const NETWORK_MANAGER: ChannelId = ChannelId(2);

/// The path that the network manager owns.
pub const NETWORK_PREFIX: &str = "/net";

/// What comes from the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// An answer.
    Reply(Reply),
    /// Something unasked.
    Notice(Notice),
}

impl<'a> Decode<'a> for FromNode {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        if r.clone().u16()? < 0x200 {
            Reply::decode(r).map(Self::Reply)
        } else {
            Notice::decode(r).map(Self::Notice)
        }
    }
}

/// A whole packet: serial and message.
///
/// # Errors
/// [`Overflow`] if it would be longer than [`PACKET_MAX`].
pub fn packet(serial: u32, message: &impl Encode) -> Result<Vec<u8>, Overflow> {
    let mut bytes = Vec::new();
    let mut w = Writer::growing(&mut bytes);
    w.u32(serial);
    message.encode(&mut w);
    w.finish()?;
    if bytes.len() > PACKET_MAX {
        Err(Overflow)
    } else {
        Ok(bytes)
    }
}

/// Takes a packet apart: its serial, and the message if it is one. The serial of a malformed message is still good
/// for an answer.
///
/// # Errors
/// [`Malformed`] if there is not even a serial.
pub fn unpack<'a, T: Decode<'a>>(
    bytes: &'a [u8],
) -> Result<(u32, Result<T, Malformed>), Malformed> {
    let mut r = Reader::new(bytes);
    let serial = r.u32()?;
    Ok((serial, T::from_bytes(r.rest())))
}

impl Resolve {
    /// Asks for whatever is at a path, links followed.
    #[must_use]
    pub fn any(nd: Nd, path: &[u8]) -> Self {
        Self {
            nd,
            path: path.to_vec(),
            file_type: FileType::ANY,
            no_follow: false,
        }
    }
}

#[cfg(test)]
mod tests;
