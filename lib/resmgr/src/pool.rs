//! How many threads receive: between low and high water, never without one that listens.
//!
//! Source: `R6`, `R7`.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Water marks of the threads of a server (`R6`). Threads in [`blocking`] do not count.
#[doc(alias = "thread_pool_attr_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPool {
    /// Threads are added when fewer than this many wait; at least 1.
    #[doc(alias = "lo_water")]
    pub low: usize,
    /// So many at once; at least 1.
    pub increment: usize,
    /// A thread ends when more than this many wait; at least `low`.
    #[doc(alias = "hi_water")]
    pub high: usize,
    /// Never more than this many; 1 to 1024. The others are at most this.
    pub maximum: usize,
}

impl ThreadPool {
    /// Threads that [`blocking`] may add in all.
    const BLOCKING: usize = 256;
    /// Most threads of one server.
    const MAXIMUM: usize = 1024;

    /// From the low mark to the maximum. The high mark is twice the low one, which keeps a thread warm for the
    /// next burst instead of ending it.
    #[must_use]
    pub fn of(threads: RangeInclusive<usize>) -> Self {
        let (low, maximum) = (*threads.start(), *threads.end());
        let marks = Self {
            low,
            increment: 1,
            high: low.saturating_mul(2),
            maximum,
        };
        marks.normalised()
    }

    /// With each mark in its range: low <= high <= maximum.
    #[must_use]
    pub fn normalised(self) -> Self {
        let maximum = self.maximum.clamp(1, Self::MAXIMUM);
        let low = self.low.clamp(1, maximum);
        Self {
            low,
            increment: self.increment.clamp(1, maximum),
            high: self.high.clamp(low, maximum),
            maximum,
        }
    }
}

/// The count of threads of one server.
#[derive(Debug)]
pub(crate) struct Pool {
    low: AtomicUsize,
    increment: AtomicUsize,
    high: AtomicUsize,
    maximum: AtomicUsize,
    total: AtomicUsize,
    waiting: AtomicUsize,
    blocked: AtomicUsize,
    stopping: AtomicBool,
}

impl Pool {
    pub(crate) fn new(marks: ThreadPool) -> Self {
        let marks = marks.normalised();
        Self {
            low: AtomicUsize::new(marks.low),
            increment: AtomicUsize::new(marks.increment),
            high: AtomicUsize::new(marks.high),
            maximum: AtomicUsize::new(marks.maximum),
            total: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_limits(&self, marks: ThreadPool) {
        let marks = marks.normalised();
        self.low.store(marks.low, Ordering::SeqCst);
        self.increment.store(marks.increment, Ordering::SeqCst);
        self.high.store(marks.high, Ordering::SeqCst);
        self.maximum.store(marks.maximum, Ordering::SeqCst);
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
        let blocked = self
            .blocked
            .load(Ordering::SeqCst)
            .min(ThreadPool::BLOCKING);
        let most = self.maximum.load(Ordering::SeqCst) + blocked;
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
        let high = self.high.load(Ordering::SeqCst);
        let more = |waiting| (waiting < high).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }

    /// The calling thread got something; tells how many threads should be started.
    pub(crate) fn work(&self) -> usize {
        let is_short =
            self.waiting.fetch_sub(1, Ordering::SeqCst) <= self.low.load(Ordering::SeqCst);
        if is_short && !self.is_stopping() {
            self.increment.load(Ordering::SeqCst)
        } else {
            0
        }
    }

    fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) < self.low.load(Ordering::SeqCst)
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
/// (`R7`), for up to 256 that wait so at once: more of them wait at the expense of the server's threads. Outside of a
/// server's threads it just runs `work`.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let Some((pool, start)) = CURRENT.with_borrow(Clone::clone) else {
        return work();
    };
    pool.blocked.fetch_add(1, Ordering::SeqCst);
    let returning = Returning(&pool);
    if pool.is_short() {
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
    fn marks_are_normalised_so_that_low_is_at_most_high_and_that_at_most_maximum() {
        #[allow(clippy::reversed_empty_ranges)]
        let rows = [
            (1..=4, [1, 2, 4]),
            (3..=4, [3, 4, 4]),
            (9..=2, [2, 2, 2]),
            (0..=0, [1, 1, 1]),
        ];
        for (range, expected) in rows {
            let marks = ThreadPool::of(range);
            assert_eq!([marks.low, marks.high, marks.maximum], expected);
            assert_eq!(marks.increment, 1);
        }
        let odd = ThreadPool {
            low: 9,
            increment: 0,
            high: 3,
            maximum: 20,
        };
        assert_eq!(odd.normalised().high, 9);
        assert_eq!(odd.normalised().increment, 1);
    }

    // qnx: R6
    #[test]
    fn a_pool_grows_by_its_increment_and_never_above_its_maximum() {
        let pool = Pool::new(ThreadPool {
            low: 1,
            increment: 3,
            high: 2,
            maximum: 2,
        });
        assert!(pool.enter() && pool.wait());
        assert_eq!(pool.work(), 2, "as many as there may be");
        assert!(pool.enter());
        assert!(!pool.enter(), "two is the maximum");
        assert!(pool.wait() && pool.wait());
        assert!(!pool.wait(), "a third listener is more than high water");
        assert_eq!(pool.work(), 0, "one still listens");
        assert_eq!(pool.total(), 2);
        pool.set_limits(ThreadPool {
            low: 1,
            increment: 5,
            high: 9,
            maximum: 9,
        });
        assert!(pool.wait() && pool.wait() && pool.enter());
        assert_eq!(pool.total(), 3);
    }

    // qnx: R7
    #[test]
    fn a_blocked_thread_does_not_count_against_the_maximum() {
        let pool = Arc::new(Pool::new(ThreadPool::of(1..=1)));
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
