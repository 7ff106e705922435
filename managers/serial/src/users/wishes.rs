//! Wishes to have a port that others have: they are asked, and may refuse.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::devctl::PortUser;
use abi::{Errno, Result};
use resmgr::{Answer, DevctlCall, WaitQueue};

use super::{User, Whose};

/// How often one who waits for an answer is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// Wishes for one port. There is one at a time.
#[derive(Default)]
pub(crate) struct Wishes {
    state: Mutex<State>,
    changed: Condvar,
    /// Users who want to hear of wishes.
    listeners: WaitQueue<DevctlCall<PortUser>>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts wishes; the present one, if there is one.
    number: u64,
    present: Option<PortUser>,
    refused: bool,
}

impl fmt::Debug for Wishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wishes").finish_non_exhaustive()
    }
}

impl Wishes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who have the port, and waits until one refuses, all have left, or time is over.
    ///
    /// # Errors
    /// EBUSY if one refuses, or another wish is being answered; EINTR when the asker gives up.
    pub(crate) fn ask(
        &self,
        asker: PortUser,
        patience: Duration,
        have_left: impl Fn() -> bool,
        gives_up: impl Fn() -> bool,
    ) -> Result {
        let end = Instant::now() + patience;
        {
            let mut state = self.state();
            if state.present.is_some() {
                return Err(Errno::EBUSY);
            }
            state.number += 1;
            (state.present, state.refused) = (Some(asker), false);
        }
        self.tell();
        let answer = resmgr::blocking(|| {
            let mut state = self.state();
            loop {
                if state.refused {
                    return Err(Errno::EBUSY);
                }
                if gives_up() {
                    return Err(Errno::EINTR);
                }
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() || have_left() {
                    return Ok(());
                }
                state = match self.changed.wait_timeout(state, left.min(LOOK)) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
        });
        self.state().present = None;
        answer
    }

    /// Answers when somebody wants the port that `user` has.
    pub(crate) fn listen(&self, user: &User, call: DevctlCall<PortUser>) -> Answer {
        let state = self.state();
        if let Some(asker) = &state.present
            && user.told.swap(state.number, Ordering::SeqCst) != state.number
        {
            return call.reply(asker);
        }
        // Parked under the lock: a wish that comes now finds it.
        self.listeners.park(call)
    }

    /// Tells all who listen. A listener that has closed its file is answered by the library.
    fn tell(&self) {
        let (number, asker) = {
            let state = self.state();
            (state.number, state.present.clone())
        };
        let Some(asker) = asker else { return };
        while let Some(call) = self.listeners.take() {
            if let Some(user) = call
                .open_file()
                .and_then(|file| file.state::<super::super::resource::Held>())
            {
                user.user.told.store(number, Ordering::SeqCst);
            }
            let _ = call.reply(&asker);
        }
    }

    /// # Errors
    /// EAGAIN if nothing is wanted.
    pub(crate) fn refuse(&self) -> Result {
        let mut state = self.state();
        if state.present.is_none() {
            return Err(Errno::EAGAIN);
        }
        state.refused = true;
        self.changed.notify_all();
        Ok(())
    }

    /// A user has left.
    pub(crate) fn look_again(&self) {
        let _state = self.state();
        self.changed.notify_all();
    }

    /// Whether `users` are all of the same user as `asker`, who may take from himself.
    pub(crate) fn is_own(asker: Whose, users: &[Arc<User>]) -> bool {
        users.iter().all(|user| user.whose.is_same_user(&asker))
    }
}
