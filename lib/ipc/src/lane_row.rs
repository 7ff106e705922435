//! Reading a row of the node page while the node may be writing it.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use abi::system::LANE_ROW_WORDS;

/// The words of a row, wherever they are.
pub(crate) trait Words {
    fn load(&self, at: usize, ordering: Ordering) -> u32;
    fn fence(ordering: Ordering);
}

impl Words for [AtomicU32; LANE_ROW_WORDS] {
    #[inline]
    fn load(&self, at: usize, ordering: Ordering) -> u32 {
        self[at].load(ordering)
    }

    #[inline]
    fn fence(ordering: Ordering) {
        fence(ordering);
    }
}

/// A whole row, or `None` if it was being written at every try. Never waits.
pub(crate) fn read<W: Words>(words: &W) -> Option<[u32; LANE_ROW_WORDS]> {
    for _ in 0..TRIES {
        let before = words.load(0, Ordering::Acquire);
        let row = std::array::from_fn(|at| words.load(at, Ordering::Relaxed));
        // None of the words above is read after the number below.
        W::fence(Ordering::Acquire);
        if before.is_multiple_of(2) && words.load(0, Ordering::Relaxed) == before {
            return Some(row);
        }
    }
    None
}

/// A row is written in less than a microsecond, unless its writer is interrupted; then it is read later.
const TRIES: usize = 4;
