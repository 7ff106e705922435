//! Ping-pong over UDP, plain and in trains that the kernel cuts and joins: the reference between machines.

use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::Outcome;
use crate::echo::whole;
use crate::figures::Figures;
use crate::network::enable_offload;
use crate::pair::{ChildOptions, Kind, Side, pipeline, repeat};
use crate::wire::{hear, tell};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let udp = connected(options, socket)?;
    let trains = options.kind == Kind::GsoEcho;
    if trains {
        enable_offload(udp.as_fd(), SEGMENT)?;
    }
    let size = options.size;
    let mut bytes = vec![0; size + JOINED_MAX];
    let content = vec![1; size];
    let send = |bytes: &[u8]| -> Outcome<()> {
        for train in bytes.chunks(TRAIN) {
            udp.send(train)?;
        }
        Ok(())
    };
    // What is left of a read that brought the begin of the next message.
    let mut rest = 0;
    let mut receive = || -> Outcome<()> {
        while rest < size {
            rest += udp.recv(&mut bytes[rest..])?;
        }
        rest -= size;
        if trains { Ok(()) } else { whole(rest, 0) }
    };
    if options.side == Side::Server {
        // It is killed when the client has ended; patience is for the client.
        udp.set_read_timeout(None)?;
        loop {
            receive()?;
            send(&content)?;
        }
    }
    if options.depth > 1 {
        return pipeline(options, || send(&content), receive).map(Some);
    }
    repeat(options, || {
        send(&content)?;
        receive()
    })
    .map(Some)
}

/// A UDP socket on the own address, connected to the peer's, once both exist.
pub(crate) fn connected(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<UdpSocket> {
    let at = options.at.as_deref().ok_or("an own address is needed")?;
    let to = options.to.as_deref().ok_or("a peer address is needed")?;
    let udp = UdpSocket::bind(at)?;
    udp.connect(to)?;
    // A lost datagram is not sent again here: it ends the measurement.
    udp.set_read_timeout(Some(Duration::from_secs(2)))?;
    let buffer = BUFFER.max(4 * options.size * options.depth);
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&udp, buffer)?;
    rustix::net::sockopt::set_socket_send_buffer_size_force(&udp, buffer)?;
    tell(socket, "bound", &[])?;
    hear(socket)?;
    Ok(udp)
}

/// UDP payload of one packet at an MTU of 1500.
pub(crate) const SEGMENT: usize = 1472;
/// The most that one call may hand over: 44 segments stay below 64 KiB.
pub(crate) const TRAIN: usize = SEGMENT * 44;
/// The most that the kernel joins.
pub(crate) const JOINED_MAX: usize = 1 << 16;
const BUFFER: usize = 4 << 20;
