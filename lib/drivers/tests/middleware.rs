//! Faults and captures over other drivers.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll;
use slashnet_drivers::capture::CaptureDriver;
use slashnet_drivers::fault::{FaultDriver, Faults};
use slashnet_drivers::{
    LinkAddress, MemoryDriver, PacketDriver, ReceiveBatch, UdpDriver, conformance,
};

#[test]
fn without_faults_a_driver_conforms_as_before() {
    let calm = Faults::default();
    conformance::check(|| {
        let (a, b) = MemoryDriver::pair(65536).unwrap();
        let over = |driver| FaultDriver::new(driver, calm).unwrap();
        (over(a), over(b))
    });
    conformance::check(|| {
        let over = |driver| FaultDriver::new(driver, calm).unwrap();
        (over(udp()), over(udp()))
    });
}

#[test]
fn the_faults_are_those_that_were_asked_for_and_the_same_each_time() {
    let faults = Faults {
        seed: 7,
        loss: 100_000,
        duplicate: 50_000,
        ..Faults::default()
    };
    let first = numbers_through(faults);
    let distinct: BTreeSet<u16> = first.iter().copied().collect();
    // Of 2000 packets; six standard deviations either way.
    assert!((120..=280).contains(&(2000 - distinct.len())), "lost");
    assert!(
        (40..=150).contains(&(first.len() - distinct.len())),
        "doubled"
    );
    assert!(first.is_sorted(), "nothing was held back");
    assert_eq!(numbers_through(faults), first);
    assert_ne!(numbers_through(Faults { seed: 8, ..faults }), first);
}

#[test]
fn packets_that_are_held_back_are_overtaken_and_still_come() {
    let numbers = numbers_through(Faults {
        seed: 1,
        reorder: 100_000,
        late: Duration::from_millis(5),
        ..Faults::default()
    });
    assert_eq!(numbers.len(), 2000);
    let overtaken = numbers.windows(2).filter(|two| two[0] > two[1]).count();
    assert!(overtaken > 0);
    let all: BTreeSet<u16> = numbers.into_iter().collect();
    assert_eq!(all.len(), 2000);
}

#[test]
fn a_sleeper_is_woken_when_a_late_packet_is_due() {
    let (a, b) = MemoryDriver::pair(65536).unwrap();
    let delay = Duration::from_millis(20);
    let faults = Faults {
        delay,
        jitter: delay,
        ..Faults::default()
    };
    let b = FaultDriver::new(b, faults).unwrap();
    let start = Instant::now();
    assert_eq!(a.send(&b.local_address(), b"later", 5), Ok(5));
    let mut batch = ReceiveBatch::new();
    assert_eq!(b.receive(&mut batch), Ok(0));
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64(0);
    epoll::add(&watch, b.readable(), data, b.events(false)).unwrap();
    let mut events = Vec::with_capacity(1);
    let patience = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    while b.receive(&mut batch).unwrap() == 0 {
        if !b.arm() {
            let space = rustix::buffer::spare_capacity(&mut events);
            assert_eq!(epoll::wait(&watch, space, Some(&patience)).unwrap(), 1);
        }
    }
    assert!(start.elapsed() >= delay);
    assert_eq!(batch.packet(0).unwrap().1, b"later");
}

#[test]
fn a_driver_that_is_captured_conforms() {
    conformance::check(|| {
        let (a, b) = MemoryDriver::pair(65536).unwrap();
        let over = |driver| CaptureDriver::new(driver, io::sink()).unwrap();
        (over(a), over(b))
    });
}

#[test]
fn a_capture_holds_every_packet_of_both_directions_with_its_peer() {
    let (near, far) = (udp(), udp());
    let file = Shared::default();
    let near = CaptureDriver::new(near, file.clone()).unwrap();
    let start = seconds_now();
    assert_eq!(near.send(&far.local_address(), &[1; 250], 100), Ok(250));
    assert_eq!(far.send(&near.local_address(), b"back", 4), Ok(4));
    let mut batch = ReceiveBatch::new();
    while near.receive(&mut batch).unwrap() == 0 {}
    near.flush().unwrap();
    let bytes = file.0.lock().unwrap().clone();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(
        (word(0), word(4), word(20)),
        (0xa1b2_3c4d, 0x0004_0002, 147)
    );
    let mut at = 24;
    let mut records = Vec::new();
    while at < bytes.len() {
        let (seconds, nanoseconds, len) = (word(at), word(at + 4), word(at + 8) as usize);
        assert!((start..=seconds_now()).contains(&seconds) && nanoseconds < 1_000_000_000);
        assert_eq!(word(at + 12) as usize, len);
        let record = &bytes[at + 16..at + 16 + len];
        let peer = &record[2..][..usize::from(record[1])];
        records.push((
            record[0],
            LinkAddress::from_raw(peer).unwrap(),
            record[29..].to_vec(),
        ));
        at += 16 + len;
    }
    let peer = far.local_address();
    let expected = [
        (1, peer, vec![1; 100]),
        (1, peer, vec![1; 100]),
        (1, peer, vec![1; 50]),
        (0, peer, b"back".to_vec()),
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_full_disk_stops_the_capture_and_not_the_packets() {
    let (near, far) = MemoryDriver::pair(65536).unwrap();
    let near = CaptureDriver::new(near, Full(24)).unwrap();
    assert_eq!(near.send(&far.local_address(), b"hi", 2), Ok(2));
    assert_eq!(far.receive(&mut ReceiveBatch::new()), Ok(1));
    let error = near.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

/// The numbers of 2000 packets as they come out.
fn numbers_through(faults: Faults) -> Vec<u16> {
    let (a, b) = MemoryDriver::pair(1 << 20).unwrap();
    let b = FaultDriver::new(b, faults).unwrap();
    let mut batch = ReceiveBatch::new();
    let mut numbers = Vec::new();
    let mut take = |until: Duration| {
        let start = Instant::now();
        loop {
            for index in 0..b.receive(&mut batch).unwrap() {
                let bytes = &*batch.packet(index).unwrap().1;
                numbers.push(u16::from_le_bytes(bytes.try_into().unwrap()));
            }
            if start.elapsed() >= until {
                return;
            }
        }
    };
    for number in 0..2000u16 {
        assert_eq!(a.send(&b.local_address(), &number.to_le_bytes(), 2), Ok(2));
        take(Duration::ZERO);
    }
    take(faults.late * 2 + Duration::from_millis(1));
    numbers
}

fn udp() -> UdpDriver {
    UdpDriver::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap()
}

fn seconds_now() -> u32 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as u32
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes this many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
