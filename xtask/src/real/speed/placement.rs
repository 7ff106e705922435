//! Which CPUs the machines of the bed have.

use crate::Outcome;
use crate::command::Program;
use crate::lab::Host;
use crate::real::bed::Bed;
use rustix::thread::{CpuSet, sched_getaffinity};

/// Keeps each machine on one CPU until it is dropped: all that runs there, and what is started by [`Self::command`].
pub(super) struct Placement<'b> {
    bed: &'b Bed,
    /// Of the client, and of the others.
    cpus: (usize, usize),
}

impl<'b> Placement<'b> {
    /// All machines on one CPU, which they share.
    pub(super) fn same(bed: &'b Bed) -> Outcome<Self> {
        Self::on(bed, (0, 0))
    }

    /// A CPU for the client, as two machines have two.
    pub(super) fn split(bed: &'b Bed) -> Outcome<Self> {
        Self::on(bed, (0, 1))
    }

    fn on(bed: &'b Bed, cpus: (usize, usize)) -> Outcome<Self> {
        let placement = Self { bed, cpus };
        for host in bed.hosts() {
            let mut cpu = CpuSet::new();
            cpu.set(placement.cpu_of(host));
            host.keep_on(&cpu)?;
        }
        Ok(placement)
    }

    fn cpu_of(&self, host: &Host) -> usize {
        let is_client = host.name() == self.bed.client().name();
        if is_client { self.cpus.0 } else { self.cpus.1 }
    }

    pub(super) fn name(&self) -> &'static str {
        if self.cpus.0 == self.cpus.1 {
            "same"
        } else {
            "split"
        }
    }

    /// A command on the CPU of its host.
    pub(super) fn command(&self, host: &Host, command: &[&str]) -> Program {
        let cpu = self.cpu_of(host).to_string();
        host.command(&[&["taskset", "-c", &cpu], command].concat())
    }
}

impl Drop for Placement<'_> {
    fn drop(&mut self) {
        let own = sched_getaffinity(None).map_err(|error| error.to_string());
        for host in self.bed.hosts() {
            let restored = own.clone().and_then(|own| host.keep_on(&own));
            if let Err(error) = restored {
                eprintln!("xtask: {error}");
            }
        }
    }
}
