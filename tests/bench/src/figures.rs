//! What a client found, and how it is told.

use std::time::Duration;

use crate::Outcome;
use crate::samples::quantile;

/// What a client found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Median time of one operation in nanoseconds.
    pub(crate) median: u64,
    pub(crate) p99: u64,
    /// Bytes per second, for streams.
    pub(crate) rate: u64,
    /// Operations (of a stream: bytes) in the time that was measured.
    pub(crate) count: u64,
    /// That time in nanoseconds.
    pub(crate) elapsed: u64,
    /// Processor time of both processes in nanoseconds; 0 if it was not measured.
    pub(crate) cpu: u64,
}

/// One value of a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// In the unit of the group.
    pub(crate) value: f64,
    /// Processor time of both sides: microseconds for a call, seconds for a gigabyte of a stream.
    pub(crate) cpu: Option<f64>,
}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self { value, cpu: None }
    }
}

impl Figures {
    pub(crate) fn from_sorted(samples: &[u64]) -> Self {
        Self {
            median: quantile(samples, 0.5),
            p99: quantile(samples, 0.99),
            count: samples.len() as u64,
            ..Self::default()
        }
    }

    /// A stream of `bytes` in `time`.
    pub(crate) fn of_stream(bytes: usize, time: Duration, cpu: u64) -> Outcome<Self> {
        let nanoseconds = time.as_nanos().max(1);
        Ok(Self {
            rate: u64::try_from(bytes as u128 * 1_000_000_000 / nanoseconds)?,
            count: bytes as u64,
            elapsed: u64::try_from(nanoseconds)?,
            cpu,
            ..Self::default()
        })
    }

    /// `count` calls in `time`, several of them under way at once.
    pub(crate) fn of_calls(count: u64, time: Duration, cpu: u64) -> Outcome<Self> {
        Ok(Self {
            count,
            elapsed: u64::try_from(time.as_nanos())?,
            cpu,
            ..Self::default()
        })
    }

    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        if let Some(reason) = text.strip_prefix("error: ") {
            return Err(reason.trim().into());
        }
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next =
            || -> Outcome<u64> { Ok(numbers.next().ok_or("the client printed no figures")??) };
        Ok(Self {
            median: next()?,
            p99: next()?,
            rate: next()?,
            count: next()?,
            elapsed: next()?,
            cpu: next()?,
        })
    }

    /// The line that [`parse`](Self::parse) reads.
    pub(crate) fn line(&self) -> String {
        let Self {
            median,
            p99,
            rate,
            count,
            elapsed,
            cpu,
        } = self;
        format!("{median} {p99} {rate} {count} {elapsed} {cpu}")
    }

    pub(crate) fn microseconds(self) -> f64 {
        Duration::from_nanos(self.median).as_secs_f64() * 1e6
    }

    pub(crate) fn megabytes(self) -> f64 {
        self.gigabits() * 1e3 / 8.0
    }

    pub(crate) fn gigabits(self) -> f64 {
        real(self.rate) * 8.0 / 1e9
    }

    /// Median time of a call, in microseconds.
    pub(crate) fn round_trip(self) -> Measured {
        Measured {
            value: self.microseconds(),
            cpu: self.cpu_of_each().map(|nanoseconds| nanoseconds / 1e3),
        }
    }

    /// Thousands of calls per second.
    pub(crate) fn kilocalls(self) -> Measured {
        Measured {
            value: real(self.count) * 1e6 / real(self.elapsed.max(1)),
            cpu: self.cpu_of_each().map(|nanoseconds| nanoseconds / 1e3),
        }
    }

    /// Gigabits per second.
    pub(crate) fn stream(self) -> Measured {
        Measured {
            value: self.gigabits(),
            cpu: self.cpu_of_each(),
        }
    }

    /// Nanoseconds of processor time for each call or byte.
    fn cpu_of_each(self) -> Option<f64> {
        (self.cpu > 0 && self.count > 0).then(|| real(self.cpu) / real(self.count))
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() -> Outcome<()> {
        let figures = Figures {
            median: 1,
            p99: 2,
            rate: 3,
            count: 4,
            elapsed: 5,
            cpu: 6,
        };
        assert_eq!(Figures::parse(&figures.line())?, figures);
        assert!(Figures::parse("error: no such thing").is_err());
        assert!(Figures::parse("1 2").is_err());
        Ok(())
    }

    #[test]
    fn processor_time_is_that_of_one_call_or_byte() -> Outcome<()> {
        let calls = Figures::of_calls(2000, Duration::from_millis(10), 4_000_000)?;
        let measured = calls.kilocalls();
        assert_eq!((measured.value, measured.cpu), (200.0, Some(2.0)));
        let stream = Figures::of_stream(1_000_000, Duration::from_millis(1), 500_000)?.stream();
        assert_eq!((stream.value, stream.cpu), (8.0, Some(0.5)));
        Ok(())
    }
}
