//! Requests about open directories.

use abi::{Errno, Result};
use client::{Directory, DirectoryEntry, Namespace};
use std::sync::{Arc, Mutex, PoisonError};

use crate::attributes;
use crate::kernel::reply::{Entry, Known};
use crate::kernel::{Answer, FileAttributes, Listing, Validity, reply};
use crate::leases::{self, LEASED, Stamp, told};
use crate::listing_space::Taken;
use crate::nodes::Identity;
use crate::path_space::{Call, PathSpace};
use std::time::Instant;

/// A directory that some program is listing. What has been read is kept, because the kernel asks again from where
/// its buffer was full, and its offsets are positions in this list.
pub(crate) struct Listed {
    path: Vec<u8>,
    /// The caller that opened it.
    view: Namespace,
    state: Mutex<State>,
}

struct State {
    reader: Reader,
    entries: Vec<DirectoryEntry>,
    taken: Taken,
    /// The kernel has been given some of it.
    is_shown: bool,
    /// When the first piece was asked for, and the lease that was there.
    read: Instant,
    lease: Option<Stamp>,
}

enum Reader {
    /// The kernel has the listing and may never ask.
    Unopened,
    Open(Directory),
    AtEnd,
    /// There is no room for the rest.
    TooLong,
}

impl PathSpace {
    pub(crate) fn open_directory(&self, call: &Call<'_>) -> Result<Answer> {
        if let Some(opened) = self.open_known_directory(call.node, || call.view.clone()) {
            return Ok(opened);
        }
        let path = self.path(call)?;
        let mut state = State::new(self.listing_space.nothing());
        let (reader, flags) = self.open_at_server(call, &path)?;
        state.reader = Reader::Open(reader);
        Ok(self.opened(state, path, call.view.clone(), flags))
    }

    /// Opens a directory without asking anybody, if the kernel has the listing or the lease has told it; never waits.
    pub(crate) fn open_known_directory(
        &self,
        node: u64,
        view: impl FnOnce() -> Namespace,
    ) -> Option<Answer> {
        if self.fresh.is_zero() {
            return None;
        }
        let lease = self.leases.of(node)?;
        let mut state = State::new(self.listing_space.nothing());
        let mut flags = reply::OPEN_CACHE_DIRECTORY;
        if self.leases.is_listed(lease) {
            flags |= reply::OPEN_KEEP_CACHE;
        } else if !state.takes(&self.leases.told_to_all(lease)?) {
            return None;
        }
        let path = self.nodes.path(node)?;
        Some(self.opened(state, path, view(), flags))
    }

    fn opened(&self, state: State, path: Vec<u8>, view: Namespace, flags: u32) -> Answer {
        let listed = Listed {
            path,
            view,
            state: Mutex::new(state),
        };
        reply::opened(self.directories.insert(listed), flags)
    }

    /// Opens a directory at its server, and leases it if that is possible: then the kernel may keep the listing.
    fn open_at_server(&self, call: &Call<'_>, path: &[u8]) -> Result<(Directory, u32)> {
        if self.fresh.is_zero() {
            return Ok((call.view.read_directory(path)?, 0));
        }
        let (reader, lease) = self.leases.open(call.node, path, &call.view)?;
        let flags = match lease {
            Some(_) => reply::OPEN_CACHE_DIRECTORY,
            None => 0,
        };
        Ok((reader, flags))
    }

    pub(crate) fn read_directory(
        &self,
        call: &Call<'_>,
        handle: u64,
        offset: u64,
        wanted: (usize, bool),
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let listed = self.directories.get(handle).ok_or(Errno::EBADF)?;
        let mut state = listed.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rewound = offset == 0 && std::mem::replace(&mut state.is_shown, true);
        if rewound || matches!(state.reader, Reader::Unopened) {
            // What is there now counts.
            state.reader = Reader::Open(listed.view.read_directory(&listed.path)?);
            state.entries = Vec::new();
            state.taken.clear();
        }
        let at = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        while at.saturating_add(wanted.0 / reply::ENTRY_MIN) > state.entries.len() + DOTS.len() {
            let lease = self.leases.of(call.node);
            if !state.read_on(call, lease)? {
                break;
            }
            if let Some(ended) = state.ended() {
                self.closings.close_directory(ended);
            }
        }
        self.show(call.node, &state, at, wanted, early);
        Ok(Answer::Empty)
    }

    /// As [`Self::read_directory`] of what is known already; false if it is not. Never waits.
    pub(crate) fn read_known_directory(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        wanted: (usize, bool),
        early: &mut dyn FnMut(Answer),
    ) -> bool {
        let Some(listed) = self.directories.get(handle) else {
            return false;
        };
        let (Ok(mut state), Ok(at)) = (listed.state.try_lock(), usize::try_from(offset)) else {
            return false;
        };
        if !matches!(state.reader, Reader::AtEnd) || offset == 0 && state.is_shown {
            return false;
        }
        state.is_shown = true;
        self.show(node, &state, at, wanted, early);
        true
    }

    /// Closes a directory that no server has open; false if one has. Never waits.
    pub(crate) fn close_known_directory(&self, handle: u64) -> bool {
        let is_open = |listed: Arc<Listed>| match listed.state.try_lock() {
            Ok(state) => matches!(state.reader, Reader::Open(_)),
            Err(_) => true,
        };
        if self.directories.get(handle).is_none_or(is_open) {
            return false;
        }
        drop(self.directories.remove(handle));
        true
    }

