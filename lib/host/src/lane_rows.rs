//! The lane rows of the node page: one writer, readers that never wait for it.
//!
//! A row's first word is odd while the row is being written, and other than before once it has been. A reader that
//! sees the same even number before and after has read a whole row.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use abi::system::LANE_ROW_WORDS;

/// One row, as it is in memory.
pub(crate) type Words = [AtomicU32; LANE_ROW_WORDS];

/// Writes a row in a bounded number of steps. Only one thread may do so.
pub(crate) fn write(row: &Words, words: &[u32; LANE_ROW_WORDS]) {
    let before = row[0].load(Ordering::Relaxed);
    row[0].store(before.wrapping_add(1), Ordering::Relaxed);
    // No word of the new row is seen before the odd number is.
    fence(Ordering::Release);
    for (place, word) in row.iter().zip(words).skip(1) {
        place.store(*word, Ordering::Relaxed);
    }
    row[0].store(before.wrapping_add(2), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn read(row: &Words) -> Option<[u32; LANE_ROW_WORDS]> {
        let before = row[0].load(Ordering::Acquire);
        let words = std::array::from_fn(|at| row[at].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = row[0].load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(words)
    }

    #[test]
    fn whoever_reads_while_it_is_written_sees_a_whole_row_or_knows_better() {
        let row: Words = std::array::from_fn(|_| AtomicU32::new(0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    number = number.wrapping_add(1);
                    write(&row, &[number; LANE_ROW_WORDS]);
                }
            });
            let (mut whole, mut last) = (0, 0);
            while whole < 10_000 {
                let Some(words) = read(&row) else { continue };
                assert!(words[1..].iter().all(|word| *word == words[1]), "{words:?}");
                assert!(
                    words[1].wrapping_sub(last) < u32::MAX / 2,
                    "time goes forward"
                );
                (whole, last) = (whole + 1, words[1]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
