use abi::Result;

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A message of the manager's own: for what is longer than a device control, or has no fixed shape.
#[doc(alias = "io_msg_t")]
#[derive(Debug)]
pub struct OwnRequest {
    envelope: Envelope,
    manager: u16,
    number: u16,
}

request_type!(OwnRequest);

impl OwnRequest {
    pub(crate) fn new(envelope: Envelope, manager: u16, number: u16) -> Self {
        Self {
            envelope,
            manager,
            number,
        }
    }

    /// Which protocol the message belongs to. A manager refuses those it does not speak.
    #[must_use]
    pub fn manager(&self) -> u16 {
        self.manager
    }

    /// Which message of that protocol.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Bytes of data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.envelope.len().saturating_sub(HEADER)
    }

    /// Whether there is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room for an answer at the client, in bytes.
    #[must_use]
    pub fn reply_max(&self) -> usize {
        self.envelope.reply_max()
    }

    /// Reads the data from `offset` on; returns how many bytes, 0 behind the end. May block while they come
    /// from another node, and be repeated.
    ///
    /// # Errors
    /// ESRCH the client is gone.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<usize> {
        self.envelope.read_at(HEADER + offset, into)
    }

    /// Answers with a status of the manager's own, 0 or more, and bytes.
    pub fn reply(self, status: i64, bytes: &[u8]) -> Answer {
        self.envelope.reply(status, bytes);
        Answer::given()
    }
}

const HEADER: usize = abi::io::Request::MESSAGE_HEADER_LEN;
