//! What the link monitor means for the channel between two nodes: links are told, lanes are added and judged.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::system::peer::{PeerLane, PeerLanes, PeerLink, PeerLinks, PeerRequest};
use abi::system::{LaneRow, LaneState};
use abi::{Instant, LinkAddress};
use transport::{LaneParams, LaneReport, LaneWord, LinkIndex};

use super::lanes::{same_host, weakest};
use super::link_table::LinkCount;
use super::monitor::{MonitorOutput, WayState};
use super::peer::Channel;
use super::{NetworkEvent, NetworkManager, OWN_TAG, Own, Tag};
use crate::interface::{Level, LinkConfig};
use crate::limits::{ADDRESSES_MAX, PING_WAIT};

/// Lanes of a channel beside the first one.
const LANES_MAX: usize = 15;

impl NetworkManager {
    /// Does what the monitor wants done.
    pub(super) fn monitored(&mut self, now: Instant) {
        while let Some(output) = self.monitor.output() {
            match output {
                MonitorOutput::Send { link, to, bytes } => {
                    self.packets.push_back((link, to, bytes));
                }
                MonitorOutput::Row { index, row } => self.rows.push_back((index, row)),
                MonitorOutput::Turned { peer, row } => {
                    let text = self.tell_way(peer, &row);
                    self.events.push_back(NetworkEvent::Log(Level::Info, text));
                }
                MonitorOutput::Changed { peer } => {
                    self.judge_lanes(now, peer);
                    self.offer_lanes(now, peer);
                    self.events.push_back(NetworkEvent::Lanes { peer });
                }
            }
        }
    }

    /// What became of a way, for the log.
    fn tell_way(&self, peer: u16, row: &LaneRow) -> String {
        let (name, to) = (self.links.get(usize::from(row.link)), self.name_of(peer));
        let name = name.map_or("a link that is gone", |link| link.name.as_str());
        match (row.state, row.why.words()) {
            (LaneState::Up, _) => format!("the way to {to} over {name} is up"),
            (_, "") => format!("the way to {to} over {name} is down"),
            (_, why) => format!("the way to {to} over {name} is down: {why}"),
        }
    }

    /// Tells a node our links. It is asked again only when they change: a channel that does not carry this message is
    /// replaced, and then it is sent anyway.
    pub(super) fn tell_links(&mut self, now: Instant, number: u16) {
        let links = self.links.iter().zip(0..).map(|(link, index)| PeerLink {
            index,
            kind: link.kind,
            up: link.up,
            address: link.address,
            mtu: link.mtu,
            protection: weakest(link),
            speed: link.speed.unwrap_or(0),
        });
        self.links_told += 1;
        let told = PeerLinks {
            serial: self.links_told,
            detect: self.detect,
            links: links.filter(|link| !link.address.is_none()).collect(),
        };
        self.ask_own(now, number, Own::Plain, &PeerRequest::Links(told));
    }

    /// Asks something for the network manager itself.
    pub(super) fn ask_own(&mut self, now: Instant, number: u16, own: Own, request: &PeerRequest) {
        self.last_own += 1;
        let tag = Tag(self.last_own | OWN_TAG);
        // It fails only for a node that is forgotten or has more pressing questions.
        if self.ask(now, number, tag, request, PING_WAIT).is_ok() {
            self.own.insert(tag, own);
        }
    }

