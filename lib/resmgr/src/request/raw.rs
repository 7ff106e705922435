use abi::Result;

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A message that is none of the resource managers' protocol, for a handler of
/// [`Server::on_message`](crate::Server::on_message).
#[derive(Debug)]
pub struct RawRequest {
    envelope: Envelope,
}

request_type!(RawRequest, keeps_bytes);

impl RawRequest {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self { envelope }
    }

    /// As many of its bytes as have been received, the number of the message first.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        self.envelope.message()
    }

    /// Bytes of the whole message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.envelope.len()
    }

    /// Whether it is empty. None is: it has a number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the message from `offset` on; returns how many bytes, 0 behind the end. May block while they come
    /// from another node, and be repeated.
    ///
    /// # Errors
    /// ESRCH the client is gone.
    #[doc(alias = "resmgr_msgread")]
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<usize> {
        self.envelope.read_at(offset, into)
    }

    /// Room for an answer at the client, in bytes.
    #[must_use]
    pub fn reply_max(&self) -> usize {
        self.envelope.reply_max()
    }

    /// Answers.
    pub fn reply(self, status: i64, bytes: &[u8]) -> Answer {
        self.envelope.reply(status, bytes);
        Answer::given()
    }

    /// Refuses the request.
    pub fn fail(self, errno: abi::Errno) -> Answer {
        self.envelope.fail(errno);
        Answer::given()
    }
}
