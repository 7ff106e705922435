//! The changes of names in one directory that this mount makes itself.

use std::collections::HashMap;

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
