//! Messages to a file whose answer is waited for later.

use abi::io::Request;
use abi::{Encode, Result};
use ipc::{Pending, SendOptions};

use super::File;

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
}
