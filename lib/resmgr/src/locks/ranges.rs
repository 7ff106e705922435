//! The held ranges of one file.

use abi::io::{LockKind, LockRange, LockStyle, OFFSET_MAX};
use abi::{Nd, Pid};

use super::Owner;

/// Held ranges of one file; far above what databases take, and a bound for what one client can
/// make a server keep.
const HELD_MAX: usize = 65_536;

/// A range and whom it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) style: LockStyle,
    pub(super) exclusive: bool,
    /// First byte.
    pub(super) start: u64,
    /// Last byte.
    pub(super) end: u64,
    /// Number of the open file it was set through.
    pub(super) through: u64,
    pub(super) pid: Pid,
    pub(super) node: Nd,
}

impl Held {
    /// What a client is told about it.
    pub(super) fn to_range(self) -> LockRange {
        LockRange {
            kind: if self.exclusive {
                LockKind::Write
            } else {
                LockKind::Read
            },
            start: self.start,
            len: if self.end == OFFSET_MAX {
                0
            } else {
                self.end - self.start + 1
            },
            pid: self.pid,
            node: self.node,
            owner: self.owner.number,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether the two are of sorts that see each other.
    fn meets(&self, other: &Self) -> bool {
        (self.style == LockStyle::Flock) == (other.style == LockStyle::Flock)
    }

    fn is_in_the_way_of(&self, wanted: &Self) -> bool {
        self.owner != wanted.owner
            && self.meets(wanted)
            && (self.exclusive || wanted.exclusive)
            && self.overlaps(wanted)
    }

    /// Whether both are parts of what one owner holds in one way.
    fn is_alike(&self, other: &Self) -> bool {
        self.owner == other.owner
            && self.style == other.style
            && self.exclusive == other.exclusive
            && self.through == other.through
    }
}

/// The last byte of a range; `None` if it would lie behind the largest offset.
pub(super) fn end(start: u64, len: u64) -> Option<u64> {
    let end = match len {
        0 => OFFSET_MAX,
        len => start.checked_add(len - 1)?,
    };
    (start <= OFFSET_MAX && end <= OFFSET_MAX).then_some(end)
}

/// The ranges in the order of their starts.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Held>);

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one more change, which splits a range at most, fits.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() + 2 <= HELD_MAX
    }

    /// The first range that keeps `wanted` from being held.
    pub(super) fn in_the_way(&self, wanted: &Held) -> Option<Held> {
        self.0
            .iter()
            .take_while(|held| held.start <= wanted.end)
            .find(|held| held.is_in_the_way_of(wanted))
            .copied()
    }

    /// Whose ranges keep `wanted` from being held.
    pub(super) fn owners_in_the_way(&self, wanted: &Held) -> impl Iterator<Item = Owner> {
        self.0
            .iter()
            .filter(|held| held.is_in_the_way_of(wanted))
            .map(|held| held.owner)
    }

    /// Holds `wanted`, in place of what its owner held there.
    pub(super) fn set(&mut self, wanted: &Held) {
        self.clear(wanted);
        let mut whole = *wanted;
        self.0.retain(|held| {
            let touches = held.start <= whole.end.saturating_add(1)
                && whole.start <= held.end.saturating_add(1);
            let joined = touches && held.is_alike(wanted);
            if joined {
                whole.start = whole.start.min(held.start);
                whole.end = whole.end.max(held.end);
            }
            !joined
        });
        self.insert(whole);
    }

    /// Frees the range of `wanted` of what its owner holds.
    pub(super) fn clear(&mut self, wanted: &Held) {
        let mut rests = Vec::new();
        self.0.retain(|held| {
            let cut = held.owner == wanted.owner && held.meets(wanted) && held.overlaps(wanted);
            if cut && held.start < wanted.start {
                rests.push(Held {
                    end: wanted.start - 1,
                    ..*held
                });
            }
            if cut && held.end > wanted.end {
                rests.push(Held {
                    start: wanted.end + 1,
                    ..*held
                });
            }
            !cut
        });
        for rest in rests {
            self.insert(rest);
        }
    }