    /// A node has told its links: where it can be reached, too.
    pub(crate) fn peer_links(&mut self, now: Instant, number: u16, mut told: PeerLinks) {
        told.links.truncate(crate::limits::LINKS_MAX);
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        if told.serial <= peer.links_heard {
            return;
        }
        peer.links_heard = told.serial;
        // Where it was is of no use, but where it can be reached now may not be what it calls its address.
        let mut in_use = Vec::new();
        for channel in peer.channels.iter_mut().filter(|c| c.confirmed) {
            let listed = told
                .links
                .iter()
                .any(|link| link.address == channel.address);
            if !*channel.listed.get_or_insert(listed) {
                in_use.push(channel.address);
            }
        }
        let before = peer.record.addresses.clone();
        let addresses = &mut peer.record.addresses;
        addresses.retain(|known| in_use.contains(known));
        for link in told.links.iter().filter(|link| !link.address.is_none()) {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&link.address) {
                addresses.push(link.address);
            }
        }
        if *addresses != before {
            self.events.push_back(NetworkEvent::Moved);
        }
        self.monitor.peer_links(now, number, told);
        self.monitored(now);
    }

    /// The lanes of the channel follow what the monitor has found out.
    fn judge_lanes(&mut self, now: Instant, number: u16) {
        let ways = self.monitor.ways(number);
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        for channel in &peer.channels {
            let first = ways
                .iter()
                .find(|way| way.ours == channel.link && same_host(&way.row.peer, &channel.address));
            let others = channel.lanes.iter().filter_map(|lane| {
                let of = |way: &&WayState| (way.ours, way.theirs) == (lane.mine, lane.yours);
                Some((lane.id, ways.iter().find(of)?))
            });
            for (id, way) in first.map(|way| (0, way)).into_iter().chain(others) {
                let Some(report) = report(&way.row) else {
                    continue;
                };
                self.transport.report_lane(now, channel.asking, id, report);
                self.transport
                    .report_lane(now, channel.answering, id, report);
            }
        }
        self.transport_events(now);
    }

    /// Who began the handshake of a channel offers further lanes for it as they come up.
    fn offer_lanes(&mut self, now: Instant, number: u16) {
        let ways = self.monitor.ways(number);
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        let mut offers = Vec::new();
        for channel in peer.channels.iter().filter(|c| c.initiator && c.confirmed) {
            let asked =
                |own: &Own| matches!(own, Own::Lanes { channel: c, .. } if *c == channel.probes);
            let lanes = further_lanes(channel, &ways);
            if !lanes.is_empty() && !self.own.values().any(asked) {
                offers.push((channel.probes, channel.probes_there, lanes));
            }
        }
        for (channel, there, lanes) in offers {
            let own = Own::Lanes {
                channel,
                lanes: lanes.clone(),
            };
            let offer = PeerLanes {
                channel: there,
                lanes,
            };
            self.ask_own(now, number, own, &PeerRequest::Lanes(offer));
        }
    }

    /// The other end of a channel has further lanes for it, in its terms.
    pub(crate) fn take_lanes(&mut self, now: Instant, number: u16, offer: &PeerLanes) {
        let ours = offer.lanes.iter().map(|lane| PeerLane {
            id: lane.id,
            mine: lane.yours,
            yours: lane.mine,
        });
        let ours: Vec<PeerLane> = ours.take(LANES_MAX).collect();
        self.add_lanes(now, number, offer.channel, &ours);
    }

    /// Both ends know these lanes of a channel.
    pub(super) fn add_lanes(
        &mut self,
        now: Instant,
        number: u16,
        channel: u32,
        lanes: &[PeerLane],
    ) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(channel) = peer.channels.iter_mut().find(|c| c.probes == channel) else {
            return;
        };
        for lane in lanes {
            let address = self.monitor.address_of(number, (lane.mine, lane.yours));
            let link = self.links.get(usize::from(lane.mine));
            let (Some(address), Some(link)) = (address, link) else {
                continue;
            };
            let known = channel.lanes.iter().any(|other| other.id == lane.id);
            if known || !(1..=LANES_MAX).contains(&usize::from(lane.id)) {
                continue;
            }
            let index = LinkIndex(lane.mine.into());
            let params = LaneParams::new(lane.id, index, address, link.mtu.into());
            let halves = [channel.asking, channel.answering];
            // Both halves have it, or none: what one of them alone has would be in the way of the next offer.
            let fits = |half| self.transport.check_lane(half, &params).is_ok();
            if halves.into_iter().all(fits) {
                let added = halves.map(|half| self.transport.add_lane(now, half, &params));
                debug_assert_eq!(added, [Ok(()); 2], "it was looked at");
                channel.lanes.push(*lane);
            }
        }
        self.judge_lanes(now, number);
    }

    /// Our links have changed.
    pub(crate) fn set_links(&mut self, now: Instant, links: &[LinkConfig]) {
        for (index, (new, old)) in links.iter().zip(&self.links).enumerate() {
            let link = LinkIndex(index as u32);
            if old.up != new.up
                && let Some(count) = self.counts.get_mut(index)
            {
                count.since = now;
            }
            match (old.up, new.up) {
                (true, false) => self.transport.link_down(now, link),
                (false, true) => self.transport.link_up(now, link),
                _ => {}
            }
            if old.epoch != new.epoch {
                self.transport.rebound(now, link);
            }
        }
        self.links = links.to_vec();
        self.counts.resize(links.len(), LinkCount::new(now));
        self.index_policies();
        self.monitor.set_links(now, links);
        let numbers: Vec<u16> = self.peers.keys().copied().collect();
        for number in numbers {
            self.reconnect_or_tell(now, number);
        }
        self.transport_events(now);
    }

    /// A node with which there is a channel hears of our links over it, or over a new one if no link of it is left.
    fn reconnect_or_tell(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        let Some(channel) = peer.usable(now) else {
            return;
        };
        let works = |link: u8| {
            self.links
                .get(usize::from(link))
                .is_some_and(|link| link.up)
        };
        let carried = works(channel.link) || channel.lanes.iter().any(|lane| works(lane.mine));
        if !carried && peer.attempt.is_none() {
            self.start_handshake(now, number);
        }
        self.tell_links(now, number);
    }

    /// Where a node may be reached over one of our links: hosts, whatever the port.
    pub(crate) fn hosts_of(&self, number: u16) -> Vec<(u8, LinkAddress)> {
        let ways = self.monitor.ways(number);
        ways.iter().map(|way| (way.ours, way.row.peer)).collect()
    }
}

/// Ways that work and that a channel does not use.
fn further_lanes(channel: &Channel, ways: &[WayState]) -> Vec<PeerLane> {
    let mut id = channel.lanes.iter().map(|lane| lane.id).max().unwrap_or(0);
    let mut lanes = Vec::new();
    for way in ways {
        let first = way.ours == channel.link && same_host(&way.row.peer, &channel.address);
        let ends = (way.ours, way.theirs);
        let has = channel
            .lanes
            .iter()
            .any(|lane| (lane.mine, lane.yours) == ends);
        let room = usize::from(id) < LANES_MAX;
        if way.row.state == LaneState::Up && !first && !has && room {
            id += 1;
            lanes.push(PeerLane {
                id,
                mine: way.ours,
                yours: way.theirs,
            });
        }
    }
    lanes
}

/// What a session is told of a lane; nothing as long as nothing is known.
fn report(row: &LaneRow) -> Option<LaneReport> {
    let word = match row.state {
        LaneState::Up => LaneWord::Up,
        LaneState::Down if row.why.is_silence() => LaneWord::Silent,
        LaneState::Down => LaneWord::Down,
        LaneState::Init => return None,
    };
    Some(LaneReport {
        word,
        rtt: row.rtt,
        rate: row.rate,
        mtu: Some(row.mtu.into()),
    })
}
