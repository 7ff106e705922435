//! The two clocks of a node.

use std::time::{SystemTime, UNIX_EPOCH};

use abi::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Time that only moves forward, in nanoseconds since some moment before the machine's start.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Instant::from_nanos(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec as u64),
    )
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
