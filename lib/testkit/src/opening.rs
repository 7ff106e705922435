//! Opens sessions as the nodes' daemons would: both ends get mirrored parameters.

use abi::ids::SessionId;
use abi::time::Duration;
use transport::keys::Secret;
use transport::{LaneParams, LinkIndex, Protection, Role, SessionParams};

use crate::checkers::{Finding, Kind};
use crate::cipher::WorldCipher;
use crate::clock::Clock;
use crate::lane_faults::LaneFault;
use crate::lanes::PERFECT;
use crate::random::mix;
use crate::shell::address;
use crate::world::{Action, Checked, World};

impl World {
    /// Gives each process a clock of its own, if the seed has chosen so.
    pub(crate) fn set_clocks(&mut self) {
        if !self.plan.terrain.clocks {
            return;
        }
        for process in &mut self.processes {
            process.clock = Clock {
                ahead: self.random.below(1 << 40),
                ppm: self.random.below(1000) as u32,
            };
        }
    }

    /// Opens the next session of a pair.
    pub(crate) fn open(&mut self, index: usize) {
        let pair = &mut self.pairs[index];
        pair.serial += 1;
        let base = 2 + (index as u32) * 100_000 + pair.serial as u32 * 2;
        let secret = mix(self.plan.seed ^ u64::from(base));
        let (client, server) = (pair.client, pair.server);
        let perfect = LinkIndex(PERFECT + (index as u32 * 1000) + pair.serial as u32);
        let only_perfect = pair.perfect;
        let update_after = self.random.between(20, 3000);
        let beside = self.plan.terrain.beside;
        let beside = !only_perfect && beside > 0 && self.random.chance(beside);
        let later = self.plan.terrain.later;
        let later = !only_perfect && !beside && later > 0 && self.random.chance(later);
        let at_first = self.plan.networks - u32::from(later && self.plan.networks > 1);
        let mut keys = [None, None];
        let ends = [
            (client, server, Role::Client, base, base + 1),
            (server, client, Role::Server, base + 1, base),
        ];
        let mut count = 0;
        for (n, (own, peer, role, local, remote)) in ends.into_iter().enumerate() {
            let mut params = SessionParams::new(SessionId(local), SessionId(remote), role);
            if !only_perfect {
                for network in 0..at_first {
                    let lane = self.lane(network, peer);
                    params.lanes.push(lane);
                }
            }
            if only_perfect || beside {
                let id = params.lanes.len() as u8;
                let lane = LaneParams::reliable(id, perfect, address(peer, 0), 65_000);
                params.lanes.push(lane);
            }
            let mut links = params.lanes.iter().map(|lane| lane.link.0);
            let late = (at_first..self.plan.networks).filter(|_| !only_perfect);
            let is_sealed = |link| self.networks.protection(link) == Protection::Sealed;
            if links.by_ref().chain(late).any(is_sealed) {
                let cipher = WorldCipher::new(secret, role, update_after, self.log.clone());
                params.cipher = Some(Box::new(cipher));
            }
            params.slots = self.plan.slots;
            params.unscheduled = self.plan.unscheduled;
            params.credit = self.plan.credit;
            params.op_dead = self.plan.op_dead;
            let challenge = mix(secret ^ u64::from(local)).to_le_bytes();
            let mut unknown = Secret::ZERO;
            unknown.0[..8].copy_from_slice(&challenge);
            params.challenge = Some(unknown);
            count = params.lanes.len() as u8;
            let now = self.local(own);
            keys[n] = self.processes[own].transport.open(now, params).ok();
        }
        let pair = &mut self.pairs[index];
        (pair.base, pair.lanes) = (base, count);
        [pair.client_key, pair.server_key] = keys;
        let serial = pair.serial;
        for client in [true, false] {
            if !only_perfect && at_first < self.plan.networks {
                let after = Duration::from_micros(self.random.below(3_000_000));
                let fault = LaneFault::Add {
                    pair: index,
                    client,
                    serial,
                };
                self.at(self.now + after, Action::Lane(fault));
            }
        }
    }

    /// One end of a session gets the lane over the last network.
    pub(crate) fn add_lane(&mut self, index: usize, client: bool) -> Checked {
        let pair = &self.pairs[index];
        let (own, peer, key, to) = if client {
            (pair.client, pair.server, pair.client_key, pair.base + 1)
        } else {
            (pair.server, pair.client, pair.server_key, pair.base)
        };
        let Some(key) = key else {
            return Ok(());
        };
        let lane = self.lane(self.plan.networks - 1, peer);
        let now = self.local(own);
        let added = self.processes[own].transport.add_lane(now, key, &lane);
        self.note(format!("{own} gets lane {}: {added:?}", lane.id));
        // What was said before of a lane that was not there means nothing.
        self.judge.told(to, lane.id, true);
        if client && added.is_ok() {
            self.pairs[index].lanes += 1;
            self.seen.insert("late lane");
        }
        match added {
            Ok(()) => self.flush(own),
            Err(error) => Err(Finding::new(
                Kind::Wrong,
                format!("no late lane: {error:?}"),
            )),
        }
    }

    /// The lane to `peer` over a network, and what a monitor might say of it.
    fn lane(&mut self, network: u32, peer: usize) -> LaneParams {
        let link = LinkIndex(network);
        let moved = self.addresses.get(&(network, peer)).copied().unwrap_or(0);
        let mtu = self.plan.mtu_of(network);
        let mut lane = LaneParams::new(network as u8, link, address(peer, moved), mtu);
        let Some(ground) = self.plan.terrain.networks.get(network as usize) else {
            return lane;
        };
        lane.protection = ground.protection;
        if let Some(wrong) = self.plan.terrain.hints {
            let mut rtt = ground.there.delay + ground.back.delay;
            let mut rate = ground.there.rate.min(ground.back.rate);
            if self.random.chance(wrong) {
                rtt = Duration::from_micros(self.random.below(1_000_000));
                rate = self.random.next() >> self.random.below(64);
            }
            (lane.rtt, lane.rate) = (Some(rtt), Some(rate));
        }
        lane
    }
}
