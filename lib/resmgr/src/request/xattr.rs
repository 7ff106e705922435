use abi::io::{self, Xattr};
use abi::{Decode, Errno, Result};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A client reads or changes extended attributes.
#[derive(Debug)]
pub struct XattrRequest {
    envelope: Envelope,
}

request_type!(XattrRequest, keeps_bytes);

impl XattrRequest {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self { envelope }
    }

    /// What is asked for.
    ///
    /// # Errors
    /// EBADMSG for a message that is no such request.
    pub fn command(&self) -> Result<Xattr<'_>> {
        match io::Request::from_bytes(self.envelope.message()) {
            Ok(io::Request::Xattr(xattr)) => Ok(xattr),
            Ok(_) => Err(Errno::EBADMSG),
            Err(malformed) => Err(malformed.into()),
        }
    }

    /// Answers that it is set or removed.
    pub fn done(self) -> Answer {
        self.envelope.reply(0, &[]);
        Answer::given()
    }

    /// Answers a get or a list with all of its bytes; ERANGE if the client has too little room,
    /// and the length alone if it has none.
    pub fn value(self, bytes: &[u8]) -> Answer {
        let room = match self.command() {
            Ok(Xattr::Get { nbytes, .. } | Xattr::List { nbytes }) => nbytes as usize,
            Ok(_) => return self.fail(Errno::EINVAL),
            Err(errno) => return self.fail(errno),
        };
        match room.min(self.envelope.reply_max()) {
            _ if room == 0 => self.envelope.reply(bytes.len() as i64, &[]),
            room if room < bytes.len() => self.envelope.fail(Errno::ERANGE),
            _ => self.envelope.reply(bytes.len() as i64, bytes),
        }
        Answer::given()
    }

    /// Answers done, or refuses.
    pub fn finish(self, result: Result) -> Answer {
        match result {
            Ok(()) => self.done(),
            Err(errno) => self.fail(errno),
        }
    }

    /// Refuses the request.
    pub fn fail(self, errno: Errno) -> Answer {
        self.envelope.fail(errno);
        Answer::given()
    }
}
