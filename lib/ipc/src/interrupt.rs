//! Ending a blocked send from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends blocked sends from another thread, as a signal does in QNX (I40).
///
/// Clones share one state. A send that is given a triggered interrupt does not start and fails with
/// `EINTR`. One that is already blocked asks the server's side to let go: it ends with `EINTR` at
/// once, or, if the server's channel has `ChannelFlags::UNBLOCK` and has received the message, with
/// whatever the server answers to its UNBLOCK pulse. Once triggered it stays so until [`reset`](Self::reset).
#[derive(Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    triggered: AtomicBool,
    next: AtomicU64,
    targets: Mutex<Vec<(u64, Arc<dyn Target>)>>,
}

/// What an interrupt acts on: one blocked operation of one endpoint.
pub(crate) trait Target: Send + Sync {
    /// Asks for the operation's end. Called from any thread, without locks held.
    fn interrupt(&self);
}

/// Keeps a target registered; dropping it forgets the target.
pub(crate) struct Registered {
    shared: Arc<Shared>,
    id: u64,
}

impl Interrupt {
    /// A fresh interrupt, not triggered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every send blocked on this interrupt. Never blocks for a peer; any thread may call it, but a
    /// signal handler must not.
    pub fn trigger(&self) {
        self.shared.triggered.store(true, Ordering::SeqCst);
        let targets: Vec<Arc<dyn Target>> = self
            .shared
            .targets()
            .iter()
            .map(|(_, target)| Arc::clone(target))
            .collect();
        for target in targets {
            target.interrupt();
        }
    }

    /// Whether it has been triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.shared.triggered.load(Ordering::SeqCst)
    }

    /// Makes it usable again. Sends that it has already ended stay ended.
    pub fn reset(&self) {
        self.shared.triggered.store(false, Ordering::SeqCst);
    }

    /// Registers `target` until the result is dropped. The caller must look at
    /// [`is_triggered`](Self::is_triggered) afterwards: a trigger before this call does not reach it.
    pub(crate) fn register(&self, target: Arc<dyn Target>) -> Registered {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.targets().push((id, target));
        Registered {
            shared: Arc::clone(&self.shared),
            id,
        }
    }
}

impl Shared {
    fn targets(&self) -> MutexGuard<'_, Vec<(u64, Arc<dyn Target>)>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut targets = self.shared.targets();
        if let Some(at) = targets.iter().position(|(id, _)| *id == self.id) {
            targets.swap_remove(at);
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt")
            .field("triggered", &self.is_triggered())
            .finish_non_exhaustive()
    }
}
