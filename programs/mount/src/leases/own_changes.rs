//! The changes of names in one directory that this mount makes itself.

use abi::{Errno, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Shared, Stamp};

/// Names are told apart by their hashes; two names with the same one
/// only make each other seem changed.
#[derive(Default)]
pub(super) struct OwnChanges {
    /// Counts every beginning and end.
    pub(super) count: u64,
    pub(super) under_way: Vec<u64>,
    /// The count at the last beginning or end of each; what is older than `since` is not known any more.
    pub(super) last: HashMap<u64, u64>,
    pub(super) since: u64,
    /// When the last one began or ended.
    pub(super) changed: Option<Instant>,
}

/// A change that this mount makes; dropping it says that it is done.
pub(crate) struct OwnChange<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// The directory; of a file with several names, the file.
    pub(super) of: u64,
    /// What was there before; none where nothing is leased.
    pub(super) stamp: Option<Stamp>,
    pub(super) name: u64,
}

impl OwnChanges {
    pub(super) fn begin(&mut self, name: u64) {
        self.note(name);
        self.under_way.push(name);
    }

    pub(super) fn end(&mut self, name: u64) {
        self.note(name);
        if let Some(at) = self.under_way.iter().position(|other| *other == name) {
            self.under_way.swap_remove(at);
        }
    }

    fn note(&mut self, name: u64) {
        self.count += 1;
        self.changed = Some(Instant::now());
        if self.last.len() >= CHANGES_MAX {
            self.last.clear();
            self.since = self.count;
        }
        self.last.insert(name, self.count);
    }

    pub(super) fn is_same_since(&self, name: u64, count: u64) -> bool {
        let last = self.last.get(&name).copied().unwrap_or_default();
        self.since.max(last) <= count
    }
}

impl OwnChange<'_> {
    /// The change is done; whether what the server said after it may be believed for long. Only under the gate does the
    /// answer hold. The kernel is told afterwards, or else its next request would find the change still under way.
    pub(crate) fn finish(self) -> bool {
        self.stamp.is_some_and(|stamp| {
            let state = self.shared.lock();
            state.own_changes(stamp).is_some_and(|own| {
                let others = own.under_way.iter().filter(|name| **name == self.name);
                others.count() == 1 && own.is_same_since(self.name, stamp.own_changes)
            })
        })
    }

    /// What became of the change. If nobody knows whether it has been made, or is about to be, the lease ends.
    pub(crate) fn judge<T>(&self, outcome: Result<T>) -> Result<T> {
        let unsure = matches!(
            outcome,
            Err(Errno::EINTR
                | Errno::ETIMEDOUT
                | Errno::ESRCH
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EIO)
        );
        if let (true, Some(stamp)) = (unsure, self.stamp) {
            self.shared.end_beside(vec![stamp.directory]);
        }
        outcome
    }
}

impl Drop for OwnChange<'_> {
    fn drop(&mut self) {
        if let Some(stamp) = self.stamp {
            let mut state = self.shared.lock();
            if let Some(known) = state.directories.get_mut(&stamp.directory) {
                known.own.end(self.name);
            }
        }
        // The server takes the change for this mount's own in every lease that the mount has of the directory.
        let mut twins = self.shared.nodes.twins(self.of);
        if !twins.is_empty() {
            let state = self.shared.lock();
            twins.retain(|twin| state.stamp(*twin).is_some());
        }
        if !twins.is_empty() {
            self.shared.end_beside(twins);
        }
    }
}

/// Own changes that are remembered of one directory.
const CHANGES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_before_or_during_an_own_change_of_the_name_does_not_count() {
        let mut own = OwnChanges::default();
        let before = own.count;
        own.begin(7);
        let during = own.count;
        assert!(!own.is_same_since(7, before) && own.is_same_since(8, before));
        own.end(7);
        assert!(!own.is_same_since(7, during) && own.is_same_since(7, own.count));
        assert!(own.under_way.is_empty());
    }

    #[test]
    fn changes_that_are_not_remembered_count_for_every_name() {
        let mut own = OwnChanges::default();
        own.begin(1);
        own.end(1);
        let learnt = own.count;
        for name in 2..CHANGES_MAX as u64 + 2 {
            own.begin(name);
            own.end(name);
        }
        assert!(!own.is_same_since(1, learnt));
        assert!(own.is_same_since(1, own.count));
    }
}
