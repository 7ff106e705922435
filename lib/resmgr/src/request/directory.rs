use abi::io::{self, Entry, LISTING_END, push_entry};
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
    reply: Vec<u8>,
    entries: usize,
}

request_type!(ReadDirectoryRequest);

impl ReadDirectoryRequest {
    /// Longest answer in bytes: all entries that one may hold, with attributes and names of usual length.
    pub const MAX: usize = 1 << 20;

    pub(crate) fn new(envelope: Envelope, arguments: io::ReadDirectory) -> Self {
        let wanted = usize::try_from(arguments.nbytes).unwrap_or(usize::MAX);
        let room = wanted.min(envelope.reply_max()).min(Self::MAX);
        Self {
            envelope,
            arguments,
            room,
            reply: Vec::new(),
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
        let nbytes = u32::try_from(self.room).unwrap_or(u32::MAX);
        if !matches!(push_entry(&mut self.reply, nbytes, entry), Ok(true)) {
            return false;
        }
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
        self.reply(0)
    }

    fn reply(self, mark: i64) -> Answer {
        self.envelope.reply(self.entries as i64 | mark, &self.reply);
        Answer::given()
    }

    /// Answers with the entries, or refuses; EINVAL if there is an entry but no room for it. With `Ok(true)` they are the
    /// last, and the client need not ask for more.
    pub fn finish(self, complete: Result<bool>) -> Answer {
        match complete {
            Ok(true) if self.entries > 0 => self.reply(LISTING_END),
            Ok(false) if self.entries == 0 => self.fail(Errno::EINVAL),
            Err(errno) if self.entries == 0 => self.fail(errno),
            _ => self.end(),
        }
    }
}
