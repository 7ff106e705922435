//! When which session must be looked at.

use alloc::collections::BTreeSet;

use abi::time::Instant;

/// At most one entry per session. An entry may be earlier than needed, never later: moving it
/// back with every packet would cost more than a look too many.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeSet<(Instant, u32)>,
}

impl Timers {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|entry| entry.0)
    }

    /// Takes out a session that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (at, _) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first().map(|entry| entry.1)
    }

    /// Makes sure that the session is looked at no later than `wanted`; `armed` is its entry.
    pub(crate) fn arm(
        &mut self,
        armed: &mut Option<Instant>,
        wanted: Option<Instant>,
        session: u32,
    ) {
        let Some(wanted) = wanted else {
            return;
        };
        if armed.is_some_and(|at| at <= wanted) {
            return;
        }
        self.disarm(*armed, session);
        self.entries.insert((wanted, session));
        *armed = Some(wanted);
    }

    pub(crate) fn disarm(&mut self, armed: Option<Instant>, session: u32) {
        if let Some(at) = armed {
            self.entries.remove(&(at, session));
        }
    }
}
