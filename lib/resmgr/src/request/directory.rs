use abi::codec::{Encode, Writer};
use abi::io::{self, Entry};
use abi::limits::DIRECTORY_ENTRIES_MAX;
use abi::{Errno, Result};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A client lists a directory: add entries until one does not fit, then [`end`](Self::end).
#[doc(alias = "readdir")]
#[derive(Debug)]
pub struct ReadDirectoryRequest {
    envelope: Envelope,
    arguments: io::ReadDirectory,
    room: usize,
    used: usize,
    entries: usize,
}

request_type!(ReadDirectoryRequest);

impl ReadDirectoryRequest {
    pub(crate) fn new(mut envelope: Envelope, arguments: io::ReadDirectory) -> Self {
        let wanted = usize::try_from(arguments.nbytes).unwrap_or(usize::MAX);
        let room = wanted
            .min(envelope.reply_max())
            .min(envelope.scratch().len());
        Self {
            envelope,
            arguments,
            room,
            used: 0,
            entries: 0,
        }
    }

    /// Where to begin: 0 at the start, else the `next` of the last entry that the client got.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.arguments.cookie
    }

    /// Whether entries should bring their attributes.
    #[must_use]
    pub fn wants_stat(&self) -> bool {
        self.arguments.with_stat
    }

    /// Adds an entry; false if there is no room for it, and it is to be the first of the next
    /// request.
    pub fn add(&mut self, entry: &Entry<'_>) -> bool {
        if self.entries == DIRECTORY_ENTRIES_MAX {
            return false;
        }
        let (used, room) = (self.used, self.room);
        let mut writer = Writer::fixed(&mut self.envelope.scratch()[used..room]);
        entry.encode(&mut writer);
        let Ok(written) = writer.finish() else {
            return false;
        };
        self.used += written;
        self.entries += 1;
        true
    }

    /// How many entries were added.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Answers with the entries added; none is the end of the directory.
    pub fn end(self) -> Answer {
        self.envelope.reply_scratch(self.entries as i64, self.used);
        Answer::given()
    }

    /// Answers with the entries, or refuses; EINVAL if there is an entry but no room for it.
    pub fn finish(self, complete: Result<bool>) -> Answer {
        match complete {
            Ok(false) if self.entries == 0 => self.fail(Errno::EINVAL),
            Err(errno) if self.entries == 0 => self.fail(errno),
            _ => self.end(),
        }
    }
}
