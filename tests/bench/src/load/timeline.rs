//! When a load got on, and when it did not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that all hosts of the lab share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Progress of several threads: bytes in each [`TICK`], and the times without any.
pub(crate) struct Timeline {
    start: u64,
    last: AtomicU64,
    ticks: Box<[AtomicU64]>,
    gaps: Mutex<Vec<(u64, u64)>>,
}

impl Timeline {
    /// Begins now, for at most `seconds`.
    pub(crate) fn new(seconds: u64) -> Self {
        let start = now();
        let count = usize::try_from(seconds * (1_000_000_000 / TICK) + 1).unwrap_or(0);
        Self {
            start,
            last: AtomicU64::new(start),
            ticks: (0..count).map(|_| AtomicU64::new(0)).collect(),
            gaps: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// `bytes` more have arrived.
    pub(crate) fn progress(&self, bytes: usize) {
        let now = now();
        let before = self.last.fetch_max(now, Ordering::Relaxed);
        let tick = usize::try_from((now - self.start) / TICK).unwrap_or(usize::MAX);
        if let Some(tick) = self.ticks.get(tick) {
            tick.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if now > before + GAP_MIN {
            let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
            if gaps.len() < GAPS_MAX {
                gaps.push((before, now));
            }
        }
    }

    /// Prints everything as lines of words.
    pub(crate) fn print(&self) {
        let bytes: u64 = self
            .ticks
            .iter()
            .map(|tick| tick.load(Ordering::Relaxed))
            .sum();
        println!("start {}", self.start);
        println!("end {}", self.last.load(Ordering::Relaxed));
        println!("bytes {bytes}");
        for (index, tick) in self.ticks.iter().enumerate() {
            let bytes = tick.load(Ordering::Relaxed);
            if bytes > 0 {
                println!("tick {} {bytes}", self.start + index as u64 * TICK);
            }
        }
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in gaps.iter() {
            println!("gap {from} {to}");
        }
    }
}

/// In nanoseconds: the resolution of the figures over time.
const TICK: u64 = 10_000_000;
/// In nanoseconds: shorter pauses are those of the scheduler.
const GAP_MIN: u64 = 500_000;
/// On a machine that stutters there may be many; the list stays small beside the messages themselves.
const GAPS_MAX: usize = 100_000;
