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
use std::time::{Duration, Instant};

/// The writes on their way, by the node of their file.
pub(crate) struct Behind {
    /// How many in all: without any, nobody takes the lock.
    count: AtomicUsize,
    writes: Mutex<HashMap<u64, Vec<Sent>>>,
    changed: Condvar,
}

struct Sent {
    range: Range<u64>,
    since: Instant,
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
            writes: Mutex::new(HashMap::new()),
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
        let mut writes = self.wait_while(interrupt, |writes| {
            must_wait(writes.get(&node).map_or(&[], Vec::as_slice), &range)
        })?;
        writes.entry(node).or_default().push(Sent {
            range: range.clone(),
            since: Instant::now(),
        });
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
        let unsettled = |writes: &Writes| writes.contains_key(&node).then_some(INTERRUPT_LOOK);
        self.wait_while(interrupt, unsettled).map(drop)
    }

    pub(crate) fn is_settled(&self, node: u64) -> bool {
        self.count.load(Ordering::SeqCst) == 0 || !self.lock().contains_key(&node)
    }

    /// Waits while `must_wait` says for how long nothing needs to be looked at, unless a write ends.
    fn wait_while(
        &self,
        interrupt: &Interrupt,
        must_wait: impl Fn(&Writes) -> Option<Duration>,
    ) -> Result<MutexGuard<'_, Writes>> {
        let mut writes = self.lock();
        while let Some(time) = must_wait(&writes) {
            if interrupt.is_triggered() {
                return Err(Errno::EINTR);
            }
            // An interrupt does not wake this, so it is looked for now and then.
            let waited = self.changed.wait_timeout(writes, time.min(INTERRUPT_LOOK));
            writes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(writes)
    }

    fn lock(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Writes = HashMap<u64, Vec<Sent>>;

/// For how long at least a write has to wait for those of the same file that are on their way, unless one of them ends.
fn must_wait(own: &[Sent], wanted: &Range<u64>) -> Option<Duration> {
    let overlaps = |sent: &Sent| sent.range.start < wanted.end && wanted.start < sent.range.end;
    if own.len() >= PER_FILE || own.iter().any(overlaps) {
        return Some(INTERRUPT_LOOK);
    }
    let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
    let bytes: u64 = own.iter().map(|sent| length(&sent.range)).sum();
    let oldest = own.iter().map(|sent| sent.since).min()?;
    if bytes.saturating_add(length(wanted)) <= NEAR_BYTES {
        return None;
    }
    let left = FAR.saturating_sub(oldest.elapsed());
    (!left.is_zero()).then_some(left)
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let mut writes = self.behind.lock();
        if let Some(own) = writes.get_mut(&self.node) {
            if let Some(at) = own.iter().position(|sent| sent.range == self.range) {
                own.swap_remove(at);
            }
            if own.is_empty() {
                writes.remove(&self.node);
            }
        }
        self.behind.count.fetch_sub(1, Ordering::SeqCst);
        drop(writes);
        self.behind.changed.notify_all();
    }
}

/// Writes on their way for one file, each of up to 1 MiB: enough for a gigabit at 60 ms.
const PER_FILE: usize = 8;
/// Writes on their way in all, or a few more; each holds a worker thread and its buffer.
const IN_ALL: usize = 64;
/// Bytes on their way for one file that keep a near server busy.
const NEAR_BYTES: u64 = 3 << 20;
/// A write that has been on its way for so long goes to a server that is far, or slow: others need not wait for it.
const FAR: Duration = Duration::from_millis(10);
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
    fn many_bytes_go_at_once_only_to_a_server_that_takes_long() {
        const MIB: u64 = 1 << 20;
        let behind = Behind::new();
        let calm = Interrupt::new();
        let begun = Instant::now();
        let write = |at: u64| behind.begin(5, at * MIB..(at + 1) * MIB, &calm).unwrap();
        let mut writes: Vec<_> = (0..3).map(write).collect();
        writes.push(write(3));
        assert!(begun.elapsed() >= FAR, "the fourth does not wait");
        assert!(must_wait(&behind.lock()[&5], &(4 * MIB..5 * MIB)).is_none());
        let since = Instant::now() + Duration::from_secs(3600);
        let just_begun = [Sent {
            range: 0..MIB,
            since,
        }];
        assert!(must_wait(&just_begun, &(MIB..3 * MIB)).is_none());
        assert!(must_wait(&just_begun, &(MIB..4 * MIB)).is_some());
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
