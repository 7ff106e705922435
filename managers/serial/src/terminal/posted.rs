//! A write that is on its way while the terminal is listened to again.

use abi::io::Request;
use abi::{Errno, Result};
use client::{File, Pending, SendOptions};

/// Bytes given to a port that has not yet said how many of them it took. Dropping it gives up what it did not take.
#[derive(Debug)]
pub(super) struct Posted {
    pending: Pending,
    bytes: Vec<u8>,
}

impl Posted {
    /// Sends them. The deadline counts when somebody waits for the end.
    ///
    /// # Errors
    /// What the way to the port answers.
    pub(super) fn send(port: &File, bytes: &[u8], options: &SendOptions<'_>) -> Result<Self> {
        let write = Request::Write {
            offset: None,
            data: bytes,
        };
        Ok(Self {
            pending: port.submit(&write, 0, options)?,
            bytes: bytes.to_vec(),
        })
    }

    /// Whether the port's word is there.
    pub(super) fn is_ended(&self) -> bool {
        self.pending.is_ended()
    }

    /// Waits for the port's word, until the deadline; what it took, and what it did not.
    ///
    /// # Errors
    /// What the port answers.
    pub(super) fn finish(mut self) -> Result<(usize, Vec<u8>)> {
        let taken = match self.pending.wait() {
            Ok(ended) => usize::try_from(ended.answer.status).map_err(|_| Errno::EBADMSG)?,
            Err(failure) if failure.errno == Errno::ETIMEDOUT => 0,
            Err(failure) => return Err(failure.errno),
        };
        if taken > self.bytes.len() {
            return Err(Errno::EBADMSG);
        }
        Ok((taken, self.bytes.split_off(taken)))
    }
}
