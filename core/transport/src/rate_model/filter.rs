//! The greatest of the values of the last rounds.

/// Rounds that are remembered.
const ROUNDS: usize = 10;

/// The greatest value of each of the last [`ROUNDS`] rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MaxFilter {
    rounds: [u64; ROUNDS],
    at: usize,
    most: u64,
}

impl MaxFilter {
    pub(crate) const fn most(&self) -> u64 {
        self.most
    }

    pub(crate) fn take(&mut self, value: u64) {
        let round = &mut self.rounds[self.at];
        *round = value.max(*round);
        self.most = self.most.max(value);
    }

    /// A round is over. One that says nothing (`counts` is false) does not push older ones out.
    pub(crate) fn advance(&mut self, counts: bool) {
        if !counts {
            return;
        }
        self.at = (self.at + 1) % ROUNDS;
        self.rounds[self.at] = 0;
        self.most = self.rounds.iter().copied().fold(0, u64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_of_ten_rounds_counts() {
        let mut filter = MaxFilter::default();
        filter.take(7);
        for _ in 0..9 {
            filter.advance(true);
            filter.take(3);
            assert_eq!(filter.most(), 7);
        }
        filter.advance(true);
        assert_eq!(filter.most(), 3);
    }

    #[test]
    fn rounds_that_say_nothing_push_nothing_out() {
        let mut filter = MaxFilter::default();
        filter.take(7);
        for _ in 0..100 {
            filter.advance(false);
            filter.take(1);
        }
        assert_eq!(filter.most(), 7);
    }
}
