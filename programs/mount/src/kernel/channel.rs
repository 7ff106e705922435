//! The connection to the kernel of one mount: requests come out of it, replies and notices go in.

use super::reply;
use super::yielding::Yielding;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard};

/// The connection to the kernel for one mount; shared by all worker threads.
#[derive(Debug)]
pub(crate) struct Channel {
    fuse: OwnedFd,
    /// Holds `fuse` and `stopped`, so that idle threads wait here and only one wakes for a request.
    ready: OwnedFd,
    stopped: OwnedFd,
    /// Of the one thread that looks for requests without sleeping.
    looking: Mutex<Yielding>,
}

/// What came of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Request(usize),
    /// Nothing came for [`IDLE`].
    Idle,
    /// [`Channel::stop`] was called.
    Stopped,
    /// The mount is gone.
    Unmounted,
}

enum Waited {
    Ready,
    Idle,
    Stopped,
}

/// Wakes one thread, and no other until that one has read.
const ONE_WAKES: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);
/// How long a thread waits for work before it asks whether it is still needed.
const IDLE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

impl Channel {
    /// Takes over the device of a fresh mount.
    pub(crate) fn new(fuse: OwnedFd) -> rustix::io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fuse)?;
        rustix::fs::fcntl_setfl(&fuse, flags | OFlags::NONBLOCK)?;
        let stopped = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let input = epoll::EventFlags::IN;
        epoll::add(&ready, &fuse, epoll::EventData::new_u64(0), ONE_WAKES)?;
        epoll::add(&ready, &stopped, epoll::EventData::new_u64(1), input)?;
        Ok(Self {
            fuse,
            ready,
            stopped,
            looking: Mutex::new(Yielding::default()),
        })
    }

    /// Waits for one request. `buffer` must hold the largest.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        // A program that has had an answer often asks again at once.
        if let Some(received) = self.look(buffer) {
            return received;
        }
        let mut woken = false;
        loop {
            let read = rustix::io::read(&self.fuse, &mut *buffer);
            if std::mem::take(&mut woken) && self.arm(ONE_WAKES).is_err() {
                return Received::Unmounted;
            }
            match read {
                Err(Errno::AGAIN) => match self.wait() {
                    Waited::Ready => woken = true,
                    Waited::Idle => return Received::Idle,
                    Waited::Stopped => return Received::Stopped,
                },
                read => {
                    if let Some(received) = outcome(read) {
                        return received;
                    }
                }
            }
        }
    }

    /// Looks for a request for a short time and gives the CPU away in between, if that has paid lately and no other thread
    /// does. Meanwhile nobody is woken: waking a thread on a halted CPU takes longer than most answers.
    fn look(&self, buffer: &mut [u8]) -> Option<Received> {
        let mut looking = self.looking.try_lock().ok()?;
        if !looking.is_worth_it() || self.arm(epoll::EventFlags::empty()).is_err() {
            return None;
        }
        let found = self.look_until_late(&mut looking, buffer);
        if self.arm(ONE_WAKES).is_err() {
            return Some(Received::Unmounted);
        }
        found
    }

    fn look_until_late(
        &self,
        looking: &mut MutexGuard<'_, Yielding>,
        buffer: &mut [u8],
    ) -> Option<Received> {
        looking.begin();
        loop {
            match rustix::io::read(&self.fuse, &mut *buffer) {
                Err(Errno::AGAIN) if looking.goes_on() => rustix::thread::sched_yield(),
                Err(Errno::AGAIN) => return None,
                read => {
                    if let Some(received) = outcome(read) {
                        looking.found();
                        return Some(received);
                    }
                }
            }
        }
    }

    /// What wakes threads that wait. Only after a thread has read, or else all that wait would come for one request.
    fn arm(&self, wakes: epoll::EventFlags) -> rustix::io::Result<()> {
        epoll::modify(&self.ready, &self.fuse, epoll::EventData::new_u64(0), wakes)
    }

    fn wait(&self) -> Waited {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 2];
        loop {
            match epoll::wait(&self.ready, &mut events, Some(&IDLE)) {
                Ok(([], _)) => return Waited::Idle,
                Ok((events, _)) if events.iter().any(|event| event.data.u64() == 1) => {
                    return Waited::Stopped;
                }
                Ok(_) => return Waited::Ready,
                Err(Errno::INTR) => {}
                Err(_) => return Waited::Stopped,
            }
        }
    }

    /// Sends one reply; never blocks.
    pub(crate) fn send(&self, header: &[u8], body: &[u8]) -> rustix::io::Result<()> {
        let parts = [IoSlice::new(header), IoSlice::new(body)];
        rustix::io::writev(&self.fuse, &parts).map(drop)
    }

    /// Tells the kernel not to believe the attributes of a node any longer, and with `data` not its pages either. A node
    /// that the kernel does not know is none of its business.
    pub(crate) fn outdate(&self, node: u64, data: bool) {
        // Offset -1 leaves the pages alone, length 0 is all of them.
        let offset: i64 = if data { 0 } else { -1 };
        let body = reply::inval_inode(node, offset);
        self.tell(reply::NOTIFY_INVAL_INODE, &body);
    }

    /// Tells the kernel that a name in a directory may stand for something else. Waits for requests in that directory.
    pub(crate) fn outdate_name(&self, directory: u64, name: &[u8]) {
        self.tell(
            reply::NOTIFY_INVAL_ENTRY,
            &reply::inval_entry(directory, name),
        );
    }

    /// Tells the kernel that what it watches may be ready.
    pub(crate) fn wake(&self, watch: u64) {
        // The kernel ABI is in the byte order of the machine.
        #[allow(clippy::host_endian_bytes)]
        let body = watch.to_ne_bytes();
        self.tell(reply::NOTIFY_POLL, &body);
    }

    fn tell(&self, code: i32, body: &[u8]) {
        let header = reply::header(0, code, body.len());
        match self.send(&header, body) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => tracing::debug!(%errno, code, "the kernel refused a notice"),
        }
    }

    /// Makes every thread's [`Self::receive`] end, now and later.
    pub(crate) fn stop(&self) {
        // The counter can only be full already, which is as good.
        // An eventfd is written in the byte order of the machine.
        #[allow(clippy::host_endian_bytes)]
        let one = 1u64.to_ne_bytes();
        let _ = rustix::io::write(&self.stopped, &one);
    }
}

/// What a read of the device means; nothing if it is to be repeated.
fn outcome(read: rustix::io::Result<usize>) -> Option<Received> {
    match read {
        Ok(length) => Some(Received::Request(length)),
        // ENOENT: the request was withdrawn while it was read.
        Err(Errno::INTR | Errno::NOENT) => None,
        Err(_) => Some(Received::Unmounted),
    }
}
