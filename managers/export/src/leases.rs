//! Leases of directories: a client that has one is told when something in the directory changes, and may believe what it
//! knows until then.
//!
//! The kernel notices the changes (inotify), whether clients of any node or programs of this machine make them. It sees
//! every write, rename, removal and change of attributes, and a write through a memory map when the file is closed. A
//! lease ends with the first change that its client has not made itself.
//!
//! A client knows its own changes. Each is announced before it is done ([`Leases::begin`]), and what the kernel notices
//! meanwhile of that kind, about that name, ends the leases of all others. Somebody else may do the same to the same name
//! at that moment: so a client counts on nothing about a directory that it learnt while a change of its own was under way.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Watched directories: without any, changes need not be announced.
    watches: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    /// Made when first needed, and read by one thread.
    inotify: Option<Arc<OwnedFd>>,
    feeds: HashMap<Client, Feed>,
    /// Watched directories by the kernel's number.
    watched: HashMap<i32, Watched>,
    /// The same by device and number.
    numbers: HashMap<(u64, u64), i32>,
    /// Changes that clients are making.
    under_way: Vec<UnderWay>,
    next: u64,
}

#[derive(Debug)]
struct Watched {
    directory: (u64, u64),
    /// Who is told when something happens there.
    leases: Vec<(Client, u64)>,
}

/// What the kernel will notice of one change.
#[derive(Debug)]
struct UnderWay {
    change: u64,
    client: Client,
    watch: i32,
    name: Vec<u8>,
    events: ReadFlags,
}

/// A change that a client is making; dropping it says that it is done.
#[derive(Debug)]
pub(crate) struct Change {
    leases: Leases,
    number: u64,
}

/// A name that is about to change, and what the kernel will say of it.
pub(crate) struct Touched<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    pub(crate) name: &'a [u8],
    pub(crate) events: ReadFlags,
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
    asking: Arc<WaitQueue<DevctlCall<BrokenLeases>>>,
    asked: Instant,
}

/// What a client that asks for news finds.
enum Heard {
    Broken(BrokenLeases),
    Nothing(Arc<WaitQueue<DevctlCall<BrokenLeases>>>),
}

/// Answers that are given once the lock is free.
type News = Vec<(DevctlCall<BrokenLeases>, BrokenLeases)>;

