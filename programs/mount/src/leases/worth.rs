//! When a directory is worth a lease.

use std::time::Instant;

use super::{Directory, Stamp, State};

impl State {
    /// Counts a lookup, as [`Self::wants`].
    pub(super) fn wants_for_lookup(&mut self, directory: u64, above: Option<u64>) -> bool {
        let above = above.and_then(|above| self.directories.get(&above));
        let is_walk = above.is_some_and(|above| above.walked >= WALKED_MIN);
        self.wants(directory, if is_walk { LOOKUPS_MIN } else { 1 })
    }

    /// A directory in this one was leased for lookups.
    pub(super) fn walks(&mut self, above: u64) {
        if let Some(above) = self.directories.get_mut(&above) {
            above.walked = above.walked.saturating_add(1);
        }
    }

    /// Somebody asks for the attributes of a leased directory in this one; its lease if the caller is to list it anew for them.
    pub(super) fn wants_anew(&mut self, above: u64) -> Option<Stamp> {
        let stamp = self.stamp(above)?;
        let known = self.directories.get_mut(&above)?;
        known.held.as_ref()?.told.as_ref()?;
        known.asked_beside = known.asked_beside.saturating_add(1);
        if known.asked_beside < ASKED_BESIDE_MIN || known.is_listed_anew {
            return None;
        }
        known.is_listed_anew = true;
        Some(stamp)
    }

    /// That is done.
    pub(super) fn listed_anew(&mut self, above: u64) {
        if let Some(known) = self.directories.get_mut(&above) {
            known.is_listed_anew = false;
            known.asked_beside = 0;
        }
    }

    /// Counts a use of a directory that is not leased; true if the caller is to lease it now.
    pub(super) fn wants(&mut self, directory: u64, weight: u32) -> bool {
        if self.directories.len() >= DIRECTORIES_MAX {
            let used = |known: &Directory| known.held.is_some() || !known.own.under_way.is_empty();
            self.directories.retain(|_, known| used(known));
            if self.directories.len() >= DIRECTORIES_MAX {
                return false;
            }
        }
        let known = self.directories.entry(directory).or_default();
        known.lookups = known.lookups.saturating_add(weight);
        let early = known.not_before.is_some_and(|when| Instant::now() < when);
        if known.lookups < LOOKUPS_MIN || known.asked || early {
            return false;
        }
        known.asked = true;
        self.being_made += 1;
        true
    }
}

/// Lookups from which on a lease is worth its exchanges.
pub(super) const LOOKUPS_MIN: u32 = 2;
/// Directories in one whose second lookup came, from which on it is expected in the others.
const WALKED_MIN: u32 = 2;
/// Directories in one whose attributes are asked for, from which on those of the others are expected to be.
const ASKED_BESIDE_MIN: u32 = 3;
/// Directories that are counted or leased.
const DIRECTORIES_MAX: usize = 16_384;
