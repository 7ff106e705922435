//! The thread that polls when no caller does.

use std::sync::Arc;

use abi::Duration;

use super::{ABSENCE, Holder, Sleeper};
use crate::clock;
use crate::shared::Shared;

impl Shared {
    /// The helper thread: polls when nobody else has done so for a while.
    pub(crate) fn help(self: &Arc<Self>) {
        let mut seen = 0;
        let mut quiet = 0;
        let mut state = self.lock();
        state.polling.helper = Some(std::thread::current());
        loop {
            if state.closed {
                return;
            }
            state = self.reconnect(state);
            let now = clock::now();
            let changed = state.polling.releases != seen;
            seen = state.polling.releases;
            quiet = if changed { 0 } else { quiet + 1 };
            let idle = now.saturating_since(state.polling.released_at);
            match state.polling.holder {
                Holder::Helper => {
                    state.polling.nudge = false;
                    let deadline = state.node.care_at(now);
                    state = self.poll(state, now, deadline, Sleeper::Helper);
                    state = self.woken(state, None);
                    continue;
                }
                Holder::Nobody if idle >= ABSENCE => {
                    if let Some((_, follower)) = state.polling.followers.last() {
                        follower.unpark();
                    } else {
                        state.polling.holder = Holder::Helper;
                        continue;
                    }
                }
                Holder::Thread if quiet >= QUIET_NAPS && state.node.care_at(now).is_none() => {
                    state.polling.helper_waits = true;
                    drop(state);
                    std::thread::park();
                    state = self.lock();
                    quiet = 0;
                    continue;
                }
                Holder::Thread | Holder::Nobody => {}
            }
            drop(state);
            std::thread::park_timeout(if changed { NAP } else { ABSENCE });
            state = self.lock();
        }
    }
}

/// The helper's nap while threads come and go: half of the shortest time after which a peer gets impatient.
const NAP: Duration = Duration::from_millis(1);

/// Naps without any change before the helper sleeps until it is needed.
const QUIET_NAPS: u32 = 8;
