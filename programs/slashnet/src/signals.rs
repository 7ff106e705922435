//! Signals that ask a program to end, as a file descriptor.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// The signals that end a program in an orderly way.
const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Catches SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
#[derive(Debug)]
pub(crate) struct Signals {
    arrived: UnixStream,
}

impl Signals {
    /// Begins to catch. From here on these signals no longer kill the process.
    pub(crate) fn catch() -> io::Result<Self> {
        let (arrived, raised) = UnixStream::pair()?;
        for signal in ENDING {
            signal_hook::low_level::pipe::register(signal, raised.try_clone()?)?;
        }
        Ok(Self { arrived })
    }

    /// Readable as soon as a signal has arrived.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }

    /// Blocks until one of the signals arrives.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut byte = [0];
        loop {
            match (&self.arrived).read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Whether a signal has arrived. Never blocks.
    pub(crate) fn arrived(&self) -> bool {
        readable(self.fd(), Duration::ZERO)
    }
}

/// Waits until `fd` is readable or hung up, at most for `patience`.
pub(crate) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut interest = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    wait_for_any(&mut interest, Some(patience))
}

/// Waits until one of `interests` has news, at most for `patience` (without one: for ever).
pub(crate) fn wait_for_any(interests: &mut [PollFd<'_>], patience: Option<Duration>) -> bool {
    let deadline = patience.map(|patience| std::time::Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            rustix::event::Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(interests, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.is_ok_and(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_descriptor_is_given_up_after_its_time() {
        let (quiet, _other) = UnixStream::pair().unwrap();
        assert!(!readable(quiet.as_fd(), Duration::from_millis(1)));
    }

    #[test]
    fn a_hung_up_descriptor_counts_as_news() {
        let (quiet, other) = UnixStream::pair().unwrap();
        drop(other);
        assert!(readable(quiet.as_fd(), Duration::from_secs(5)));
    }
}
