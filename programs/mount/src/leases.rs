//! Leases of directories: while the mount has one, the kernel may believe names and attributes in the directory for long,
//! because their server tells when something there changes.
//!
//! A directory is leased when it is listed, or when a second name is looked up in it, where programs go through many
//! directories side by side with the first name. The first change that somebody else
//! makes ends the lease and what the kernel knows, and so does a server that is not heard of in time. The mount's own
//! changes do not end it: the server takes what it notices of them for theirs, also if somebody else does the same to the
//! same name at that moment. So nothing counts that was learnt of a name while a change of it was under way here.
//!
//! An answer counts as leased if the lease was there before its server was asked and is there still when the kernel is
//! answered, under [`Leases::gate`], so no news can pass between the two.

mod beside;
mod news;
mod own_changes;
pub(crate) mod told;
mod worth;

use abi::flags::mode;
use abi::io::Stat;
use abi::{Errno, Result};
use client::{Directory as Reader, File, Namespace};
use ipc::SendOptions;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::closing::Closings;
use crate::kernel::channel::Channel;
use crate::listing_space::ListingSpace;
use crate::nodes::Nodes;
use crate::server::Server;
pub(crate) use own_changes::OwnChange;
use own_changes::OwnChanges;
use told::Told;
use worth::LOOKUPS_MIN;

/// The leases of one mount.
pub(crate) struct Leases {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Read while an answer that counts on a lease goes to the kernel, written when a lease ends.
    gate: RwLock<()>,
    nodes: Arc<Nodes>,
    channel: Arc<Channel>,
    closings: Arc<Closings>,
    told_space: ListingSpace,
    hasher: RandomState,
}

#[derive(Default)]
struct State {
    directories: HashMap<u64, Directory>,
    /// The directory of each lease, by server and number.
    numbers: HashMap<(Server, u64), u64>,
    feeds: HashMap<Server, Arc<File>>,
    /// Servers that are asked for no lease before.
    shunned: HashMap<Server, Instant>,
    stamps: u64,
    /// Leases that are being asked for, and those that ended before their number was known here.
    being_made: usize,
    ended_early: HashSet<(Server, u64)>,
}

#[derive(Default)]
struct Directory {
    lookups: u32,
    /// Leases of directories in this one that lookups were worth.
    walked: u32,
    /// No lease is tried before.
    not_before: Option<Instant>,
    held: Option<Held>,
    /// Somebody is about to lease it.
    asked: bool,
    /// Leased directories in this one whose attributes were asked for since it was listed last.
    asked_beside: u32,
    /// Somebody is about to list it for them.
    is_listed_anew: bool,
    /// It has to be opened before it is known whether it may be leased.
    is_doubtful: bool,
    own: OwnChanges,
}

struct Held {
    stamp: u64,
    since: Instant,
    server: Server,
    number: u64,
    /// Whether everybody may list it.
    open_to_all: bool,
    /// When the kernel was last given all of it, if it was.
    listed: Option<Instant>,
    /// Names of which the kernel knows that there is nothing.
    missing: Vec<Vec<u8>>,
    /// The hashes of all names that there may be, once all are known.
    names: Option<HashSet<u64>>,
    told: Option<Told>,
}

/// A lease that was there before a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    directory: u64,
    stamp: u64,
    own_changes: u64,
}

