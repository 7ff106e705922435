//! What of one message is still to be sent, and what the peer has.

use crate::ranges::RangeSet;

/// The sending side of a message of known length, in fragments.
///
/// The fragment at offset 0 carries the message's head and is sent even if it has no bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outflow {
    end: u64,
    next: u64,
    need_head: bool,
    started: bool,
    head_acked: bool,
    aborted: bool,
    resend: RangeSet,
    acked: RangeSet,
    /// A queue of the session holds this message.
    pub(crate) queued: bool,
}

/// One fragment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Nothing is left to send after it.
    pub(crate) last: bool,
}

impl Outflow {
    /// Starts over with a message of `end` bytes. Keeps the memory of its sets.
    pub(crate) fn start(&mut self, end: u64) {
        self.end = end;
        self.next = 0;
        self.need_head = true;
        self.started = false;
        self.head_acked = false;
        self.aborted = false;
        self.resend.clear();
        self.acked.clear();
    }

    /// Forgets what is still to be sent: the message will never be complete.
    pub(crate) fn abort(&mut self) {
        self.need_head = false;
        self.resend.clear();
        self.end = self.next;
        self.aborted = true;
    }

    /// Whether a queue is to take the message: there is something to send, and none has it.
    pub(crate) fn begin_queueing(&mut self) -> bool {
        let due = self.pending() && !self.queued;
        self.queued |= due;
        due
    }

    pub(crate) fn pending(&self) -> bool {
        self.need_head || self.next < self.end || !self.resend.is_empty()
    }

    /// About how many bytes are to be sent.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.end - self.next + self.resend.bytes()
    }

    /// How many bytes the peer has.
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.acked.bytes()
    }

    /// Whether the head was sent at least once.
    pub(crate) const fn started(&self) -> bool {
        self.started
    }

    /// Whether every byte was sent at least once.
    pub(crate) const fn all_sent(&self) -> bool {
        self.started && self.next == self.end && !self.aborted
    }

    /// Whether the next piece is the head.
    pub(crate) const fn at_head(&self) -> bool {
        self.need_head
    }

    /// Whether one piece of `room` bytes would carry the whole message, for the first time.
    pub(crate) const fn fits_whole(&self, room: u64) -> bool {
        !self.started && self.end <= room
    }

    /// Offset of the next piece.
    pub(crate) fn next_offset(&self) -> u64 {
        if self.need_head {
            0
        } else {
            self.resend.start().unwrap_or(self.next)
        }
    }

    /// Takes the next piece of at most `room` bytes. Call only if [`Self::pending`].
    pub(crate) fn take(&mut self, room: u64) -> Piece {
        self.started = true;
        let (offset, len) = if self.need_head {
            self.need_head = false;
            if self.next == 0 {
                self.next = room.min(self.end);
                (0, self.next)
            } else if self.resend.start() == Some(0) {
                self.resend
                    .take(room)
                    .map_or((0, 0), |(start, end)| (start, end - start))
            } else {
                (0, 0)
            }
        } else if let Some((start, end)) = self.resend.take(room) {
            (start, end - start)
        } else {
            let start = self.next;
            self.next = self.end.min(start.saturating_add(room));
            (start, self.next - start)
        };
        Piece {
            offset,
            len,
            last: !self.pending(),
        }
    }

    /// A piece was lost: what the peer does not have of it is to be sent again.
    pub(crate) fn lost(&mut self, offset: u64, len: u64) {
        if offset == 0 && !self.head_acked {
            self.need_head = true;
        }
        let Self { resend, acked, .. } = self;
        acked.gaps(offset, offset + len, |start, end| resend.insert(start, end));
    }

    /// The peer has a piece. Answers whether it has the whole message.
    pub(crate) fn acked(&mut self, offset: u64, len: u64) -> bool {
        if offset == 0 {
            self.head_acked = true;
            self.need_head = false;
        }
        self.acked.insert(offset, offset + len);
        if !self.resend.is_empty() {
            self.resend.remove(offset, offset + len);
        }
        self.complete()
    }

    pub(crate) fn complete(&self) -> bool {
        !self.aborted && self.head_acked && self.acked.contains(0, self.end)
    }

    /// Everything sent so far that the peer is not known to have is to be sent again.
    pub(crate) fn resend_unacked(&mut self) {
        let sent = self.next;
        self.lost(0, sent);
    }

    /// The peer has nothing of it: everything is to be sent again.
    pub(crate) fn resend_all(&mut self) {
        self.acked.clear();
        self.head_acked = false;
        self.resend_unacked();
    }
}
