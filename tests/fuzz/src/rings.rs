//! Shared memory whose other end is the fuzzer.

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use drivers::{Doorbell, MemoryDriver, PacketDriver, ReceiveBatch, RelayEnd, Silent};
use rustix::mm::{MapFlags, ProtFlags};

use crate::tape::Tape;

/// Bytes of a ring: the smallest, so that its end is often reached.
const RING: usize = 4096;
const HEADER: usize = 4096;
const TOTAL: usize = HEADER + 2 * RING;
const WORDS: usize = 512;
const WORD: usize = 128;
const STEPS_MAX: usize = 100;

/// The creator of a session's rings, against a peer that writes what it likes.
pub fn session(data: &[u8]) {
    let (driver, peer) = create();
    let mut tape = Tape::new(data);
    let mut batch = ReceiveBatch::with_slots(1);
    let to = driver.local_address();
    for _ in 0..STEPS_MAX {
        if tape.is_empty() {
            break;
        }
        match tape.below(12) {
            0 => {
                let (len, segment) = (tape.u16() % 5000, tape.u16() % 2100);
                let packets = vec![7; len.into()];
                let sent = driver.send(&to, &packets, segment.into());
                assert!(sent.is_ok_and(|taken| taken <= packets.len()) || sent.is_err());
            }
            1 => {
                let count = driver.receive(&mut batch).unwrap_or(0);
                for index in 0..count {
                    let (_, bytes) = batch.packet(index).expect("as many as it said");
                    assert!(bytes.len() <= driver.properties().max_frame);
                }
            }
            2 => {
                let len = usize::from(tape.u16() % 3000);
                let _ = driver.send_in_place(len, &mut |room| {
                    assert!(room.fill(0, &vec![1; len]));
                    assert!(!room.fill(1, &vec![1; len]));
                });
            }
            3 => {
                let stop = tape.u8();
                let mut seen = 0;
                let _ = driver.receive_in_place(&mut |arrived| {
                    let mut copy = vec![0; arrived.len()];
                    assert!(arrived.copy(0, &mut copy) && copy.len() <= RING);
                    seen += 1;
                    seen != stop
                });
            }
            4 => {
                let _ = (driver.arm(), driver.has_data(), driver.peer_cpu());
            }
            5 => {
                let _ = (driver.writable(), driver.backlog());
            }
            _ => peer.scribble(&mut tape),
        }
    }
}

/// The node's end of a relay, against a program that writes what it likes.
pub fn relay(data: &[u8]) {
    let (driver, peer) = create();
    let mut end = RelayEnd::new(driver);
    let mut tape = Tape::new(data);
    let from = abi::LinkAddress::ipv4([10, 0, 0, 1], 1);
    for _ in 0..STEPS_MAX {
        if tape.is_empty() {
            break;
        }
        match tape.below(8) {
            0 | 1 => {
                let (trains, room) = (tape.below(8), tape.u16());
                let _ = end.forward(trains, &mut |train| {
                    assert!(train.segment > 0 && !train.bytes.is_empty());
                    assert!(train.bytes.len().div_ceil(train.segment) <= 64);
                    train.bytes.len().min(room.into()) / train.segment * train.segment
                });
            }
            2 => {
                let (len, segment) = (tape.u16() % 5000, tape.u16() % 2100);
                let packets = vec![7; len.into()];
                let taken = end.give(tape.u8(), &from, &packets, segment.into());
                assert!(taken.is_err() || taken.is_ok_and(|taken| taken <= packets.len()));
                end.ring_if_asked();
            }
            3 => drop(end.arm()),
            _ => peer.scribble(&mut tape),
        }
    }
}

fn create() -> (MemoryDriver, Peer) {
    let (silent, memory) = Silent::create(RING).expect("memory");
    let bell = Doorbell::create().expect("descriptors");
    let driver = silent
        .with_doorbells(bell.rings, bell.hears)
        .expect("a doorbell");
    (driver, Peer::new(&memory))
}

/// A mapping of the same memory.
struct Peer(NonNull<c_void>);

impl Peer {
    fn new(memory: &OwnedFd) -> Self {
        // SAFETY: a fresh shared mapping at an address that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                TOTAL,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )
        };
        Self(NonNull::new(base.expect("a mapping")).expect("not at 0"))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < TOTAL);
        // SAFETY: inside the mapping and aligned by the assertion; the other end uses atomics and raw copies.
        unsafe { self.0.cast::<AtomicU64>().add(at / 8).as_ref() }
    }

    /// Writes some words. Those that are looked at get most of it.
    fn scribble(&self, tape: &mut Tape<'_>) {
        let what = tape.u8();
        let direction = usize::from(what & 1);
        let ring = HEADER + direction * RING;
        match what >> 1 & 3 {
            0 => {
                let word = WORDS + (direction * 4 + tape.below(4)) * WORD;
                self.word(word).store(value(tape), Ordering::Release);
            }
            1 => {
                // A record that looks like one, and a tail that shows it.
                let line = tape.below(RING / 64);
                self.word(ring + line * 64)
                    .store(value(tape), Ordering::Relaxed);
                let lines = u64::from(tape.u8() % 65);
                let tail = WORDS + direction * 4 * WORD;
                let old = self.word(tail).load(Ordering::Relaxed);
                self.word(tail)
                    .store(old.wrapping_add(lines * 64), Ordering::Release);
            }
            _ => {
                let (at, len) = (tape.u16(), tape.u8());
                let start = ring + usize::from(at) % RING / 8 * 8;
                for (index, chunk) in tape.bytes(len.into()).chunks(8).enumerate() {
                    let mut bytes = [0; 8];
                    bytes[..chunk.len()].copy_from_slice(chunk);
                    if start + index * 8 < ring + RING {
                        let word = self.word(start + index * 8);
                        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nothing refers to any more.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr(), TOTAL) };
    }
}

/// Small, aligned, huge and arbitrary numbers: what passes some of the checks.
fn value(tape: &mut Tape<'_>) -> u64 {
    match tape.below(6) {
        0 => u64::from(tape.u8()),
        1 => u64::from(tape.u8()) * 64,
        2 => u64::MAX,
        3 => u64::MAX - u64::from(tape.u8()) * 64,
        4 => u64::from(tape.u16()) << 32 | u64::from(tape.u16()),
        _ => tape.u64(),
    }
}
