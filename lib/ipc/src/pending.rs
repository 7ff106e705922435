//! Sends whose answer is waited for later.

use std::fmt;
use std::sync::Arc;

use crate::client::Submitted;
use crate::shared::Shared;
use crate::wait::WaitIndex;
use crate::{Failure, Reply};

/// A send under way, from [`Connection::submit`](crate::Connection::submit): one thread may have many.
///
/// What is submitted leaves together with what is submitted soon after: when a thread of the process begins to
/// wait for anything, on [`Endpoint::flush`](crate::Endpoint::flush), or a millisecond later by itself. Dropping it
/// asks the server to give the message up, as an interrupt would, and does not wait for its word. Leaking it leaks
/// its memory and its place among the operations of the session.
#[must_use = "dropping it gives the send up"]
pub struct Pending(Submitted);

/// What comes back of a submitted send: the server's answer and the caller's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's answer; its length counts bytes of `reply`.
    pub answer: Reply,
    /// What was sent.
    pub request: Vec<u8>,
    /// The memory for the reply, as long as it was handed over.
    pub reply: Vec<u8>,
}

impl Pending {
    pub(crate) const fn new(submitted: Submitted) -> Self {
        Self(submitted)
    }

    /// Blocks until the server answers, as [`send`](crate::Connection::send) does, and gives the memory back.
    ///
    /// # Errors
    /// As [`send_vectored`](crate::Connection::send_vectored); the memory is dropped.
    pub fn wait(self) -> Result<Answer, Failure> {
        let (answer, request, reply) = self.0.wait()?;
        Ok(Answer {
            answer,
            request,
            reply,
        })
    }

    pub(crate) fn place(&self) -> (&Arc<Shared>, WaitIndex) {
        self.0.place()
    }

    /// Whether the answer, or a failure, is there already. Never blocks, and takes nothing in: a thread that waits, or
    /// the library's own after a millisecond, does that.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.is_ended()
    }
}

impl Answer {
    /// The bytes of the reply.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.reply[..self.answer.len.min(self.reply.len())]
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
