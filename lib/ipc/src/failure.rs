//! Why a send did not come back with a reply.

use std::fmt;

use abi::{Errno, Incarnation};

/// Why a send did not come back with a reply, and whether repeating it is safe.
///
/// Converts into [`Errno`], so `?` works; only who wants to repeat or to report needs the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number that QNX's `MsgSend` would leave in `errno` (I22, I69).
    pub errno: Errno,
    /// Whether the server may have seen the message.
    pub delivery: Delivery,
    /// Who or what ended the send.
    pub cause: Cause,
    /// The life of the peer that the message was meant for; 0 if none was reached.
    pub peer: Incarnation,
}

/// Whether a failed message may have had effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server certainly never received it: repeating it is safe.
    NotDone,
    /// The server may have received it, or certainly did.
    Unknown,
}

/// Who or what ended a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This process: a bad argument, a closed connection, a forked child.
    Local,
    /// The server answered with an error.
    Answer,
    /// The server's channel or connection is gone; the server process may live.
    Channel,
    /// The server process ended.
    Server,
    /// The server's node ended or is unreachable.
    Node,
    /// No lane to the node works.
    Link,
    /// An [`Interrupt`](crate::Interrupt) was triggered.
    Interrupted,
    /// The deadline passed.
    TimedOut,
    /// The peer broke the protocol.
    Protocol,
}

impl Failure {
    pub(crate) const fn local(errno: Errno) -> Self {
        Self {
            errno,
            delivery: Delivery::NotDone,
            cause: Cause::Local,
            peer: Incarnation(0),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.errno.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Self {
        failure.errno
    }
}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        failure.errno.into()
    }
}
