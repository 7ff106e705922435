//! What is kept back leaves in time, whoever goes.

use abi::Instant;

use super::{Surroundings, Work as _};
use crate::locked::Wakes as _;

/// Sends what is kept back, as nobody polls any more who would. If callers are about to add to it, this thread most
/// probably among them, one of those who wait takes the role and sees to it.
pub(super) fn leave_nothing<S: Surroundings>(around: &S, state: &mut S::State) {
    if state.flush_at().is_none() {
        return;
    }
    let now = around.now();
    let newest = state.polling().followers.last();
    let heir = newest.map(|(_, thread)| thread.clone());
    match heir.filter(|_| state.awaits_callers(now)) {
        Some(heir) => state.woken().push(heir),
        None => {
            state.flush(now);
        }
    }
}

/// Has a poller that sleeps too long for what is kept back wake up for it. The alarm costs less than to wake the sleeper,
/// and most are not needed any more when they ring.
pub(super) fn alarm_for_held<S: Surroundings>(around: &S, state: &mut S::State, now: Instant) {
    let flush_at = state.flush_at();
    let polling = state.polling();
    let Some(until) = polling.sleeping_until else {
        return;
    };
    if let Some(at) = flush_at.filter(|at| *at < until)
        && polling.needs_alarm(now, at)
    {
        polling.alarm_at = Some(at);
        around.set_alarm(at);
    }
}
