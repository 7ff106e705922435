//! When a directory is worth a lease.

use std::time::Instant;

use super::{Directory, State};

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
/// Directories that are counted or leased.
const DIRECTORIES_MAX: usize = 16_384;
