//! What goes in from the program and what comes out to it: keys, requests, events.

use abi::time::Instant;

use crate::policy::Policy;
use crate::summary::{LaneReason, LaneState};

/// One of the program's links, numbered by the shell. A memory ring to one peer is a link too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// A session in this process. Stale keys are harmless: every call answers them with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// An operation this process asked for (client side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpKey {
    pub(crate) session: SessionKey,
    pub(crate) seq: u32,
    pub(crate) slot: u16,
}

/// An operation the peer asked for (server side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingKey {
    pub(crate) session: SessionKey,
    pub(crate) seq: u32,
    pub(crate) slot: u16,
}

/// A pull or a push that is under way (server side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey {
    pub(crate) session: SessionKey,
    pub(crate) id: u32,
}

impl OpKey {
    /// The session the operation belongs to.
    #[must_use]
    pub const fn session(self) -> SessionKey {
        self.session
    }

    /// The slot of the operation: small, dense, reused last in first out. Good as a table index.
    #[must_use]
    pub const fn slot(self) -> u16 {
        self.slot
    }
}

impl IncomingKey {
    /// The session the operation belongs to.
    #[must_use]
    pub const fn session(self) -> SessionKey {
        self.session
    }

    /// The slot of the operation: small, dense, reused last in first out. Good as a table index.
    #[must_use]
    pub const fn slot(self) -> u16 {
        self.slot
    }
}

impl SessionKey {
    /// The index of the session: small, dense, reused. Good as a table index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl TransferKey {
    /// The session the transfer belongs to.
    #[must_use]
    pub const fn session(self) -> SessionKey {
        self.session
    }
}

/// Up to 48 bytes that travel with a request and mean nothing to the transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

impl Meta {
    /// Most bytes of a meta.
    pub const LEN_MAX: usize = 48;
    /// No bytes.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::LEN_MAX],
    };

    /// A meta of these bytes, or `None` if they are more than [`Self::LEN_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut meta = Self::EMPTY;
        meta.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        meta.len = bytes.len() as u8;
        Some(meta)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Default for Meta {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl core::fmt::Debug for Meta {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Meta({} bytes)", self.len)
    }
}

/// One operation to ask the peer for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Bytes for the peer's program, delivered with [`Event::Request`].
    pub meta: Meta,
    /// Length of the request in bytes; the bytes are read from [`Buffer::Request`].
    pub len: u64,
    /// Bytes of room for the reply; more are never stored.
    pub reply_max: u64,
    /// No answer is awaited: ends by [`Event::Replied`] as soon as the peer's transport has it.
    /// At most [`crate::config::ONE_WAY_MAX`] bytes.
    pub one_way: bool,
    /// When to ask the peer to give up, as [`crate::Transport::cancel`] does.
    pub deadline: Option<Instant>,
    /// Goes before other traffic of the session.
    pub control: bool,
    /// Which lanes the operation may use, in both directions.
    pub policy: Policy,
}

impl Request {
    /// A request that waits for its reply without a deadline.
    #[must_use]
    pub const fn new(meta: Meta, len: u64, reply_max: u64) -> Self {
        Self {
            meta,
            len,
            reply_max,
            one_way: false,
            deadline: None,
            control: false,
            policy: Policy::LoadBalance,
        }
    }
}

/// Whose bytes are meant in a call of [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buffer {
    /// Client: the bytes of a request. Valid until the operation ends.
    Request(OpKey),
    /// Client: the room for the reply, also written by pushes. Valid until the operation ends.
    Reply(OpKey),
    /// Server: the part of a request that comes unasked. May be written before
    /// [`Event::Request`] names it; at most `unscheduled` bytes.
    Incoming(IncomingKey),
    /// Server: the bytes of the reply. Valid until [`Event::Released`].
    Outgoing(IncomingKey),
    /// Server: target of a pull or source of a push; offset 0 is the first byte of the transfer.
    /// Valid until [`Event::Transferred`] or [`Event::TransferFailed`].
    Transfer(TransferKey),
}

/// The program's memory. The transport keeps ranges, never pointers.
///
/// Called only from within [`crate::Transport::transmit`] (loads) and
/// [`crate::Transport::receive`] (stores), with ranges the program itself has declared. An
/// implementation must answer for memory that is gone: load zeros, drop stores.
pub trait Memory {
    /// Fills `into` from `offset` of the buffer.
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]);
    /// Writes `bytes` at `offset` of the buffer.
    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]);
}

