//! Locks and readiness: what a file makes others, or its client, wait for.

use abi::io::{Events, Lock, LockRange, Notify, NotifyAction, Request};
use abi::{Decode, Nd, Result};
use ipc::SendOptions;

use super::{File, filled};

impl File {
    /// Which of `events` are true now.
    ///
    /// # Errors
    /// `ENOSYS` if the server does not tell.
    #[doc(alias = "poll")]
    pub fn events(&self, events: Events) -> Result<Events> {
        self.notify(events, NotifyAction::Report, &SendOptions::default())
    }

    /// Waits until one of `events` is true; returns those that are.
    ///
    /// # Errors
    /// `ENOSYS` if the server does not tell, `ETIMEDOUT`, `EINTR`.
    #[doc(alias = "ionotify")]
    pub fn wait_for(&self, events: Events, options: &SendOptions<'_>) -> Result<Events> {
        self.notify(events, NotifyAction::Arm, options)
    }

    /// Sets, clears or asks about a lock. Only asking returns a range: the first one in the way, or the asked one with
    /// the kind [`Unlock`](abi::io::LockKind::Unlock). Waits as long as the command says.
    ///
    /// # Errors
    /// `EAGAIN` somebody is in the way, `EDEADLK` waiting would never end, `ENOLCK` too many locks, `EBADF` the file is not
    /// open for what the lock is for, `EINVAL`, `ETIMEDOUT`, `EINTR`, `ENOSYS` if the server has no locks.
    #[doc(alias = "fcntl")]
    #[doc(alias = "flock")]
    pub fn lock(&self, lock: Lock, options: &SendOptions<'_>) -> Result<Option<LockRange>> {
        let mut body = [0; 64];
        let reply = self.call(&Request::Lock(lock), &mut body, options)?;
        let body = filled(&body, &reply);
        if body.is_empty() {
            return Ok(None);
        }
        let mut range = LockRange::from_bytes(body)?;
        // qnx: R45, LOCK: the node as this one calls it
        range.node = match range.node {
            Nd::LOCAL => self.candidate.nd,
            node => node,
        };
        Ok(Some(range))
    }

    fn notify(
        &self,
        events: Events,
        action: NotifyAction,
        options: &SendOptions<'_>,
    ) -> Result<Events> {
        let request = Request::Notify(Notify { events, action });
        self.ask(&request, &mut [0; 8], options)
    }
}
