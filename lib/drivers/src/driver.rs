//! What every packet driver does.

use std::fmt;
use std::os::fd::BorrowedFd;

use abi::LinkAddress;
use rustix::event::epoll::EventFlags;

use crate::ReceiveBatch;

/// What a driver promises. Fixed for the life of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Largest packet in bytes that [`PacketDriver::send`] takes as one segment.
    pub max_frame: usize,
    /// Every accepted packet arrives exactly once while both ends live.
    pub reliable: bool,
    /// Packets arrive in the order in which they were accepted.
    pub ordered: bool,
    /// Nobody but the peer can read or write the packets, so they need no cipher.
    pub trusted: bool,
    /// Most segments that one `send` hands over in one step; 1 where there is no offload.
    pub segments_max: usize,
}

/// A way for packets between this process and others.
///
/// No method blocks, and every method may be called from several threads at once. A driver must not be
/// used after `fork` in the child: both processes would take packets from the same queue.
pub trait PacketDriver: Send + Sync {
    /// What this driver promises.
    fn properties(&self) -> &Properties;

    /// Sends `bytes` to `to` as packets of `segment` bytes each, the last one possibly shorter.
    ///
    /// Returns the bytes accepted, always whole packets: `bytes.len()` when everything went, less when
    /// the medium took no more, 0 when it took nothing. After a short count the driver reports through
    /// [`readable`](Self::readable) when there may be room again (see [`events`](Self::events) and
    /// [`writable`](Self::writable)). An accepted packet of a driver that is not `reliable` may be lost.
    ///
    /// # Errors
    ///
    /// `TooBig` (nothing sent) when a packet exceeds what the medium carries now, `Down` when the link has
    /// gone, `NoPeer` when nobody is at that address, `Io` for anything else. On an unreliable medium all
    /// of them are hints and the next `send` may succeed.
    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError>;

    /// Like [`send`](Self::send), for one of several that follow each other: the peer is woken by
    /// [`ring_if_asked`](Self::ring_if_asked) at the end, at once instead of for each.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    fn send_quietly(
        &self,
        to: &LinkAddress,
        bytes: &[u8],
        segment: usize,
    ) -> Result<usize, DriverError> {
        self.send(to, bytes, segment)
    }

    /// Wakes the peer for what [`send_quietly`](Self::send_quietly) has sent. To be called before the caller sleeps.
    fn ring_if_asked(&self) {}

    /// Replaces the contents of `batch` by packets that have arrived and returns their number, 0 if none.
    ///
    /// There may be more than fit: call again until it returns 0 before sleeping on an edge-triggered
    /// descriptor, or use [`arm`](Self::arm), which tells.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send). On a `reliable` driver an error is final: the peer broke the protocol.
    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError>;

    /// The descriptor that epoll waits on, with the flags of [`events`](Self::events). Never read from it.
    fn readable(&self) -> BorrowedFd<'_>;

    /// Flags for epoll; `blocked` is true while a short count of [`send`](Self::send) is outstanding. As a socket
    /// needs them, level-triggered, if the driver does not say otherwise.
    fn events(&self, blocked: bool) -> EventFlags {
        if blocked {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        }
    }

    /// Says that the caller is about to sleep in epoll. True if something is there already: do not sleep.
    ///
    /// Without it an edge-triggered driver does not wake the sleeper. False for level-triggered drivers.
    fn arm(&self) -> bool {
        false
    }

    /// A look without a system call: is a packet waiting? `None` if only the kernel knows.
    fn has_data(&self) -> Option<bool> {
        None
    }

    /// False while the last [`send`](Self::send) was short and no room has come up since. No system call.
    /// Drivers that cannot know answer true.
    fn writable(&self) -> bool {
        true
    }

    /// The CPU on which the peer last sent, if the driver knows. A hint for deciding whether to spin.
    fn peer_cpu(&self) -> Option<u32> {
        None
    }

    /// Only `peer` is talked to from now on, or anybody for `None`. A driver may then look for the way to it once,
    /// and drop what comes from others.
    fn focus(&self, peer: Option<&LinkAddress>) {
        let _ = peer;
    }

    /// The address under which peers reach this driver.
    fn local_address(&self) -> LinkAddress;

    /// Bytes accepted and not yet taken by the medium or the peer, if the driver knows.
    fn backlog(&self) -> Option<usize>;
}

/// Why a driver did not move a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverError {
    /// Nothing can be moved now.
    WouldBlock,
    /// The link has gone.
    Down,
    /// The packet is too big; the medium takes at most this many bytes now (0: not known).
    TooBig(usize),
    /// Nobody is at that address.
    NoPeer,
    /// Any other error, as the number that the system gave.
    Io(i32),
}

impl DriverError {
    pub(crate) const PROTOCOL: Self = Self::Io(libc::EPROTO);
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("nothing can be moved now"),
            Self::Down => f.write_str("the link is down"),
            Self::TooBig(0) => f.write_str("the packet is too big for the link"),
            Self::TooBig(max) => {
                write!(
                    f,
                    "the packet is too big: the link takes at most {max} bytes"
                )
            }
            Self::NoPeer => f.write_str("nobody is at that address"),
            Self::Io(number) => std::io::Error::from_raw_os_error(*number).fmt(f),
        }
    }
}

impl std::error::Error for DriverError {}

impl From<rustix::io::Errno> for DriverError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_number(errno.raw_os_error())
    }
}

impl From<std::io::Error> for DriverError {
    fn from(error: std::io::Error) -> Self {
        Self::from_number(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl DriverError {
    fn from_number(number: i32) -> Self {
        match number {
            libc::EAGAIN | libc::ENOBUFS => Self::WouldBlock,
            libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENODEV
            | libc::ENXIO
            | libc::EADDRNOTAVAIL
            | libc::ENONET => Self::Down,
            libc::EMSGSIZE => Self::TooBig(0),
            libc::ECONNREFUSED => Self::NoPeer,
            other => Self::Io(other),
        }
    }
}

/// Sends one train after the other until one does not go; answers the bytes that went. `send` answers whether its train
/// was taken.
pub(crate) fn send_trains<'a>(
    trains: impl Iterator<Item = &'a [u8]>,
    mut send: impl FnMut(&'a [u8]) -> Result<bool, DriverError>,
) -> Result<usize, DriverError> {
    let mut accepted = 0;
    for train in trains {
        match send(train) {
            Ok(true) => accepted += train.len(),
            Ok(false) => break,
            // What went before stays accepted; the error comes back with the next call.
            Err(_later) if accepted > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(accepted)
}