    /// Answers with the entries from a position on.
    fn show(
        &self,
        node: u64,
        state: &State,
        mut at: usize,
        (room, plus): (usize, bool),
        early: &mut dyn FnMut(Answer),
    ) {
        let _gate = self.leases.gate();
        let mut listing = Listing::new(room);
        while let Some(name) = DOTS.get(at).filter(|name| listing.fits(name, plus)) {
            push(&mut listing, at, (2, 0o040_000, name), plus, None);
            at += 1;
        }
        while let Some(entry) = at
            .checked_sub(DOTS.len())
            .and_then(|at| state.entries.get(at))
        {
            if !listing.fits(&entry.name, plus) {
                break;
            }
            self.push_entry(node, &mut listing, at, entry, (plus, state));
            at += 1;
        }
        if let (true, Reader::AtEnd, Some(lease)) = (listing.is_empty(), &state.reader, state.lease)
        {
            self.leases.listed(lease);
            let names = state.entries.iter().map(|entry| entry.name.as_slice());
            self.leases.knows_all(lease, names);
        }
        early(listing.finish());
    }

    fn push_entry(
        &self,
        directory: u64,
        listing: &mut Listing,
        at: usize,
        entry: &DirectoryEntry,
        (plus, state): (bool, &State),
    ) {
        // The C library takes an entry of number 0 for a deleted one, and the own node's descriptor is 0.
        let ino = match entry.ino {
            0 => UNKNOWN_INO,
            ino => ino,
        };
        let ino = entry.stat.as_ref().map_or(ino, attributes::inode);
        let shown = (
            ino,
            attributes::listed_kind(entry.mode, entry.stat.as_ref()),
            entry.name.as_slice(),
        );
        // A file that is being written has other attributes than the server knows.
        let known = self.nodes.find(directory, &entry.name);
        let settled = known.is_none_or(|known| self.behind.is_settled(known));
        let Some(stat) = entry.stat.as_ref().filter(|_| plus && settled) else {
            return push(listing, at, shown, plus, None);
        };
        let age = state.read.elapsed();
        let left = self.fresh.saturating_sub(age);
        let long = LEASED.saturating_sub(age);
        let identity = Identity::of(stat, entry.server.as_ref());
        let node = self.nodes.enter(directory, &entry.name, identity);
        self.versions.told(node, stat);
        let leased = self.leases.holds(state.lease, &entry.name);
        let known = attributes::of(stat);
        let known = Known {
            node,
            attributes: &known,
            validity: Validity {
                entry: if leased { long } else { left },
                attributes: match leased && leases::is_noticed(stat) {
                    true => long,
                    false => left,
                },
            },
        };
        push(listing, at, shown, plus, Some(&known));
    }
}

fn push(
    listing: &mut Listing,
    at: usize,
    (ino, mode, name): (u64, u32, &[u8]),
    plus: bool,
    known: Option<&Known<'_>>,
) {
    let nothing = FileAttributes::default();
    let unknown = Known {
        node: 0,
        attributes: &nothing,
        validity: Validity {
            entry: std::time::Duration::ZERO,
            attributes: std::time::Duration::ZERO,
        },
    };
    let entry = Entry {
        ino,
        next: at as u64 + 1,
        mode,
        name,
    };
    listing.push(&entry, plus.then_some(known.unwrap_or(&unknown)));
}

impl Listed {
    /// What is still open at a server, if no other request has it.
    pub(crate) fn reader(listed: Arc<Self>) -> Option<Directory> {
        let state = Arc::into_inner(listed)?.state.into_inner();
        match state.unwrap_or_else(PoisonError::into_inner).reader {
            Reader::Open(reader) => Some(reader),
            Reader::Unopened | Reader::AtEnd | Reader::TooLong => None,
        }
    }
}

impl State {
    fn new(taken: Taken) -> Self {
        Self {
            reader: Reader::Unopened,
            entries: Vec::new(),
            taken,
            is_shown: false,
            read: Instant::now(),
            lease: None,
        }
    }

    /// Has it all from what was told when the directory was leased, if there is room for it.
    fn takes(&mut self, told: &told::Listing) -> bool {
        let fits = self.taken.grow(told.entries.iter().map(bytes_of).sum());
        if fits.is_ok() {
            self.entries = told.entries.to_vec();
            self.reader = Reader::AtEnd;
            (self.read, self.lease) = (told.asked, Some(told.stamp));
        }
        fits.is_ok()
    }

    /// The reader, once all has been read: it can be closed already.
    fn ended(&mut self) -> Option<Directory> {
        match std::mem::replace(&mut self.reader, Reader::AtEnd) {
            Reader::Open(reader) if reader.is_at_end() => Some(reader),
            other => {
                self.reader = other;
                None
            }
        }
    }

    /// Reads the next piece; false at the end.
    fn read_on(&mut self, call: &Call<'_>, lease: Option<Stamp>) -> Result<bool> {
        let reader = match &mut self.reader {
            Reader::Open(reader) => reader,
            Reader::TooLong => return Err(Errno::ENOMEM),
            Reader::Unopened | Reader::AtEnd => return Ok(false),
        };
        // Of all pieces the oldest knowledge counts.
        if self.entries.is_empty() {
            self.read = Instant::now();
            self.lease = lease;
        }
        let before = self.entries.len();
        let more = reader.read_into(&mut self.entries, &call.options())?;
        let bytes = self.entries.iter().skip(before).map(bytes_of).sum();
        if let Err(errno) = self.taken.grow(bytes) {
            self.entries.truncate(before);
            self.reader = Reader::TooLong;
            return Err(errno);
        }
        if !more {
            self.reader = Reader::AtEnd;
        }
        Ok(more)
    }
}

/// The memory that an entry takes.
pub(crate) fn bytes_of(entry: &DirectoryEntry) -> usize {
    size_of::<DirectoryEntry>() + entry.name.len()
}

const DOTS: [&[u8]; 2] = [b".", b".."];

/// What FUSE itself lists where no number is known.
const UNKNOWN_INO: u64 = 0xffff_ffff;
