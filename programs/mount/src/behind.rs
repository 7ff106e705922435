//! Writes that a program need not wait for.
//!
//! A program that streams into a file is answered as soon as its bytes are here, and goes on while a worker sends them
//! to the server. Everybody else on this machine sees the file as if they had arrived: who reads the file or asks
//! for its attributes waits for them. An error comes back with the next write, fsync or close.

use abi::{Errno, Result};
use ipc::Interrupt;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The writes on their way, by the node of their file.
pub(crate) struct Behind {
    /// How many in all: without any, nobody takes the lock.
    count: AtomicUsize,
    ranges: Mutex<HashMap<u64, Vec<Range<u64>>>>,
    changed: Condvar,
}

/// One write on its way; dropping it says that it has ended.
pub(crate) struct OnItsWay<'a> {
    behind: &'a Behind,
    node: u64,
    range: Range<u64>,
}

impl Behind {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            ranges: Mutex::new(HashMap::new()),
            changed: Condvar::new(),
        }
    }

    /// Takes a write on, as soon as none that it overlaps is on its way and the file has room for it. `None` if there are
    /// too many of all files, perhaps because a server does not answer: then the program is to wait for its own one alone.
    pub(crate) fn begin(
        &self,
        node: u64,
        range: Range<u64>,
        interrupt: &Interrupt,
    ) -> Result<Option<OnItsWay<'_>>> {
        if self.count.load(Ordering::SeqCst) >= IN_ALL {
            return Ok(None);
        }
        let may_begin = |ranges: &HashMap<u64, Vec<Range<u64>>>| {
            let own = ranges.get(&node).map_or(&[][..], Vec::as_slice);
            let overlaps = own
                .iter()
                .any(|other| other.start < range.end && range.start < other.end);
            !overlaps && own.len() < PER_FILE
        };
        let mut ranges = self.wait_until(interrupt, may_begin)?;
        ranges.entry(node).or_default().push(range.clone());
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(Some(OnItsWay {
            behind: self,
            node,
            range,
        }))
    }

    /// Waits until no write to the file is on its way.
    pub(crate) fn settle(&self, node: u64, interrupt: &Interrupt) -> Result {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        self.wait_until(interrupt, |ranges| !ranges.contains_key(&node))
            .map(drop)
    }

    pub(crate) fn is_settled(&self, node: u64) -> bool {
        self.count.load(Ordering::SeqCst) == 0 || !self.lock().contains_key(&node)
    }

    fn wait_until(
        &self,
        interrupt: &Interrupt,
        ready: impl Fn(&HashMap<u64, Vec<Range<u64>>>) -> bool,
    ) -> Result<Ranges<'_>> {
        let mut ranges = self.lock();
        while !ready(&ranges) {
            if interrupt.is_triggered() {
                return Err(Errno::EINTR);
            }
            // An interrupt does not wake this, so it is looked for now and then.
            let waited = self.changed.wait_timeout(ranges, INTERRUPT_LOOK);
            ranges = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(ranges)
    }

    fn lock(&self) -> Ranges<'_> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ranges<'a> = MutexGuard<'a, HashMap<u64, Vec<Range<u64>>>>;

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let mut ranges = self.behind.lock();
        if let Some(own) = ranges.get_mut(&self.node) {
            if let Some(at) = own.iter().position(|range| *range == self.range) {
                own.swap_remove(at);
            }
            if own.is_empty() {
                ranges.remove(&self.node);
            }
        }
        self.behind.count.fetch_sub(1, Ordering::SeqCst);
        drop(ranges);
        self.behind.changed.notify_all();
    }
}

/// Writes on their way for one file, each of up to 1 MiB: enough for a gigabit at 60 ms.
const PER_FILE: usize = 8;
/// Writes on their way in all, or a few more; each holds a worker thread and its buffer.
const IN_ALL: usize = 64;
/// How soon a waiting request notices that its caller has given up.
const INTERRUPT_LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_file_waits_for_its_writes_and_nobody_else_does() {
        let behind = Behind::new();
        let calm = Interrupt::new();
        let first = behind.begin(5, 0..10, &calm).unwrap().unwrap();
        let second = behind.begin(5, 10..20, &calm).unwrap().unwrap();
        behind.settle(6, &calm).unwrap();
        assert!(!behind.is_settled(5));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| behind.settle(5, &calm));
            drop(first);
            assert!(!behind.is_settled(5));
            drop(second);
            waiter.join().unwrap().unwrap();
        });
        assert!(behind.is_settled(5));
    }

    #[test]
    fn overlapping_writes_and_too_many_wait_and_can_be_interrupted() {
        let behind = Behind::new();
        let (calm, angry) = (Interrupt::new(), Interrupt::new());
        angry.trigger();
        let held: Vec<_> = (0..PER_FILE as u64)
            .map(|at| behind.begin(5, at..at + 1, &calm).unwrap().unwrap())
            .collect();
        let too_many = behind.begin(5, 100..101, &angry).map(drop);
        assert_eq!(too_many, Err(Errno::EINTR));
        drop(held);
        let _one = behind.begin(5, 0..10, &calm).unwrap();
        assert_eq!(behind.begin(5, 9..12, &angry).map(drop), Err(Errno::EINTR));
        assert_eq!(behind.settle(5, &angry), Err(Errno::EINTR));
        behind.begin(5, 10..12, &calm).map(drop).unwrap();
    }

    #[test]
    fn files_of_a_server_that_does_not_answer_leave_other_writers_to_wait_for_themselves() {
        let behind = Behind::new();
        let calm = Interrupt::new();
        let files = IN_ALL.div_ceil(PER_FILE) as u64;
        let stuck: Vec<_> = (0..files * PER_FILE as u64)
            .map(|at| behind.begin(at % files, at..at + 1, &calm).unwrap())
            .collect();
        assert!(stuck.iter().all(Option::is_some));
        assert!(behind.begin(files, 0..1, &calm).unwrap().is_none());
        drop(stuck);
        assert!(behind.begin(files, 0..1, &calm).unwrap().is_some());
    }
}
