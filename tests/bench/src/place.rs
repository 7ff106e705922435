//! Where the two processes of a measurement run.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// Which CPUs the client and the server are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Both on one CPU: the length of the path.
    Same,
    /// On two CPUs: the path and the wake-ups between them.
    Split,
}

impl Placement {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Split => "split",
        }
    }

    /// The CPUs of client and server.
    pub(crate) fn cpus(self) -> Outcome<(usize, usize)> {
        let allowed = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let first = cpus.next().ok_or("no CPU is allowed")?;
        match self {
            Self::Same => Ok((first, first)),
            Self::Split => Ok((first, cpus.next().ok_or("needs a second CPU")?)),
        }
    }
}

/// Pins this process, and the threads that it starts from now on, to one CPU.
pub(crate) fn pin(cpu: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