fn tell(news: News) {
    for (call, broken) in news {
        let _ = call.reply(&broken);
    }
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
        match self.listens(client_of(call.credentials()), id_of(file)) {
            Ok(Heard::Broken(broken)) => call.reply(&broken),
            Ok(Heard::Nothing(asking)) => asking.park(call),
            Err(errno) => call.fail(errno),
        }
    }

    /// What there is to tell a client, or where it waits. Nothing is answered under the lock: with the answer the client's file
    /// may be closed, which asks for the lock.
    fn listens(&self, client: Client, file: usize) -> Result<Heard> {
        let mut state = self.lock();
        self.ready(&mut state)?;
        if !state.feeds.contains_key(&client) && state.feeds.len() >= FEEDS_MAX {
            return Err(Errno::ENOSPC);
        }
        let feed = state.feeds.entry(client).or_insert_with(|| Feed {
            file,
            held: 0,
            broken: Vec::new(),
            asking: Arc::new(WaitQueue::with_limit(1)),
            asked: Instant::now(),
        });
        if feed.file != file {
            return Err(Errno::EBUSY);
        }
        if !feed.broken.is_empty() {
            return Ok(Heard::Broken(feed.take()));
        }
        feed.asked = Instant::now();
        Ok(Heard::Nothing(Arc::clone(&feed.asking)))
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
        let directory = identity(node.fd().as_fd())?;
        let watch = inotify::add_watch(&*inotify, own_link(node.fd()), watched()).map_err(errno)?;
        state.next += 1;
        let number = state.next;
        state.numbers.insert(directory, watch);
        let watched = state.watched.entry(watch).or_insert_with(|| Watched {
            directory,
            leases: Vec::new(),
        });
        watched.leases.push((client, number));
        self.watches.store(state.watched.len(), Ordering::SeqCst);
        if let Some(feed) = state.feeds.get_mut(&client) {
            feed.held += 1;
        }
        Ok(number)
    }

    /// Whether nobody has a lease, so that no change need be announced.
    pub(crate) fn is_empty(&self) -> bool {
        self.watches.load(Ordering::SeqCst) == 0
    }

    /// A client is about to change these names. `None` if it has leased none of the directories: then the change is like
    /// anybody else's.
    pub(crate) fn begin(&self, who: &Credentials, touched: &[Touched<'_>]) -> Option<Change> {
        if self.is_empty() {
            return None;
        }
        let client = client_of(who);
        let mut state = self.lock();
        // What was noticed before is somebody else's.
        state.end_changed();
        let change = state.next + 1;
        for touched in touched {
            let Ok(directory) = identity(touched.directory) else {
                continue;
            };
            let Some(watch) = state.numbers.get(&directory).copied() else {
                continue;
            };
            let leased = state.watched.get(&watch);
            if leased.is_some_and(|watched| watched.leases.iter().any(|(of, _)| *of == client)) {
                state.next = change;
                state.under_way.push(UnderWay {
                    change,
                    client,
                    watch,
                    name: touched.name.to_vec(),
                    events: touched.events,
                });
            }
        }
        (state.next == change).then(|| Change {
            leases: self.clone(),
            number: change,
        })
    }

    /// Ends all leases of a directory.
    pub(crate) fn end_all(&self, directory: BorrowedFd<'_>) {
        if self.is_empty() {
            return;
        }
        let Ok(directory) = identity(directory) else {
            return;
        };
        let mut state = self.lock();
        if let Some(watch) = state.numbers.get(&directory).copied() {
            state.end(watch, |_| true);
            self.watches.store(state.watched.len(), Ordering::SeqCst);
            let news = state.news();
            drop(state);
            tell(news);
        }
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
        let watches: Vec<i32> = state.watched.keys().copied().collect();
        for watch in watches {
            state.end(watch, |other| other == client);
        }
        self.watches.store(state.watched.len(), Ordering::SeqCst);
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
        let watches = Arc::clone(&self.watches);
        let attend = move || {
            while let Some(state) = leases.upgrade() {
                if wait_for_events(&events) {
                    // Changes come in bursts, and who makes one under a lease reads what is noticed of it.
                    std::thread::sleep(BURST);
                }
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.end_changed();
                watches.store(state.watched.len(), Ordering::SeqCst);
                let news = state.news();
                drop(state);
                tell(news);
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
    /// Ends the leases of all directories in which something has happened, but not those of who did it.
    fn end_changed(&mut self) {
        let Some(inotify) = self.inotify.clone() else {
            return;
        };
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&*inotify, &mut space);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // What was lost may have been any of them.
                let all: Vec<i32> = self.watched.keys().copied().collect();
                all.into_iter().for_each(|watch| self.end(watch, |_| true));
                continue;
            }
            let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
            let own = |change: &&UnderWay| {
                change.watch == event.wd()
                    && change.events.intersects(event.events())
                    && change.name == name
            };
            let mut makers = self.under_way.iter().filter(own).map(|own| own.client);
            // Of two clients that do the same at once, neither can be told from the other.
            let maker = makers
                .next()
                .filter(|first| makers.all(|other| other == *first));
            self.end(event.wd(), |client| Some(client) != maker);
        }
    }

    /// Ends the leases that these clients have there. The kernel watches on for the others.
    fn end(&mut self, watch: i32, ends: impl Fn(Client) -> bool) {
        let Some(watched) = self.watched.get_mut(&watch) else {
            return;
        };
        let feeds = &mut self.feeds;
        watched.leases.retain(|(client, number)| {
            let ended = ends(*client);
            if let (true, Some(feed)) = (ended, feeds.get_mut(client)) {
                feed.broken.push(*number);
            }
            !ended
        });
        if !watched.leases.is_empty() {
            return;
        }
        if let Some(watched) = self.watched.remove(&watch) {
            self.numbers.remove(&watched.directory);
        }
        if let Some(inotify) = &self.inotify {
            // The directory may have gone by itself.
            let _ = inotify::remove_watch(&**inotify, watch);
        }
    }

    /// Whom to answer: who has news, and who has waited long enough for a sign of life.
    fn news(&mut self) -> News {
        let mut news = Vec::new();
        for feed in self.feeds.values_mut() {
            if feed.broken.is_empty() && feed.asked.elapsed() < BEAT {
                continue;
            }
            if let Some(call) = feed.asking.take() {
                news.push((call, feed.take()));
            }
        }
        news
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        state.end_changed();
        state.under_way.retain(|other| other.change != self.number);
        self.leases
            .watches
            .store(state.watched.len(), Ordering::SeqCst);
        let news = state.news();
        drop(state);
        tell(news);
    }
}

fn identity(directory: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(directory).map_err(errno)?;
    Ok((stat.st_dev, stat.st_ino))
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

/// Everything that changes what a client may know of a directory.
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
        | WatchFlags::EXCL_UNLINK
}

const BEAT: Duration = Duration::from_millis(LEASE_BEAT_MS);
/// How long events may wait for others; a part of what a client waits for news anyway.
const BURST: Duration = Duration::from_millis(2);
/// Processes with leases.
const FEEDS_MAX: usize = 1024;
/// Leases of one client; it can read names again without.
const LEASES_MAX: usize = 4096;
/// Directories watched at a time; each is about 1 KiB of the kernel's memory.
const WATCHED_MAX: usize = 16_384;
