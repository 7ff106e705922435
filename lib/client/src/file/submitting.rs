//! Messages to a file whose answer is waited for later.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abi::io::Request;
use abi::{Encode, Result};
use ipc::{Pending, SendOptions};

use super::File;

/// A file that its server is about to close. Dropping it gives the message up; the server closes then when the client ends.
#[derive(Debug)]
#[must_use = "dropping it gives the close up"]
pub struct Closing {
    pending: Pending,
    /// Its connection carries the message.
    _file: File,
}

/// How long a file that is dropped waits for its server to close it.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

impl Closing {
    /// Whether the server has answered. Never blocks.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.pending.is_ended()
    }

    /// Blocks until the server has closed the file, for two seconds from the beginning at most.
    ///
    /// # Errors
    /// As [`File::close`]; `ETIMEDOUT`.
    pub fn wait(self) -> Result {
        self.pending.wait()?;
        Ok(())
    }
}

impl File {
    /// As [`call`](Self::call), but returns as soon as the message is on its way; `room` is the space for the answer in
    /// bytes. A thread that has something else to wait for is not woken for an answer that it may ask for later.
    ///
    /// Messages that are under way together may be served in any order. Dropping the result gives the message up.
    ///
    /// # Errors
    /// As [`call`](Self::call), if the message could not be started.
    pub fn submit(
        &self,
        request: &Request<'_>,
        room: usize,
        options: &SendOptions<'_>,
    ) -> Result<Pending> {
        let pending = self.submit_soon(request, vec![0; room], options)?;
        self.line.flush();
        Ok(pending)
    }

    /// As [`submit`](Self::submit), but the message leaves together with the next one, when the thread begins to wait for
    /// anything, or within a millisecond. The answer comes into `room`, which the result gives back.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_soon(
        &self,
        request: &Request<'_>,
        room: Vec<u8>,
        options: &SendOptions<'_>,
    ) -> Result<Pending> {
        let message = request.to_bytes()?;
        Ok(self.line.submit(message, room, options)?)
    }

    /// As [`close`](Self::close), but does not wait for the server.
    ///
    /// # Errors
    /// Those of a message that could not be started.
    pub fn begin_close(self) -> Result<Closing> {
        let options = SendOptions {
            deadline: Instant::now().checked_add(CLOSE_LIMIT),
            ..SendOptions::default()
        };
        let pending = self.submit(&Request::Close, 0, &options)?;
        self.closed.store(true, Ordering::Relaxed);
        Ok(Closing {
            pending,
            _file: self,
        })
    }
}
