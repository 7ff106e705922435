//! What every packet driver must do, as tests that run against any pair of them.
//!
//! A new driver calls [`check`] from one test of its own:
//!
//! ```
//! use slashnet_drivers::{MemoryDriver, conformance};
//!
//! conformance::check(|| {
//!     let (a, parts) = MemoryDriver::create().expect("rings");
//!     (a, MemoryDriver::attach(parts).expect("the other end"))
//! });
//! ```
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::time::{Duration, Instant};

use abi::LinkAddress;
use rustix::event::{Timespec, epoll};

use crate::{DriverError, PacketDriver, ReceiveBatch};

/// Runs the whole suite; `pair` makes two fresh drivers that reach each other.
///
/// # Panics
///
/// With the name of the promise that the driver breaks.
pub fn check<A: PacketDriver, B: PacketDriver>(mut pair: impl FnMut() -> (A, B)) {
    let mut run = |test: fn(&dyn PacketDriver, &dyn PacketDriver)| {
        let (a, b) = pair();
        test(&a, &b);
        // Both directions are the same medium.
        let (a, b) = pair();
        test(&b, &a);
    };
    run(a_packet_arrives_whole_with_its_senders_address);
    run(an_empty_driver_returns_nothing_and_does_not_block);
    run(a_train_arrives_as_its_segments);
    run(the_largest_frame_goes_and_one_byte_more_is_refused);
    run(a_full_medium_takes_whole_packets_and_has_room_again_after_draining);
    run(a_sleeper_is_woken_by_a_packet);
    run(arming_tells_of_what_is_there_already_or_epoll_does);
    run(a_segment_size_of_zero_is_refused);
    run(a_foreign_address_does_no_harm);
}

fn a_packet_arrives_whole_with_its_senders_address(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    for len in [1, 2, 63, 64, 65, 1200] {
        let packet = pattern(len, len as u64);
        assert_eq!(a.send(&b.local_address(), &packet, len), Ok(len));
        let (from, bytes) = receive_one(b);
        assert_eq!(from, a.local_address(), "the sender's address");
        assert_eq!(bytes, packet, "a packet of {len} bytes");
    }
}

fn an_empty_driver_returns_nothing_and_does_not_block(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let mut batch = ReceiveBatch::new();
    assert_eq!(a.receive(&mut batch), Ok(0));
    assert_eq!(b.receive(&mut batch), Ok(0));
    assert_ne!(b.has_data(), Some(true));
    assert_eq!(
        a.send(&b.local_address(), &[], 1),
        Ok(0),
        "no bytes, no packet"
    );
}

fn a_train_arrives_as_its_segments(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    for (segment, count, last) in [
        (1200, 2, 1200),
        (1200, 7, 1),
        (100, 64, 100),
        (1000, 70, 999),
    ] {
        let len = segment * (count - 1) + last;
        let train = pattern(len, 7);
        let packets = carry(a, b, &train, segment);
        let mut sizes: Vec<_> = packets.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        let mut expected = vec![segment; count - 1];
        expected.insert(0, last);
        expected.sort_unstable();
        assert_eq!(sizes, expected, "the sizes of {count} segments");
        let mut arrived = packets;
        let mut sent: Vec<_> = train.chunks(segment).map(<[u8]>::to_vec).collect();
        if !b.properties().ordered {
            arrived.sort();
            sent.sort();
        }
        assert_eq!(arrived, sent, "the bytes of {count} segments");
    }
}

fn the_largest_frame_goes_and_one_byte_more_is_refused(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let max = a.properties().max_frame;
    let packet = pattern(max + 1, 3);
    let refused = a.send(&b.local_address(), &packet, max + 1);
    assert_eq!(refused, Err(DriverError::TooBig(max)));
    match a.send(&b.local_address(), &packet[..max], max) {
        Ok(len) => {
            assert_eq!(len, max);
            assert_eq!(receive_one(b).1, packet[..max]);
        }
        // The device below may carry less than the driver.
        Err(DriverError::TooBig(_)) => assert!(!a.properties().reliable),
        Err(other) => panic!("the largest frame: {other}"),
    }
}

fn a_full_medium_takes_whole_packets_and_has_room_again_after_draining(
    a: &dyn PacketDriver,
    b: &dyn PacketDriver,
) {
    const SEGMENT: usize = 1000;
    const ROUNDS: usize = 4;
    let to = b.local_address();
    let train = pattern(SEGMENT * 40, 11);
    for _ in 0..ROUNDS {
        let mut accepted = 0;
        // Enough to fill any ring; a medium that drops takes it all.
        for _ in 0..1024 {
            let taken = a.send(&to, &train, SEGMENT).unwrap();
            assert_eq!(taken % SEGMENT, 0, "whole packets");
            accepted += taken / SEGMENT;
            if taken < train.len() {
                break;
            }
        }
        let blocked = !a.writable();
        let epoll = watch(a, blocked);
        if blocked {
            assert!(!a.arm(), "nothing has been drained");
        }
        let arrived = drain(b);
        if a.properties().reliable {
            assert_eq!(arrived, accepted, "every accepted packet arrives");
        } else {
            assert!(arrived > 0 && arrived <= accepted);
        }
        if blocked {
            assert!(wait(&epoll), "the sender is told of the room");
            assert!(a.writable());
        }
    }
}