impl Leases {
    pub(crate) fn new(
        (nodes, closings): (Arc<Nodes>, Arc<Closings>),
        channel: Arc<Channel>,
    ) -> Self {
        let shared = Shared {
            state: Mutex::new(State::default()),
            gate: RwLock::new(()),
            nodes,
            channel,
            closings,
            told_space: ListingSpace::new(told::BYTES_MAX),
            hasher: RandomState::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A program looks a name up in the directory. The lease of it, which is made if this is the second name, or the first one
    /// and others beside it were worth a lease; otherwise a lease is not worth its exchanges.
    pub(crate) fn used(&self, directory: u64, view: &Namespace) -> Option<Stamp> {
        if let Some(stamp) = self.of(directory) {
            return Some(stamp);
        }
        let place = self.shared.nodes.place(directory);
        let above = place.map(|(above, _)| above);
        if !self.shared.lock().wants_for_lookup(directory, above) {
            return None;
        }
        let path = self.shared.nodes.path(directory);
        let outcome = path
            .ok_or(Errno::ENOENT)
            .and_then(|path| self.open_and_lease(directory, &path, view));
        let stamp = self.shared.leased(directory, outcome);
        if let (Some(above), true) = (above, stamp.is_some()) {
            self.shared.lock().walks(above);
        }
        stamp
    }

    /// Leases a directory that nobody has open, and learns its names if they are few.
    fn open_and_lease(&self, directory: u64, path: &[u8], view: &Namespace) -> Result {
        let mut reader = match self.shared.open_leased(directory, path, view)? {
            Some(reader) => reader,
            None => {
                let reader = view.read_directory(path)?;
                let file = reader.server().ok_or(Errno::EOPNOTSUPP)?;
                self.shared.lease(directory, path, file, view)?;
                reader
            }
        };
        let Some(stamp) = self.of(directory) else {
            return Ok(());
        };
        let (mut entries, options) = (Vec::new(), SendOptions::default());
        let asked = Instant::now();
        for _ in 0..PIECES_LEARNT {
            if !reader.is_at_end() {
                reader.read_into(&mut entries, &options)?;
            }
        }
        if reader.is_at_end() {
            self.knows_all(stamp, entries.iter().map(|entry| entry.name.as_slice()));
            self.tells(stamp, asked, entries);
        }
        self.shared.closings.close_directory(reader);
        Ok(())
    }

    /// Opens a directory for a program that is about to list it, and leases it if that is possible.
    ///
    /// # Errors
    /// Those of [`Namespace::read_directory`].
    pub(crate) fn open(
        &self,
        directory: u64,
        path: &[u8],
        view: &Namespace,
    ) -> Result<(Reader, Option<Stamp>)> {
        let stamp = self.of(directory);
        if stamp.is_some() || !self.shared.lock().wants(directory, LOOKUPS_MIN) {
            return Ok((view.read_directory(path)?, stamp));
        }
        let at_once = self.shared.open_leased(directory, path, view);
        if let Ok(Some(reader)) = at_once {
            return Ok((reader, self.shared.leased(directory, Ok(()))));
        }
        let opened = view.read_directory(path);
        let outcome = match (at_once, &opened) {
            (Err(errno), _) => Err(errno),
            (Ok(_), Err(errno)) => Err(*errno),
            (Ok(_), Ok(reader)) => match reader.server() {
                Some(file) => self.shared.lease(directory, path, file, view),
                None => Err(Errno::EOPNOTSUPP),
            },
        };
        let stamp = self.shared.leased(directory, outcome);
        Ok((opened?, stamp))
    }

    /// The lease that is there, if one is.
    pub(crate) fn of(&self, directory: u64) -> Option<Stamp> {
        self.shared.lock().stamp(directory)
    }

    /// This mount is about to change a name in a directory, or the file that it stands for.
    pub(crate) fn change(&self, directory: u64, name: &[u8]) -> OwnChange<'_> {
        let name = self.hash(name);
        let mut state = self.shared.lock();
        let known = state.directories.get_mut(&directory);
        if let Some(known) = known
            && let Some(held) = &mut known.held
        {
            known.own.begin(name);
            held.may_have(name);
        }
        let stamp = state.stamp(directory);
        OwnChange {
            shared: &self.shared,
            of: directory,
            stamp,
            name,
        }
    }

    /// As [`Self::change`], of a file. Nothing that the server says of one with several names is believed for long.
    pub(crate) fn change_of(&self, node: u64) -> OwnChange<'_> {
        match self.shared.nodes.place(node) {
            Some((directory, name)) => self.change(directory, &name),
            None => OwnChange {
                shared: &self.shared,
                of: node,
                stamp: None,
                name: 0,
            },
        }
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

    /// Whether the lease is the one that it was, and this mount has not changed the name since. Only under the gate does
    /// the answer hold.
    pub(crate) fn holds(&self, stamp: Option<Stamp>, name: &[u8]) -> bool {
        let name = self.hash(name);
        stamp.is_some_and(|stamp| {
            let state = self.shared.lock();
            state.own_changes(stamp).is_some_and(|own| {
                !own.under_way.contains(&name) && own.is_same_since(name, stamp.own_changes)
            })
        })
    }

    /// The same for everything in the directory, and its own attributes.
    pub(crate) fn holds_all(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some_and(|stamp| {
            let state = self.shared.lock();
            state
                .own_changes(stamp)
                .is_some_and(|own| own.under_way.is_empty() && own.count == stamp.own_changes)
        })
    }

    /// Whether the kernel may remember that there is nothing of that name: there is room to tell it otherwise.
    pub(crate) fn remembers_missing(&self, stamp: Stamp, name: &[u8]) -> bool {
        let mut state = self.shared.lock();
        let Some(held) = state.held(stamp) else {
            return false;
        };
        if held.missing.iter().any(|known| known == name) {
            return true;
        }
        let room = held.missing.len() < MISSING_MAX;
        if room {
            held.missing.push(name.to_vec());
        }
        room
    }

    /// All names in the directory, as a listing found them that was begun under the lease.
    pub(crate) fn knows_all<'n>(&self, stamp: Stamp, names: impl Iterator<Item = &'n [u8]>) {
        let mut all: HashSet<u64> = names.map(|name| self.hash(name)).collect();
        let mut state = self.shared.lock();
        let Some(own) = state.own_changes(stamp) else {
            return;
        };
        if own.since > stamp.own_changes {
            return;
        }
        let changed = own
            .last
            .iter()
            .filter(|(_, count)| **count > stamp.own_changes);
        all.extend(changed.map(|(name, _)| *name));
        all.extend(&own.under_way);
        if let Some(held) = state.held(stamp) {
            held.names = (all.len() <= NAMES_MAX).then_some(all);
        }
    }

