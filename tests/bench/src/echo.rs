//! Ping-pong: one side sends a message and waits until it has come back whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use drivers::{MemoryDriver, MemoryParts, PacketDriver};
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags};

use crate::Outcome;
use crate::figures::Figures;
use crate::pair::{ChildOptions, Kind, Side, repeat};
use crate::wire::{hear, tell};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    match options.kind {
        Kind::SeqpacketEcho => seqpacket(options, socket),
        Kind::MemoryEcho | Kind::MemorySpinEcho => memory(options, socket),
        other => Err(format!("{other:?} is no echo").into()),
    }
}

fn seqpacket(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let mut bytes = vec![0; options.size];
    // A message goes into the buffer whole or not at all; the kernel counts its own overhead too.
    rustix::net::sockopt::set_socket_send_buffer_size(socket, options.size * 2 + 65536)?;
    if options.side == Side::Server {
        while rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty())?.0 > 0 {
            rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL)?;
        }
        return Ok(None);
    }
    repeat(options, || {
        rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL)?;
        let count = rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty())?.0;
        whole(count, options.size)
    })
    .map(Some)
}

fn memory(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let spin = options.kind == Kind::MemorySpinEcho;
    if options.side == Side::Server {
        let (driver, parts) = MemoryDriver::create()?;
        tell(
            socket,
            "parts",
            &[
                parts.memfd.as_fd(),
                parts.rings.as_fd(),
                parts.hears.as_fd(),
            ],
        )?;
        let mut end = MemoryEnd::new(driver, spin)?;
        loop {
            let message = end.receive(options.size)?;
            end.send(&message)?;
            end.spare = message;
        }
    }
    let (_, fds) = hear(socket)?;
    let [memfd, rings, hears] =
        <[OwnedFd; 3]>::try_from(fds).map_err(|_few| "three descriptors")?;
    let mut end = MemoryEnd::new(
        MemoryDriver::attach(MemoryParts {
            memfd,
            rings,
            hears,
        })?,
        spin,
    )?;
    let bytes = vec![0; options.size];
    repeat(options, || {
        end.send(&bytes)?;
        let message = end.receive(options.size)?;
        whole(message.len(), options.size)?;
        end.spare = message;
        Ok(())
    })
    .map(Some)
}

/// One end of the memory driver with the least that a user of it needs.
struct MemoryEnd {
    driver: MemoryDriver,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    spare: Vec<u8>,
    spin: bool,
}

impl MemoryEnd {
    fn new(driver: MemoryDriver, spin: bool) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&epoll, driver.readable(), data, driver.events(false))?;
        Ok(Self {
            driver,
            epoll,
            events: Vec::with_capacity(1),
            spare: Vec::new(),
            spin,
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        let segment = self.driver.properties().max_frame.min(bytes.len());
        let to = self.driver.local_address();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self.driver.send(&to, &bytes[sent..], segment)?;
            if sent < bytes.len() && !self.driver.writable() {
                self.sleep()?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, size: usize) -> Outcome<Vec<u8>> {
        let mut message = std::mem::take(&mut self.spare);
        message.resize(size, 0);
        let mut got = 0;
        while got < size {
            let count = self.driver.receive_in_place(&mut |packet| {
                let end = (got + packet.len()).min(size);
                packet.copy(0, &mut message[got..end]);
                got = end;
                got < size
            })?;
            if got >= size || self.spin && self.spin_for_a_while() {
                continue;
            }
            if count == 0 && !self.driver.arm() {
                self.sleep()?;
            }
        }
        Ok(message)
    }

    fn spin_for_a_while(&self) -> bool {
        (0..SPINS).any(|_| {
            std::hint::spin_loop();
            self.driver.has_data() == Some(true)
        })
    }

    fn sleep(&mut self) -> Outcome<()> {
        self.events.clear();
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            None,
        )?;
        Ok(())
    }
}

pub(crate) fn whole(count: usize, size: usize) -> Outcome<()> {
    if count == size {
        Ok(())
    } else {
        Err(format!("{count} of {size} bytes came back").into())
    }
}

const SPINS: u32 = 2000;
