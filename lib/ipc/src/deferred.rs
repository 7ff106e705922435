//! Long loads put off, so that bytes go from their owner into a ring without a stop in between.
//!
//! The transport writes a packet into a space of ours and asks for the message's bytes by [`Memory::load`]. For a
//! packet that goes into shared memory, a long load only notes what is wanted where; the ring then takes the
//! heads from the space and the bytes from where they lie.
//!
//! [`Memory::load`]: transport::Memory::load

use drivers::memory::Room;

use crate::regions::Source;

/// The loads put off while one packet is written.
#[derive(Default)]
pub(crate) struct Deferred {
    /// Addresses of the space; empty unless loads may be put off.
    space: std::ops::Range<usize>,
    pieces: Vec<Piece>,
}

struct Piece {
    /// Place in the space.
    at: usize,
    len: usize,
    source: Source,
    offset: u64,
}

impl Deferred {
    /// A packet is about to be written into `space`.
    pub(crate) fn start(&mut self, allowed: bool, space: &[u8]) {
        self.pieces.clear();
        let start = space.as_ptr().addr();
        self.space = if allowed {
            start..start + space.len()
        } else {
            0..0
        };
    }

    /// The packet is written.
    pub(crate) fn stop(&mut self) {
        self.space = 0..0;
    }

    /// Whether anything was put off.
    pub(crate) fn any(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Puts a load off if it is long and its place lies within the space.
    pub(crate) fn put_off(&mut self, source: Source, offset: u64, into: &[u8]) -> bool {
        let address = into.as_ptr().addr();
        let fits = self.space.contains(&address) && into.len() <= self.space.end - address;
        if into.len() < LONG || !fits {
            return false;
        }
        let at = address - self.space.start;
        if self
            .pieces
            .last()
            .is_some_and(|last| at < last.at + last.len)
        {
            return false;
        }
        self.pieces.push(Piece {
            at,
            len: into.len(),
            source,
            offset,
        });
        true
    }

    /// Puts the packet together in its place.
    pub(crate) fn fill(&self, space: &[u8], room: &Room<'_>) {
        let mut done = 0;
        for piece in &self.pieces {
            room.fill(done, &space[done..piece.at]);
            let mut at = piece.at;
            piece.source.pieces(piece.offset, piece.len, |bytes| {
                room.fill(at, bytes);
                at += bytes.len();
            });
            done = piece.at + piece.len;
        }
        room.fill(done, &space[done..]);
    }

    /// Carries the loads out after all, into the space.
    pub(crate) fn carry_out(&mut self, space: &mut [u8]) {
        for piece in self.pieces.drain(..) {
            piece
                .source
                .load(piece.offset, &mut space[piece.at..piece.at + piece.len]);
        }
    }
}

/// Bytes from which on a load is worth putting off.
const LONG: usize = 2048;
