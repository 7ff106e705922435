//! A driver for a serial line, or any other stream of bytes between two ends: the worked example of `docs/drivers.md`.
//!
//! `cargo run -p slashnet-drivers --example serial` sends packets through a pair of pseudo terminals.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use slashnet_drivers::{DriverError, LinkAddress, PacketDriver, Properties, ReceiveBatch};

/// One end of a line. Packets are framed as in SLIP (RFC 1055), each with its CRC-32 behind it.
struct SerialDriver {
    line: OwnedFd,
    /// Watches the line, for room only while something is unsent.
    watch: OwnedFd,
    properties: Properties,
    /// What is left of the last packet that was accepted.
    unsent: Mutex<Vec<u8>>,
    frame: Mutex<Frame>,
}

impl SerialDriver {
    /// Over `line`: a terminal in raw mode, a socket or the like.
    fn new(line: OwnedFd) -> Result<Self, DriverError> {
        rustix::io::ioctl_fionbio(&line, true)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &line, EventData::new_u64(0), EventFlags::IN)?;
        Ok(Self {
            line,
            watch,
            properties: Properties {
                max_frame: 1500,
                // A line may lose bytes, and then the CRC is wrong.
                reliable: false,
                ordered: true,
                trusted: false,
                segments_max: 1,
            },
            unsent: Mutex::default(),
            frame: Mutex::default(),
        })
    }

    /// Hands the rest of an accepted packet to the line. True if nothing is left.
    fn flush(&self, unsent: &mut Vec<u8>) -> Result<bool, DriverError> {
        while !unsent.is_empty() {
            match rustix::io::write(&self.line, unsent) {
                Ok(count) => drop(unsent.drain(..count)),
                Err(Errno::AGAIN) => {
                    self.watch_for(EventFlags::IN | EventFlags::OUT)?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn watch_for(&self, flags: EventFlags) -> Result<(), DriverError> {
        epoll::modify(&self.watch, &self.line, EventData::new_u64(0), flags)?;
        Ok(())
    }
}

impl PacketDriver for SerialDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, _to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        if segment == 0 {
            return Err(DriverError::Io(Errno::INVAL.raw_os_error()));
        }
        if segment.min(bytes.len()) > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        let mut unsent = lock(&self.unsent);
        let mut accepted = 0;
        for packet in bytes.chunks(segment) {
            if !self.flush(&mut unsent)? {
                return Ok(accepted);
            }
            encode(packet, &mut unsent);
            accepted += packet.len();
        }
        self.flush(&mut unsent)?;
        Ok(accepted)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let mut unsent = lock(&self.unsent);
        if !unsent.is_empty() && self.flush(&mut unsent)? {
            self.watch_for(EventFlags::IN)?;
        }
        drop(unsent);
        let mut frame = lock(&self.frame);
        // So few bytes hold fewer packets than the smallest batch; what is not read stays in the line.
        let mut bytes = [0; 256];
        while batch.is_empty() {
            match rustix::io::read(&self.line, &mut bytes) {
                Ok(0) => return Err(DriverError::Down),
                Ok(count) => frame.decode(&bytes[..count], batch),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        EventFlags::IN
    }

    fn local_address(&self) -> LinkAddress {
        // There is only one other end, so both have the same name.
        LinkAddress::from_raw(b"serial").unwrap_or_default()
    }

    fn backlog(&self) -> Option<usize> {
        Some(lock(&self.unsent).len())
    }
}

const END: u8 = 0xc0;
const ESCAPE: u8 = 0xdb;
const ESCAPED_END: u8 = 0xdc;
const ESCAPED_ESCAPE: u8 = 0xdd;
const CRC: usize = 4;
/// Longer ones are noise.
const FRAME_MAX: usize = 1500 + CRC;

fn encode(packet: &[u8], into: &mut Vec<u8>) {
    for byte in packet.iter().copied().chain(crc32(packet).to_le_bytes()) {
        match byte {
            END => into.extend([ESCAPE, ESCAPED_END]),
            ESCAPE => into.extend([ESCAPE, ESCAPED_ESCAPE]),
            other => into.push(other),
        }
    }
    into.push(END);
}

/// The frame that is coming in.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    escaped: bool,
}

impl Frame {
    fn decode(&mut self, bytes: &[u8], batch: &mut ReceiveBatch) {
        for byte in bytes {
            let byte = match (*byte, std::mem::take(&mut self.escaped)) {
                (END, _) => {
                    self.finish(batch);
                    continue;
                }
                (ESCAPE, _) => {
                    self.escaped = true;
                    continue;
                }
                (ESCAPED_END, true) => END,
                (ESCAPED_ESCAPE, true) => ESCAPE,
                (other, _) => other,
            };
            if self.bytes.len() <= FRAME_MAX {
                self.bytes.push(byte);
            }
        }
    }

    fn finish(&mut self, batch: &mut ReceiveBatch) {
        if let Some((packet, crc)) = self.bytes.split_last_chunk::<CRC>()
            && crc32(packet) == u32::from_le_bytes(*crc)
            && let Some(room) = batch.reserve(packet.len())
        {
            room.copy_from_slice(packet);
            batch.commit(
                LinkAddress::from_raw(b"serial").unwrap_or_default(),
                packet.len(),
            );
        }
        self.bytes.clear();
    }
}

/// The checksum of Ethernet, bit by bit: a serial line is slower still.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _bit| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two ends of a line: a pseudo terminal and its master.
fn terminals() -> Result<(SerialDriver, SerialDriver), DriverError> {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    rustix::pty::unlockpt(&master)?;
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    let mut modes = tcgetattr(&slave)?;
    modes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    Ok((SerialDriver::new(master)?, SerialDriver::new(slave)?))
}

fn main() -> Result<(), DriverError> {
    let (near, far) = terminals()?;
    near.send(&far.local_address(), b"over the line", 13)?;
    let mut batch = ReceiveBatch::new();
    while far.receive(&mut batch)? == 0 {
        std::thread::yield_now();
    }
    if let Some((from, packet)) = batch.packet(0) {
        println!("from {from}: {}", String::from_utf8_lossy(packet));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slashnet_drivers::conformance;

    #[test]
    fn it_conforms_over_terminals_and_over_sockets() {
        conformance::check(|| terminals().unwrap());
        conformance::check(|| {
            let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
            let over =
                |line: std::os::unix::net::UnixStream| SerialDriver::new(line.into()).unwrap();
            (over(a), over(b))
        });
    }

    #[test]
    fn noise_on_the_line_costs_the_packets_it_hits() {
        let (near, far) = terminals().unwrap();
        let mut line = Vec::new();
        encode(b"first", &mut line);
        line[2] ^= 1;
        line.extend([ESCAPE, ESCAPED_END].repeat(1700));
        line.push(END);
        encode(&[END, ESCAPE, ESCAPED_END], &mut line);
        assert_eq!(rustix::io::write(&near.line, &line), Ok(line.len()));
        let mut batch = ReceiveBatch::new();
        while far.receive(&mut batch).unwrap() == 0 {}
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.packet(0).unwrap().1, [END, ESCAPE, ESCAPED_END]);
    }

    #[test]
    fn the_end_of_an_accepted_packet_follows_when_there_is_room() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let (near, far) = (
            SerialDriver::new(a.into()).unwrap(),
            SerialDriver::new(b.into()).unwrap(),
        );
        let to = far.local_address();
        let mut accepted = 0;
        while near.send(&to, &[1; 1500], 1500).unwrap() > 0 {
            accepted += 1;
        }
        assert!(near.backlog() > Some(0));
        let mut batch = ReceiveBatch::new();
        let mut arrived = 0;
        // Nothing more is sent: only waking up for room brings the rest.
        while arrived < accepted {
            arrived += far.receive(&mut batch).unwrap();
            let mut events = Vec::with_capacity(1);
            let now = rustix::event::Timespec::default();
            let space = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&near.watch, space, Some(&now)).unwrap() > 0 {
                assert_eq!(near.receive(&mut ReceiveBatch::new()), Ok(0));
            }
        }
        assert_eq!(near.backlog(), Some(0));
    }
}
