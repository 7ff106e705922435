//! The monotonic clock in the words of `core`.

use abi::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Now, by `CLOCK_MONOTONIC`.
#[inline]
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// The same moment as `deadline`, on the clock of [`now`]. A moment that has passed becomes `now`.
pub(crate) fn deadline(now: Instant, deadline: std::time::Instant) -> Instant {
    now + deadline.saturating_duration_since(std::time::Instant::now())
}
