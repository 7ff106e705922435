//! Sets of byte ranges, for what was sent, acknowledged and received.

use alloc::vec::Vec;

/// Disjoint, non-adjacent half-open ranges in ascending order.
///
/// The lowest range is stored in place, so that a set which grows in order never allocates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    first: (u64, u64),
    more: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: (0, 0),
            more: Vec::new(),
        }
    }

    /// Removes everything, and gives back memory that only an unusual run needed.
    pub fn clear(&mut self) {
        self.first = (0, 0);
        self.more.clear();
        self.more.shrink_to(KEPT_RANGES);
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.0 == self.first.1
    }

    /// How many ranges the set has.
    #[must_use]
    pub fn pieces(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            1 + self.more.len()
        }
    }

    /// How many bytes the set has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(start, end)| end - start).sum()
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = if self.is_empty() {
            None
        } else {
            Some(self.first)
        };
        first.into_iter().chain(self.more.iter().copied())
    }

    /// Adds `start..end`; does nothing for an empty range.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if self.is_empty() {
            self.first = (start, end);
        } else if end < self.first.0 {
            self.more.insert(0, self.first);
            self.first = (start, end);
        } else if start <= self.first.1 {
            self.first = (self.first.0.min(start), self.first.1.max(end));
            self.absorb();
        } else {
            let from = self.more.partition_point(|range| range.1 < start);
            let to = self.more.partition_point(|range| range.0 <= end);
            if from == to {
                self.more.insert(from, (start, end));
            } else {
                self.more[from] = (self.more[from].0.min(start), self.more[to - 1].1.max(end));
                self.more.drain(from + 1..to);
            }
        }
    }

    /// Joins to the first range what it has come to touch.
    fn absorb(&mut self) {
        let reached = self.more.partition_point(|range| range.0 <= self.first.1);
        if reached > 0 {
            self.first.1 = self.first.1.max(self.more[reached - 1].1);
            self.more.drain(..reached);
        }
    }

    /// Whether every byte of `start..end` is in the set.
    #[must_use]
    pub fn contains(&self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        if self.first.0 <= start && end <= self.first.1 {
            return true;
        }
        let at = self.more.partition_point(|range| range.1 < end);
        self.more
            .get(at)
            .is_some_and(|range| range.0 <= start && end <= range.1)
    }

    /// The lowest byte.
    #[must_use]
    pub const fn start(&self) -> Option<u64> {
        if self.is_empty() {
            None
        } else {
            Some(self.first.0)
        }
    }

    /// Takes at most `max` bytes of the lowest range out of the set.
    pub fn take(&mut self, max: u64) -> Option<(u64, u64)> {
        if self.is_empty() || max == 0 {
            return None;
        }
        let (start, end) = self.first;
        let cut = end.min(start.saturating_add(max));
        if cut < end {
            self.first.0 = cut;
        } else if self.more.is_empty() {
            self.first = (0, 0);
        } else {
            self.first = self.more.remove(0);
        }
        Some((start, cut))
    }

    /// Removes every byte of `start..end`.
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end || self.is_empty() || end <= self.first.0 {
            return;
        }
        if self.more.is_empty() && start <= self.first.0 && end >= self.first.1 {
            self.first = (0, 0);
            return;
        }
        let mut kept = Self::new();
        for (from, to) in self.iter() {
            kept.insert(from, to.min(start));
            kept.insert(from.max(end), to);
        }
        *self = kept;
    }

    /// Calls `each` with the parts of `start..end` that are not in the set, in ascending order.
    pub fn gaps(&self, start: u64, end: u64, mut each: impl FnMut(u64, u64)) {
        let mut at = start;
        for (from, to) in self.iter() {
            if from >= end {
                break;
            }
            if from > at {
                each(at, from);
            }
            at = at.max(to);
        }
        if at < end {
            each(at, end);
        }
    }
}

/// Ranges whose memory an emptied set keeps for its next use.
const KEPT_RANGES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        let mut set = RangeSet::new();
        for &(start, end) in ranges {
            set.insert(start, end);
        }
        set
    }

    #[test]
    fn touching_ranges_become_one() {
        let set = set(&[
            (10, 20),
            (30, 40),
            (50, 60),
            (20, 30),
            (0, 5),
            (39, 51),
            (5, 10),
        ]);
        assert_eq!(set.iter().collect::<Vec<_>>(), vec![(0, 60)]);
    }

    #[test]
    fn taking_goes_from_the_lowest() {
        let mut set = set(&[(10, 20), (30, 40)]);
        assert_eq!(set.take(4), Some((10, 14)));
        assert_eq!(set.take(100), Some((14, 20)));
        assert_eq!(set.take(100), Some((30, 40)));
        assert_eq!(set.take(100), None);
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let set = set(&[(10, 20), (30, 40)]);
        let mut gaps = vec![];
        set.gaps(15, 50, |a, b| gaps.push((a, b)));
        assert_eq!(gaps, vec![(20, 30), (40, 50)]);
    }
}
