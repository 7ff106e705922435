//! Doorbells between two sides that do not trust each other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use slashnet_drivers::{Doorbell, DriverError, MemoryDriver, MemoryParts, PacketDriver};

#[test]
fn every_ring_is_heard_although_nobody_reads() {
    let bell = Doorbell::create().unwrap();
    let listener = listener(&bell.hears);
    assert!(!is_woken(&listener), "nobody has rung");
    for ring in 0..10_000 {
        write(&bell.rings).unwrap();
        assert!(is_woken(&listener), "ring {ring}");
        assert!(!is_woken(&listener), "ring {ring} is heard once");
    }
}

#[test]
fn every_ring_wakes_a_sleeper() {
    let (driver, parts) = MemoryDriver::create_with(4096).unwrap();
    let peer = MemoryDriver::attach(parts).unwrap();
    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let listener = listener(&peer.readable());
            let mut taken = 0;
            while taken < 2000 {
                taken += peer.receive_in_place(&mut |_| true).unwrap();
                told.send(taken).unwrap();
                if taken < 2000 && !peer.arm() {
                    assert_eq!(wait(&listener, 10), 1, "not woken after packet {taken}");
                }
            }
        });
        for sent in 1..=2000 {
            assert_eq!(driver.send(&driver.local_address(), b"x", 1), Ok(1));
            while heard.recv_timeout(Duration::from_secs(10)).unwrap() < sent {}
        }
    });
}

#[test]
fn a_peer_cannot_make_this_side_s_ring_block_with_what_it_has_been_given() {
    let (driver, parts) = MemoryDriver::create_with(4096).unwrap();
    let MemoryParts {
        memfd,
        rings,
        hears,
    } = parts;
    // All that a peer can do to what it has: make it blocking, write, read, take the eventfd out of the epoll.
    for given in [&rings, &hears] {
        let flags = rustix::fs::fcntl_getfl(given).unwrap();
        rustix::fs::fcntl_setfl(given, flags - OFlags::NONBLOCK).unwrap();
    }
    assert_eq!(rustix::io::write(&hears, &[0xff; 8]), Err(Errno::INVAL));
    assert_eq!(rustix::io::read(&hears, &mut [0_u8; 8]), Err(Errno::INVAL));
    let (full, most) = (u64::MAX - 1, 8);
    assert_eq!(rustix::io::write(&rings, &native(full)), Ok(most));
    assert!(epoll::delete(&hears, &rings).is_err());

    let attached = mapped(&memfd);
    let (told, done) = mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..1_000_000 {
            // Each packet meets a peer that has said that it sleeps, so each one rings.
            attached.arm();
            assert_eq!(driver.send(&driver.local_address(), b"x", 1), Ok(1));
            assert_eq!(attached.receive_in_place(&mut |_| true), Ok(1));
        }
        told.send(()).unwrap();
    });
    assert_eq!(
        done.recv_timeout(Duration::from_secs(60)),
        Ok(()),
        "the ringing side blocks"
    );
}

#[test]
fn a_peer_cannot_hold_up_the_listener_with_what_it_has_been_given() {
    let bell = Doorbell::create().unwrap();
    let (rings, listener) = (bell.rings, listener(&bell.hears));
    let flags = rustix::fs::fcntl_getfl(&rings).unwrap();
    rustix::fs::fcntl_setfl(&rings, flags - OFlags::NONBLOCK).unwrap();
    rustix::io::write(&rings, &native(u64::MAX - 1)).unwrap();
    assert!(is_woken(&listener));
    drop(rings);
    assert!(!is_woken(&listener), "a closed eventfd is no event");
}

#[test]
fn a_blocking_eventfd_or_something_else_is_no_doorbell() {
    let refused = |change: &dyn Fn(MemoryParts) -> MemoryParts| {
        let (_driver, good) = MemoryDriver::create_with(4096).unwrap();
        MemoryDriver::attach(change(good)).err()
    };
    let pipe = || rustix::pipe::pipe().unwrap().1;
    let protocol = Some(DriverError::Io(libc::EPROTO));
    let rings = |good| MemoryParts {
        rings: pipe(),
        ..good
    };
    let hears = |good| MemoryParts {
        hears: pipe(),
        ..good
    };
    let blocking = |good| MemoryParts {
        rings: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
        ..good
    };
    assert_eq!(refused(&rings), protocol);
    assert_eq!(refused(&hears), protocol);
    assert_eq!(refused(&blocking), protocol);
}

/// The other end of the memory, with doorbells of its own.
fn mapped(memfd: &OwnedFd) -> MemoryDriver {
    let bell = Doorbell::create().expect("doorbell");
    MemoryDriver::attach(MemoryParts {
        memfd: memfd.try_clone().expect("memory"),
        rings: bell.rings,
        hears: bell.hears,
    })
    .expect("done")
}

fn listener(hears: &impl AsFd) -> OwnedFd {
    let listener = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let data = epoll::EventData::new_u64(1);
    epoll::add(&listener, hears, data, EventFlags::IN | EventFlags::ET).expect("add");
    listener
}

fn is_woken(listener: &OwnedFd) -> bool {
    wait(listener, 0) == 1
}

fn wait(listener: &OwnedFd, seconds: i64) -> usize {
    let time = rustix::time::Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let mut events = Vec::with_capacity(4);
    epoll::wait(
        listener,
        rustix::buffer::spare_capacity(&mut events),
        Some(&time),
    )
    .expect("done")
}

fn write(rings: &OwnedFd) -> rustix::io::Result<usize> {
    rustix::io::write(rings, &native(1))
}

#[expect(
    clippy::host_endian_bytes,
    reason = "the kernel of this machine reads it"
)]
fn native(count: u64) -> [u8; 8] {
    count.to_ne_bytes()
}
