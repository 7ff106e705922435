//! Leases of directories: while the mount has one, the kernel may believe names and attributes in the directory for long,
//! because their server tells when something there changes.
//!
//! A directory that programs look names up in again and again is leased by a thread in the background; the first change,
//! whoever makes it, ends the lease and what the kernel knows, and so does a server that is not heard of in time. An
//! answer counts as leased if the lease was there before its server was asked and is there still when the kernel is
//! answered, under [`Leases::gate`], so no news can pass between the two.

use abi::Errno;
use abi::devctl::{DIRECTORY_LEASE, LEASE_BEAT_MS, LEASE_NEWS};
use abi::flags::mode;
use abi::io::Stat;
use abi::{Candidate, OpenFlags};
use client::{File, Namespace};
use ipc::SendOptions;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use crate::kernel::device::Channel;
use crate::nodes::Nodes;

/// The leases of one mount.
pub(crate) struct Leases {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

struct Shared {
    state: Mutex<State>,
    /// Read while an answer that counts on a lease goes to the kernel, written when a lease ends.
    gate: RwLock<()>,
    nodes: Arc<Nodes>,
    channel: Arc<Channel>,
}

#[derive(Default)]
struct State {
    directories: HashMap<u64, Directory>,
    /// The directory of each lease, by server and number.
    numbers: HashMap<(Server, u64), u64>,
    feeds: HashMap<Server, Arc<File>>,
    stamps: u64,
}

/// What tells one export from another.
type Server = (u32, u32, u32, u32);

#[derive(Clone, Copy)]
struct Directory {
    lookups: u32,
    /// No lease is tried before.
    not_before: Instant,
    held: Option<Held>,
    asked: bool,
}

#[derive(Clone, Copy)]
struct Held {
    stamp: u64,
    server: Server,
    number: u64,
}

/// A directory to lease, as its user sees it.
struct Job {
    directory: u64,
    path: Vec<u8>,
    view: Namespace,
    not_before: Instant,
}

/// A lease that was there before a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    directory: u64,
    stamp: u64,
}

impl Leases {
    pub(crate) fn new(nodes: Arc<Nodes>, channel: Arc<Channel>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            gate: RwLock::new(()),
            nodes,
            channel,
        });
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let worker = Arc::downgrade(&shared);
        let builder = std::thread::Builder::new()
            .name("mount-leases".into())
            .stack_size(STACK_BYTES);
        if let Err(error) = builder.spawn(move || work(&worker, &queue)) {
            tracing::warn!(%error, "no leases: names and attributes are asked for again and again");
        }
        Self { shared, jobs }
    }

    /// A program looks something up in the directory, or lists it. The lease that is there, if one is.
    pub(crate) fn used(&self, directory: u64, view: &Namespace, weight: u32) -> Option<Stamp> {
        let mut state = self.shared.lock();
        if let Some(held) = state
            .directories
            .get(&directory)
            .and_then(|known| known.held)
        {
            return Some(Stamp {
                directory,
                stamp: held.stamp,
            });
        }
        if state.directories.len() >= DIRECTORIES_MAX {
            state.directories.retain(|_, known| known.held.is_some());
            if state.directories.len() >= DIRECTORIES_MAX {
                return None;
            }
        }
        let now = Instant::now();
        let known = state.directories.entry(directory).or_insert(Directory {
            lookups: 0,
            not_before: now,
            held: None,
            asked: false,
        });
        known.lookups = known.lookups.saturating_add(weight);
        if known.lookups < LOOKUPS_MIN || known.asked || now < known.not_before {
            return None;
        }
        let path = self.shared.nodes.path(directory)?;
        let job = Job {
            directory,
            path,
            view: view.clone(),
            not_before: now + LEASE_PAUSE,
        };
        known.asked = self.jobs.try_send(job).is_ok();
        None
    }

    /// A program of this machine changes the directory, and is likely to go on.
    pub(crate) fn changes(&self, directory: u64) {
        if let Some(known) = self.shared.lock().directories.get_mut(&directory) {
            known.lookups = 0;
            known.not_before = Instant::now() + CHANGED_PAUSE;
        }
    }

    /// The lease that is there, if one is, without counting a use.
    pub(crate) fn of(&self, directory: u64) -> Option<Stamp> {
        let state = self.shared.lock();
        let held = state.directories.get(&directory)?.held?;
        Some(Stamp {
            directory,
            stamp: held.stamp,
        })
    }

    /// Directories that are leased.
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().numbers.len()
    }

    /// To be held while answers that count on leases go to the kernel.
    pub(crate) fn gate(&self) -> RwLockReadGuard<'_, ()> {
        self.shared
            .gate
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease is the one that it was. Only under the gate does the answer hold.
    pub(crate) fn holds(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some_and(|stamp| self.of(stamp.directory) == Some(stamp))
    }
}

/// How long what is known under a lease may be believed if nobody says anything: should this process hang.
pub(crate) const LEASED: Duration = Duration::from_secs(60);

/// Whether all that changes this file is noticed in the one directory that it was found in.
pub(crate) fn is_noticed(stat: &Stat) -> bool {
    stat.nlink == 1 && !mode::is_directory(stat.mode)
}

