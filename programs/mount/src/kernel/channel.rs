//! The connection to the kernel of one mount: requests come out of it, replies and notices go in.

use super::reply;
use super::yielding::Yielding;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The connection to the kernel for one mount; shared by all worker threads.
#[derive(Debug)]
pub(crate) struct Channel {
    fuse: OwnedFd,
    /// Holds `fuse`. The device does not say what it wakes for: in `ready` itself it would wake threads that wait for nothing.
    requests: OwnedFd,
    /// Holds `requests` and `stopped`, so that idle threads wait here and only one wakes for a request.
    ready: OwnedFd,
    stopped: OwnedFd,
    /// Of the one thread that looks for requests without sleeping.
    looking: Mutex<Yielding>,
    /// Whether there is one: it will see to it that requests wake others again.
    is_looked: AtomicBool,
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

/// The thread that has this is the one that looks for requests, and no other is woken for them: waking a thread on a halted
/// CPU takes longer than most answers. Not to be kept while anything blocks.
pub(crate) struct Look<'c> {
    channel: &'c Channel,
    patience: MutexGuard<'c, Yielding>,
}

impl Look<'_> {
    /// Looks for a short time, and gives the CPU away in between.
    fn until_late(&mut self, buffer: &mut [u8]) -> Option<Received> {
        self.patience.begin();
        loop {
            match rustix::io::read(&self.channel.fuse, &mut *buffer) {
                Err(Errno::AGAIN) if self.patience.goes_on() => rustix::thread::sched_yield(),
                Err(Errno::AGAIN) => return None,
                read => {
                    if let Some(received) = outcome(read) {
                        self.patience.found();
                        return Some(received);
                    }
                }
            }
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        // First, so that who is woken and still sees a look has left this to do.
        self.channel.is_looked.store(false, Ordering::SeqCst);
        if let Err(errno) = self.channel.arm(ONE_WAKES) {
            tracing::error!(%errno, "nobody is woken for requests");
        }
    }
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
        let requests = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let input = epoll::EventFlags::IN;
        epoll::add(&requests, &fuse, epoll::EventData::new_u64(0), input)?;
        epoll::add(&ready, &requests, epoll::EventData::new_u64(0), ONE_WAKES)?;
        epoll::add(&ready, &stopped, epoll::EventData::new_u64(1), input)?;
        Ok(Self {
            fuse,
            requests,
            ready,
            stopped,
            looking: Mutex::new(Yielding::default()),
            is_looked: AtomicBool::new(false),
        })
    }

    /// Waits for one request. `buffer` must hold the largest. `look` is what [`Self::look`] has given to this thread, and goes
    /// on while a request is found in time.
    pub(crate) fn receive<'c>(
        &'c self,
        buffer: &mut [u8],
        look: &mut Option<Look<'c>>,
    ) -> Received {
        // A program that has had an answer often asks again at once.
        if look.is_none() {
            *look = self.look();
        }
        if let Some(received) = look.as_mut().and_then(|look| look.until_late(buffer)) {
            return received;
        }
        drop(look.take());
        let mut woken = false;
        loop {
            let read = rustix::io::read(&self.fuse, &mut *buffer);
            if std::mem::take(&mut woken) && self.arm_unless_looked().is_err() {
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

    /// Has this thread look for requests, if that has paid lately and no other thread does. To be called before an answer is
    /// sent: the program may run at once, and what it asks for would wake another thread.
    pub(crate) fn look(&self) -> Option<Look<'_>> {
        let mut patience = self.looking.try_lock().ok()?;
        if !patience.is_worth_it() {
            return None;
        }
        self.is_looked.store(true, Ordering::SeqCst);
        let look = Look {
            channel: self,
            patience,
        };
        self.arm(epoll::EventFlags::empty()).is_ok().then_some(look)
    }

    /// Has requests wake a thread again after one was woken. While a thread looks, it does so at its end.
    fn arm_unless_looked(&self) -> rustix::io::Result<()> {
        match self.is_looked.load(Ordering::SeqCst) {
            true => Ok(()),
            false => self.arm(ONE_WAKES),
        }
    }

    /// What wakes threads that wait. Only after a thread has read, or else all that wait would come for one request.
    fn arm(&self, wakes: epoll::EventFlags) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        epoll::modify(&self.ready, &self.requests, data, wakes)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe in the place of the device, and whether something in it would wake a thread.
    fn channel() -> (Channel, OwnedFd) {
        let (device, kernel) = rustix::pipe::pipe().unwrap();
        (Channel::new(device).unwrap(), kernel)
    }

    fn wakes(channel: &Channel) -> bool {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 2];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (events, _) = epoll::wait(&channel.ready, &mut events, Some(&now)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn a_request_wakes_nobody_while_a_thread_looks_and_somebody_afterwards() {
        let (channel, kernel) = channel();
        let look = channel.look().unwrap();
        assert!(channel.look().is_none(), "one at a time");
        rustix::io::write(&kernel, b"request").unwrap();
        assert!(!wakes(&channel));
        // As another thread does that was woken just before.
        channel.arm_unless_looked().unwrap();
        assert!(!wakes(&channel));
        drop(look);
        assert!(wakes(&channel));
        assert!(!wakes(&channel), "one, until it has read");
        channel.arm_unless_looked().unwrap();
        assert!(wakes(&channel));
    }

    #[test]
    fn a_look_goes_on_from_request_to_request_and_ends_when_none_comes() {
        let (channel, kernel) = channel();
        let (mut buffer, mut look) = ([0; 16], channel.look());
        rustix::io::write(&kernel, b"one").unwrap();
        let received = channel.receive(&mut buffer, &mut look);
        assert_eq!(received, Received::Request(3));
        assert!(look.is_some());
        channel.stop();
        let received = channel.receive(&mut buffer, &mut look);
        assert_eq!(received, Received::Stopped);
        assert!(look.is_none());
    }
}
