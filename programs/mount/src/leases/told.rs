//! What a listing has told of all names in a directory, for those who look them up afterwards.

use client::DirectoryEntry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LEASED, Leases, Stamp, State};
use crate::directories::bytes_of;
use crate::listing_space::Taken;

/// All names of a directory and what they stand for, learnt under its lease.
pub(super) struct Told {
    /// By name.
    entries: Arc<[DirectoryEntry]>,
    asked: Instant,
    stamp: Stamp,
    _space: Taken,
}

/// What a listing said, and when it was asked for. It holds as long as the lease holds for it.
pub(crate) struct Listing {
    pub(crate) entries: Arc<[DirectoryEntry]>,
    pub(crate) asked: Instant,
    pub(crate) stamp: Stamp,
}

impl Listing {
    /// The entry of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&DirectoryEntry> {
        let found = self
            .entries
            .binary_search_by(|entry| entry.name.as_slice().cmp(name));
        self.entries.get(found.ok()?)
    }
}

impl Leases {
    /// A listing that was begun under the lease has told everything, if there is room to keep it.
    pub(super) fn tells(&self, stamp: Stamp, asked: Instant, mut entries: Vec<DirectoryEntry>) {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let bytes: usize = entries.iter().map(bytes_of).sum();
        let mut state = self.shared.lock();
        let mut space = self.shared.told_space.nothing();
        if space.grow(bytes).is_err() {
            state.drop_old();
            if space.grow(bytes).is_err() {
                return;
            }
        }
        if let Some(held) = state.held(stamp) {
            held.told = Some(Told {
                entries: entries.into(),
                asked,
                stamp,
                _space: space,
            });
        }
    }

    /// What a listing under the lease that is there now has told, if that may be believed for a while yet.
    pub(crate) fn told(&self, directory: u64) -> Option<Listing> {
        let state = self.shared.lock();
        let held = state.directories.get(&directory)?.held.as_ref()?;
        let told = held.told.as_ref()?;
        (told.asked.elapsed() < BELIEVED).then(|| Listing {
            entries: Arc::clone(&told.entries),
            asked: told.asked,
            stamp: told.stamp,
        })
    }

    /// The same for somebody who is to be shown all of it.
    pub(crate) fn told_to_all(&self, lease: Stamp) -> Option<Listing> {
        let is_open = {
            let mut state = self.shared.lock();
            state.held(lease).is_some_and(|held| held.open_to_all)
        };
        let listing = self.told(lease.directory).filter(|_| is_open)?;
        self.holds_all(Some(listing.stamp)).then_some(listing)
    }
}

impl State {
    /// Makes room: what is too old is of no use.
    fn drop_old(&mut self) {
        let held = self.directories.values_mut();
        for held in held.filter_map(|known| known.held.as_mut()) {
            let is_old = |told: &Told| told.asked.elapsed() >= BELIEVED;
            if held.told.as_ref().is_some_and(is_old) {
                held.told = None;
            }
        }
    }
}

/// How long what was told is of use: the kernel is to remember it for a while.
const BELIEVED: Duration = Duration::from_secs(LEASED.as_secs() / 2);
/// Memory for what listings have told: that of 100 000 files.
pub(super) const BYTES_MAX: usize = 32 << 20;
