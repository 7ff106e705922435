//! Another driver, all of whose packets are written down for Wireshark or tcpdump.
//!
//! The packets are those of the wire: sealed, where the session is. The file is a pcap with times in nanoseconds and
//! link type 147 (`USER0`). Each record starts with the direction (1 byte: 0 in, 1 out) and the address of the peer
//! (28 bytes: its length and 27 bytes), then follows the packet.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use abi::LinkAddress;
use abi::codec::{Encode, Writer};
use rustix::event::epoll::EventFlags;

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch};

/// A driver that writes every packet that it sends or receives to a file.
///
/// When the file takes no more, packets still pass; [`flush`](Self::flush) tells of the error.
#[derive(Debug)]
pub struct CaptureDriver<D, W> {
    inner: D,
    file: Mutex<File<W>>,
}

#[derive(Debug)]
struct File<W> {
    to: W,
    failed: Option<io::Error>,
}

impl<D: PacketDriver, W: Write + Send> CaptureDriver<D, W> {
    /// Starts a file on `to`, which should be buffered.
    ///
    /// # Errors
    ///
    /// What `to` says.
    pub fn new(inner: D, mut to: W) -> io::Result<Self> {
        to.write_all(&file_header())?;
        let file = Mutex::new(File { to, failed: None });
        Ok(Self { inner, file })
    }

    /// Has everything reach the file.
    ///
    /// # Errors
    ///
    /// What the file said when it was written to, now or before.
    pub fn flush(&self) -> io::Result<()> {
        let mut file = self.file();
        match file.failed.take() {
            Some(error) => Err(error),
            None => file.to.flush(),
        }
    }

    fn file(&self) -> MutexGuard<'_, File<W>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: PacketDriver, W: Write + Send> PacketDriver for CaptureDriver<D, W> {
    fn properties(&self) -> &Properties {
        self.inner.properties()
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        let accepted = self.send_quietly(to, bytes, segment);
        self.ring_if_asked();
        accepted
    }

    fn send_quietly(
        &self,
        to: &LinkAddress,
        bytes: &[u8],
        segment: usize,
    ) -> Result<usize, DriverError> {
        // Before anybody can answer, so that the answer stands behind it.
        let mut file = self.file();
        let accepted = self.inner.send_quietly(to, bytes, segment)?;
        for packet in bytes[..accepted].chunks(segment.max(1)) {
            file.write(Direction::Out, to, packet);
        }
        Ok(accepted)
    }

    fn ring_if_asked(&self) {
        self.inner.ring_if_asked();
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        let count = self.inner.receive(batch)?;
        let mut file = self.file();
        for index in 0..count {
            if let Some((from, packet)) = batch.packet(index) {
                file.write(Direction::In, from, packet);
            }
        }
        Ok(count)
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.inner.readable()
    }

    fn events(&self, blocked: bool) -> EventFlags {
        self.inner.events(blocked)
    }

    fn arm(&self) -> bool {
        self.inner.arm()
    }

    fn has_data(&self) -> Option<bool> {
        self.inner.has_data()
    }

    fn writable(&self) -> bool {
        self.inner.writable()
    }

    fn peer_cpu(&self) -> Option<u32> {
        self.inner.peer_cpu()
    }

    fn focus(&self, peer: Option<&LinkAddress>) {
        self.inner.focus(peer);
    }

    fn local_address(&self) -> LinkAddress {
        self.inner.local_address()
    }

    fn backlog(&self) -> Option<usize> {
        self.inner.backlog()
    }
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

impl<W: Write> File<W> {
    fn write(&mut self, direction: Direction, peer: &LinkAddress, packet: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let head = record_header(direction, peer, packet.len());
        let written = self
            .to
            .write_all(&head)
            .and_then(|()| self.to.write_all(packet));
        self.failed = written.err();
    }
}

fn file_header() -> [u8; 24] {
    let mut bytes = [0; 24];
    let mut w = Writer::fixed(&mut bytes);
    w.u32(0xa1b2_3c4d);
    w.u16(2);
    w.u16(4);
    // Time zone and accuracy, which nobody uses.
    w.u64(0);
    w.u32(SNAP_LEN);
    w.u32(LINK_TYPE_USER0);
    bytes
}

fn record_header(direction: Direction, peer: &LinkAddress, len: usize) -> [u8; 16 + PEER] {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let len = (len + PEER) as u32;
    let mut bytes = [0; 16 + PEER];
    let mut w = Writer::fixed(&mut bytes);
    w.u32(now.as_secs() as u32);
    w.u32(now.subsec_nanos());
    w.u32(len);
    w.u32(len);
    w.u8(match direction {
        Direction::In => 0,
        Direction::Out => 1,
    });
    peer.encode(&mut w);
    bytes
}

/// Direction and address.
const PEER: usize = 1 + 1 + LinkAddress::LEN_MAX;
const SNAP_LEN: u32 = 256 * 1024;
const LINK_TYPE_USER0: u32 = 147;