    /// Frees all for which `gone` is true; returns whether there were any.
    pub(super) fn remove_if(&mut self, gone: impl Fn(&Held) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|held| !gone(held));
        self.0.len() < before
    }

    fn insert(&mut self, held: Held) {
        let at = self.0.partition_point(|other| other.start <= held.start);
        self.0.insert(at, held);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Holder;
    use super::*;
    use abi::SenderId;

    fn range(client: u32, kind: LockKind, start: u64, len: u64) -> Held {
        Held {
            owner: Owner {
                holder: Holder::Client(SenderId(client)),
                number: 0,
            },
            style: LockStyle::Process,
            exclusive: kind == LockKind::Write,
            start,
            end: end(start, len).unwrap(),
            through: u64::from(client),
            pid: Pid(client),
            node: Nd::LOCAL,
        }
    }

    fn shown(ranges: &Ranges) -> Vec<(u32, bool, u64, u64)> {
        let row = |held: &Held| (held.pid.0, held.exclusive, held.start, held.end);
        ranges.0.iter().map(row).collect()
    }

    #[test]
    fn ranges_of_one_owner_join_split_and_change_their_kind() {
        let mut ranges = Ranges::default();
        ranges.set(&range(1, LockKind::Read, 0, 10));
        ranges.set(&range(1, LockKind::Read, 10, 10));
        assert_eq!(shown(&ranges), [(1, false, 0, 19)]);
        ranges.set(&range(1, LockKind::Write, 5, 5));
        assert_eq!(
            shown(&ranges),
            [(1, false, 0, 4), (1, true, 5, 9), (1, false, 10, 19)]
        );
        ranges.clear(&range(1, LockKind::Unlock, 7, 8));
        assert_eq!(
            shown(&ranges),
            [(1, false, 0, 4), (1, true, 5, 6), (1, false, 15, 19)]
        );
        ranges.set(&range(1, LockKind::Read, 0, 0));
        assert_eq!(shown(&ranges), [(1, false, 0, OFFSET_MAX)]);
        ranges.clear(&range(1, LockKind::Unlock, 0, 0));
        assert!(ranges.is_empty());
    }

    #[test]
    fn a_model_of_single_bytes_agrees_with_the_ranges() {
        // A model of 64 bytes, and a fixed sequence of numbers as the source of operations.
        let mut ranges = Ranges::default();
        let mut model = [[None::<bool>; 64]; 3];
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let client = (seed % 3) as usize;
            let (start, len) = (seed >> 8 & 63, seed >> 16 & 15);
            let len = len.clamp(1, 64 - start);
            let kind =
                [LockKind::Read, LockKind::Write, LockKind::Unlock][(seed >> 24) as usize % 3];
            let wanted = range(client as u32, kind, start, len);
            let bytes = start as usize..(start + len) as usize;
            if kind == LockKind::Unlock {
                ranges.clear(&wanted);
                model[client][bytes].fill(None);
                continue;
            }
            let others = (0..3).filter(|other| *other != client);
            let is_free = others.into_iter().all(|other| {
                let held = model[other][bytes.clone()].iter().flatten();
                held.into_iter()
                    .all(|exclusive| !exclusive && !wanted.exclusive)
            });
            assert_eq!(ranges.in_the_way(&wanted).is_none(), is_free);
            if is_free {
                ranges.set(&wanted);
                model[client][bytes].fill(Some(wanted.exclusive));
            }
            for (client, bytes) in model.iter().enumerate() {
                let held = ranges.0.iter().filter(|held| held.pid.0 == client as u32);
                let count: u64 = held.map(|held| held.end - held.start + 1).sum();
                assert_eq!(count, bytes.iter().flatten().count() as u64);
            }
        }
    }

    #[test]
    fn ranges_end_at_the_largest_offset() {
        assert_eq!(end(0, 0), Some(OFFSET_MAX));
        assert_eq!(end(OFFSET_MAX, 1), Some(OFFSET_MAX));
        assert_eq!(end(OFFSET_MAX, 2), None);
        assert_eq!(end(OFFSET_MAX + 1, 0), None);
        assert_eq!(end(u64::MAX, u64::MAX), None);
    }
}
