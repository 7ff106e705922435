//! A node daemon that is the test itself.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)] // Every test file uses another part.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use abi::system::{self, LaneRow, NodeLink, Reply, Request, Welcome};
use abi::{Encode, Incarnation, NodeName, Pid};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType, accept, bind, listen, recv, sendmsg, socket, sockopt,
};

/// One life of a daemon.
pub(crate) struct Daemon {
    pub(crate) listener: OwnedFd,
    pub(crate) program: OwnedFd,
}

impl Daemon {
    pub(crate) fn listen(directory: &Path) -> OwnedFd {
        let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let path = directory.join(system::SOCKET_NAME);
        let _ = std::fs::remove_file(&path);
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 8).unwrap();
        listener
    }

    /// Takes the next program and welcomes it; returns its first words, too.
    pub(crate) fn welcome(listener: OwnedFd, generation: u64) -> (Self, system::Hello) {
        Self::welcome_to(listener, generation, Vec::new(), &Page::new(generation))
    }

    /// As [`welcome`](Self::welcome), to a node with links.
    pub(crate) fn welcome_to(
        listener: OwnedFd,
        generation: u64,
        links: Vec<NodeLink>,
        page: &Page,
    ) -> (Self, system::Hello) {
        let program = accept(&listener).unwrap();
        let patience = Some(Duration::from_secs(10));
        sockopt::set_socket_timeout(&program, sockopt::Timeout::Recv, patience).unwrap();
        let daemon = Self { listener, program };
        let (serial, Request::Hello(hello)) = daemon.next() else {
            panic!("no hello")
        };
        let welcome = Welcome {
            version: system::VERSION,
            pid: Pid(321),
            node: NodeName::parse("lab1").unwrap(),
            incarnation: Incarnation(generation),
            links,
        };
        daemon.say(serial, &Reply::Welcome(welcome), &[page.file.as_fd()]);
        (daemon, hello)
    }

    /// What a program says next.
    pub(crate) fn next(&self) -> (u32, Request) {
        let mut buffer = vec![0; system::PACKET_MAX];
        let (_, n) = recv(
            &self.program,
            &mut buffer[..],
            rustix::net::RecvFlags::empty(),
        )
        .unwrap();
        let (serial, request) = system::unpack::<Request>(&buffer[..n]).unwrap();
        (serial, request.unwrap())
    }

    pub(crate) fn say(&self, serial: u32, message: &impl Encode, descriptors: &[BorrowedFd<'_>]) {
        self.send(&system::packet(serial, message).unwrap(), descriptors);
    }

    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        sendmsg(
            &self.program,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
    }

    /// Dies as by SIGKILL.
    pub(crate) fn die(self) {
        drop(self.listener);
        drop(self.program);
    }
}

/// A node page, which only this test writes.
pub(crate) struct Page {
    file: File,
}

impl Page {
    pub(crate) fn new(generation: u64) -> Self {
        let page = memfd_create("page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let file = File::from(page);
        file.set_len(system::NODE_PAGE_LEN as u64).unwrap();
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        let page = Self { file };
        page.put(system::GENERATION_OFFSET, generation);
        page.put(system::LINKS_GENERATION_OFFSET, generation);
        page
    }

    /// The lane rows from now on.
    pub(crate) fn set_rows(&self, generation: u64, rows: &[LaneRow]) {
        for at in 0..system::LANE_ROWS {
            let words = LaneRow::encode(rows.get(at));
            let start = system::LANE_ROWS_OFFSET + at * system::LANE_ROW_LEN;
            for (at, word) in words.iter().enumerate() {
                let place = (start + 4 * at) as u64;
                self.file.write_all_at(&host_order(*word), place).unwrap();
            }
        }
        self.put(system::LINKS_GENERATION_OFFSET, generation);
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        self.beat(Duration::new(now.tv_sec as u64, now.tv_nsec as u32));
    }

    /// The node lives at this time of the monotonic clock.
    pub(crate) fn beat(&self, at: Duration) {
        self.put(system::HEARTBEAT_OFFSET, at.as_nanos() as u64);
    }

    fn put(&self, offset: usize, value: u64) {
        let low = host_order(value as u32);
        let high = host_order((value >> 32) as u32);
        let (first, second) = if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        };
        let bytes = [first, second].concat();
        self.file.write_all_at(&bytes, offset as u64).unwrap();
    }
}

/// The page is for this machine alone, in its own byte order, which both tests and daemons have.
fn host_order(word: u32) -> [u8; 4] {
    let word = if cfg!(target_endian = "little") {
        word
    } else {
        word.swap_bytes()
    };
    word.to_le_bytes()
}
