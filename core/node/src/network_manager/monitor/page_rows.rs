//! Which way has which row of the node page, and what is written there.

use alloc::collections::VecDeque;
use core::time::Duration;

use abi::system::{LANE_ROWS, LaneRow, LaneState, LaneWhy};
use abi::{Instant, Nd};

use super::watch::{Ends, Watch, Watched};
use super::{Monitor, MonitorOutput};

/// How often round-trip time and loss are written while nothing else changes.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// Rows that are taken.
#[derive(Debug)]
pub(crate) struct PageRows {
    taken: [bool; LANE_ROWS],
}

impl Default for PageRows {
    fn default() -> Self {
        Self {
            taken: [false; LANE_ROWS],
        }
    }
}

impl PageRows {
    fn take(&mut self) -> Option<u16> {
        let free = self.taken.iter().position(|taken| !taken)?;
        self.taken[free] = true;
        Some(free as u16)
    }

    pub(crate) fn release(
        &mut self,
        row: Option<(u16, LaneRow)>,
        outputs: &mut VecDeque<MonitorOutput>,
    ) {
        if let Some((index, row)) = row {
            self.taken[usize::from(index)] = false;
            outputs.push_back(MonitorOutput::Row { index, row: None });
            outputs.push_back(MonitorOutput::Changed {
                peer: row.node.node(),
            });
        }
    }
}

impl Monitor {
    /// A peer has said that it does not trust us any more. Its rows say so from here on. Answers whether that
    /// is news.
    pub(crate) fn forgotten(&mut self, now: Instant, peer: u16) -> bool {
        let news = self
            .watches
            .get_mut(&peer)
            .is_some_and(|watch| !core::mem::replace(&mut watch.forgotten, true));
        if news {
            self.silent(now, peer);
        }
        news
    }

    /// Writes what has changed of a peer's ways.
    pub(super) fn refresh(&mut self, now: Instant, peer: u16) {
        let Some(watch) = self.watches.get(&peer) else {
            return;
        };
        let mut changed = false;
        let mut rows = alloc::vec::Vec::new();
        for (ends, watched) in &watch.pairs {
            let shown = watch.shows(*ends);
            let row = self.row_of(peer, watch, *ends, watched, now);
            let old = watched.row.map(|(_, old)| old);
            let news = old.is_none_or(|old| differs(&old, &row));
            let stale = now.saturating_since(watched.written) >= WRITE_EVERY && old != Some(row);
            if shown && (news || stale) {
                rows.push((*ends, Some(row)));
                changed |= news;
            } else if !shown && old.is_some() {
                rows.push((*ends, None));
            }
        }
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        for (ends, row) in rows {
            let Some(watched) = watch.pairs.get_mut(&ends) else {
                continue;
            };
            let Some(row) = row else {
                self.rows.release(watched.row.take(), &mut self.outputs);
                continue;
            };
            let index = watched
                .row
                .map(|(index, _)| index)
                .or_else(|| self.rows.take());
            let Some(index) = index else { continue };
            let old = watched.row.replace((index, row));
            watched.written = now;
            if old.is_some_and(|(_, old)| turned(&old, &row)) {
                self.outputs.push_back(MonitorOutput::Turned { peer, row });
            }
            self.outputs.push_back(MonitorOutput::Row {
                index,
                row: Some(row),
            });
        }
        if changed {
            self.outputs.push_back(MonitorOutput::Changed { peer });
        }
    }

    pub(super) fn row_of(
        &self,
        peer: u16,
        watch: &Watch,
        (ours, theirs): Ends,
        watched: &Watched,
        now: Instant,
    ) -> LaneRow {
        let pair = &watched.pair;
        let our_speed = self
            .links
            .get(usize::from(ours))
            .and_then(|link| link.speed);
        let their_link = watch.links.iter().find(|link| link.index == theirs);
        let their_speed = their_link.map(|link| link.speed).filter(|speed| *speed > 0);
        let claimed = our_speed.into_iter().chain(their_speed).min();
        LaneRow {
            state: pair.shown(),
            why: if watch.forgotten {
                LaneWhy::Forgotten
            } else {
                pair.why()
            },
            link: ours,
            peer: pair.address,
            node: Nd::new(peer, 0),
            mtu: pair.mtu.size(),
            since: pair.since().as_nanos(),
            rtt: pair.rtt.smoothed,
            min_rtt: pair.rtt.least,
            loss: pair.loss.both(),
            rate: watched.traffic.rate(now, claimed),
        }
    }
}

/// Whether a way that worked does not any more, or the reverse.
fn turned(old: &LaneRow, new: &LaneRow) -> bool {
    (old.state == LaneState::Up) != (new.state == LaneState::Up)
}

/// Whether programs have to act on the difference.
fn differs(old: &LaneRow, new: &LaneRow) -> bool {
    let rate = |row: &LaneRow| row.rate.unwrap_or(0);
    let another_rate = rate(old).abs_diff(rate(new)) > rate(old) / 4;
    let measured = old.rtt.is_none() && new.rtt.is_some() && new.state == LaneState::Up;
    (old.state, old.peer, old.mtu, old.since) != (new.state, new.peer, new.mtu, new.since)
        || another_rate
        || measured
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::LinkAddress;
    use abi::system::peer::{PeerLink, PeerLinks};
    use abi::system::{Detect, LinkKind, Protection};
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    use crate::interface::LinkConfig;

    #[test]
    fn a_number_that_a_peer_gives_to_two_links_takes_one_row() {
        let now = Instant::from_nanos(1);
        let own = LinkAddress::ipv4([10, 0, 0, 1], 9);
        let link = LinkConfig::new(String::new(), LinkKind::Udp, own, 1472);
        let mut monitor = Monitor::new(now, Detect::Default, &[link], 1);
        let theirs = |host| PeerLink {
            index: 0,
            kind: LinkKind::Udp,
            up: true,
            address: LinkAddress::ipv4([10, 0, 0, host], 9),
            mtu: 1472,
            protection: Protection::Sealed,
            speed: 0,
        };
        let mut written = BTreeSet::new();
        for serial in 0..=LANE_ROWS as u64 {
            let told = PeerLinks {
                serial,
                detect: Detect::Default,
                links: [2, 3].map(theirs).into(),
            };
            monitor.peer_links(now, 1, told);
            while let Some(output) = monitor.output() {
                if let MonitorOutput::Row { index, .. } = output {
                    written.insert(index);
                }
            }
        }
        assert_eq!(written.len(), 1, "{written:?}");
    }
}