    /// Whether there is nothing of that name for certain. Only under the gate does the answer hold.
    pub(crate) fn knows_missing(&self, directory: u64, name: &[u8]) -> Option<Stamp> {
        let name = self.hash(name);
        let state = self.shared.lock();
        let held = state.directories.get(&directory)?.held.as_ref()?;
        let missing = !held.names.as_ref()?.contains(&name);
        missing.then(|| state.stamp(directory)).flatten()
    }

    /// Whether the kernel has the whole listing, and everybody may see it.
    pub(crate) fn is_listed(&self, stamp: Stamp) -> bool {
        let mut state = self.shared.lock();
        state.held(stamp).is_some_and(|held| {
            // Names and attributes that came along expire; they come anew with a new listing.
            let listed = held.listed.is_some_and(|when| when.elapsed() < LEASED / 2);
            listed && held.open_to_all
        })
    }

    /// The kernel has been given the whole listing.
    pub(crate) fn listed(&self, stamp: Stamp) {
        if let Some(held) = self.shared.lock().held(stamp) {
            held.listed = Some(Instant::now());
        }
    }

    fn hash(&self, name: &[u8]) -> u64 {
        self.shared.hasher.hash_one(name)
    }
}

impl Held {
    /// The mount is about to change a name, and perhaps to make it.
    fn may_have(&mut self, name: u64) {
        if let Some(names) = &mut self.names {
            names.insert(name);
            if names.len() > NAMES_MAX {
                self.names = None;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends these leases on a thread of its own, because the kernel may wait for this very request before it forgets.
    fn end_beside(self: &Arc<Self>, directories: Vec<u64>) {
        let shared = Arc::clone(self);
        let builder = std::thread::Builder::new().name("mount-unsure".into());
        if let Err(error) = builder.spawn(move || shared.end(&directories)) {
            tracing::warn!(%error, "what is known of a directory is believed for up to a minute");
        }
    }

    /// Ends these leases: first they are gone, so that no answer counts on them any more, then the kernel is told.
    fn end(&self, ended: &[u64]) {
        let mut missing = Vec::new();
        {
            let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let mut state = self.lock();
            for directory in ended {
                let Some(known) = state.directories.get_mut(directory) else {
                    continue;
                };
                known.lookups = 0;
                known.walked = 0;
                known.not_before = Instant::now().checked_add(CHANGED_PAUSE);
                if let Some(held) = known.held.take() {
                    state.numbers.remove(&(held.server, held.number));
                    missing.extend(held.missing.into_iter().map(|name| (*directory, name)));
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
        for (directory, name) in missing {
            self.channel.outdate_name(directory, &name);
        }
    }
}

impl State {
    fn stamp(&self, directory: u64) -> Option<Stamp> {
        let known = self.directories.get(&directory)?;
        Some(Stamp {
            directory,
            stamp: known.held.as_ref()?.stamp,
            own_changes: known.own.count,
        })
    }

    fn held(&mut self, stamp: Stamp) -> Option<&mut Held> {
        let held = self.directories.get_mut(&stamp.directory)?.held.as_mut()?;
        (held.stamp == stamp.stamp).then_some(held)
    }

    /// The own changes in a directory whose lease is still the one that it was.
    fn own_changes(&self, stamp: Stamp) -> Option<&OwnChanges> {
        let known = self.directories.get(&stamp.directory)?;
        let held = known.held.as_ref()?;
        (held.stamp == stamp.stamp).then_some(&known.own)
    }
}

/// How long what is known under a lease may be believed if nobody says anything: should this process hang.
pub(crate) const LEASED: Duration = Duration::from_secs(60);

/// Whether all that changes this file is noticed in the one directory that it was found in.
pub(crate) fn is_noticed(stat: &Stat) -> bool {
    stat.nlink == 1 && !mode::is_directory(stat.mode)
}

/// After a change by somebody else, who often goes on.
const CHANGED_PAUSE: Duration = Duration::from_secs(1);
/// Answers with names that are read when a directory is leased: 1 500 files or so.
const PIECES_LEARNT: usize = 2;
/// Names of one directory, of which all are known; 8 bytes each.
const NAMES_MAX: usize = 16_384;
/// Missing names that are remembered of one directory: each must be told when the lease ends.
const MISSING_MAX: usize = 64;
