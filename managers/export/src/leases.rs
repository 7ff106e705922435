//! Leases of directories: a client that has one is told when something in the directory changes, and may believe what it
//! knows until then.
//!
//! The kernel notices the changes (inotify), whether clients of any node or programs of this machine make them. It sees
//! every write, rename, removal and change of attributes, and a write through a memory map when the file is closed. A
//! lease ends with the first change.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::credentials::Credentials;
use abi::devctl::{BrokenLeases, LEASE_BEAT_MS};
use abi::{Errno, Nd, Pid, Result};
use resmgr::{Answer, DevctlCall, OpenFile, WaitQueue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::node::Node;
use crate::tree::{errno, own_link};

/// The leases of one export's clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Made when first needed, and read by one thread.
    inotify: Option<Arc<OwnedFd>>,
    feeds: HashMap<Client, Feed>,
    /// Who is told when something happens in a watched directory.
    watched: HashMap<i32, Vec<(Client, u64)>>,
    next: u64,
}

/// A process, on its node.
type Client = (Nd, Pid);

/// Where a client hears its news.
#[derive(Debug)]
struct Feed {
    /// The open file that it asks through; the feed ends with it.
    file: usize,
    /// Leases of this client, with those whose end it has not heard of.
    held: usize,
    broken: Vec<u64>,
    asking: WaitQueue<DevctlCall<BrokenLeases>>,
    asked: Instant,
}

fn client_of(who: &Credentials) -> Client {
    (who.node, who.pid)
}

fn id_of(file: &OpenFile) -> usize {
    std::ptr::from_ref(file).addr()
}

impl Leases {
    /// A client waits for news.
    pub(crate) fn news(&self, file: &OpenFile, call: DevctlCall<BrokenLeases>) -> Answer {
        let client = client_of(call.credentials());
        let mut state = self.lock();
        if let Err(errno) = self.ready(&mut state) {
            return call.fail(errno);
        }
        if !state.feeds.contains_key(&client) && state.feeds.len() >= FEEDS_MAX {
            return call.fail(Errno::ENOSPC);
        }
        let feed = state.feeds.entry(client).or_insert_with(|| Feed {
            file: id_of(file),
            held: 0,
            broken: Vec::new(),
            asking: WaitQueue::with_limit(1),
            asked: Instant::now(),
        });
        if feed.file != id_of(file) {
            return call.fail(Errno::EBUSY);
        }
        if !feed.broken.is_empty() {
            return call.reply(&feed.take());
        }
        feed.asked = Instant::now();
        feed.asking.park(call)
    }

    /// A client leases a directory; the number of the lease.
    pub(crate) fn lease(&self, who: &Credentials, node: &Node) -> Result<u64> {
        node.check_changes_are_noticed()?;
        let client = client_of(who);
        // Held until the lease is entered: an event of the new watch finds it then.
        let mut state = self.lock();
        let inotify = state.inotify.clone().ok_or(Errno::EINVAL)?;
        let feed = state.feeds.get(&client).ok_or(Errno::EINVAL)?;
        if state.watched.len() >= WATCHED_MAX || feed.held >= LEASES_MAX {
            return Err(Errno::ENOSPC);
        }
        let watch = inotify::add_watch(&*inotify, own_link(node.fd()), watched()).map_err(errno)?;
        state.next += 1;
        let number = state.next;
        state
            .watched
            .entry(watch)
            .or_default()
            .push((client, number));
        if let Some(feed) = state.feeds.get_mut(&client) {
            feed.held += 1;
        }
        Ok(number)
    }

    /// An open file is gone, and with the one that asks for news the leases of its client.
    pub(crate) fn closed(&self, file: &OpenFile) {
        let client = client_of(file.opener());
        let mut state = self.lock();
        if state
            .feeds
            .get(&client)
            .is_none_or(|feed| feed.file != id_of(file))
        {
            return;
        }
        let feed = state.feeds.remove(&client);
        let mut unwatched = Vec::new();
        state.watched.retain(|watch, leases| {
            leases.retain(|(other, _)| *other != client);
            if leases.is_empty() {
                unwatched.push(*watch);
            }
            !leases.is_empty()
        });
        if let Some(inotify) = &state.inotify {
            for watch in unwatched {
                // The directory may have gone by itself.
                let _ = inotify::remove_watch(&**inotify, watch);
            }
        }
        drop(state);
        drop(feed);
    }

    /// Makes the watch and its thread.
    fn ready(&self, state: &mut State) -> Result {
        if state.inotify.is_some() {
            return Ok(());
        }
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let inotify = Arc::new(inotify::init(flags).map_err(errno)?);
        let (leases, events) = (Arc::downgrade(&self.state), Arc::clone(&inotify));
        let attend = move || {
            while let Some(state) = leases.upgrade() {
                let noticed = wait_for_events(&events);
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if noticed {
                    state.end_changed(&events);
                }
                state.tell();
            }
        };
        let builder = std::thread::Builder::new().name("export-leases".into());
        builder.spawn(attend).map_err(|_| Errno::EAGAIN)?;
        state.inotify = Some(inotify);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn take(&mut self) -> BrokenLeases {
        let count = self.broken.len().min(BrokenLeases::COUNT_MAX);
        self.held = self.held.saturating_sub(count);
        BrokenLeases {
            numbers: self.broken.drain(..count).collect(),
        }
    }
}

impl State {
    /// Ends the leases of all directories in which something has happened.
    fn end_changed(&mut self, inotify: &OwnedFd) {
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(inotify, &mut space);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // What was lost may have been any of them.
                let all: Vec<i32> = self.watched.keys().copied().collect();
                all.into_iter().for_each(|watch| self.end(watch));
            } else {
                self.end(event.wd());
            }
        }
    }

    fn end(&mut self, watch: i32) {
        for (client, number) in self.watched.remove(&watch).unwrap_or_default() {
            if let Some(feed) = self.feeds.get_mut(&client) {
                feed.broken.push(number);
            }
        }
    }

    /// Answers who has news, and who has waited long enough for a sign of life.
    fn tell(&mut self) {
        for feed in self.feeds.values_mut() {
            if feed.broken.is_empty() && feed.asked.elapsed() < BEAT {
                continue;
            }
            if let Some(call) = feed.asking.take() {
                let _ = call.reply(&feed.take());
            }
        }
    }
}

/// Whether something happened, within a part of [`BEAT`].
fn wait_for_events(inotify: &OwnedFd) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: (BEAT / 4).as_nanos() as i64,
    };
    let mut fds = [PollFd::new(inotify, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Everything that changes what a client may know of a directory; once.
fn watched() -> WatchFlags {
    WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::ONESHOT
}

const BEAT: Duration = Duration::from_millis(LEASE_BEAT_MS);
/// Processes with leases.
const FEEDS_MAX: usize = 1024;
/// Leases of one client; it can read names again without.
const LEASES_MAX: usize = 4096;
/// Directories watched at a time; each is about 1 KiB of the kernel's memory.
const WATCHED_MAX: usize = 16_384;
