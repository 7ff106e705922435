//! The memory driver between two processes. The child gets its end over a Unix socket, by `SCM_RIGHTS`.
#![expect(clippy::print_stdout, reason = "this test target reports for itself")]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use slashnet_drivers::{MemoryDriver, MemoryParts, PacketDriver, ReceiveBatch};

const PATIENCE: Duration = Duration::from_secs(20);
const BULK: usize = 64 << 20;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return child();
    }
    packets_of_all_sizes_come_back_from_another_process();
    println!("test packets_of_all_sizes_come_back_from_another_process ... ok");
    bulk_through_full_rings_arrives_complete_and_in_order();
    println!("test bulk_through_full_rings_arrives_complete_and_in_order ... ok");
    a_killed_peer_leaves_a_full_ring_and_no_fault();
    println!("test a_killed_peer_leaves_a_full_ring_and_no_fault ... ok");
}

fn packets_of_all_sizes_come_back_from_another_process() {
    let (driver, mut child) = start();
    let mut sleeper = Sleeper::new(&driver);
    for round in 0..20_000usize {
        let len = 1 + round * 37 % 3000;
        let packet: Vec<u8> = (0..len).map(|at| at as u8 ^ round as u8).collect();
        sleeper.send(&driver, &packet);
        assert_eq!(sleeper.receive(&driver), [packet], "round {round}");
    }
    sleeper.send(&driver, STOP);
    assert!(child.wait().expect("the child").success());
}

fn bulk_through_full_rings_arrives_complete_and_in_order() {
    let (driver, mut child) = start();
    let mut sleeper = Sleeper::new(&driver);
    let frame: Vec<u8> = (0..50_000u32).map(|at| (at % 251) as u8).collect();
    let (mut sent, mut returned) = (0, 0);
    while returned < BULK {
        let due = frame.len() - sent % frame.len();
        let mut moved = false;
        if sent < BULK + frame.len() && due == frame.len() {
            let taken = driver
                .send(&driver.local_address(), &frame, frame.len())
                .expect("send");
            sent += taken;
            moved = taken > 0;
        }
        for packet in sleeper.poll(&driver) {
            assert!(packet == frame, "after {returned} bytes");
            returned += packet.len();
            moved = true;
        }
        if !moved {
            sleeper.sleep(&driver);
        }
    }
    sleeper.send(&driver, STOP);
    assert!(child.wait().expect("the child").success());
}

fn a_killed_peer_leaves_a_full_ring_and_no_fault() {
    let (driver, mut child) = start();
    let mut sleeper = Sleeper::new(&driver);
    sleeper.send(&driver, b"hello");
    sleeper.receive(&driver);
    child.kill().expect("kill");
    child.wait().expect("the child");
    let mut accepted = 0;
    loop {
        let taken = driver
            .send(&driver.local_address(), &[0; 1000], 1000)
            .expect("send");
        if taken == 0 {
            break;
        }
        accepted += taken;
        assert!(accepted <= MemoryDriver::RING, "the ring has a bound");
    }
    assert!(!driver.writable());
    assert!(sleeper.poll(&driver).is_empty());
}

/// Sends everything back until it is told to stop.
fn child() {
    let socket = std::io::stdin();
    let parts = receive_parts(socket.as_fd());
    let driver = MemoryDriver::attach(parts).expect("the other end");
    let mut sleeper = Sleeper::new(&driver);
    loop {
        for packet in sleeper.receive(&driver) {
            if packet == STOP {
                return;
            }
            sleeper.send(&driver, &packet);
        }
    }
}

fn start() -> (MemoryDriver, Child) {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair");
    let child = Command::new(std::env::current_exe().expect("own name"))
        .arg(CHILD)
        .stdin(Stdio::from(theirs))
        .spawn()
        .expect("child");
    let (driver, parts) = MemoryDriver::create().expect("rings");
    let fds = [
        parts.memfd.as_fd(),
        parts.rings.as_fd(),
        parts.hears.as_fd(),
    ];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    rustix::net::sendmsg(
        &ours,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    )
    .expect("sendmsg");
    (driver, child)
}

fn receive_parts(socket: BorrowedFd<'_>) -> MemoryParts {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("recvmsg");
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(fds.len(), 3);
    let (hears, rings, memfd) = (fds.remove(2), fds.remove(1), fds.remove(0));
    MemoryParts {
        memfd,
        rings,
        hears,
    }
}

struct Sleeper {
    epoll: OwnedFd,
    batch: ReceiveBatch,
}

impl Sleeper {
    fn new(driver: &MemoryDriver) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let data = epoll::EventData::new_u64(0);
        epoll::add(&epoll, driver.readable(), data, driver.events(false)).expect("add");
        Self {
            epoll,
            batch: ReceiveBatch::new(),
        }
    }

    fn poll(&mut self, driver: &MemoryDriver) -> Vec<Vec<u8>> {
        let count = driver.receive(&mut self.batch).expect("receive");
        (0..count)
            .map(|index| self.batch.packet(index).expect("packet").1.to_vec())
            .collect()
    }

    fn receive(&mut self, driver: &MemoryDriver) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let packets = self.poll(driver);
            if !packets.is_empty() {
                return packets;
            }
            assert!(Instant::now() < deadline, "nothing came");
            self.sleep(driver);
        }
    }

    fn send(&self, driver: &MemoryDriver, packet: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while driver
            .send(&driver.local_address(), packet, packet.len())
            .expect("send")
            == 0
        {
            assert!(Instant::now() < deadline, "no room");
            if !driver.writable() {
                self.wait();
            }
        }
    }

    fn sleep(&self, driver: &MemoryDriver) {
        if !driver.arm() {
            self.wait();
        }
    }

    fn wait(&self) {
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs() as i64,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(1);
        let space = rustix::buffer::spare_capacity(&mut events);
        assert!(
            epoll::wait(&self.epoll, space, Some(&patience)).expect("wait") > 0,
            "not woken"
        );
    }
}

const CHILD: &str = "echo-packets-from-stdin";
const STOP: &[u8] = b"stop";
