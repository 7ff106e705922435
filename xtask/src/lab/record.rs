//! What a load has reported of itself.

use super::report::real;
use crate::Outcome;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A point of the monotonic clock, in nanoseconds, as the load prints it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn before(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// One run of a load, from its start to its end.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Why calls failed, with how many did.
    pub(crate) failures: Vec<String>,
    pub(crate) first_failure: Option<Moment>,
    pub(crate) executed: u64,
    pub(crate) doubled: u64,
    /// Bytes that arrived in 10 ms from each of these moments on.
    pub(crate) ticks: Vec<(Moment, u64)>,
    gaps: Vec<(Moment, Moment)>,
}

impl Record {
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mut record = Self::default();
        let mut complete = false;
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let numbers: Vec<u64> = rest
                .split(' ')
                .map_while(|number| number.parse().ok())
                .collect();
            match (word, numbers.as_slice()) {
                ("start", [at]) => record.start = Moment(*at),
                ("end", [at]) => {
                    record.end = Moment(*at);
                    complete = true;
                }
                ("done", [count]) => record.done = *count,
                ("failed", [count]) => record.failed = *count,
                ("failed-at", [at]) => record.first_failure = Some(Moment(*at)),
                ("failure", _) => record.failures.push(rest.to_owned()),
                ("executed", [count]) => record.executed = *count,
                ("doubled", [count]) => record.doubled = *count,
                ("tick", [at, bytes]) => record.ticks.push((Moment(*at), *bytes)),
                ("gap", [from, to]) => record.gaps.push((Moment(*from), Moment(*to))),
                _ => {}
            }
        }
        if complete {
            Ok(record)
        } else {
            Err(format!("a load ended without a report: {text:?}"))
        }
    }

    /// Calls that were answered though nothing was executed.
    pub(crate) fn lost(&self) -> u64 {
        self.done.saturating_sub(self.executed)
    }

    /// Bytes per second between two moments.
    pub(crate) fn rate(&self, from: Moment, to: Moment) -> f64 {
        let bytes: u64 = self
            .ticks
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, bytes)| bytes)
            .sum();
        real(bytes) / to.since(from).as_secs_f64()
    }

    /// Bytes per second without the first `warm`, while the way is being learnt.
    pub(crate) fn rate_after(&self, warm: Duration) -> f64 {
        self.rate(self.start.after(warm), self.end)
    }

    /// The longest time without progress that touches the time from `from` to `to`; half a millisecond if there
    /// was none that long.
    pub(crate) fn longest_gap(&self, from: Moment, to: Moment) -> Duration {
        self.gaps
            .iter()
            .filter(|(begin, end)| *begin < to && *end > from)
            .map(|(begin, end)| end.since(*begin))
            .max()
            .unwrap_or(Duration::from_micros(500))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "started 1\nstart 1000000000\nend 3000000000\nbytes 30\n\
        tick 1000000000 10\ntick 2000000000 20\ngap 1500000000 1520000000\n\
        gap 1900000000 1901000000\ndone 5\nfailed 1\nfailure 1 ETIMEDOUT Link\nexecuted 4\ndoubled 0\n";

    #[test]
    fn a_report_is_read_back() -> Outcome {
        let record = Record::parse(REPORT)?;
        assert_eq!((record.done, record.failed, record.lost()), (5, 1, 1));
        assert_eq!(record.failures, ["1 ETIMEDOUT Link"]);
        assert!((record.rate_after(Duration::from_secs(1)) - 20.0).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_gap_counts_where_it_touches() -> Outcome {
        let record = Record::parse(REPORT)?;
        let gap = |from, to| record.longest_gap(Moment(from), Moment(to)).as_micros();
        assert_eq!(gap(1_510_000_000, 1_950_000_000), 20_000);
        assert_eq!(gap(1_800_000_000, 1_950_000_000), 1_000);
        assert_eq!(gap(2_800_000_000, 2_950_000_000), 500);
        Ok(())
    }

    #[test]
    fn a_load_that_was_killed_has_no_report() {
        assert!(Record::parse("started 17\n").is_err());
    }
}
