//! What goes wrong in a world, and when.

use abi::time::Duration;
use transport::{Cause, LinkIndex};

use crate::lanes::PERFECT;
use crate::programs::Later;
use crate::world::{Action, Checked, Pair, World};

impl World {
    pub(crate) fn plan_faults(&mut self) {
        let faults = self.plan.faults.clone();
        let span = self.plan.faults_until.as_nanos() as u64;
        let start = self.now;
        let count = self.processes.len() as u64;
        for _ in 0..faults.cuts {
            let from = self.random.below(count) as usize;
            let to = self.random.below(count) as usize;
            let link = self.random.below(u64::from(self.plan.networks)) as u32;
            let at = start + Duration::from_nanos(self.random.below(span));
            let end = at + Duration::from_micros(self.random.between(100, 3_000_000));
            let reported = faults.reported;
            self.at(
                at,
                Action::Cut {
                    link,
                    from,
                    to,
                    reported,
                },
            );
            self.at(
                end,
                Action::Mend {
                    link,
                    from,
                    to,
                    reported,
                },
            );
            if self.random.chance(500) {
                self.at(
                    at,
                    Action::Cut {
                        link,
                        from: to,
                        to: from,
                        reported,
                    },
                );
                self.at(
                    end,
                    Action::Mend {
                        link,
                        from: to,
                        to: from,
                        reported,
                    },
                );
            }
        }
        for _ in 0..faults.stalls {
            let process = self.random.below(count) as usize;
            let at = start + Duration::from_nanos(self.random.below(span));
            let time = Duration::from_micros(self.random.between(100, 3_000_000));
            self.at(at, Action::Stall { process, time });
        }
        for _ in 0..faults.deaths {
            let process = self.random.below(count) as usize;
            let at = start + Duration::from_nanos(self.random.below(span));
            self.at(at, Action::Kill { process });
        }
    }

    pub(crate) fn act(&mut self, action: Action) -> Checked {
        match action {
            Action::Arrive(packet) => return self.arrive(packet),
            Action::Program(process, later) => return self.program(process, later),
            Action::Cut {
                link,
                from,
                to,
                reported,
            } => {
                if self.healed {
                    return Ok(());
                }
                self.note(format!("network {link} cut from {from} to {to}"));
                self.networks.cut(link, from, to);
                if reported {
                    let now = self.local(from);
                    self.processes[from]
                        .transport
                        .link_down(now, LinkIndex(link));
                    return self.flush(from);
                }
            }
            Action::Mend {
                link,
                from,
                to,
                reported,
            } => {
                self.note(format!("network {link} mended from {from} to {to}"));
                if !self.healed {
                    self.networks.mend(link, from, to);
                }
                if reported {
                    let now = self.local(from);
                    self.processes[from].transport.link_up(now, LinkIndex(link));
                    return self.flush(from);
                }
            }
            Action::Stall { process, time } => {
                if self.processes[process].is_running() {
                    self.note(format!("{process} stalls for {time:?}"));
                    self.processes[process].stalled_until = Some(self.now + time);
                    self.at(self.now + time, Action::Wake { process });
                }
            }
            Action::Wake { process } => return self.wake(process),
            Action::Kill { process } => self.kill(process),
            Action::Tell {
                pair,
                client,
                serial,
                cause,
            } => {
                return self.tell(pair, client, serial, cause);
            }
            Action::Reopen { pair } => return self.reopen(pair),
            Action::Lane(fault) => return self.lane_fault(fault),
            Action::Heal => {
                self.note("all faults end".into());
                self.healed = true;
                self.networks.heal();
                self.tell_truth();
            }
            Action::VerifyAll => return self.verify_all(),
        }
        Ok(())
    }

    pub(crate) fn wake(&mut self, process: usize) -> Checked {
        self.processes[process].stalled_until = None;
        if !self.processes[process].alive {
            return Ok(());
        }
        self.note(format!("{process} goes on"));
        while let Some(packet) = self.processes[process].inbox.pop_front() {
            self.arrive(packet)?;
        }
        let now = self.local(process);
        self.processes[process].transport.handle_timeout(now);
        // Rings may have been emptied in the meantime.
        for index in 0..self.pairs.len() {
            let link = PERFECT + index as u32 * 1000 + self.pairs[index].serial as u32;
            if !self.networks.is_full(link, process) {
                self.processes[process]
                    .transport
                    .link_ready(now, LinkIndex(link));
            }
        }
        self.flush(process)?;
        if self.verified {
            self.verify(process)?;
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self, process: usize) {
        if !self.processes[process].alive || self.healed {
            return;
        }
        self.note(format!("{process} dies"));
        self.processes[process].alive = false;
        self.processes[process].inbox.clear();
        self.reference.forget(process);
        for index in 0..self.pairs.len() {
            let Pair {
                client,
                server,
                serial,
                ..
            } = self.pairs[index];
            let told = client == process || server == process;
            if told && !self.random.chance(self.plan.faults.silent_deaths) {
                let after = Duration::from_micros(self.random.below(100_000));
                let cause = Cause::Server;
                let tell = Action::Tell {
                    pair: index,
                    client: server == process,
                    serial,
                    cause,
                };
                self.at(self.now + after, tell);
            }
        }
    }

    /// A daemon tells a process that a session is over.
    pub(crate) fn tell(
        &mut self,
        index: usize,
        client: bool,
        serial: u64,
        cause: Cause,
    ) -> Checked {
        let pair = &self.pairs[index];
        let (process, key) = if client {
            (pair.client, pair.client_key)
        } else {
            (pair.server, pair.server_key)
        };
        let Some(key) = key.filter(|_| pair.serial == serial) else {
            return Ok(());
        };
        if !self.processes[process].alive {
            return Ok(());
        }
        if self.processes[process].stalled_until.is_some() {
            let again = Action::Tell {
                pair: index,
                client,
                serial,
                cause,
            };
            self.at(self.now + Duration::from_millis(10), again);
            return Ok(());
        }
        self.note(format!(
            "{process} is told: session {index}.{serial} is over"
        ));
        let now = self.local(process);
        self.processes[process].transport.abandon(now, key, cause);
        self.flush(process)
    }

    pub(crate) fn reopen(&mut self, index: usize) -> Checked {
        let Pair {
            client,
            server,
            client_key,
            server_key,
            serial,
            ..
        } = self.pairs[index];
        let alive = self.processes[client].alive && self.processes[server].alive;
        if alive && client_key.is_none() && server_key.is_none() {
            self.note(format!("session {index}.{} opens", serial + 1));
            self.open(index);
            self.program(client, Later::Tick)?;
        }
        Ok(())
    }

    /// All programs want to know whether their peers live.
    pub(crate) fn verify_all(&mut self) -> Checked {
        self.verified = true;
        for process in 0..self.processes.len() {
            self.verify(process)?;
        }
        Ok(())
    }

    /// One that stands still asks when it goes on: what it has not read yet may be older than the
    /// death of a peer.
    fn verify(&mut self, process: usize) -> Checked {
        for index in 0..self.pairs.len() {
            let Pair {
                client,
                server,
                client_key,
                server_key,
                ..
            } = self.pairs[index];
            for (end, key) in [(client, client_key), (server, server_key)] {
                let running = end == process && self.processes[process].is_running();
                if let Some(key) = key.filter(|_| running) {
                    let bound = Duration::from_secs(4);
                    let now = self.local(process);
                    self.processes[process].transport.verify(now, key, bound);
                    self.flush(process)?;
                }
            }
        }
        Ok(())
    }
}