fn work(shared: &Weak<Shared>, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // Who lists a directory may be about to empty it.
        std::thread::sleep(job.not_before.saturating_duration_since(Instant::now()));
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let directory = job.directory;
        if shared.is_changing(directory) {
            continue;
        }
        if let Err(errno) = shared.lease(&job) {
            tracing::debug!(%errno, path = %job.path.escape_ascii(), "no lease");
            if let Some(known) = shared.lock().directories.get_mut(&directory) {
                known.not_before = Instant::now() + REFUSED_PAUSE;
                known.lookups = 0;
                known.asked = false;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the directory was changed since a lease of it was asked for; then it may be asked for again.
    fn is_changing(&self, directory: u64) -> bool {
        let mut state = self.lock();
        let Some(known) = state.directories.get_mut(&directory) else {
            return true;
        };
        let changing = known.not_before > Instant::now();
        if changing {
            known.asked = false;
        }
        changing
    }

    fn lease(self: &Arc<Self>, job: &Job) -> abi::Result {
        let flags = OpenFlags::READ | OpenFlags::DIRECTORY;
        let (file, stat) = job.view.open_and_stat(&job.path, flags, 0)?;
        // What one user is shown others see until it expires, so only where all may look things up.
        if !mode::is_directory(stat.mode) || stat.mode & 0o001 == 0 {
            return Err(Errno::EACCES);
        }
        let file = Arc::new(file);
        let server = server_of(file.server());
        self.hear(server, &file)?;
        let number = lease_once_heard(&file)?;
        let mut state = self.lock();
        if !state.feeds.contains_key(&server) {
            return Err(Errno::ESRCH);
        }
        state.stamps += 1;
        let stamp = state.stamps;
        state.numbers.insert((server, number), job.directory);
        if let Some(known) = state.directories.get_mut(&job.directory) {
            known.held = Some(Held {
                stamp,
                server,
                number,
            });
            known.asked = false;
        }
        Ok(())
    }

    /// Has a thread listen to the news of a server, if none does.
    fn hear(self: &Arc<Self>, server: Server, file: &Arc<File>) -> abi::Result {
        let mut state = self.lock();
        if state.feeds.contains_key(&server) {
            return Ok(());
        }
        let (shared, feed) = (Arc::downgrade(self), Arc::clone(file));
        let builder = std::thread::Builder::new()
            .name("mount-news".into())
            .stack_size(STACK_BYTES);
        builder
            .spawn(move || listen(&shared, server, &feed))
            .map_err(|_| Errno::EAGAIN)?;
        state.feeds.insert(server, Arc::clone(file));
        Ok(())
    }

    /// Ends these leases: first they are gone, so that no answer counts on them any more, then the kernel is told.
    fn end(&self, ended: &[u64]) {
        let now = Instant::now();
        {
            let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let mut state = self.lock();
            for directory in ended {
                let Some(known) = state.directories.get_mut(directory) else {
                    continue;
                };
                let held = known.held.take();
                known.lookups = 0;
                known.asked = false;
                known.not_before = now + CHANGED_PAUSE;
                if let Some(held) = held {
                    state.numbers.remove(&(held.server, held.number));
                }
            }
        }
        for directory in ended {
            let names = self.nodes.names_in(*directory);
            self.channel.outdate(*directory, true);
            for (_, child) in &names {
                self.channel.outdate(*child, true);
            }
            // This may wait for a request in the directory, so it comes last.
            for (name, _) in &names {
                self.channel.outdate_name(*directory, name);
            }
        }
    }
}

/// The server knows a client that asks for news; the first question may still be on its way.
fn lease_once_heard(file: &File) -> abi::Result<u64> {
    let deadline = Instant::now() + HEARD_WITHIN;
    loop {
        match file.devctl(DIRECTORY_LEASE, ()) {
            Err(Errno::EINVAL) if Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

/// Hears the news of one server until it is not heard of any more.
fn listen(shared: &Weak<Shared>, server: Server, feed: &File) {
    loop {
        let options = SendOptions {
            deadline: Some(Instant::now() + HEARD_WITHIN),
            ..SendOptions::default()
        };
        let news = feed.devctl_with(LEASE_NEWS, (), &options);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let ended: Vec<u64> = match &news {
            Ok(broken) => {
                let state = shared.lock();
                let numbers = broken.numbers.iter();
                numbers
                    .filter_map(|number| state.numbers.get(&(server, *number)).copied())
                    .collect()
            }
            Err(_) => {
                let mut state = shared.lock();
                state.feeds.remove(&server);
                let all = state.numbers.iter();
                all.filter(|((of, _), _)| *of == server)
                    .map(|(_, directory)| *directory)
                    .collect()
            }
        };
        if !ended.is_empty() {
            shared.end(&ended);
        }
        if let Err(errno) = news {
            tracing::debug!(%errno, "no news of leases any more");
            return;
        }
    }
}

fn server_of(candidate: &Candidate) -> Server {
    (
        u32::from(candidate.nd.node()),
        candidate.pid.0,
        candidate.chid.0,
        candidate.handle.0,
    )
}

/// Lookups from which on a lease is worth its two exchanges.
const LOOKUPS_MIN: u32 = 4;
/// Between the wish for a lease and the lease.
const LEASE_PAUSE: Duration = Duration::from_millis(50);
/// After a change: who changes a directory once often goes on.
const CHANGED_PAUSE: Duration = Duration::from_secs(1);
/// After a refusal.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A server that is silent for so long may be gone: what is leased is not believed any more. Four times its beat.
const HEARD_WITHIN: Duration = Duration::from_millis(4 * LEASE_BEAT_MS);
/// Directories that are counted or leased.
const DIRECTORIES_MAX: usize = 16_384;
/// Directories that wait to be leased; others come back.
const JOBS_MAX: usize = 1024;
const STACK_BYTES: usize = 256 << 10;
