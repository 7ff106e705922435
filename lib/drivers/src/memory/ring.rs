//! One direction: a ring of records with one producer and one consumer.
//!
//! Positions count bytes since the start and never wrap; the place in the ring is their low bits. A record
//! is one header word (length, and the sender's CPU as a hint) and the bytes, in whole cache lines. Each
//! side keeps its own position in private memory and only publishes it, so the peer can lie about its
//! own position and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mapping::{Direction, Mapping, Memory, Side, Word};
use crate::DriverError;

/// The side that puts packets in.
#[derive(Debug)]
pub(super) struct Producer<M = Mapping> {
    memory: Arc<M>,
    direction: Direction,
    tail: u64,
    published: u64,
    /// The consumer's position when it was last looked at.
    head: u64,
    /// Bytes that the packet which did not fit needs.
    needed: u64,
    /// Bytes that are free after a return to the start, at least.
    kept_free: u64,
    /// Something was published since the consumer was last looked after.
    unannounced: bool,
    broken: bool,
}

impl<M: Memory> Producer<M> {
    pub(super) fn new(memory: Arc<M>, direction: Direction) -> Self {
        Self {
            memory,
            direction,
            tail: 0,
            published: 0,
            head: 0,
            needed: 0,
            kept_free: 0,
            unannounced: false,
            broken: false,
        }
    }

    /// For a producer that does not wait for room: most of the ring is to be free whenever all of it is read.
    pub(super) fn keep_free(&mut self) {
        let size = self.memory.ring_bytes() as u64;
        self.kept_free = size - size / 8;
    }

    /// An empty ring is used from its start again, so that small traffic stays in few warm pages. Only where
    /// there is room enough before the present place: the rest of the ring is not free until the consumer
    /// has stepped over it.
    pub(super) fn return_to_start(
        &mut self,
        bytes: usize,
        segment: usize,
    ) -> Result<(), DriverError> {
        let size = self.memory.ring_bytes() as u64;
        let offset = self.tail & (size - 1);
        if offset < WARM_BYTES {
            return Ok(());
        }
        let train = record_bytes(segment).saturating_mul(bytes.div_ceil(segment) as u64);
        // A long packet is seldom the last one: those behind it need room, too.
        let room = if train > WARM_BYTES { size / 2 } else { train };
        if room.max(self.kept_free) > offset {
            return Ok(());
        }
        self.refresh()?;
        if self.head == self.tail {
            self.memory.set_record(self.direction, self.tail, TO_START);
            self.tail += size - offset;
        }
        Ok(())
    }

    /// Puts one packet in, unpublished. False if there is no room: then the consumer has been asked to ring
    /// when there is.
    pub(super) fn push(&mut self, packet: &[u8]) -> Result<bool, DriverError> {
        let room = self.make_room(packet.len())?;
        if room {
            self.copy(0, packet);
            self.push_filled(packet.len());
        }
        Ok(room)
    }

    /// True if a packet of `len` bytes fits; otherwise the consumer has been asked to ring when one does.
    pub(super) fn make_room(&mut self, len: usize) -> Result<bool, DriverError> {
        let needed = record_bytes(len);
        Ok(self.room_for(needed)? || self.ask_for_room(needed)?)
    }

    /// Copies a part of the next packet in, for which there must be room.
    pub(super) fn copy(&self, offset: usize, bytes: &[u8]) {
        let position = self.tail + HEADER + offset as u64;
        self.memory.write(self.direction, position, bytes);
    }

    /// Ends a packet of `len` bytes that was copied in.
    pub(super) fn push_filled(&mut self, len: usize) {
        let header = len as u64 | u64::from(current_cpu()) << 32;
        self.memory.set_record(self.direction, self.tail, header);
        self.tail += record_bytes(len);
    }

    /// Shows the consumer everything pushed so far. One that sleeps does not see it yet.
    pub(super) fn publish(&mut self) {
        self.published = self.tail;
        self.unannounced = true;
        self.memory
            .store(self.direction, Word::Tail, self.tail, Ordering::Release);
    }

    /// True if the consumer sleeps and must be woken for what was published since the last call.
    pub(super) fn must_wake(&mut self) -> bool {
        std::mem::take(&mut self.unannounced)
            && take_flag(&*self.memory, self.direction, Word::Asleep)
    }

    /// True if the packet that did not fit would fit now.
    pub(super) fn has_room(&mut self) -> bool {
        // A broken ring has room, so that the caller tries and gets the error.
        self.room_for(self.needed).unwrap_or(true)
    }

    pub(super) fn backlog(&mut self) -> usize {
        let _ = self.refresh();
        usize::try_from(self.tail - self.head).unwrap_or(usize::MAX)
    }

    fn room_for(&mut self, needed: u64) -> Result<bool, DriverError> {
        if self.free() < needed {
            self.refresh()?;
        }
        Ok(self.free() >= needed)
    }

    fn ask_for_room(&mut self, needed: u64) -> Result<bool, DriverError> {
        self.needed = needed;
        self.memory
            .store(self.direction, Word::Wanted, 1, Ordering::Relaxed);
        // Either this side sees the room, or the consumer sees the flag after it has made the room.
        self.memory.fence(Side::Waits);
        self.refresh()?;
        Ok(self.free() >= needed)
    }

    fn free(&self) -> u64 {
        self.memory.ring_bytes() as u64 - (self.tail - self.head)
    }

    fn refresh(&mut self) -> Result<(), DriverError> {
        if self.broken {
            return Err(DriverError::PROTOCOL);
        }
        let head = self
            .memory
            .load(self.direction, Word::Head, Ordering::Acquire);
        if head < self.head || head > self.published || !head.is_multiple_of(LINE) {
            self.broken = true;
            return Err(DriverError::PROTOCOL);
        }
        self.head = head;
        Ok(())
    }
}

