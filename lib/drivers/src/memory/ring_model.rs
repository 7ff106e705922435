//! The rings themselves in every order of two threads that the memory model of the language allows.
//!
//! Loom brings the atomics, and finds stores that are seen late, data that is read while it is written, and threads
//! that sleep for ever. The code is that of `ring.rs`; only the memory and the doorbells are the model's.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::mapping::{Direction, Memory, Side, Word};
use super::ring::{Consumer, Producer};

const LINE: usize = 64;
const RING: usize = 4 * LINE;
const DIRECTION: Direction = Direction::AToB;

/// One ring. Packets of the model are one byte; the byte is the whole of a line's data.
struct Model {
    words: [AtomicU64; 4],
    records: [AtomicU64; RING / LINE],
    bytes: [UnsafeCell<u8>; RING / LINE],
    /// Who forgets its fence.
    without: Option<Side>,
}

impl Model {
    fn new(without: Option<Side>) -> Self {
        Self {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            records: std::array::from_fn(|_| AtomicU64::new(0)),
            bytes: std::array::from_fn(|_| UnsafeCell::new(0)),
            without,
        }
    }
}

fn line(position: u64) -> usize {
    position as usize % RING / LINE
}

#[expect(
    unsafe_code,
    reason = "loom's cells say themselves when they are used wrongly"
)]
impl Memory for Model {
    fn ring_bytes(&self) -> usize {
        RING
    }

    fn load(&self, _ring: Direction, word: Word, ordering: Ordering) -> u64 {
        self.words[word as usize].load(ordering)
    }

    fn store(&self, _ring: Direction, word: Word, value: u64, ordering: Ordering) {
        let place = &self.words[word as usize];
        match word {
            Word::Tail | Word::Head => place.store(value, ordering),
            // Both sides write the flags. Loom lets a store slip between what a swap has read and what it has
            // written, which nothing else does; it orders two swaps.
            Word::Asleep | Word::Wanted => {
                place.swap(value, ordering);
            }
        }
    }

    fn take(&self, _ring: Direction, word: Word) -> u64 {
        self.words[word as usize].swap(0, Ordering::AcqRel)
    }

    fn record(&self, _ring: Direction, position: u64) -> u64 {
        self.records[line(position)].load(Ordering::Relaxed)
    }

    fn set_record(&self, _ring: Direction, position: u64, header: u64) {
        self.records[line(position)].store(header, Ordering::Relaxed);
    }

    fn write(&self, _ring: Direction, position: u64, bytes: &[u8]) {
        // SAFETY: loom ends the model with an error if anybody else is here meanwhile.
        self.bytes[line(position)].with_mut(|cell| unsafe { *cell = bytes[0] });
    }

    fn read(&self, _ring: Direction, position: u64, into: &mut [u8]) {
        // SAFETY: as above.
        self.bytes[line(position)].with(|cell| into[0] = unsafe { *cell });
    }

    fn fence(&self, side: Side) {
        if self.without != Some(side) {
            fence(Ordering::SeqCst);
        }
    }
}

/// An eventfd under an edge-triggered epoll.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().expect("nobody panics here") = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().expect("nobody panics here");
        while !*rung {
            rung = self.changed.wait(rung).expect("nobody panics here");
        }
        *rung = false;
    }
}

/// Sends `packets` packets in groups of `quiet` with one wake-up each, sleeping where there is no room.
fn produce(memory: Arc<Model>, own: &Bell, peers: &Bell, packets: u8, quiet: u8) {
    let mut producer = Producer::new(memory, DIRECTION);
    for number in 0..packets {
        while !producer.push(&[number]).expect("an honest consumer") {
            if producer.must_wake() {
                peers.ring();
            }
            own.wait();
        }
        producer.publish();
        if (number + 1).is_multiple_of(quiet) && producer.must_wake() {
            peers.ring();
        }
    }
    if producer.must_wake() {
        peers.ring();
    }
}

/// Takes `packets` packets, sleeping where there are none.
fn consume(memory: Arc<Model>, own: &Bell, peers: &Bell, packets: u8) {
    let mut consumer = Consumer::new(memory, DIRECTION);
    let mut number = 0;
    while number < packets {
        let mut wake = false;
        let mut some = false;
        while let Some(len) = consumer.next_len().expect("an honest producer") {
            let mut packet = [0];
            assert_eq!(len, 1);
            consumer.pop(&mut packet);
            assert_eq!(packet[0], number, "in order and whole");
            number += 1;
            some = true;
        }
        if some {
            wake |= consumer.publish();
        }
        if wake {
            peers.ring();
        }
        if number < packets && !consumer.arm() {
            own.wait();
        }
    }
}

#[expect(
    clippy::arc_with_non_send_sync,
    reason = "the threads of a model take turns"
)]
fn play(packets: u8, quiet: u8, without: Option<Side>, switches: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(switches);
    model.check(move || {
        let memory = Arc::new(Model::new(without));
        let bells = Arc::new([Bell::default(), Bell::default()]);
        let (same, others) = (Arc::clone(&memory), Arc::clone(&bells));
        let sender = thread::spawn(move || produce(same, &others[0], &others[1], packets, quiet));
        consume(memory, &bells[1], &bells[0], packets);
        sender.join().expect("the sender ends");
    });
}

#[test]
fn a_consumer_that_sleeps_is_woken_for_each_packet() {
    play(3, 1, None, 4);
}

#[test]
fn a_producer_that_waits_for_room_is_woken() {
    // The ring holds four.
    play(6, 8, None, 2);
}

#[test]
fn each_fence_is_needed() {
    for side in [Side::Waits, Side::Notifies] {
        // For the sleeping consumer, and for the producer that waits for room.
        for (packets, quiet) in [(2, 1), (6, 8)] {
            let played = std::panic::catch_unwind(|| play(packets, quiet, Some(side), 2));
            let why = played.expect_err("a model without a fence passes");
            let why = why.downcast_ref::<String>().map_or("", String::as_str);
            assert!(why.contains("deadlock"), "{side:?}: {why}");
        }
    }
}
