//! Waiting on behalf of somebody who may go away meanwhile.

use std::os::fd::OwnedFd;

use abi::{Errno, Result};
use client::Interrupt;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::device::errno;

/// Does `work`, which ends early by the interrupt it is given when the other side of the socket closes. So a program that is
/// killed while it waits for its turn at a port leaves the queue.
///
/// # Errors
/// EAGAIN if no thread can be started, EMFILE.
pub(super) fn unless_gone<T>(
    peer: &OwnedFd,
    work: impl FnOnce(&Interrupt) -> Result<T>,
) -> Result<T> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let done = eventfd(0, flags).map_err(errno)?;
    let interrupt = Interrupt::new();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("departure".into())
            .spawn_scoped(scope, || {
                if is_gone(peer, &done) {
                    interrupt.trigger();
                }
            })
            .map_err(|_| Errno::EAGAIN)?;
        // Also when the work panics: the scope waits for the thread.
        let _done = Done(&done);
        work(&interrupt)
    })
}

/// Waits for the other side's end, or for that of the work; whether it was the first.
fn is_gone(peer: &OwnedFd, done: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(done, PollFlags::IN),
        PollFd::new(peer, PollFlags::RDHUP),
    ];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return fds[0].revents().is_empty(),
            Err(_) => return false,
        }
    }
}

struct Done<'a>(&'a OwnedFd);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        // Any number wakes; one write into an empty counter cannot fail.
        let _ = rustix::io::write(self.0, &[1; 8]);
    }
}
