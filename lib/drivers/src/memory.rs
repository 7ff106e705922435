//! Packets between two processes of one machine, through memory that both map.
//!
//! One sealed memory file holds two rings, one for each direction, and each side has a [`Doorbell`]. The ring
//! is the whole hand-over while both sides run; the doorbell is rung only for a side that said it goes to
//! sleep, or that waits for room. The peer is not trusted: each word that it writes is read once and checked,
//! and packets are copied out before anybody looks at them, so that a peer that scribbles over the shared
//! memory costs this side the session and nothing else.

#[cfg(test)]
mod hostile;
mod mapping;
mod ring;
#[cfg(test)]
mod ring_model;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::LinkAddress;
use rustix::event::EventfdFlags;
use rustix::event::epoll::{self, EventFlags};

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch};
pub(crate) use mapping::ring;
use mapping::{Direction, Mapping, Memory, Word};
use ring::{Consumer, Producer};

/// One end of a pair of rings.
///
/// Safe to use from several threads; each direction is serialised by a lock of its own.
#[derive(Debug)]
pub struct MemoryDriver {
    properties: Properties,
    mapping: Arc<Mapping>,
    producer: Mutex<Producer>,
    consumer: Mutex<Consumer>,
    sending: Direction,
    /// Where the peer's rings are heard.
    hears: OwnedFd,
    /// What the peer hears.
    rings: Arc<OwnedFd>,
    /// What this side hears, where both ends are in one process: a ring is forgotten when its eventfd is closed.
    heard: Option<Arc<OwnedFd>>,
    send_blocked: AtomicBool,
    peer_cpu: AtomicU32,
    /// The consumer's position, for a look without its lock.
    consumed: AtomicU64,
}

/// What the other process needs for its end. The three descriptors travel by `SCM_RIGHTS`.
#[derive(Debug)]
pub struct MemoryParts {
    /// The memory with both rings, sealed against changes of size.
    pub memfd: OwnedFd,
    /// The ringing half of the doorbell that the creator hears.
    pub rings: OwnedFd,
    /// The hearing half of the doorbell that the creator rings.
    pub hears: OwnedFd,
}

/// A way for one process to wake another one that it does not trust, and that does not trust it.
///
/// One half is an eventfd, the other an epoll that watches it. Flags and counter of an eventfd belong to whoever has
/// it, so the side that only hears must not have it: it could make the ringing side block. And an epoll can be held
/// up by whoever has it, so the side that only rings must not have that one: it could make the hearing side block.
/// Only somebody whom both trust can make a doorbell, and must close his own copies.
#[derive(Debug)]
pub struct Doorbell {
    /// For the side that rings, alone.
    pub rings: OwnedFd,
    /// For the side that hears, alone: edge-triggered, never read, each ring is an event.
    pub hears: OwnedFd,
}

impl Doorbell {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// What the system says: out of memory or descriptors.
    pub fn create() -> Result<Self, DriverError> {
        let rings = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let hears = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&hears, &rings, data, EventFlags::IN | EventFlags::ET)?;
        Ok(Self { rings, hears })
    }
}

/// Rings whose creator has no doorbells yet.
#[derive(Debug)]
pub struct Silent(Mapping);

impl Silent {
    /// Makes rings of `bytes` each, and the memory for the other end. Sizes as for [`MemoryDriver::create_with`].
    ///
    /// # Errors
    ///
    /// As [`MemoryDriver::create_with`].
    pub fn create(bytes: usize) -> Result<(Self, OwnedFd), DriverError> {
        let (mapping, memfd) = Mapping::create(bytes)?;
        Ok((Self(mapping), memfd))
    }

    /// The creator's end, with its halves of the two doorbells.
    ///
    /// # Errors
    ///
    /// `Io(EPROTO)` if they are none; otherwise what the system says.
    pub fn with_doorbells(
        self,
        rings: OwnedFd,
        hears: OwnedFd,
    ) -> Result<MemoryDriver, DriverError> {
        MemoryDriver::new(self.0, Direction::AToB, rings, hears)
    }
}

impl MemoryDriver {
    /// Bytes of each ring by default. Two messages of 1 MiB on the way need no switch between the processes.
    /// Memory is taken only as far as traffic reaches into the ring, and small traffic stays at its start.
    pub const RING: usize = 2 * 1024 * 1024;

    /// Makes a pair of rings of [`RING`](Self::RING) bytes: this end, and the parts for the other end.
    ///
    /// # Errors
    ///
    /// What the system says: out of memory or descriptors.
    pub fn create() -> Result<(Self, MemoryParts), DriverError> {
        Self::create_with(Self::RING)
    }

