//! Frames: what a packet's body is made of.

mod encoding;
mod fragment;
mod middle;
mod pulled;

pub use fragment::{FRAGMENT_HEAD_MAX, lone_fragment};
pub(crate) use middle::Middle;
pub(crate) use pulled::PulledHead;

use crate::event::Meta;
use crate::policy::Policy;

/// Flags of a [`Data`] frame: part of a reply, not of a request.
pub const REPLY: u8 = 0x01;
/// The frame carries the head of the message; its offset is 0.
pub const FIRST: u8 = 0x02;
/// The sender has nothing more of this message to send at the moment.
pub const LAST: u8 = 0x04;
/// The frame alone asks for no acknowledgement.
pub const QUIET: u8 = 0x08;
/// Nobody waits for a reply.
pub const ONE_WAY: u8 = 0x10;
/// Goes before other traffic.
pub const CONTROL: u8 = 0x20;
/// The status of the reply is an error number of the program.
pub const REFUSED: u8 = 0x40;
/// The head has a policy other than load balance.
pub const POLICY: u8 = 0x80;

/// Words of 64 packets in an acknowledgement.
pub const ACK_WORDS: usize = 8;

/// An operation on the wire: slot and how often the slot was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireOp {
    /// Slot, below the number granted.
    pub slot: u16,
    /// Counts from 1.
    pub seq: u32,
}

/// Head of a request or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A fragment other than the first.
    None,
    /// Of a request.
    Request {
        /// Bytes of the request.
        total: u64,
        /// Bytes of room for the reply.
        reply_max: u64,
        /// Which lanes the operation may use, in both directions.
        policy: Policy,
        /// The program's bytes.
        meta: Meta,
    },
    /// Of a reply.
    Reply {
        /// Bytes of the reply.
        total: u64,
        /// Status, or error number if the frame is `REFUSED`.
        status: i64,
        /// Microseconds between the end of the request and the reply, saturating.
        worked: u32,
    },
}

impl Head {
    /// Which lanes the operation may use; load balance if that is not said.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        match self {
            Self::Request { policy, .. } => *policy,
            Self::None | Self::Reply { .. } => Policy::LoadBalance,
        }
    }
}

/// A fragment of a request or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Flags above; `REPLY` and `FIRST` follow from `head` and are checked against it.
    pub flags: u8,
    /// The operation.
    pub op: WireOp,
    /// Offset of the fragment in the message.
    pub offset: u64,
    /// Requests: how many bytes come without being pulled. Replies: 0.
    pub unscheduled: u32,
    /// Head of the message.
    pub head: Head,
    /// The fragment. When encoding, only its length is used: the caller appends the bytes.
    pub bytes: &'a [u8],
}

/// An acknowledgement of packets of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The lane.
    pub lane: u8,
    /// Largest packet number received.
    pub largest: u64,
    /// Time since it was received, in units of 8 microseconds, saturating.
    pub delay: u16,
    /// Valid words.
    pub words: u8,
    /// Bit i of word k: packet `largest - 1 - 64 k - i` was received.
    pub bitmap: [u64; ACK_WORDS],
}

/// What the server says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpState {
    /// Some of it has arrived.
    Receiving,
    /// The program has it.
    Executing,
    /// Never heard of: send it again.
    Unknown,
    /// Ended; its reply does not exist any more.
    Gone,
    /// Cancelled before it was complete: certainly not executed.
    Cancelled,
}

/// Any frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame<'a> {
    /// The rest of the packet is padding.
    Padding,
    Data(Data<'a>),
    /// Bytes of a request that the server has pulled.
    Pulled {
        op: WireOp,
        id: u32,
        offset: u64,
        last: bool,
        bytes: &'a [u8],
    },
    /// Bytes the server writes into the room for the reply: transfer `id` covers `total` bytes
    /// from `start`; `offset` is relative to `start`.
    Pushed {
        op: WireOp,
        id: u32,
        start: u64,
        total: u64,
        offset: u64,
        last: bool,
        bytes: &'a [u8],
    },
    Ack(Ack),
    OpStat {
        op: WireOp,
        state: OpState,
    },
    Query {
        op: WireOp,
    },
    /// The client may have sent `bytes` unscheduled bytes since the session began.
    Credit {
        slots: u16,
        bytes: u64,
    },
    Pull {
        op: WireOp,
        id: u32,
        offset: u64,
        len: u64,
    },
    /// `charge`: credit the operation has used.
    Cancel {
        op: WireOp,
        reason: u8,
        charge: u32,
    },
    Ping {
        id: u32,
        time: u64,
    },
    Pong {
        id: u32,
        time: u64,
    },
    /// The sender does not use this lane, because it does not work for it.
    LaneLeft {
        lane: u8,
    },
    Close {
        code: u16,
    },
}

/// Bytes of a [`Frame::Pulled`] before its fragment.
pub const PULLED_LEN: usize = 22;
/// Bytes of a [`Frame::Pushed`] before its fragment.
pub const PUSHED_LEN: usize = 38;