/// The side that takes packets out.
#[derive(Debug)]
pub(super) struct Consumer<M = Mapping> {
    memory: Arc<M>,
    direction: Direction,
    head: u64,
    /// The producer's position when it was last looked at.
    tail: u64,
    peer_cpu: Option<u32>,
    broken: bool,
}

impl<M: Memory> Consumer<M> {
    pub(super) fn new(memory: Arc<M>, direction: Direction) -> Self {
        Self {
            memory,
            direction,
            head: 0,
            tail: 0,
            peer_cpu: None,
            broken: false,
        }
    }

    /// The length of the next packet, `None` if there is none.
    pub(super) fn next_len(&mut self) -> Result<Option<usize>, DriverError> {
        if self.head == self.tail {
            self.refresh()?;
        }
        if self.head == self.tail {
            return Ok(None);
        }
        let mut header = self.header();
        if header == TO_START {
            let size = self.memory.ring_bytes() as u64;
            self.head += size - (self.head & (size - 1));
            if self.head >= self.tail {
                return self.refuse();
            }
            header = self.header();
        }
        let len = header & u64::from(u32::MAX);
        let largest = max_frame(self.memory.ring_bytes()) as u64;
        if len > largest || record_bytes_u64(len) > self.tail - self.head {
            return self.refuse();
        }
        self.peer_cpu = u32::try_from(header >> 32).ok();
        Ok(usize::try_from(len).ok())
    }

    /// Copies the next packet out and steps over it. `into` has the length that `next_len` gave.
    pub(super) fn pop(&mut self, into: &mut [u8]) {
        self.memory.read(self.direction, self.head + HEADER, into);
        self.head += record_bytes(into.len());
    }

    /// Copies a part of the next packet out. The part lies within the length that `next_len` gave.
    pub(super) fn copy(&self, offset: usize, into: &mut [u8]) {
        let position = self.head + HEADER + offset as u64;
        self.memory.read(self.direction, position, into);
    }

    /// Steps over the next packet of `len` bytes.
    pub(super) fn skip(&mut self, len: usize) {
        self.head += record_bytes(len);
    }

    /// Gives the room of everything popped back. True if the producer waits for it and must be woken.
    pub(super) fn publish(&self) -> bool {
        self.memory
            .store(self.direction, Word::Head, self.head, Ordering::Release);
        // Waking the producer for each freed record would cost a switch for each; half a ring is worth one.
        let used = self.tail - self.head;
        if used > self.memory.ring_bytes() as u64 / 2 {
            return false;
        }
        take_flag(&*self.memory, self.direction, Word::Wanted)
    }

    /// Asks for the doorbell. True if there is something already; then nothing was asked.
    pub(super) fn arm(&self) -> bool {
        self.memory
            .store(self.direction, Word::Asleep, 1, Ordering::Relaxed);
        // Either this side sees the packet, or the producer sees the flag after it has published the packet.
        self.memory.fence(Side::Waits);
        let something = self.waiting();
        if something {
            self.memory
                .store(self.direction, Word::Asleep, 0, Ordering::Relaxed);
        }
        something
    }

    /// A packet is there, or an error that `receive` will tell.
    pub(super) fn waiting(&self) -> bool {
        self.head
            != self
                .memory
                .load(self.direction, Word::Tail, Ordering::Acquire)
    }

    pub(super) fn position(&self) -> u64 {
        self.head
    }

    pub(super) fn peer_cpu(&self) -> Option<u32> {
        self.peer_cpu
    }

    fn header(&self) -> u64 {
        self.memory.record(self.direction, self.head)
    }

    fn refresh(&mut self) -> Result<(), DriverError> {
        if self.broken {
            return Err(DriverError::PROTOCOL);
        }
        let tail = self
            .memory
            .load(self.direction, Word::Tail, Ordering::Acquire);
        let size = self.memory.ring_bytes() as u64;
        if tail < self.tail || tail - self.head > size || !tail.is_multiple_of(LINE) {
            return self.refuse();
        }
        self.tail = tail;
        Ok(())
    }

    fn refuse<T>(&mut self) -> Result<T, DriverError> {
        self.broken = true;
        // Nothing more is read from this ring.
        self.tail = self.head;
        Err(DriverError::PROTOCOL)
    }
}

/// The largest packet that a ring of this size takes. A record never exceeds half a ring, so that a producer
/// that was woken for half a ring can go on.
pub(super) fn max_frame(ring_bytes: usize) -> usize {
    FRAME_MAX.min(ring_bytes / 2 - 64)
}

/// After the caller has published its own position: did the other side ask to be woken?
fn take_flag(memory: &impl Memory, direction: Direction, word: Word) -> bool {
    memory.fence(Side::Notifies);
    // The plain look keeps the line shared while nobody sleeps.
    memory.load(direction, word, Ordering::Relaxed) != 0 && memory.take(direction, word) != 0
}

fn record_bytes(len: usize) -> u64 {
    record_bytes_u64(len as u64)
}

fn record_bytes_u64(len: u64) -> u64 {
    (HEADER + len).next_multiple_of(LINE)
}

fn current_cpu() -> u32 {
    u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(u32::MAX - 1)
}

const FRAME_MAX: usize = 64 * 1024 - 64;
const HEADER: u64 = 8;
const LINE: u64 = 64;
const TO_START: u64 = u64::MAX;
/// As much of the ring as small traffic may touch before it starts over.
const WARM_BYTES: u64 = 16 * 1024;