/// What happened. Events come in the order in which the transport learnt of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Server: a request has arrived with the first `available` of its `len` bytes in
    /// [`Buffer::Incoming`]. The rest comes by [`crate::Transport::pull`]. Must be answered by
    /// [`crate::Transport::reply`] or [`crate::Transport::fail`], unless `one_way`: then the key
    /// only names the buffer, which is the program's from here on.
    Request {
        /// The operation.
        incoming: IncomingKey,
        /// Its session.
        session: SessionKey,
        /// What the client's program gave along.
        meta: Meta,
        /// Length of the whole request in bytes.
        len: u64,
        /// Bytes of it that are here.
        available: u64,
        /// Room the client has for the reply, in bytes.
        reply_max: u64,
        /// Nobody waits for a reply.
        one_way: bool,
    },
    /// Client: the reply is complete in [`Buffer::Reply`]. The operation has ended.
    Replied {
        /// The operation.
        op: OpKey,
        /// As given by the server.
        status: i64,
        /// Bytes of the reply.
        len: u64,
    },
    /// Client: the server answered with an error number. The operation has ended.
    Refused {
        /// The operation.
        op: OpKey,
        /// As given by the server.
        errno: u16,
    },
    /// Client: there will be no reply. The operation has ended.
    Failed {
        /// The operation.
        op: OpKey,
        /// Why, and whether it may have been done.
        failure: Failure,
    },
    /// Server: all bytes of the transfer are there.
    Transferred {
        /// The transfer.
        transfer: TransferKey,
    },
    /// Server: the transfer will not finish.
    TransferFailed {
        /// The transfer.
        transfer: TransferKey,
    },
    /// Server: the client gave up waiting; answer soon. May be in the queue still when the program
    /// has answered meanwhile.
    Unblock {
        /// The operation.
        incoming: IncomingKey,
        /// As given to [`crate::Transport::cancel`].
        reason: u8,
    },
    /// Server: forget the operation and its buffers; its session has died or its client cancelled
    /// it before it was complete (then [`Event::Request`] was never seen).
    Withdrawn {
        /// The operation.
        incoming: IncomingKey,
    },
    /// Server: [`Buffer::Outgoing`] of this operation is not needed any more.
    Released {
        /// The operation.
        incoming: IncomingKey,
    },
    /// The session is gone, after all its operations have ended.
    Closed {
        /// The session.
        session: SessionKey,
        /// Why.
        cause: Cause,
        /// The code with which the peer closed it, if it did.
        code: Option<u16>,
    },
    /// A lane of the session has changed its state. [`LaneState::Suspect`] is a hint for the node
    /// daemon: it should probe the link.
    LaneChanged {
        /// The session.
        session: SessionKey,
        /// Number of the lane.
        lane: u8,
        /// Its state now.
        state: LaneState,
        /// What has shown it.
        why: LaneReason,
    },
}

/// Why something ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// No lane reaches the peer.
    Link,
    /// The peer's node is dead.
    Node,
    /// The peer's process is dead or closed the session.
    Server,
    /// The program cancelled the operation.
    Cancelled,
    /// The operation's deadline passed.
    TimedOut,
    /// The peer broke the protocol.
    Protocol,
    /// This process closed the session.
    Closed,
}

/// Whether a failed operation may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// Certainly not executed: safe to repeat.
    NotDone,
    /// It may have been executed.
    Unknown,
}

/// How an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// Whether it may have been executed.
    pub delivery: Delivery,
}

/// Why [`crate::Transport::send`] did not start an operation. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The session is closed, or the key is stale, or this side is the server.
    Closed,
    /// As many operations are outstanding as the server allows; try again after one has ended.
    NoSlot,
    /// A one-way request is longer than [`crate::config::ONE_WAY_MAX`] bytes.
    TooLong,
    /// The policy is exclusive to a lane that the session does not have.
    NoLane,
}

/// Why [`crate::Transport::open`] refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The local session id is in use or zero.
    IdInUse,
    /// No lane, more than [`crate::config::LANES_MAX`], or two with one id.
    BadLanes,
    /// A lane's largest packet is below [`crate::config::MTU_MIN`] or above
    /// [`crate::config::MTU_MAX`] bytes.
    BadMtu,
    /// A lane that is not reliable needs a cipher.
    CipherRequired,
    /// Zero slots, or more than [`crate::config::SLOTS_MAX`].
    BadSlots,
    /// As many sessions are open as [`crate::Config::sessions_max`] allows.
    TooManySessions,
}

/// The operation has ended, or the key was never valid. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl core::fmt::Display for SendError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Closed => "the session is closed",
            Self::NoSlot => "too many operations are outstanding in the session",
            Self::TooLong => "a one-way request is too long",
            Self::NoLane => "the session has no lane over the link that the policy demands",
        })
    }
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::IdInUse => "the session id is in use",
            Self::BadLanes => "the session has no lane, too many, or two with one id",
            Self::BadMtu => "the largest packet of a lane is too small or too large",
            Self::CipherRequired => "a lane that is not reliable needs a cipher",
            Self::BadSlots => "the number of operation slots is zero or too large",
            Self::TooManySessions => "too many sessions",
        })
    }
}

impl core::fmt::Display for Gone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the operation has ended")
    }
}

impl core::error::Error for SendError {}
impl core::error::Error for OpenError {}
impl core::error::Error for Gone {}
