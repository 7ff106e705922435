//! The thread that polls when no caller does.

use abi::Duration;

use super::round::poll;
use super::{ABSENCE, Holder, Sleeper, Surroundings, Wake as _, Work as _, woken};

/// The helper thread: polls when nobody else has done so for a while. Returns when the endpoint is closed.
pub(crate) fn help<S: Surroundings>(around: &S) {
    let mut seen = 0;
    let mut quiet = 0;
    let mut state = around.lock();
    state.polling().helper = Some(around.this_thread());
    loop {
        if state.is_closed() {
            return;
        }
        state = around.reconnect(state);
        let now = around.now();
        let needs_care = state.care_at(now);
        let polling = state.polling();
        let changed = polling.releases != seen;
        seen = polling.releases;
        quiet = if changed { 0 } else { quiet + 1 };
        let idle = now.saturating_since(polling.released_at);
        match polling.holder {
            Holder::Helper => {
                polling.nudge = false;
                state = poll(around, state, now, needs_care, Sleeper::Helper);
                woken(&mut *state, None);
                continue;
            }
            Holder::Nobody if idle >= ABSENCE => {
                if let Some((_, follower)) = polling.followers.last() {
                    follower.wake();
                } else {
                    polling.holder = Holder::Helper;
                    continue;
                }
            }
            Holder::Thread if quiet >= QUIET_NAPS => {
                polling.helper_waits = true;
                drop(state);
                around.park(needs_care.map(|at| at.saturating_since(now).max(NAP)));
                state = around.lock();
                state.polling().helper_waits = false;
                quiet = 0;
                continue;
            }
            Holder::Thread | Holder::Nobody => {}
        }
        drop(state);
        around.park(Some(if changed { NAP } else { ABSENCE }));
        state = around.lock();
    }
}

/// The helper's nap while threads come and go: half of the shortest time after which a peer gets impatient.
const NAP: Duration = Duration::from_millis(1);

/// Naps without any change before the helper sleeps until it is needed, or has to look after the daemon.
const QUIET_NAPS: u32 = 8;
