//! How large a packet may be on one way: found by padded probes, never by what routers say (RFC 8899).

use core::time::Duration;

use abi::Instant;

/// Taken for granted of every way until it does not pass: what is left of the least packet of IPv6.
const BASE: u16 = 1232;
/// What a way must carry that is up: a session's packets are never limited to less.
const LEAST: u16 = 548;
/// Taken for granted until the first search has ended: what Ethernet carries.
const USUAL: u16 = 1472;
/// A search ends when it has come this near.
const NEAR_ENOUGH: u16 = 8;
const TRIES: u32 = 3;
/// Larger sizes are tried again so often.
const RAISE_EVERY: Duration = Duration::from_secs(600);
/// The size that was found is tried so often, so that a way that swallows large packets only is noticed.
const VERIFY_EVERY: Duration = Duration::from_secs(1);

/// The search of one way.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    ceiling: u16,
    found: Option<u16>,
    low: u16,
    /// Nothing has passed that was as large as `low`.
    granted: bool,
    high: u16,
    trying: Option<Try>,
    next: Instant,
    raise: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    size: u16,
    sent: u32,
    late: Instant,
}

impl Search {
    /// No packet is larger than `ceiling`: the smaller one of both links' sizes.
    pub(crate) fn new(now: Instant, ceiling: u16) -> Self {
        Self {
            ceiling,
            found: None,
            low: BASE.min(ceiling),
            granted: true,
            high: ceiling,
            trying: None,
            next: now,
            raise: now,
        }
    }

    /// The largest packet that may be sent.
    pub(crate) fn size(&self) -> u16 {
        self.found.unwrap_or(self.ceiling.min(USUAL))
    }

    pub(crate) const fn ceiling(&self) -> u16 {
        self.ceiling
    }

    /// The way has changed: everything is possible again, what was found is checked at once.
    pub(crate) fn restart(&mut self, now: Instant) {
        let known = self.found.unwrap_or(BASE);
        (self.low, self.high) = (known.min(BASE).min(self.ceiling), self.ceiling);
        (self.trying, self.next, self.granted) = (None, now, true);
        self.raise = now;
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.trying.map_or(self.next, |attempt| attempt.late)
    }

    /// What to try now: the size of a padded probe. Only while the way is up.
    pub(crate) fn due(&mut self, now: Instant, rtt: Duration) -> Option<u16> {
        if self.deadline() > now {
            return None;
        }
        let late = now.checked_add((rtt * 3).max(Duration::from_millis(50)))?;
        if let Some(attempt) = self.trying {
            if attempt.sent < TRIES {
                let sent = attempt.sent + 1;
                self.trying = Some(Try {
                    sent,
                    late,
                    ..attempt
                });
                return Some(attempt.size);
            }
            self.failed(now, attempt.size);
            if self.next > now {
                return None;
            }
        }
        let size = self.choose(now);
        self.trying = Some(Try {
            size,
            sent: 1,
            late,
        });
        Some(size)
    }

    fn choose(&mut self, now: Instant) -> u16 {
        if self.low >= self.high && self.raise <= now {
            self.high = self.ceiling;
        }
        let untried = self.high == self.ceiling && self.low < self.high;
        if self.low >= self.high {
            self.low
        } else if untried {
            self.high
        } else {
            self.low + (self.high - self.low).div_ceil(2)
        }
    }

    /// A padded probe of this size was answered.
    pub(crate) fn passed(&mut self, now: Instant, size: u16) {
        if size > self.ceiling {
            return;
        }
        if self.trying.is_some_and(|attempt| attempt.size <= size) {
            self.trying = None;
            self.next = now;
        }
        if size >= self.low {
            (self.low, self.granted) = (size, false);
        }
        self.settle(now);
    }

