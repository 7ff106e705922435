//! What goes wrong with single lanes: words of monitors, flapping networks, new addresses.

use abi::time::Duration;
use transport::{LaneReport, LaneWord, LinkIndex, Protection};

use crate::world::{Action, Checked, World};

/// Something that happens to a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LaneFault {
    /// The monitor of one end speaks of a lane.
    Report {
        pair: usize,
        client: bool,
        lane: u8,
        report: LaneReport,
    },
    /// One end gets its last lane, unless its session is over.
    Add {
        pair: usize,
        client: bool,
        serial: u64,
    },
    /// A process gets another address on a network.
    Roam { process: usize, link: u32 },
}

impl World {
    pub(crate) fn plan_lane_faults(&mut self) {
        let terrain = self.plan.terrain.clone();
        let span = self.plan.faults_until.as_nanos() as u64;
        for _ in 0..terrain.reports {
            let pair = self.random.below(self.pairs.len() as u64) as usize;
            let client = self.random.chance(500);
            let lane = self.random.below(u64::from(self.plan.networks)) as u8;
            let mut report = self.truth(lane);
            if self.random.chance(500) {
                report.word = if self.random.chance(500) {
                    LaneWord::Down
                } else {
                    LaneWord::Silent
                };
            }
            if self.random.chance(terrain.wrong) {
                report.rtt = Some(Duration::from_nanos(
                    self.random.next() >> self.random.below(64),
                ));
                report.rate = Some(self.random.next() >> self.random.below(64));
                report.mtu = Some((self.random.next() >> 32 >> self.random.below(32)) as u32);
            }
            let fault = LaneFault::Report {
                pair,
                client,
                lane,
                report,
            };
            let at = self.now + Duration::from_nanos(self.random.below(span));
            self.at(at, Action::Lane(fault));
        }
        for _ in 0..terrain.flaps {
            self.plan_flap(span);
        }
        let (first, count) = if terrain.servers_roam {
            (self.plan.clients, self.plan.servers)
        } else {
            (0, self.plan.clients)
        };
        for _ in 0..terrain.roams {
            let process = first + self.random.below(count as u64) as usize;
            let link = self.random.below(u64::from(self.plan.networks)) as u32;
            let at = self.now + Duration::from_nanos(self.random.below(span));
            // Without a cipher it is the address that vouches for the peer.
            if self.networks.protection(link) == Protection::Sealed {
                self.at(at, Action::Lane(LaneFault::Roam { process, link }));
            }
        }
    }

    /// A network between two processes comes and goes for a while.
    fn plan_flap(&mut self, span: u64) {
        let pair = self.random.below(self.pairs.len() as u64) as usize;
        let ends = (self.pairs[pair].client, self.pairs[pair].server);
        let link = self.random.below(u64::from(self.plan.networks)) as u32;
        let mut at = self.now + Duration::from_nanos(self.random.below(span));
        let longest = self.random.between(1, 300_000);
        for _ in 0..self.random.between(3, 20) {
            let until = at + Duration::from_micros(self.random.between(1, longest));
            let reported = self.plan.faults.reported;
            for (from, to) in [ends, (ends.1, ends.0)] {
                let cut = Action::Cut {
                    link,
                    from,
                    to,
                    reported,
                };
                let mend = Action::Mend {
                    link,
                    from,
                    to,
                    reported,
                };
                self.at(at, cut);
                self.at(until, mend);
            }
            at = until + Duration::from_micros(self.random.between(1, longest));
        }
    }

    /// What a monitor that makes no mistakes says of a lane that works.
    fn truth(&self, lane: u8) -> LaneReport {
        let ground = self.plan.terrain.networks.get(usize::from(lane));
        let mtu = self.plan.mtu_of(u32::from(lane));
        LaneReport {
            word: LaneWord::Up,
            rtt: ground.map(|ground| ground.there.delay + ground.back.delay),
            rate: ground.map(|ground| ground.there.rate.min(ground.back.rate)),
            mtu: Some(mtu),
        }
    }

    /// From here on all networks work, and all monitors say so.
    pub(crate) fn tell_truth(&mut self) {
        if self.plan.terrain.reports == 0 {
            return;
        }
        for pair in 0..self.pairs.len() {
            for client in [true, false] {
                for lane in 0..self.plan.networks as u8 {
                    let report = self.truth(lane);
                    let fault = LaneFault::Report {
                        pair,
                        client,
                        lane,
                        report,
                    };
                    self.at(self.now, Action::Lane(fault));
                }
            }
        }
    }

    pub(crate) fn lane_fault(&mut self, fault: LaneFault) -> Checked {
        let process = match fault {
            LaneFault::Report { pair, client, .. } | LaneFault::Add { pair, client, .. } => {
                let pair = &self.pairs[pair];
                if client { pair.client } else { pair.server }
            }
            LaneFault::Roam { process, .. } => process,
        };
        let late = match fault {
            LaneFault::Report { lane, report, .. } => report != self.truth(lane),
            LaneFault::Roam { .. } => true,
            LaneFault::Add { .. } => false,
        };
        if !self.processes[process].alive || self.healed && late {
            return Ok(());
        }
        if !self.processes[process].is_running() {
            self.at(self.now + Duration::from_millis(5), Action::Lane(fault));
            return Ok(());
        }
        let now = self.local(process);
        match fault {
            LaneFault::Report {
                pair,
                client,
                lane,
                report,
            } => {
                let pair = &self.pairs[pair];
                let (key, to) = if client {
                    (pair.client_key, pair.base + 1)
                } else {
                    (pair.server_key, pair.base)
                };
                let Some(key) = key.filter(|_| !pair.perfect) else {
                    return Ok(());
                };
                self.note(format!(
                    "{process} is told: lane {lane} to {to:#x}: {report:?}"
                ));
                self.processes[process]
                    .transport
                    .report_lane(now, key, lane, report);
                let told_down = report.word == LaneWord::Down;
                self.judge.told(to, lane, !told_down);
                self.seen.insert("word of a monitor");
            }
            LaneFault::Add {
                pair,
                client,
                serial,
            } => {
                if self.pairs[pair].serial == serial {
                    return self.add_lane(pair, client);
                }
            }
            LaneFault::Roam { link, .. } => {
                let moved = self.addresses.entry((link, process)).or_default();
                *moved = moved.wrapping_add(1);
                self.seen.insert("new address");
                self.note(format!("{process} moves on network {link}"));
                self.processes[process]
                    .transport
                    .rebound(now, LinkIndex(link));
            }
        }
        self.flush(process)
    }
}
