//! How many threads receive: between low and high water, never without one that listens.
//!
//! Source: `R6`, `R7`.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Water marks of a pool (`R6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A thread is added when fewer than this many wait.
    low: usize,
    /// A thread ends when more than this many wait.
    high: usize,
    /// Never more than this many, apart from those in [`blocking`].
    maximum: usize,
}

impl Limits {
    /// Threads that [`blocking`] may add in all; then calls wait their turn.
    const BLOCKING: usize = 256;

    pub(crate) fn new(threads: RangeInclusive<usize>) -> Self {
        let maximum = (*threads.end()).clamp(1, 1024);
        let low = (*threads.start()).clamp(1, maximum);
        // Twice the low mark keeps a thread warm for the next burst instead of ending it.
        Self {
            low,
            high: (low * 2).min(maximum),
            maximum,
        }
    }
}

/// The count of threads of one server.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    total: AtomicUsize,
    waiting: AtomicUsize,
    blocked: AtomicUsize,
    stopping: AtomicBool,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            total: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// How many threads there are.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }

    /// Counts one more thread in, if there may be one.
    pub(crate) fn enter(&self) -> bool {
        let blocked = self.blocked.load(Ordering::SeqCst).min(Limits::BLOCKING);
        let most = self.limits.maximum + blocked;
        let more = |total| (total < most).then_some(total + 1);
        self.total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    pub(crate) fn leave(&self) {
        self.total.fetch_sub(1, Ordering::SeqCst);
    }

    /// The calling thread goes to receive; false if it should end instead.
    pub(crate) fn wait(&self) -> bool {
        if self.is_stopping() {
            return false;
        }
        let high = self.limits.high;
        let more = |waiting| (waiting < high).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// The calling thread got something; true if another thread should be started.
    pub(crate) fn work(&self) -> bool {
        self.waiting.fetch_sub(1, Ordering::SeqCst) <= self.limits.low && !self.is_stopping()
    }
}

type Starter = Arc<dyn Fn() + Send + Sync>;

thread_local! {
    /// The pool that the current thread works for, and how to add a thread to it.
    static CURRENT: RefCell<Option<(Arc<Pool>, Starter)>> = const { RefCell::new(None) };
}

/// Tells `blocking` where the calling thread belongs.
pub(crate) fn adopt(pool: Arc<Pool>, start: Starter) {
    CURRENT.with_borrow_mut(|current| *current = Some((pool, start)));
}

/// Runs `work`, which may block for long, without taking a thread from the server's pool.
///
/// A handler that waits for a device, a disk or another server without a
/// [`WaitQueue`](crate::WaitQueue) wraps the wait in this; another thread takes its place meanwhile
/// (`R7`). Outside of a server's threads it just runs `work`.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let Some((pool, start)) = CURRENT.with_borrow(Clone::clone) else {
        return work();
    };
    pool.blocked.fetch_add(1, Ordering::SeqCst);
    let returning = Returning(&pool);
    if pool.waiting.load(Ordering::SeqCst) < pool.limits.low {
        start();
    }
    let result = work();
    drop(returning);
    result
}

/// Counts the thread back in, also when `work` panics.
struct Returning<'a>(&'a Pool);

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        self.0.blocked.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // qnx: R6
    #[test]
    fn marks_are_normalised_so_that_low_is_at_most_maximum() {
        assert_eq!(
            Limits::new(1..=4),
            Limits {
                low: 1,
                high: 2,
                maximum: 4
            }
        );
        assert_eq!(
            Limits::new(3..=4),
            Limits {
                low: 3,
                high: 4,
                maximum: 4
            }
        );
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = Limits::new(9..=2);
        assert_eq!(
            reversed,
            Limits {
                low: 2,
                high: 2,
                maximum: 2
            }
        );
        assert_eq!(
            Limits::new(0..=0),
            Limits {
                low: 1,
                high: 1,
                maximum: 1
            }
        );
    }

    // qnx: R6
    #[test]
    fn a_pool_grows_when_the_last_listener_gets_work_and_never_above_its_maximum() {
        let pool = Pool::new(Limits::new(1..=2));
        assert!(pool.enter() && pool.wait());
        assert!(pool.work(), "nobody listens now");
        assert!(pool.enter());
        assert!(!pool.enter(), "two is the maximum");
        assert!(pool.wait() && pool.wait());
        assert!(!pool.wait(), "a third listener is more than high water");
        assert_eq!(pool.total(), 2);
    }

    // qnx: R7
    #[test]
    fn a_blocked_thread_does_not_count_against_the_maximum() {
        let pool = Arc::new(Pool::new(Limits::new(1..=1)));
        assert!(pool.enter() && pool.wait());
        let _ = pool.work();
        let starter = Arc::clone(&pool);
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let start = move || {
            if starter.enter() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                adopt(Arc::clone(&pool), Arc::new(start));
                blocking(|| assert_eq!(started.load(Ordering::SeqCst), 1));
                blocking(|| assert_eq!(started.load(Ordering::SeqCst), 1));
            });
        });
        assert_eq!(pool.total(), 2);
    }
}