    /// Like [`create`](Self::create) with rings of `bytes` each, a power of two from 4 KiB to 16 MiB.
    /// The largest frame is 64 KiB - 64, or half the ring where that is less.
    ///
    /// # Errors
    ///
    /// `Io(EINVAL)` for another size, otherwise what the system says.
    pub fn create_with(bytes: usize) -> Result<(Self, MemoryParts), DriverError> {
        let (silent, memfd) = Silent::create(bytes)?;
        let (near, far) = (Doorbell::create()?, Doorbell::create()?);
        let driver = silent.with_doorbells(far.rings, near.hears)?;
        let parts = MemoryParts {
            memfd,
            rings: near.rings,
            hears: far.hears,
        };
        Ok((driver, parts))
    }

    /// Both ends, for one process that trusts itself: each also hears what the other rang just before it was dropped.
    /// Between processes that last ring may be lost; whoever introduced them tells of the end.
    ///
    /// # Errors
    ///
    /// As [`create_with`](Self::create_with).
    pub fn pair(bytes: usize) -> Result<(Self, Self), DriverError> {
        let (mut near, parts) = Self::create_with(bytes)?;
        let mut far = Self::attach(parts)?;
        near.heard = Some(Arc::clone(&far.rings));
        far.heard = Some(Arc::clone(&near.rings));
        Ok((near, far))
    }

    /// The other end of a pair, from the parts that its creator made.
    ///
    /// # Errors
    ///
    /// `Io(EPROTO)` if the memory is not sealed, not laid out as [`create`](Self::create) does it, or if a
    /// doorbell is none; otherwise what the system says.
    pub fn attach(parts: MemoryParts) -> Result<Self, DriverError> {
        let mapping = Mapping::attach(&parts.memfd)?;
        Self::new(mapping, Direction::BToA, parts.rings, parts.hears)
    }

    fn new(
        mapping: Mapping,
        sending: Direction,
        rings: OwnedFd,
        hears: OwnedFd,
    ) -> Result<Self, DriverError> {
        mapping::check_doorbell(&rings, &hears)?;
        let mapping = Arc::new(mapping);
        let max_frame = ring::max_frame(mapping.ring_bytes());
        Ok(Self {
            properties: Properties {
                max_frame,
                reliable: true,
                ordered: true,
                trusted: true,
                segments_max: mapping.ring_bytes() / max_frame,
            },
            producer: Mutex::new(Producer::new(Arc::clone(&mapping), sending)),
            consumer: Mutex::new(Consumer::new(Arc::clone(&mapping), sending.reverse())),
            mapping,
            sending,
            rings: Arc::new(rings),
            hears,
            heard: None,
            send_blocked: AtomicBool::new(false),
            peer_cpu: AtomicU32::new(u32::MAX),
            consumed: AtomicU64::new(0),
        })
    }

    /// Puts one packet of `len` bytes in without a copy between: `fill` copies its parts straight into the ring.
    /// False if there is no room, as a count of 0 from [`PacketDriver::send`]. The peer is woken by
    /// [`PacketDriver::ring_if_asked`]. Bytes that `fill` leaves out are those of an earlier packet.
    ///
    /// # Errors
    ///
    /// As [`PacketDriver::send`].
    pub fn send_in_place(
        &self,
        len: usize,
        fill: &mut dyn FnMut(Room<'_>),
    ) -> Result<bool, DriverError> {
        if len > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        let mut producer = lock(&self.producer);
        producer.return_to_start(len, len)?;
        let accepted = producer.make_room(len)?;
        if accepted {
            fill(Room {
                producer: &producer,
                len,
            });
            producer.push_filled(len);
            producer.publish();
        }
        self.note_blocked(!accepted);
        Ok(accepted)
    }

    /// Takes packets one by one without a copy between: `take` copies what it wants of each straight out of the
    /// ring, and says whether to go on. Returns the number taken.
    ///
    /// # Errors
    ///
    /// As [`PacketDriver::receive`].
    pub fn receive_in_place(
        &self,
        take: &mut dyn FnMut(InPlace<'_>) -> bool,
    ) -> Result<usize, DriverError> {
        let mut consumer = lock(&self.consumer);
        let mut taken = 0;
        let mut wake = false;
        while let Some(len) = consumer.next_len()? {
            let more = take(InPlace {
                consumer: &consumer,
                len,
            });
            consumer.skip(len);
            taken += 1;
            wake |= consumer.publish();
            if !more {
                break;
            }
        }
        self.end_reading(consumer, wake);
        Ok(taken)
    }

    /// What does not fit at once is lost: no room is given up to stay in warm memory.
    pub(crate) fn keep_free(&self) {
        lock(&self.producer).keep_free();
    }

    fn note_blocked(&self, blocked: bool) {
        // The line is shared with other threads; most calls change nothing.
        if blocked != self.send_blocked.load(Ordering::Relaxed) {
            self.send_blocked.store(blocked, Ordering::Relaxed);
        }
    }

    /// The address from which this end's packets come; the peer's [`local_address`](PacketDriver::local_address).
    #[must_use]
    pub fn peer_address(&self) -> LinkAddress {
        address(self.sending.reverse())
    }

    /// Keeps what was seen while reading, and wakes a peer that waits for room, after the ring is free for other threads.
    fn end_reading(&self, consumer: MutexGuard<'_, Consumer>, wake: bool) {
        self.consumed.store(consumer.position(), Ordering::Relaxed);
        if let Some(cpu) = consumer.peer_cpu() {
            self.peer_cpu.store(cpu, Ordering::Relaxed);
        }
        drop(consumer);
        if wake {
            self.ring_peer();
        }
    }

    fn ring_peer(&self) {
        ring(&self.rings);
    }
}

impl PacketDriver for MemoryDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        let accepted = self.send_quietly(to, bytes, segment);
        self.ring_if_asked();
        accepted
    }

