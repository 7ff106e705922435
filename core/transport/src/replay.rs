//! Which packet numbers have been seen, for refusing replays and for acknowledging.

use alloc::boxed::Box;

/// Packet numbers below the largest that are remembered.
pub const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;

/// The last [`WINDOW`] packet numbers of one direction of one lane.
///
/// A packet is checked before and accepted after it was authenticated, so that forged numbers
/// cannot move the window.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    // The next number never seen; 0 while nothing was.
    next: u64,
    // Ring: the bit of number n is n modulo WINDOW.
    seen: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// A window that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            next: 0,
            seen: Box::new([0; WORDS]),
        }
    }

    /// The largest number accepted.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether `pn` is new and not too old to tell.
    #[must_use]
    pub fn check(&self, pn: u64) -> bool {
        pn != u64::MAX && (pn >= self.next || (self.next - pn <= WINDOW && !self.bit(pn)))
    }

    /// Remembers `pn`. Answers whether it was new; only then the packet may be used.
    pub fn accept(&mut self, pn: u64) -> bool {
        if !self.check(pn) {
            return false;
        }
        if pn >= self.next {
            self.forget_up_to(pn);
            self.next = pn + 1;
        }
        self.seen[Self::word(pn)] |= 1 << (pn % 64);
        true
    }

    /// Clears the bits that the numbers from `next` to `pn` take over.
    fn forget_up_to(&mut self, pn: u64) {
        if pn - self.next >= WINDOW {
            self.seen.fill(0);
            return;
        }
        let mut at = self.next;
        while at <= pn {
            if at.is_multiple_of(64) && pn - at >= 63 {
                self.seen[Self::word(at)] = 0;
                at += 64;
            } else {
                self.seen[Self::word(at)] &= !(1 << (at % 64));
                at += 1;
            }
        }
    }

    /// For the 64 numbers from `newest` downward: bit i says whether `newest - i` was seen.
    /// Numbers outside the window read as not seen.
    #[must_use]
    pub fn seen_downward(&self, newest: u64) -> u64 {
        let Some(largest) = self.largest() else {
            return 0;
        };
        if newest > largest || largest - newest >= WINDOW {
            return 0;
        }
        let high = self.seen[Self::word(newest)] << (63 - newest % 64);
        let low = if newest % 64 == 63 || newest < 64 {
            0
        } else {
            self.seen[Self::word(newest - 64)] >> (newest % 64 + 1)
        };
        // The ring's oldest word may already hold newer numbers.
        let valid = (WINDOW - (largest - newest)).min(newest + 1);
        let bits = (high | low).reverse_bits();
        if valid >= 64 {
            bits
        } else {
            bits & ((1 << valid) - 1)
        }
    }

    fn bit(&self, pn: u64) -> bool {
        self.seen[Self::word(pn)] >> (pn % 64) & 1 == 1
    }

    const fn word(pn: u64) -> usize {
        (pn / 64 % WORDS as u64) as usize
    }
}
