//! A received message, and the client blocked on it.

use std::fmt;
use std::sync::Arc;

use abi::{ChannelId, ConnectionId, Credentials, Errno, Result, SenderId};
use rights::{ClientRights, Operation};

use crate::Endpoint;

/// A received message. Its client stays blocked until [`reply`](Self::reply) or [`fail`](Self::fail).
///
/// It may be kept, given to another thread, and answered in any order. Dropped unanswered it fails with
/// `EIO` and a warning is logged. In a forked child every call fails with `EBADF`.
pub struct Message {
    endpoint: Endpoint,
    id: MessageId,
    info: MessageInfo,
    answered: bool,
}

/// Names a message within its server process; the value of an UNBLOCK pulse.
#[doc(alias = "rcvid")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// What is known about a received message besides its bytes (I26).
#[doc(alias = "_msg_info")]
#[derive(Clone, Debug)]
pub struct MessageInfo {
    /// Who sent it, as the node daemons vouch for it. Those of the session's opening.
    pub credentials: Arc<Credentials>,
    /// The channel it came to.
    pub channel: ChannelId,
    /// The client's attachment to the channel; all its connections to the channel share it (I7).
    #[doc(alias = "scoid")]
    pub sender: SenderId,
    /// The client's own number for the connection.
    #[doc(alias = "coid")]
    pub connection: ConnectionId,
    /// Priority of the send.
    pub priority: u8,
    /// Bytes that the client sent in all.
    #[doc(alias = "srcmsglen")]
    pub len: u64,
    /// Bytes put into the buffer of `receive`.
    #[doc(alias = "msglen")]
    pub received: usize,
    /// Room for the reply at the client, in bytes.
    #[doc(alias = "dstmsglen")]
    pub reply_max: u64,
}

impl Message {
    pub(crate) const fn new(endpoint: Endpoint, id: MessageId, info: MessageInfo) -> Self {
        Self {
            endpoint,
            id,
            info,
            answered: false,
        }
    }

    /// Bytes put into the buffer of `receive`.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.info.received
    }

    /// What is known about the message.
    #[doc(alias = "MsgInfo")]
    #[must_use]
    pub const fn info(&self) -> &MessageInfo {
        &self.info
    }

    /// The number that an UNBLOCK pulse for this message carries.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// Changes whenever the rights of any client of this endpoint have changed. One load.
    #[must_use]
    #[inline]
    pub fn rights_generation(&self) -> u64 {
        self.endpoint.shared().rights.get()
    }

    /// What the client may do where, as its rights are now.
    ///
    /// # Errors
    /// `ESRCH` when the client is not blocked on this message any more, `EBADF` in a forked child.
    pub fn rights(&self) -> Result<Arc<ClientRights>> {
        self.endpoint.shared().rights_of(self.id)
    }

    /// Tells the node that something was refused because of a rule, `count` times: it counts and logs that.
    pub fn report_denial(&self, operation: Operation, rule: Option<u16>, path: &[u8], count: u32) {
        let shared = self.endpoint.shared();
        shared.denied(self.id, operation, rule, path, count);
    }

    /// Whether the client wants to leave. To be checked before acting on an UNBLOCK pulse (I42).
    #[must_use]
    pub fn unblock_requested(&self) -> bool {
        self.endpoint.shared().unblock_requested(self.id)
    }

    /// Reads from what the client sent, from `offset` on; returns the bytes read, 0 past the end. Consumes
    /// nothing and may be repeated (I28). Blocks while bytes come from another node.
    ///
    /// # Errors
    /// `ESRCH` when the client is not blocked on this message any more (I27), `EBADF` in a forked child.
    #[doc(alias = "MsgRead")]
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.endpoint.shared().read_at(self.id, offset, into)
    }

    /// Writes into the client's reply buffer from `offset` on, before the reply; returns the bytes written,
    /// less than given if the buffer ends there (I28). Blocks until the bytes are on their way for good.
    ///
    /// # Errors
    /// `ESRCH` when the client is not blocked on this message any more (I27), `EBADF` in a forked child.
    #[doc(alias = "MsgWrite")]
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.endpoint.shared().write_at(self.id, offset, bytes)
    }

    /// Releases the client with `status` and `bytes`, clipped to the client's buffer (I21, I29). Returns when
    /// `bytes` may be reused; small replies are copied and do not wait for the client.
    ///
    /// # Errors
    /// `ESRCH` when the client is not blocked on this message any more (I27), `EBADF` in a forked child.
    #[doc(alias = "MsgReply")]
    pub fn reply(mut self, status: i64, bytes: &[u8]) -> Result {
        self.answered = true;
        self.endpoint.shared().reply(self.id, status, bytes)
    }

    /// Releases the client with an error (I30).
    ///
    /// # Errors
    /// `ESRCH` when the client is not blocked on this message any more (I27), `EBADF` in a forked child.
    #[doc(alias = "MsgError")]
    pub fn fail(mut self, errno: Errno) -> Result {
        self.answered = true;
        self.endpoint.shared().fail(self.id, errno)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        if self.endpoint.shared().fail(self.id, Errno::EIO).is_ok() {
            tracing::warn!(
                sender = self.info.sender.0,
                "a message was dropped without an answer"
            );
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
