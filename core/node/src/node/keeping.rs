//! What outlives a run of the node, and when it is written down.

use abi::Instant;

use super::Node;
use crate::interface::{Kept, Output, ProgramKey};
use crate::limits::KEEP_EVERY;

impl Node {
    /// Has all that is worth keeping kept. `promised` hears nothing more before it is.
    pub(super) fn keep(&mut self, now: Instant, promised: Option<ProgramKey>) {
        (self.keep_at, self.kept_at) = (None, Some(now));
        let kept = Kept {
            trust: self.network.trust_records(),
            invites: self.network.invite_records(),
            rights: self.rights.running().clone(),
        };
        self.outputs.push_back(Output::Keep { kept, promised });
    }

    /// Something has changed that another node can change as often as it likes: it is kept within a while.
    pub(super) fn keep_soon(&mut self, now: Instant) {
        let pause = self.kept_at.and_then(|at| at.checked_add(KEEP_EVERY));
        let at = pause.map_or(now, |pause| pause.max(now));
        self.keep_at.get_or_insert(at);
    }
}