    fn failed(&mut self, now: Instant, size: u16) {
        self.trying = None;
        self.next = now;
        if size <= self.low {
            // What passed once, or was taken for granted, does not pass any more.
            let lower = if size > BASE { BASE } else { LEAST }.min(self.ceiling);
            (self.low, self.found) = (lower, Some(lower));
            self.granted = lower < size;
            self.high = size.saturating_sub(1).max(self.low);
        } else {
            self.high = size - 1;
        }
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        if self.high.saturating_sub(self.low) >= NEAR_ENOUGH {
            if self.found.is_none_or(|found| found < self.low) && self.high != self.ceiling {
                self.found = Some(self.low);
            }
            return;
        }
        self.high = self.low;
        self.found = Some(self.low);
        if self.trying.is_none() {
            let wait = if self.granted {
                Duration::ZERO
            } else {
                VERIFY_EVERY
            };
            self.next = now.checked_add(wait).unwrap_or(now);
        }
        if self.raise <= now {
            self.raise = now.checked_add(RAISE_EVERY).unwrap_or(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Runs a search over a way that carries `limit`, until `until` ms; how many padded probes it took.
    fn run(search: &mut Search, limit: u16, times: core::ops::Range<u64>) -> u32 {
        let mut probes = 0;
        for ms in times {
            while let Some(size) = search.due(at(ms), RTT) {
                probes += 1;
                if size <= limit {
                    search.passed(at(ms), size);
                }
            }
        }
        probes
    }

    #[test]
    fn the_full_size_is_found_with_one_probe() {
        let mut search = Search::new(at(0), 8972);
        assert_eq!(search.size(), USUAL, "until it is known");
        assert_eq!(run(&mut search, 9000, 0..1), 1);
        assert_eq!(search.size(), 8972);
    }

    #[test]
    fn any_size_is_found_to_the_byte_or_nearly() {
        for limit in [
            548, 600, 1172, 1200, 1231, 1232, 1240, 1400, 1464, 1472, 4000, 8000, 8971,
        ] {
            let mut search = Search::new(at(0), 8972);
            let probes = run(&mut search, limit, 0..5000);
            let size = search.size();
            assert!(
                size <= limit && limit - size < NEAR_ENOUGH,
                "{limit}: {size}"
            );
            assert!(probes < 70, "{limit}: {probes} probes");
        }
    }

    #[test]
    fn a_way_that_begins_to_swallow_large_packets_is_noticed_within_two_seconds() {
        let mut search = Search::new(at(0), 1472);
        run(&mut search, 1472, 0..3000);
        assert_eq!(search.size(), 1472);
        run(&mut search, 1400, 3000..4600);
        assert!(search.size() <= 1400);
        run(&mut search, 1400, 4600..8000);
        assert!((1393..=1400).contains(&search.size()), "{}", search.size());
    }

    #[test]
    fn a_way_that_begins_to_carry_less_than_every_network_should_is_noticed_as_soon() {
        for usual in [1472, 1232] {
            let mut search = Search::new(at(0), usual);
            run(&mut search, usual, 0..3000);
            assert_eq!(search.size(), usual);
            run(&mut search, 1200, 3000..6000);
            assert!((1193..=1200).contains(&search.size()), "{}", search.size());
            // What was found holds when the way comes back, and when larger sizes are tried in vain.
            search.restart(at(6000));
            for ms in 6000..10_000 {
                run(&mut search, 1200, ms..ms + 1);
                assert!(search.size() <= 1200, "{}", search.size());
            }
            run(&mut search, usual, 10_000..620_000);
            assert_eq!(search.size(), usual);
        }
    }

    #[test]
    fn a_way_that_carries_next_to_nothing_is_asked_no_more_often_than_others() {
        let mut search = Search::new(at(0), 1472);
        run(&mut search, 300, 0..10_000);
        assert_eq!(search.size(), LEAST);
        let probes = run(&mut search, 300, 10_000..20_000);
        assert!(probes <= 30, "{probes} probes");
    }

    #[test]
    fn a_way_that_grows_is_noticed_when_it_is_tried_again() {
        let mut search = Search::new(at(0), 8972);
        run(&mut search, 1472, 0..5000);
        assert!(search.size() <= 1472);
        run(&mut search, 8972, 5000..500_000);
        assert!(search.size() <= 1472, "not so soon");
        run(&mut search, 8972, 500_000..620_000);
        assert_eq!(search.size(), 8972);
        search.restart(at(700_000));
        assert_eq!(search.size(), 8972, "what was found holds until it fails");
    }

    #[test]
    fn answers_nobody_asked_for_change_nothing() {
        let mut search = Search::new(at(0), 1472);
        search.passed(at(0), 9000);
        assert_eq!(search.size(), 1472);
        run(&mut search, 1300, 0..3000);
        let size = search.size();
        search.passed(at(3000), 1232);
        assert_eq!(search.size(), size);
    }
}
