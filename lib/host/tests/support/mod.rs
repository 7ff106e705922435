//! A program reduced to its daemon socket: what `lib/ipc` does, without sessions.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../../../drivers/tests/network/mod.rs"]
pub mod network;
pub mod pair;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use abi::system::{
    self, Death, DeathCause, FromNode, Hello, LiveSession, Notice, Offer, Refusal, Reply, Request,
    SessionRole, Ticket, Welcome,
};
use abi::{Errno, NodeName, Pid, SessionId, Uid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use slashnet_host::{Builder, Host};

/// Longer than anything that a node may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on one or more loopback addresses, in its own directory.
pub fn node(directory: &Path, name: &str, addresses: &[&str]) -> Host {
    let builder = Builder::new(name).directory(directory.join(name)).port(0);
    addresses
        .iter()
        .fold(builder, |builder, address| builder.link(*address))
        .start()
        .unwrap()
}

/// A connection to a node.
pub struct Program {
    socket: OwnedFd,
    serial: u32,
    notices: Vec<(u32, Notice, Vec<OwnedFd>)>,
    pub descriptors: Vec<OwnedFd>,
}

impl Program {
    /// A connection that has said nothing yet.
    pub fn silent(directory: &Path) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        let address = SocketAddrUnix::new(directory.join(system::SOCKET_NAME)).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        Self {
            socket,
            serial: 0,
            notices: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    pub fn connect(directory: &Path) -> (Self, Welcome) {
        Self::returning(directory, Pid(0), Vec::new())
    }

    /// A program that was here before.
    pub fn returning(
        directory: &Path,
        previous: Pid,
        sessions: Vec<LiveSession>,
    ) -> (Self, Welcome) {
        let mut program = Self::silent(directory);
        let hello = Hello {
            version: system::VERSION,
            program: b"test".to_vec(),
            previous,
            sessions,
        };
        match program.ask(&Request::Hello(hello)) {
            Reply::Welcome(welcome) => (program, welcome),
            other => panic!("not welcome: {other:?}"),
        }
    }

    pub fn send(&self, serial: u32, request: &Request, descriptors: &[BorrowedFd<'_>]) {
        self.send_bytes(&system::packet(serial, request).unwrap(), descriptors);
    }

    pub fn send_bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(
            descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors))
        );
        rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
    }

    /// Asks, and waits for the answer; notices that come before it are kept.
    pub fn ask(&mut self, request: &Request) -> Reply {
        self.ask_with(request, &[])
    }

    pub fn ask_with(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Reply {
        self.serial += 1;
        let serial = self.serial;
        self.send(serial, request, descriptors);
        self.answer(serial)
    }

    pub fn answer(&mut self, serial: u32) -> Reply {
        loop {
            match self.receive().expect("the node has closed the connection") {
                (got, FromNode::Reply(reply), descriptors) => {
                    assert_eq!(got, serial);
                    self.descriptors = descriptors;
                    return reply;
                }
                (got, FromNode::Notice(notice), descriptors) => {
                    self.notices.push((got, notice, descriptors))
                }
            }
        }
    }

    /// What a failed request says.
    pub fn refusal(&mut self, request: &Request) -> (Errno, String) {
        match self.ask(request) {
            Reply::Error(Refusal { errno, text }) => (errno, String::from_utf8(text).unwrap()),
            other => panic!("{} was granted: {other:?}", request.kind_name()),
        }
    }

    /// The next thing the node says unasked, but for `Lanes`: it is only a wake-up and comes at any time.
    pub fn notice(&mut self) -> (u32, Notice, Vec<OwnedFd>) {
        loop {
            let notice = self.any_notice();
            if notice.1 != Notice::Lanes {
                return notice;
            }
        }
    }

    fn any_notice(&mut self) -> (u32, Notice, Vec<OwnedFd>) {
        if !self.notices.is_empty() {
            return self.notices.remove(0);
        }
        match self.receive().expect("the node has closed the connection") {
            (serial, FromNode::Notice(notice), descriptors) => (serial, notice, descriptors),
            (_, FromNode::Reply(reply), _) => panic!("an answer without a question: {reply:?}"),
        }
    }

    /// The next notice, which must be the end of this session.
    #[track_caller]
    pub fn expect_death(&mut self, session: SessionId, cause: DeathCause) {
        let sessions = vec![session];
        assert_eq!(self.notice().1, Notice::Death(Death { sessions, cause }));
    }

    /// The next notice, which must say what clients may do by the rules of today.
    #[track_caller]
    pub fn expect_rights(&mut self) {
        let told = self.notice().1;
        assert!(matches!(told, Notice::Rights(_)), "{told:?}");
    }

    /// The next packet, or `None` at the end of the connection.
    pub fn receive(&self) -> Option<(u32, FromNode, Vec<OwnedFd>)> {
        let mut wait = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        assert_ne!(
            poll(&mut wait, Some(&timeout)).unwrap(),
            0,
            "the node says nothing"
        );
        let mut bytes = vec![0; system::PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let len = received.map_or(0, |message| message.bytes);
        if len == 0 {
            return None;
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let (serial, message) = system::unpack::<FromNode>(&bytes[..len]).unwrap();
        Some((serial, message.unwrap(), descriptors))
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks again and again until the answer is the awaited one, for what other nodes have to learn first.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not seen");
        std::thread::yield_now();
    }
}

/// A client's end of a session, as it is claimed from a restarted node.
pub fn asked_from(ticket: &Ticket, server_node: Option<&str>) -> LiveSession {
    LiveSession {
        local: ticket.local,
        peer: ticket.peer,
        role: SessionRole::Client,
        node: server_node.map(|node| NodeName::parse(node).unwrap()),
        pid: ticket.pid,
        lanes: ticket.lanes.clone(),
        user: Uid(0),
        proof: ticket.proof,
    }
}

/// A server's end.
pub fn served_to(offer: &Offer, client_node: Option<&str>) -> LiveSession {
    LiveSession {
        local: offer.local,
        peer: offer.peer,
        role: SessionRole::Server,
        node: client_node.map(|node| NodeName::parse(node).unwrap()),
        pid: offer.credentials.pid,
        lanes: offer.lanes.clone(),
        user: offer.user,
        proof: offer.proof,
    }
}
