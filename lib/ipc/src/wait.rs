//! What blocked threads wait for, and how they are woken.

use std::thread::Thread;

use transport::Failure;

use crate::poller::Wake;

/// Names the wait of one blocked thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitIndex(u32);

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Replied {
        status: i64,
        len: u64,
    },
    Refused {
        errno: u16,
    },
    Failed(Failure),
    /// A pull, a push or a long reply has been carried out.
    Done,
    /// The peer of a pull, a push or a long reply is gone.
    Gone,
    /// Somebody has interrupted the caller; the server has been asked to let it go, but has not done so yet.
    Interrupted,
    /// The node daemon's answer is there.
    Answered,
}

struct Wait<T> {
    outcome: Option<Outcome>,
    thread: Option<T>,
}

/// The waits of all blocked threads of an endpoint.
pub(crate) struct Waits<T = Thread> {
    waits: Vec<Wait<T>>,
    free: Vec<u32>,
}

impl<T: Wake> Waits<T> {
    /// A fresh wait. Belongs to the calling thread until [`close`](Self::close).
    pub(crate) fn open(&mut self) -> WaitIndex {
        let index = self.free.pop().unwrap_or_else(|| {
            self.waits.push(Wait::default());
            (self.waits.len() - 1) as u32
        });
        WaitIndex(index)
    }

    /// Gives the wait back.
    pub(crate) fn close(&mut self, index: WaitIndex) {
        self.waits[index.0 as usize] = Wait::default();
        self.free.push(index.0);
    }

    /// Takes the outcome, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, index: WaitIndex) -> Option<Outcome> {
        self.waits[index.0 as usize].outcome.take()
    }

    /// Whether there is an outcome to take.
    pub(crate) fn has_outcome(&self, index: WaitIndex) -> bool {
        self.waits[index.0 as usize].outcome.is_some()
    }

    /// Sets the outcome; answers the thread to be woken, if it is parked.
    #[inline]
    pub(crate) fn finish(&mut self, index: WaitIndex, outcome: Outcome) -> Option<T> {
        let wait = &mut self.waits[index.0 as usize];
        wait.outcome = Some(outcome);
        wait.thread.take()
    }

    /// The thread to be woken without an outcome, if it is parked.
    pub(crate) fn parked(&mut self, index: WaitIndex) -> Option<T> {
        self.waits[index.0 as usize].thread.take()
    }

    /// Whom to wake; `None` while the thread is awake.
    pub(crate) fn set_thread(&mut self, index: WaitIndex, thread: Option<T>) {
        self.waits[index.0 as usize].thread = thread;
    }
}

impl<T> Default for Wait<T> {
    fn default() -> Self {
        Self {
            outcome: None,
            thread: None,
        }
    }
}

impl<T> Default for Waits<T> {
    fn default() -> Self {
        Self {
            waits: Vec::new(),
            free: Vec::new(),
        }
    }
}