    fn send_quietly(
        &self,
        _to: &LinkAddress,
        bytes: &[u8],
        segment: usize,
    ) -> Result<usize, DriverError> {
        if segment > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        if segment == 0 {
            return Err(DriverError::Io(libc::EINVAL));
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut producer = lock(&self.producer);
        let mut accepted = 0;
        producer.return_to_start(bytes.len(), segment)?;
        for packet in bytes.chunks(segment) {
            if !producer.push(packet)? {
                break;
            }
            producer.publish();
            accepted += packet.len();
        }
        self.note_blocked(accepted < bytes.len());
        Ok(accepted)
    }

    fn ring_if_asked(&self) {
        if lock(&self.producer).must_wake() {
            self.ring_peer();
        }
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let from = address(self.sending.reverse());
        let mut consumer = lock(&self.consumer);
        while let Some(len) = consumer.next_len()? {
            let Some(room) = batch.reserve(len) else {
                break;
            };
            consumer.pop(room);
            batch.commit(from, len);
        }
        let wake = !batch.is_empty() && consumer.publish();
        self.end_reading(consumer, wake);
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.hears.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        EventFlags::IN | EventFlags::ET
    }

    fn arm(&self) -> bool {
        let something = lock(&self.consumer).arm();
        something || (self.send_blocked.load(Ordering::Relaxed) && self.writable())
    }

    fn has_data(&self) -> Option<bool> {
        let tail = self
            .mapping
            .word(self.sending.reverse(), Word::Tail)
            .load(Ordering::Relaxed);
        Some(tail != self.consumed.load(Ordering::Relaxed))
    }

    fn writable(&self) -> bool {
        !self.send_blocked.load(Ordering::Relaxed) || lock(&self.producer).has_room()
    }

    fn peer_cpu(&self) -> Option<u32> {
        let cpu = self.peer_cpu.load(Ordering::Relaxed);
        (cpu != u32::MAX).then_some(cpu)
    }

    fn local_address(&self) -> LinkAddress {
        address(self.sending)
    }

    fn backlog(&self) -> Option<usize> {
        Some(lock(&self.producer).backlog())
    }
}

/// Room in the ring for a packet.
#[derive(Debug)]
pub struct Room<'a> {
    producer: &'a Producer,
    len: usize,
}

impl Room<'_> {
    /// Copies `bytes` to `offset` of the packet; false, and nothing done, if they reach past its end.
    pub fn fill(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.len);
        if fits {
            self.producer.copy(offset, bytes);
        }
        fits
    }
}

/// A packet that still is in the ring. The peer can change it at any time, so each look may give other bytes.
#[derive(Debug)]
pub struct InPlace<'a> {
    consumer: &'a Consumer,
    len: usize,
}

impl InPlace<'_> {
    /// Length of the packet in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a packet without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes from `offset` on into `into`; false, and nothing done, if there are not as many.
    pub fn copy(&self, offset: usize, into: &mut [u8]) -> bool {
        let fits = offset
            .checked_add(into.len())
            .is_some_and(|end| end <= self.len);
        if fits {
            self.consumer.copy(offset, into);
        }
        fits
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Positions change only after every check, so a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is only one peer, so addresses only tell the two ends apart.
fn address(sending: Direction) -> LinkAddress {
    let name = match sending {
        Direction::AToB => b"ma",
        Direction::BToA => b"mb",
    };
    LinkAddress::from_raw(name).unwrap_or(LinkAddress::NONE)
}
