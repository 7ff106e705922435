//! Which requests are in work, and what an interrupt does to them.
//!
//! The kernel interrupts a request when *any* signal reaches its caller, also one that changes nothing (a timer, a
//! runtime's pre-emption signal). A read of a device may then end with EINTR, as it would on a terminal. A file on
//! disk never answers EINTR to anybody, so an operation on one goes on, unless the signal kills the caller.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The requests in work. `T` is the token that ends one early.
pub(crate) struct InWork<T> {
    table: Mutex<Table<T>>,
    /// Something is there for the watcher to look at.
    changed: Condvar,
}

struct Table<T> {
    requests: HashMap<u64, Request<T>>,
    stopping: bool,
}

struct Request<T> {
    token: T,
    /// The calling thread.
    thread: u32,
    /// Ends at any signal; otherwise only when the caller is being killed.
    at_any_signal: bool,
    interrupted: Option<Interrupted>,
}

#[derive(Clone, Copy)]
enum Interrupted {
    /// By a signal that perhaps changes nothing.
    Harmless,
    Triggered(Instant),
    /// The kernel has been answered in the request's place.
    Abandoned,
}

/// What to do about an interrupt from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The request knows; its answer will follow.
    Known,
    /// No such request: either answered just now, or read from the device but not yet entered here.
    Unknown,
}

impl<T: Clone> InWork<T> {
    pub(crate) fn new() -> Self {
        let table = Table {
            requests: HashMap::new(),
            stopping: false,
        };
        Self {
            table: Mutex::new(table),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn enter(&self, unique: u64, token: T, thread: u32, at_any_signal: bool) {
        let request = Request {
            token,
            thread,
            at_any_signal,
            interrupted: None,
        };
        self.lock().requests.insert(unique, request);
    }

    pub(crate) fn leave(&self, unique: u64) {
        self.lock().requests.remove(&unique);
    }

    /// The kernel says that the caller of `unique` got a signal. Returns the token to trigger, if it ends now.
    pub(crate) fn interrupt(&self, unique: u64, now: Instant) -> (Found, Option<T>) {
        let mut table = self.lock();
        let Some(request) = table.requests.get_mut(&unique) else {
            return (Found::Unknown, None);
        };
        if request.interrupted.is_some() {
            return (Found::Known, None);
        }
        let ends = request.at_any_signal || is_being_killed(request.thread);
        request.interrupted = Some(if ends {
            Interrupted::Triggered(now)
        } else {
            Interrupted::Harmless
        });
        let token = ends.then(|| request.token.clone());
        self.changed.notify_all();
        (Found::Known, token)
    }

    /// All tokens: the mount goes away. Ends the watcher too.
    pub(crate) fn stop(&self) -> Vec<T> {
        let mut table = self.lock();
        table.stopping = true;
        self.changed.notify_all();
        table
            .requests
            .values()
            .map(|request| request.token.clone())
            .collect()
    }

    /// Waits for interrupted requests, then calls `end` with those that have to end now and `abandon` with those that
    /// were told long enough ago. Returns false once stopped.
    pub(crate) fn watch(&self, mut end: impl FnMut(T), mut abandon: impl FnMut(u64)) -> bool {
        let mut table = self.lock();
        while !table.stopping && !table.requests.values().any(|r| r.interrupted.is_some()) {
            table = self
                .changed
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.changed.wait_timeout(table, WATCH_INTERVAL);
        let mut table = waited.unwrap_or_else(PoisonError::into_inner).0;
        let now = Instant::now();
        for (unique, request) in &mut table.requests {
            match request.interrupted {
                Some(Interrupted::Harmless) if is_being_killed(request.thread) => {
                    request.interrupted = Some(Interrupted::Triggered(now));
                    end(request.token.clone());
                }
                Some(Interrupted::Triggered(at)) if now.duration_since(at) >= PATIENCE => {
                    request.interrupted = Some(Interrupted::Abandoned);
                    abandon(*unique);
                }
                _ => {}
            }
        }
        !table.stopping
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().requests.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a signal that ends the process waits for that thread. A thread that cannot be looked at counts as alive.
fn is_being_killed(thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    std::fs::read_to_string(format!("/proc/{thread}/status"))
        .is_ok_and(|status| has_deadly_signal(&status))
}

/// Whether `/proc/PID/status` shows a pending signal whose default action is to end the process.
fn has_deadly_signal(status: &str) -> bool {
    let set = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .unwrap_or(0)
    };
    let pending = set("SigPnd:") | set("ShdPnd:");
    let kept_off = set("SigBlk:") | set("SigIgn:") | set("SigCgt:");
    pending & KILL != 0 || pending & !kept_off & !BENIGN != 0
}

const KILL: u64 = 1 << 8;
/// Signals whose default action does not end a process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
const BENIGN: u64 = 1 << 16 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 27;

/// How often a request with a harmless interrupt is looked at again: the kernel tells of the first signal only.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How long the server may take to give up a request before the caller is answered without it.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, blocked: u64, ignored: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{:016x}\nShdPnd:\t{pending:016x}\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
            0
        )
    }

    #[test]
    fn only_signals_that_end_the_process_are_deadly() {
        let (interrupt, user, urgent) = (1 << 1, 1 << 9, 1 << 22);
        assert!(has_deadly_signal(&status(KILL, KILL, KILL, KILL)));
        assert!(has_deadly_signal(&status(interrupt, 0, 0, 0)));
        assert!(!has_deadly_signal(&status(interrupt, 0, 0, interrupt)));
        assert!(!has_deadly_signal(&status(interrupt, 0, interrupt, 0)));
        assert!(!has_deadly_signal(&status(user, user, 0, 0)));
        assert!(!has_deadly_signal(&status(urgent, 0, 0, 0)));
        assert!(!has_deadly_signal(""));
    }

    #[test]
    fn a_device_read_ends_at_any_signal_and_a_file_read_does_not() {
        let in_work = InWork::new();
        let own = std::process::id();
        in_work.enter(1, "device", own, true);
        in_work.enter(2, "file", own, false);
        let now = Instant::now();
        assert_eq!(in_work.interrupt(1, now), (Found::Known, Some("device")));
        assert_eq!(in_work.interrupt(2, now), (Found::Known, None));
        assert_eq!(in_work.interrupt(3, now), (Found::Unknown, None));
    }

    #[test]
    fn a_request_that_does_not_end_in_time_is_answered_without_it() {
        let in_work = InWork::new();
        in_work.enter(1, (), 0, true);
        let long_ago = Instant::now().checked_sub(PATIENCE).unwrap();
        in_work.interrupt(1, long_ago);
        let mut abandoned = Vec::new();
        assert!(in_work.watch(|()| {}, |unique| abandoned.push(unique)));
        assert!(in_work.watch(|()| {}, |unique| abandoned.push(unique)));
        assert_eq!(abandoned, [1]);
        in_work.leave(1);
        in_work.stop();
        assert!(!in_work.watch(|()| {}, |_| {}));
    }
}