fn a_sleeper_is_woken_by_a_packet(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let epoll = watch(b, false);
    let to = b.local_address();
    for round in 0..100u64 {
        let packet = pattern(64, round);
        let mut batch = ReceiveBatch::new();
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(a.send(&to, &packet, 64), Ok(64)));
            let deadline = Instant::now() + PATIENCE;
            while b.receive(&mut batch).unwrap() == 0 {
                assert!(Instant::now() < deadline, "nobody woke the sleeper");
                if !b.arm() {
                    assert!(wait(&epoll), "the sleeper was not woken");
                }
            }
        });
        assert_eq!(batch.packet(0).unwrap().1, packet);
    }
}

fn arming_tells_of_what_is_there_already_or_epoll_does(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let epoll = watch(b, false);
    assert!(!b.arm(), "nothing is there");
    assert_eq!(a.send(&b.local_address(), &[1, 2, 3], 3), Ok(3));
    assert!(wait(&epoll), "armed, so woken");
    assert!(b.arm() || wait(&epoll), "it is still there");
    assert_eq!(receive_one(b).1, [1, 2, 3]);
}

fn a_segment_size_of_zero_is_refused(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let refused = a.send(&b.local_address(), &[1], 0);
    assert_eq!(refused, Err(DriverError::Io(libc::EINVAL)));
}

fn a_foreign_address_does_no_harm(a: &dyn PacketDriver, b: &dyn PacketDriver) {
    let foreign = LinkAddress::from_raw(b"\xffnobody").unwrap();
    // A driver with one peer need not look at the address.
    if a.send(&foreign, &[9], 1) == Ok(1) {
        assert_eq!(receive_one(b).1, [9]);
    }
    a_packet_arrives_whole_with_its_senders_address(a, b);
}

fn receive_one(driver: &dyn PacketDriver) -> (LinkAddress, Vec<u8>) {
    let mut batch = ReceiveBatch::new();
    let count = until_something(driver, &mut batch);
    assert_eq!(count, 1, "one packet was sent");
    let (from, bytes) = batch.packet(0).unwrap();
    (*from, bytes.to_vec())
}

/// Sends the whole train, draining whenever the medium is full, and returns what arrived.
fn carry(a: &dyn PacketDriver, b: &dyn PacketDriver, train: &[u8], segment: usize) -> Vec<Vec<u8>> {
    let count = train.len().div_ceil(segment);
    let mut packets = Vec::new();
    let mut batch = ReceiveBatch::new();
    let mut sent = 0;
    while packets.len() < count {
        let taken = a.send(&b.local_address(), &train[sent..], segment).unwrap();
        assert!(
            taken.is_multiple_of(segment) || sent + taken == train.len(),
            "whole packets"
        );
        sent += taken;
        let arrived = until_something(b, &mut batch);
        for index in 0..arrived {
            packets.push(batch.packet(index).unwrap().1.to_vec());
        }
    }
    assert_eq!(packets.len(), count);
    packets
}

fn until_something(driver: &dyn PacketDriver, batch: &mut ReceiveBatch) -> usize {
    let epoll = watch(driver, false);
    loop {
        let count = driver.receive(batch).unwrap();
        if count > 0 {
            return count;
        }
        if !driver.arm() {
            assert!(wait(&epoll), "no packet came");
        }
    }
}

fn drain(driver: &dyn PacketDriver) -> usize {
    let mut batch = ReceiveBatch::new();
    let mut total = 0;
    loop {
        let count = driver.receive(&mut batch).unwrap();
        if count == 0 {
            return total;
        }
        total += count;
    }
}

fn watch(driver: &dyn PacketDriver, blocked: bool) -> std::os::fd::OwnedFd {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64(0);
    epoll::add(&epoll, driver.readable(), data, driver.events(blocked)).unwrap();
    epoll
}

fn wait(epoll: &std::os::fd::OwnedFd) -> bool {
    let mut events = Vec::with_capacity(1);
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let space = rustix::buffer::spare_capacity(&mut events);
    epoll::wait(epoll, space, Some(&patience)).unwrap() > 0
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Long enough for a loaded machine; only a broken driver waits for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
