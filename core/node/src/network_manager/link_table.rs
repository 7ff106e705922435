//! The table behind `slashnet links`: every link, and every way over it to a peer.

use alloc::vec::Vec;
use core::time::Duration;

use abi::system::{LaneState, LaneWhy, LinkRow};
use abi::{Instant, LinkAddress, NodeName};

use super::NetworkManager;
use super::monitor::WayState;
use crate::interface::LinkConfig;

/// What the node itself knows of one of its links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkCount {
    /// Bytes that the node itself sent and received.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Since when it has or has not a carrier.
    pub(crate) since: Instant,
}

impl LinkCount {
    pub(crate) const fn new(since: Instant) -> Self {
        Self {
            sent: 0,
            received: 0,
            since,
        }
    }
}

impl NetworkManager {
    pub(crate) fn link_rows(&self, now: Instant) -> Vec<LinkRow> {
        let names = self.peers.iter();
        let ways: Vec<(NodeName, WayState)> = names
            .flat_map(|(&number, peer)| {
                let ways = self.monitor.ways(number).into_iter();
                ways.filter(|way| way.shown)
                    .map(|way| (peer.record.name, way))
            })
            .collect();
        let mut rows = Vec::new();
        for ((index, link), count) in (0_u8..).zip(&self.links).zip(&self.counts) {
            let over: Vec<_> = ways.iter().filter(|(_, way)| way.ours == index).collect();
            let mut own = own_row(now, index, link, count);
            for (_, way) in &over {
                own.sent = own.sent.saturating_add(way.traffic.sent);
                own.received = own.received.saturating_add(way.traffic.received);
            }
            let of_peers = over
                .iter()
                .map(|(peer, way)| peer_row(now, &own, *peer, way));
            let of_peers: Vec<LinkRow> = of_peers.collect();
            rows.push(own);
            rows.extend(of_peers);
        }
        rows
    }
}

fn own_row(now: Instant, index: u8, link: &LinkConfig, count: &LinkCount) -> LinkRow {
    let (state, why) = if link.up {
        (LaneState::Up, LaneWhy::Nothing)
    } else {
        (LaneState::Down, LaneWhy::Carrier)
    };
    LinkRow {
        index,
        name: link.name.clone().into_bytes(),
        address: link.address,
        mtu: link.mtu,
        peer: None,
        peer_address: LinkAddress::NONE,
        kind: link.kind,
        state,
        since: now.saturating_since(count.since),
        why: if link.why.is_empty() {
            why.words().into()
        } else {
            link.why.clone().into_bytes()
        },
        rtt: None,
        loss: 0,
        rate: link.speed.unwrap_or(0),
        sent: count.sent,
        received: count.received,
        switches: 0,
    }
}

fn peer_row(now: Instant, own: &LinkRow, peer: NodeName, way: &WayState) -> LinkRow {
    let row = &way.row;
    let since: Duration = now.saturating_since(Instant::from_nanos(row.since));
    LinkRow {
        peer: Some(peer),
        peer_address: row.peer,
        mtu: row.mtu,
        state: row.state,
        since,
        // Of our own link more is known than that it has no carrier: perhaps it is not there.
        why: match row.why {
            LaneWhy::Carrier => own.why.clone(),
            why => why.words().into(),
        },
        rtt: row.rtt,
        loss: row.loss,
        rate: row.rate.unwrap_or(0),
        sent: way.traffic.sent,
        received: way.traffic.received,
        switches: way.traffic.switches,
        ..own.clone()
    }
}
