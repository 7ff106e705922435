//! The socket to the node daemon: packets with serials and descriptors.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use abi::system::{DESCRIPTORS_MAX, PACKET_MAX, SOCKET_NAME};
use abi::{Duration, Errno, Result};
use rustix::io::Errno as SystemErrno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recvmsg, sendmsg, socket_with, sockopt,
};

use crate::socket_owner;
use crate::system_error::errno;

/// A connected socket to a node daemon.
pub(crate) struct NodeSocket {
    fd: OwnedFd,
    /// Packets that the socket had no room for.
    outbox: VecDeque<Packet>,
    buffer: Box<[u8]>,
}

/// A packet on its way to the daemon.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<Arc<OwnedFd>>,
}

/// What one look at the socket gave.
pub(crate) enum Incoming {
    /// A packet: its length in the buffer, and its descriptors.
    Packet(usize, Vec<OwnedFd>),
    /// Nothing there.
    Nothing,
    /// The daemon is gone.
    Ended,
}

impl NodeSocket {
    /// Connects to the daemon in `directory`, if root or this process's user runs it.
    pub(crate) fn connect(directory: &Path) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let fd =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(errno)?;
        let path = directory.join(SOCKET_NAME);
        let address = SocketAddrUnix::new(&path).map_err(|_| Errno::ENAMETOOLONG)?;
        connect(&fd, &address).map_err(errno)?;
        socket_owner::check(&fd)?;
        for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&fd, timeout, Some(WELCOME_MAX)).map_err(errno)?;
        }
        let buffer = vec![0; PACKET_MAX].into_boxed_slice();
        Ok(Self {
            fd,
            outbox: VecDeque::new(),
            buffer,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends a packet and waits for the first answer: for the first words with a daemon, without the lock.
    pub(crate) fn exchange(&mut self, packet: &Packet) -> Result<(usize, Vec<OwnedFd>)> {
        send(self.fd.as_fd(), packet, SendFlags::empty())?;
        match self.take(RecvFlags::empty())? {
            Incoming::Packet(len, descriptors) => Ok((len, descriptors)),
            Incoming::Nothing => Err(Errno::ETIMEDOUT),
            Incoming::Ended => Err(Errno::ECONNRESET),
        }
    }

    /// Sends a packet, or keeps it until there is room.
    ///
    /// # Errors
    /// `EAGAIN` if too many are kept already; anything else means that the daemon is gone.
    pub(crate) fn send(&mut self, packet: Packet) -> Result {
        self.flush()?;
        if self.outbox.is_empty() {
            match send(self.fd.as_fd(), &packet, SendFlags::DONTWAIT) {
                Err(Errno::EAGAIN) => {}
                result => return result,
            }
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(Errno::EAGAIN);
        }
        self.outbox.push_back(packet);
        Ok(())
    }

    /// Sends what there was no room for.
    pub(crate) fn flush(&mut self) -> Result {
        while let Some(packet) = self.outbox.front() {
            match send(self.fd.as_fd(), packet, SendFlags::DONTWAIT) {
                Ok(()) => self.outbox.pop_front(),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            };
        }
        Ok(())
    }

    /// Whether packets wait for room.
    pub(crate) fn is_behind(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The next packet, without waiting.
    pub(crate) fn receive(&mut self) -> Incoming {
        self.take(RecvFlags::DONTWAIT).unwrap_or(Incoming::Ended)
    }

    /// The bytes of the last packet.
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }

    fn take(&mut self, flags: RecvFlags) -> Result<Incoming> {
        let mut space =
            [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(&self.fd, &mut slices, &mut control, flags) {
                Ok(received) => break received,
                Err(SystemErrno::INTR) => {}
                Err(SystemErrno::AGAIN) => return Ok(Incoming::Nothing),
                Err(number) => return Err(errno(number)),
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(Incoming::Ended);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(Errno::EMSGSIZE);
        }
        Ok(Incoming::Packet(received.bytes, descriptors))
    }
}

fn send(fd: BorrowedFd<'_>, packet: &Packet, flags: SendFlags) -> Result {
    let descriptors: Vec<BorrowedFd<'_>> = packet.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let mut space =
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::E2BIG);
    }
    let slices = [IoSlice::new(&packet.bytes)];
    loop {
        match sendmsg(fd, &slices, &mut control, flags | SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(SystemErrno::INTR) => {}
            Err(number) => return Err(errno(number)),
        }
    }
}

/// How long a daemon may take for its first words.
const WELCOME_MAX: Duration = Duration::from_secs(5);
/// Packets kept while the daemon does not read; a daemon that is so far behind is as good as gone.
const OUTBOX_MAX: usize = 4096;
