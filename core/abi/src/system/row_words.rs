//! How a lane row is written and read while the other side may be at it: one writer, readers that never wait.
//!
//! A row's first word is odd while the row is being written, and other than before once it has been. A reader that
//! sees the same even number before and after has read a whole row.

use core::array;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::page::LANE_ROW_WORDS;

/// The words of a row, wherever they are.
pub trait RowWords {
    /// Reads a word.
    fn load(&self, at: usize, ordering: Ordering) -> u32;
    /// Writes a word.
    fn store(&self, at: usize, value: u32, ordering: Ordering);
    /// Orders the words around it.
    fn fence(ordering: Ordering);
}

impl RowWords for [AtomicU32; LANE_ROW_WORDS] {
    #[inline]
    fn load(&self, at: usize, ordering: Ordering) -> u32 {
        self[at].load(ordering)
    }

    #[inline]
    fn store(&self, at: usize, value: u32, ordering: Ordering) {
        self[at].store(value, ordering);
    }

    #[inline]
    fn fence(ordering: Ordering) {
        fence(ordering);
    }
}

/// Writes a row in a bounded number of steps; `words[0]` does not matter. Only one thread may do so.
pub fn write_row<W: RowWords>(row: &W, words: &[u32; LANE_ROW_WORDS]) {
    let before = row.load(0, Ordering::Relaxed);
    row.store(0, before.wrapping_add(1), Ordering::Relaxed);
    // No word of the new row is seen before the odd number is.
    W::fence(Ordering::Release);
    for (at, word) in words.iter().enumerate().skip(1) {
        row.store(at, *word, Ordering::Relaxed);
    }
    row.store(0, before.wrapping_add(2), Ordering::Release);
}

/// A whole row, or `None` if it was being written at every try. Never waits.
pub fn read_row<W: RowWords>(row: &W) -> Option<[u32; LANE_ROW_WORDS]> {
    for _ in 0..TRIES {
        let before = row.load(0, Ordering::Acquire);
        let words = array::from_fn(|at| row.load(at, Ordering::Relaxed));
        // None of the words above is read after the number below.
        W::fence(Ordering::Acquire);
        if before.is_multiple_of(2) && row.load(0, Ordering::Relaxed) == before {
            return Some(words);
        }
    }
    None
}

/// A row is written in less than a microsecond, unless its writer is interrupted; then it is read later.
const TRIES: usize = 4;
