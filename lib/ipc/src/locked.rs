//! An endpoint's lock, held. Threads that are woken under it begin to run when it is free again: one that ran at once
//! would only wait for it.

use std::ops::{Deref, DerefMut};

use crate::poller::Wake;

/// What is guarded, with the threads that have been woken since it was locked.
pub(crate) trait Wakes {
    /// A thread that can be woken.
    type Thread: Wake;

    /// Threads that wake when the lock is free.
    fn woken(&mut self) -> &mut Vec<Self::Thread>;
}

/// The lock, held.
pub(crate) struct Locked<G>
where
    G: DerefMut,
    G::Target: Wakes,
{
    // Dropped in this order: the lock is given back, then the threads wake.
    state: G,
    woken: Woken<<G::Target as Wakes>::Thread>,
}

struct Woken<T: Wake>(Vec<T>);

impl<G> Locked<G>
where
    G: DerefMut,
    G::Target: Wakes,
{
    #[inline]
    pub(crate) const fn new(state: G) -> Self {
        Self {
            state,
            woken: Woken(Vec::new()),
        }
    }
}

impl<G> Deref for Locked<G>
where
    G: DerefMut,
    G::Target: Wakes,
{
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.state
    }
}

impl<G> DerefMut for Locked<G>
where
    G: DerefMut,
    G::Target: Wakes,
{
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.state
    }
}

impl<G> Drop for Locked<G>
where
    G: DerefMut,
    G::Target: Wakes,
{
    #[inline]
    fn drop(&mut self) {
        self.woken.0 = std::mem::take(self.state.woken());
    }
}

impl<T: Wake> Drop for Woken<T> {
    #[inline]
    fn drop(&mut self) {
        for thread in &self.0 {
            thread.wake();
        }
    }
}
