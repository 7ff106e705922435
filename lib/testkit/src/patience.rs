//! Waiting for what others are about to do, without a guess at how long it takes.

use std::time::{Duration, Instant};

/// Far more than anything in a test takes on a busy machine; only a broken test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`, which looks at a condition that another thread or process is about to make true. Looks again as
/// soon as the others have had their turn.
///
/// # Panics
/// With `what`, if it is not so within [`PATIENCE`].
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "did not happen: {what}");
        std::thread::yield_now();
    }
}
