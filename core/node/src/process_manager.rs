//! The process manager: which programs there are, which prefixes they own, and which sessions they have.

pub(crate) mod names;
pub(crate) mod programs;
pub(crate) mod sessions;
pub(crate) mod view;

use abi::{Instant, Result, Uid};

use crate::interface::{Caller, ProgramKey};
use names::Names;
use programs::Programs;
use sessions::Sessions;

/// Everything a node knows about its own programs.
#[derive(Debug)]
pub(crate) struct ProcessManager {
    pub(crate) programs: Programs,
    pub(crate) names: Names,
    pub(crate) sessions: Sessions,
    owner: Uid,
}

impl ProcessManager {
    pub(crate) fn new(owner: Uid, programs_max: usize) -> Self {
        Self {
            programs: Programs::new(programs_max),
            names: Names::new(),
            sessions: Sessions::default(),
            owner,
        }
    }

    /// A program comes.
    ///
    /// # Errors
    /// EAGAIN if there are too many.
    pub(crate) fn connect(&mut self, now: Instant, key: ProgramKey, caller: Caller) -> Result {
        let manages = self.may_manage(&caller);
        self.programs.connect(now, key, caller, manages)
    }

    /// Whether somebody may change what belongs to the node: its prefixes (P4), its trust, its life.
    pub(crate) fn may_manage(&self, caller: &Caller) -> bool {
        caller.uid == Uid::ROOT || caller.uid == self.owner
    }
}
