//! Descriptors of the program that a thread waits for beside an answer: it polls for both, and no second thread has to
//! be woken for either.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::{Errno, Result};
use rustix::event::epoll;

use crate::endpoint::Endpoint;
use crate::pending::Pending;
use crate::poller::{Interest, Work as _};
use crate::shared::{Shared, State};
use crate::system_error::errno;
use crate::wait::WaitIndex;

/// A descriptor that is looked after together with the packets of an endpoint. One thread at a time may wait for it.
///
/// It tells of what comes, not of what is there: whoever is told takes all of it.
pub struct Readable {
    shared: Arc<Shared>,
    fd: OwnedFd,
    index: u32,
}

/// What a thread that waited for both has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The answer, or the failure, is there.
    Ended,
    /// Something has come to the descriptor, or its other side is gone.
    Readable,
}

impl Readable {
    /// Looks after a copy of `fd` from now on, until it is dropped. What is there already counts as come.
    ///
    /// # Errors
    /// `EMFILE`, `EPERM` for what is always readable, as a file; `EAGAIN` for more than 1024 at an endpoint; `EBADF` in a
    /// forked child.
    pub fn new(endpoint: &Endpoint, fd: impl AsFd) -> Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let shared = Arc::clone(endpoint.shared());
        let mut state = shared.enter()?;
        let index = state.readables.add()?;
        let data = epoll::EventData::new_u64(READABLE | u64::from(index));
        let edges = epoll::EventFlags::IN | epoll::EventFlags::PRI | epoll::EventFlags::ET;
        if let Err(error) = epoll::add(&state.epoll, &fd, data, edges) {
            state.readables.remove(index);
            return Err(errno(error));
        }
        drop(state);
        Ok(Self { shared, fd, index })
    }
}

impl Drop for Readable {
    fn drop(&mut self) {
        // Not in a forked child, whose epoll is its parent's.
        let Ok(mut state) = self.shared.enter() else {
            return;
        };
        let _ = epoll::delete(&state.epoll, &self.fd);
        state.readables.remove(self.index);
    }
}

impl std::fmt::Debug for Readable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readable").field("fd", &self.fd).finish()
    }
}

impl Pending {
    /// Blocks until the answer is there, as [`wait`](Self::wait) then says at once, or until something comes to
    /// `readable`, also before this call and since it was last told.
    ///
    /// The thread polls for as long as it waits: the library's own does not take that over, as it does from a caller that
    /// waits for long.
    #[must_use]
    pub fn wait_beside(&self, readable: &Readable) -> First {
        let (shared, wait) = self.place();
        let Ok(mut state) = shared.enter() else {
            return First::Ended;
        };
        let index = readable.index;
        state.readables.set_waiter(index, Some(wait));
        let (mut state, first) = shared.wait(state, None, Interest::Beside(wait), |state| {
            if state.waits.has_outcome(wait) {
                return Some(First::Ended);
            }
            state.readables.take(index).then_some(First::Readable)
        });
        state.readables.set_waiter(index, None);
        shared.settle(state);
        first.unwrap_or(First::Ended)
    }
}

/// The descriptors of an endpoint, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Readables(Vec<Option<Entry>>);

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    rang: bool,
    waiter: Option<WaitIndex>,
}

impl Readables {
    fn add(&mut self) -> Result<u32> {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or(self.0.len());
        if at == READABLES_MAX {
            return Err(Errno::EAGAIN);
        }
        if at == self.0.len() {
            self.0.push(None);
        }
        self.0[at] = Some(Entry::default());
        Ok(at as u32)
    }

    fn remove(&mut self, index: u32) {
        self.0[index as usize] = None;
    }

    fn set_waiter(&mut self, index: u32, waiter: Option<WaitIndex>) {
        if let Some(entry) = &mut self.0[index as usize] {
            entry.waiter = waiter;
        }
    }

    /// Whether something has come since this was last asked.
    fn take(&mut self, index: u32) -> bool {
        let entry = self.0[index as usize].as_mut();
        entry.is_some_and(|entry| std::mem::take(&mut entry.rang))
    }
}

impl State {
    /// Something has come to a descriptor. One that is gone meanwhile may have left its number to another, whose owner
    /// looks once for nothing.
    pub(crate) fn readable_rang(&mut self, index: u32) {
        let entry = self.readables.0.get_mut(index as usize);
        let Some(entry) = entry.and_then(Option::as_mut) else {
            return;
        };
        entry.rang = true;
        if let Some(waiter) = entry.waiter {
            self.rouse(waiter);
        }
    }
}

/// Marks the events of these descriptors; the lower half is the number.
pub(crate) const READABLE: u64 = 1 << 33;
/// More than the terminals of one process: each takes a pseudo terminal, and a machine has 4096.
const READABLES_MAX: usize = 1024;
