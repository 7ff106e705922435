//! A peer that writes what it likes into the shared memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mapping::{Direction, Mapping, Memory, Word};
use super::{MemoryDriver, MemoryParts};
use crate::{DriverError, PacketDriver, ReceiveBatch};
use rustix::fs::{MemfdFlags, SealFlags};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Small, aligned, huge and arbitrary values: what passes some of the checks.
    fn word(&mut self) -> u64 {
        let value = self.next();
        match value % 6 {
            0 => value >> 8,
            1 => (value >> 8) % 64 * 64,
            2 => (value >> 8) % 70_000,
            3 => u64::MAX - (value >> 8) % 64 * 64,
            4 => u64::MAX,
            _ => (value >> 8) % 4096,
        }
    }
}

const RING: usize = 4096;
const WORDS: [Word; 4] = [Word::Tail, Word::Head, Word::Asleep, Word::Wanted];

#[test]
fn garbage_in_shared_memory_gives_packets_or_an_error_and_harms_nobody() {
    let mut random = Random(0x5eed);
    let mut errors = 0;
    for _ in 0..3000 {
        let (driver, attacker) = victim();
        for _ in 0..12 {
            scribble(&attacker, &mut random);
            errors += usize::from(!use_once(&driver));
        }
    }
    assert!(errors > 1000, "the garbage was too tame: {errors}");
}

#[test]
fn scribbling_while_the_driver_works_is_survived() {
    let (driver, attacker) = victim();
    let attacker = Arc::new(attacker);
    std::thread::scope(|scope| {
        let other = Arc::clone(&attacker);
        scope.spawn(move || {
            let mut random = Random(77);
            for _ in 0..100_000 {
                scribble(&other, &mut random);
            }
        });
        for _ in 0..20_000 {
            use_once(&driver);
        }
    });
}

#[test]
fn an_error_is_final() {
    let (driver, attacker) = victim();
    attacker
        .word(Direction::BToA, Word::Tail)
        .store(63, Ordering::Relaxed);
    let mut batch = ReceiveBatch::with_slots(1);
    assert_eq!(driver.receive(&mut batch), Err(DriverError::PROTOCOL));
    attacker
        .word(Direction::BToA, Word::Tail)
        .store(0, Ordering::Relaxed);
    assert_eq!(driver.receive(&mut batch), Err(DriverError::PROTOCOL));
}

#[test]
fn a_consumer_that_moves_backwards_or_ahead_is_found_out() {
    for head in [65, 1 << 40, u64::MAX - 63] {
        let (driver, attacker) = victim();
        attacker
            .word(Direction::AToB, Word::Head)
            .store(head, Ordering::Relaxed);
        let filled = (0..100).try_for_each(|_| {
            driver
                .send(&driver.local_address(), &[0; 100], 100)
                .map(|_sent| ())
        });
        assert_eq!(filled, Err(DriverError::PROTOCOL));
    }
}

#[test]
fn memory_that_could_shrink_or_has_the_wrong_size_is_refused() {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for (length, seals) in [
        (4096 + 2 * RING as u64, SealFlags::empty()),
        (4096 + 2 * RING as u64, SealFlags::SHRINK),
        (4096 + 2 * RING as u64, seals),
        (0, seals),
        (4096, seals),
        (4096 + 3 * 4096, seals),
        (1 << 40, seals),
    ] {
        let (_driver, good) = MemoryDriver::create_with(RING).unwrap();
        let memfd = rustix::fs::memfd_create(c"hostile", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&memfd, length).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, seals).unwrap();
        let result = MemoryDriver::attach(MemoryParts { memfd, ..good });
        assert_eq!(
            result.err(),
            Some(DriverError::PROTOCOL),
            "{length} bytes, {seals:?}"
        );
    }
}

fn victim() -> (MemoryDriver, Mapping) {
    let (driver, parts) = MemoryDriver::create_with(RING).unwrap();
    (driver, Mapping::attach(&parts.memfd).unwrap())
}

fn scribble(mapping: &Mapping, random: &mut Random) {
    let direction = if random.next().is_multiple_of(2) {
        Direction::AToB
    } else {
        Direction::BToA
    };
    if random.next().is_multiple_of(3) {
        let word = WORDS[(random.next() % 4) as usize];
        mapping
            .word(direction, word)
            .store(random.word(), Ordering::Relaxed);
    } else {
        let position = random.next() % (RING as u64 / 64) * 64;
        mapping.set_record(direction, position, random.word());
        // A tail that passes the checks lets the garbage in the records be looked at.
        let tail = random.next() % (RING as u64 / 64 + 1) * 64;
        mapping
            .word(direction, Word::Tail)
            .store(tail, Ordering::Relaxed);
    }
}

/// Every call of the driver; false if one of them was refused.
fn use_once(driver: &MemoryDriver) -> bool {
    let mut batch = ReceiveBatch::with_slots(1);
    let sent = driver.send(&driver.local_address(), &[0xaa; 700], 300);
    let received = driver.receive(&mut batch);
    let _ = (
        driver.arm(),
        driver.has_data(),
        driver.writable(),
        driver.backlog(),
    );
    for index in 0..batch.len() {
        let (_, bytes) = batch.packet(index).unwrap();
        assert!(bytes.len() <= driver.properties().max_frame);
    }
    for result in [sent, received] {
        assert!(
            matches!(result, Ok(_) | Err(DriverError::PROTOCOL)),
            "{result:?}"
        );
    }
    sent.is_ok() && received.is_ok()
}
