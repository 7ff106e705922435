use abi::io::{self, Offset};
use abi::{Errno, Result};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A client wants bytes.
#[doc(alias = "io_read_t")]
#[derive(Debug)]
pub struct ReadRequest {
    envelope: Envelope,
    nbytes: usize,
    offset: Offset,
}

request_type!(ReadRequest, nonblocking);

impl ReadRequest {
    /// Most bytes that one read moves; clients that ask for more get so many.
    pub const MAX: usize = 1 << 20;

    pub(crate) fn new(envelope: Envelope, read: io::Read) -> Self {
        let nbytes = usize::try_from(read.nbytes).unwrap_or(usize::MAX);
        let nbytes = nbytes.min(envelope.reply_max()).min(Self::MAX);
        Self {
            envelope,
            nbytes,
            offset: read.offset,
        }
    }

    /// How many bytes are wanted at most; 0 to [`Self::MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.nbytes
    }

    /// Whether no bytes are wanted at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nbytes == 0
    }

    /// Where in the file; None is the file's own offset, see
    /// [`OpenFile::cursor`](crate::OpenFile::cursor).
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// Answers with these bytes, at most [`len`](Self::len) of them. None is the end of the file.
    pub fn data(self, bytes: &[u8]) -> Answer {
        self.deliver(bytes).0
    }

    /// Like [`data`](Self::data), and tells whether the client got the bytes. It did not if it died
    /// meanwhile; a device may then keep them for the next reader.
    pub fn deliver(self, bytes: &[u8]) -> (Answer, Result) {
        let bytes = &bytes[..bytes.len().min(self.nbytes)];
        let delivered = self.envelope.deliver(bytes.len() as i64, bytes);
        (Answer::given(), delivered)
    }

    /// Answers out of a resource whose content is `content`: checks that the file is open for
    /// reading, honours offset and length, and moves the file's offset.
    pub fn slice(self, content: &[u8]) -> Answer {
        let Some(opened) = self.envelope.file.clone() else {
            return self.fail(Errno::EBADF);
        };
        if let Err(errno) = crate::posix::read::verify(&opened.file, &self) {
            return self.fail(errno);
        }
        let mut cursor = opened.file.cursor(self.offset);
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let rest = content.get(start..).unwrap_or_default();
        let rest = &rest[..rest.len().min(self.nbytes)];
        cursor.advance(rest.len());
        drop(cursor);
        opened.file.attributes().lock().stamp_read();
        self.data(rest)
    }

    /// Answers with what `fill` puts into the buffer it is given, [`len`](Self::len) bytes long; it returns how many
    /// bytes that are.
    ///
    /// The buffer belongs to the server and is used again, unless more is wanted than the server receives at once:
    /// then it is made for this answer.
    pub fn fill(mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize>) -> Answer {
        let nbytes = self.nbytes;
        let scratch = self.envelope.scratch();
        if scratch.len() >= nbytes {
            return match fill(&mut scratch[..nbytes]) {
                Ok(filled) => {
                    let filled = filled.min(nbytes);
                    self.envelope.reply_scratch(filled as i64, filled);
                    Answer::given()
                }
                Err(errno) => self.fail(errno),
            };
        }
        // Not in pieces: what is written ahead of a reply does not count in its length.
        let mut space = vec![0; nbytes];
        match fill(&mut space) {
            Ok(filled) => self.data(&space[..filled.min(nbytes)]),
            Err(errno) => self.fail(errno),
        }
    }
}

/// A client brings bytes.
///
/// The bytes may be more than the server has received yet: [`unwritten`](Self::unwritten) and
/// [`advance`](Self::advance) go through them piece by piece, also over several waits.
#[doc(alias = "io_write_t")]
#[derive(Debug)]
pub struct WriteRequest {
    envelope: Envelope,
    offset: Offset,
    len: usize,
    /// How many bytes were taken already.
    taken: usize,
    /// How many bytes lie before the one that is at the start of the buffer.
    buffered_from: usize,
    /// Bytes in the buffer before the data.
    header: usize,
    /// Bytes of data in the buffer.
    buffered: usize,
}

request_type!(WriteRequest, nonblocking, keeps_bytes);

impl WriteRequest {
    pub(crate) fn new(envelope: Envelope, offset: Offset) -> Self {
        let header = io::Request::WRITE_HEADER_LEN;
        let len = envelope.len().saturating_sub(header);
        let buffered = envelope.message().len().saturating_sub(header);
        Self {
            envelope,
            offset,
            len,
            taken: 0,
            buffered_from: 0,
            header,
            buffered,
        }
    }

    /// How many bytes the client brings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it brings none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where in the file; None is the file's own offset, see
    /// [`OpenFile::cursor`](crate::OpenFile::cursor).
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The next bytes that were not taken yet, of those that are here already; empty when there are
    /// none. Never waits for the client: for managers that must not be held up by a slow one. They
    /// take what is here and [`accept`](Self::accept) it; the client brings the rest again.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        let Some(skipped) = self.taken.checked_sub(self.buffered_from) else {
            return &[];
        };
        let start = self.header + skipped;
        let end = self.header + self.buffered;
        let bytes = if self.header == 0 {
            self.envelope.raw()
        } else {
            self.envelope.message()
        };
        bytes.get(start..end).unwrap_or_default()
    }

    /// The next bytes that were not taken yet, as many as are at hand; empty when all are taken.
    /// Fetches more from the client when none are, which blocks for as long as they travel.
    ///
    /// # Errors
    /// ESRCH when the client is gone.
    pub fn unwritten(&mut self) -> Result<&[u8]> {
        if self.taken == self.len {
            return Ok(&[]);
        }
        if self.taken >= self.buffered_from + self.buffered {
            let from = io::Request::WRITE_HEADER_LEN + self.taken;
            self.buffered = self.envelope.receive_from(from)?;
            self.buffered_from = self.taken;
            self.header = 0;
            if self.buffered == 0 {
                // The client said more bytes than it has.
                return Err(Errno::EBADMSG);
            }
        }
        Ok(self.received())
    }

    /// Notes that `bytes` more were taken.
    pub fn advance(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.len);
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Whether all bytes were taken.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.taken == self.len
    }

    /// Gives all bytes to `take`, piece by piece; it returns how many it took. Ends when it took
    /// fewer than it was given, or failed; then answers how many bytes were taken, or the error
    /// if none were.
    pub fn pour(mut self, mut take: impl FnMut(usize, &[u8]) -> Result<usize>) -> Answer {
        loop {
            let taken = self.taken;
            let piece = match self.unwritten() {
                Ok([]) => return self.accept(),
                Ok(piece) => piece,
                Err(errno) => return self.fail(errno),
            };
            let offered = piece.len();
            match take(taken, piece) {
                Ok(took) => self.advance(took.min(offered)),
                Err(errno) => return self.fail(errno),
            }
            if self.taken - taken < offered {
                return self.accept();
            }
        }
    }

    /// Answers that the bytes taken so far are written.
    pub fn accept(self) -> Answer {
        let taken = self.taken;
        self.envelope.reply(taken as i64, &[]);
        Answer::given()
    }

    /// Answers that all bytes are written.
    pub fn accept_all(mut self) -> Answer {
        self.taken = self.len;
        self.accept()
    }

    /// Refuses the request; if bytes were taken already, the client is told their number instead.
    pub fn fail(self, errno: Errno) -> Answer {
        if self.taken > 0 {
            return self.accept();
        }
        self.envelope.fail(errno);
        Answer::given()
    }
}
