//! Whether the kernel joins datagrams that arrive. A read that may bring several has to ask where they were joined, which
//! costs it a fifth of a microsecond; a socket on which only short ones come, one by one, does without.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::RecvFlags;

use super::receive::{self, Train};
use crate::socket_option;

/// What is known of the datagrams of one socket. The socket joins them when this begins.
#[derive(Debug)]
pub(super) struct Joining {
    joins: bool,
    /// Datagrams in a row that came alone; while none are joined, all.
    alone: u32,
}

impl Joining {
    pub(super) const fn new() -> Self {
        Self {
            joins: true,
            alone: 0,
        }
    }

    /// Reads one datagram, or several of equal length from one sender. Never blocks. `None` for what is nobody's.
    #[inline]
    pub(super) fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        into: &mut [u8],
    ) -> io::Result<Option<Train>> {
        if self.joins {
            let train = receive::receive(socket, into)?;
            if let Some(train) = &train {
                self.came(socket, train);
            }
            return Ok(train);
        }
        let train = receive::receive_alone(socket, into)?;
        self.alone += 1;
        let long = train.as_ref().is_some_and(|train| train.len >= LONG);
        if long || self.alone >= LOOK_AGAIN {
            self.start(socket);
        }
        Ok(train)
    }

    fn came(&mut self, socket: BorrowedFd<'_>, train: &Train) {
        let alone = train.len < LONG && train.segment == train.len;
        self.alone = if alone { self.alone + 1 } else { 0 };
        if self.alone >= ALONE {
            self.stop(socket);
        }
    }

    #[cold]
    fn start(&mut self, socket: BorrowedFd<'_>) {
        self.alone = 0;
        self.joins = true;
        let _ = socket_option::set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    }

    /// Where a train was joined that waits already is told only as long as the socket joins.
    #[cold]
    fn stop(&mut self, socket: BorrowedFd<'_>) {
        self.alone = 0;
        if socket_option::set(socket, libc::SOL_UDP, libc::UDP_GRO, 0).is_err() {
            return;
        }
        self.joins = false;
        if !is_empty(socket) {
            self.start(socket);
        }
    }
}

fn is_empty(socket: BorrowedFd<'_>) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    rustix::net::recv(socket, &mut [0; 1][..], flags) == Err(rustix::io::Errno::AGAIN)
}

/// From this length in bytes on a datagram may be one of a train, for these fill packets. Shorter ones of a train are read
/// one by one, until it is tried again.
const LONG: usize = 1152;
/// So many alone, and the next will be, too.
const ALONE: u32 = 256;
/// After so many reads it is tried again whether short ones would be joined.
const LOOK_AGAIN: u32 = 8192;
