//! The link monitor: which ways lead to a peer, how long they take, what they lose, how large a packet may be.
//!
//! Pure like everything here: it hears probes and the time, and says what to send and what programs are to be told.

mod candidates;
mod estimate;
mod mtu;
mod pace;
mod page_rows;
mod pair;
mod probe;
mod roaming;
mod traffic;
mod watch;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::peer::{PeerLink, PeerLinks};
use abi::system::{Detect, LaneRow, LaneState, LaneTraffic};
use abi::{Instant, LinkAddress};

use crate::crypto::Crypto;
use crate::interface::LinkConfig;
use crate::network_manager::lanes::same_host;
use crate::process_manager::programs::mix;
use candidates::candidates;
pub(crate) use candidates::{common_mtu, reachable_from};
use pace::Level;
use page_rows::PageRows;
use pair::Pair;
use probe::{Heard, Probe};
pub(crate) use probe::{Keyring, is_probe};
use watch::{Ends, Watch, Watched};

/// Later than this we were not running, or not looking.
const STALL: Duration = Duration::from_millis(10);
/// After a stall, packets that waited for us say nothing about round trips.
const AFTER_STALL: Duration = Duration::from_millis(5);

/// What is to be done.
#[derive(Debug)]
pub(crate) enum MonitorOutput {
    /// Send a probe.
    Send {
        link: u8,
        to: LinkAddress,
        bytes: Vec<u8>,
    },
    /// Write a row of the node page.
    Row { index: u16, row: Option<LaneRow> },
    /// A way has begun to work, or ceased to.
    Turned { peer: u16, row: LaneRow },
    /// Programs that talk to this peer have to look at its rows.
    Changed { peer: u16 },
}

/// All peers' ways.
#[derive(Debug)]
pub(crate) struct Monitor {
    detect: Detect,
    links: Vec<LinkConfig>,
    watches: BTreeMap<u16, Watch>,
    /// Which peer a probe's number belongs to.
    receivers: BTreeMap<u32, u16>,
    rows: PageRows,
    outputs: VecDeque<MonitorOutput>,
    random: u64,
    /// Until when round trips are not believed.
    disturbed: Instant,
}

/// What is known of one way, for whoever plans lanes or prints tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WayState {
    pub(crate) ours: u8,
    pub(crate) theirs: u8,
    pub(crate) row: LaneRow,
    pub(crate) traffic: traffic::Traffic,
    pub(crate) ever_up: bool,
    /// It is in tables and in the node page.
    pub(crate) shown: bool,
}

impl WayState {
    #[cfg(test)]
    pub(crate) fn new(ends: Ends, row: LaneRow, ever_up: bool) -> Self {
        Self {
            ours: ends.0,
            theirs: ends.1,
            row,
            traffic: traffic::Traffic::default(),
            ever_up,
            shown: true,
        }
    }
}

impl Monitor {
    pub(crate) fn new(now: Instant, detect: Detect, links: &[LinkConfig], seed: u64) -> Self {
        Self {
            detect,
            links: links.to_vec(),
            watches: BTreeMap::new(),
            receivers: BTreeMap::new(),
            rows: PageRows::default(),
            outputs: VecDeque::new(),
            random: mix(seed ^ 3),
            disturbed: now,
        }
    }

    pub(crate) fn output(&mut self) -> Option<MonitorOutput> {
        self.outputs.pop_front()
    }

    fn watch(&mut self, now: Instant, peer: u16) -> &mut Watch {
        self.watches.entry(peer).or_insert_with(|| Watch::new(now))
    }

    /// A channel has been opened; it may be used for sending once it is [`Self::confirmed`].
    pub(crate) fn opened(&mut self, now: Instant, peer: u16, ring: Keyring) {
        self.receivers.insert(ring.ours, peer);
        self.watch(now, peer).rings.push(ring);
    }

    /// Both ends have the keys of a channel that was made over this link and address.
    pub(crate) fn confirmed(&mut self, now: Instant, peer: u16, ours: u32, way: (u8, LinkAddress)) {
        let detect = self.detect;
        let watch = self.watch(now, peer);
        let Some(place) = watch.rings.iter().position(|ring| ring.ours == ours) else {
            return;
        };
        watch.rings[place].confirmed = true;
        watch.forgotten = false;
        watch.shaken(now, way);
        watch.set_level(now, detect);
        watch.prove(now, detect);
        self.refresh(now, peer);
    }

    /// A channel is over: probes with its keys are not heard any more.
    pub(crate) fn closed(&mut self, now: Instant, peer: u16, ours: u32) {
        self.receivers.remove(&ours);
        let detect = self.detect;
        if let Some(watch) = self.watches.get_mut(&peer) {
            watch.rings.retain(|ring| ring.ours != ours);
            watch.set_level(now, detect);
        }
        self.refresh(now, peer);
    }

    /// A peer's node does not answer at all.
    pub(crate) fn silent(&mut self, now: Instant, peer: u16) {
        if let Some(watch) = self.watches.get_mut(&peer) {
            watch.pairs.values_mut().for_each(|w| w.pair.forget(now));
        }
        self.refresh(now, peer);
    }

    /// A peer is not trusted any more.
    pub(crate) fn forget(&mut self, peer: u16) {
        self.receivers.retain(|_, of| *of != peer);
        let Some(watch) = self.watches.remove(&peer) else {
            return;
        };
        for watched in watch.pairs.into_values() {
            self.rows.release(watched.row, &mut self.outputs);
        }
    }

    /// Our links have changed.
    pub(crate) fn set_links(&mut self, now: Instant, links: &[LinkConfig]) {
        self.links = links.to_vec();
        let peers: Vec<u16> = self.watches.keys().copied().collect();
        for peer in peers {
            self.pair_up(now, peer);
        }
    }

    /// A peer has told its links.
    pub(crate) fn peer_links(&mut self, now: Instant, peer: u16, told: PeerLinks) {
        let detect = self.detect;
        let watch = self.watch(now, peer);
        watch.set_links(told.detect, told.links);
        watch.set_level(now, detect);
        self.pair_up(now, peer);
    }

    /// Finds the pairs again; those that stay keep what is known of them.
    fn pair_up(&mut self, now: Instant, peer: u16) {
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        let pace = watch.pace(self.detect);
        let mut before = core::mem::take(&mut watch.pairs);
        for found in candidates(&self.links, &watch.links) {
            let ends = (found.ours, found.theirs);
            let mut watched = before.remove(&ends).unwrap_or_else(|| {
                let pair = Pair::new(now, pace, found.address, found.near, found.mtu);
                Watched::new(now, pair)
            });
            let epoch = self
                .links
                .get(usize::from(found.ours))
                .map_or(0, |link| link.epoch);
            let moved = !same_host(&watched.pair.listed, &found.address)
                || watched.pair.mtu.ceiling() != found.mtu
                || watched.epoch.is_some_and(|known| known != epoch);
            watched.epoch = Some(epoch);
            if moved {
                watched.pair.moved(now, pace, found.address, found.mtu);
            }
            (watched.pair.near, watched.pair.home) = (found.near, found.home);
            watched.pair.set_carrier(now, found.without);
            watch.pairs.insert(ends, watched);
        }
        for gone in before.into_values() {
            self.rows.release(gone.row, &mut self.outputs);
        }
        watch.prove(now, self.detect);
        self.refresh(now, peer);
    }

    /// Somebody uses the channel to a peer.
    pub(crate) fn used(&mut self, now: Instant, peer: u16) {
        let detect = self.detect;
        if let Some(watch) = self.watches.get_mut(&peer) {
            watch.used(now);
            watch.set_level(now, detect);
        }
    }

    /// Whether programs have sessions with a peer.
    pub(crate) fn set_sessions(&mut self, now: Instant, peer: u16, sessions: bool) {
        let detect = self.detect;
        if let Some(watch) = self.watches.get_mut(&peer)
            && watch.set_sessions(sessions)
        {
            watch.used(now);
            watch.set_level(now, detect);
            self.refresh(now, peer);
        }
    }

    /// A program says what went over lanes, and which of them it suspects. Suspicion only makes us look.
    pub(crate) fn reported(&mut self, now: Instant, told: &LaneTraffic) {
        let peer = told.node.node();
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        let own = watch.pairs.iter_mut().find(|(ends, watched)| {
            ends.0 == told.link && same_host(&watched.pair.address, &told.peer)
        });
        let Some((_, watched)) = own else { return };
        watched.traffic.add(now, told);
        if told.suspect {
            watched.pair.suspected(now);
        }
        self.refresh(now, peer);
    }

    /// Every way to a peer is to be looked at.
    pub(crate) fn suspect(&mut self, now: Instant, peer: u16) {
        if let Some(watch) = self.watches.get_mut(&peer) {
            watch.pairs.values_mut().for_each(|w| w.pair.suspected(now));
        }
    }

    /// When [`Self::run`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watches.values().filter_map(Watch::deadline).min()
    }

    /// To be called first whenever the node runs: if it should have run long ago, nobody's silence counts.
    pub(crate) fn awake(&mut self, now: Instant) {
        let late = self
            .deadline()
            .map_or(Duration::ZERO, |due| now.saturating_since(due));
        if late < STALL {
            return;
        }
        self.disturbed = now.checked_add(AFTER_STALL).unwrap_or(now);
        for watch in self.watches.values_mut() {
            let pace = watch.pace(self.detect);
            for watched in watch.pairs.values_mut() {
                watched.pair.excuse(now, pace, late);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn run(&mut self, now: Instant, crypto: &dyn Crypto) {
        let due = |watch: &Watch| watch.deadline().is_some_and(|at| at <= now);
        let peers: Vec<u16> = self
            .watches
            .iter()
            .filter(|(_, w)| due(w))
            .map(|(&p, _)| p)
            .collect();
        for peer in peers {
            self.run_peer(now, peer, crypto);
            self.refresh(now, peer);
        }
    }

    fn run_peer(&mut self, now: Instant, peer: u16, crypto: &dyn Crypto) {
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        watch.set_level(now, self.detect);
        if watch.level == Level::Off {
            return;
        }
        let pace = watch.pace(self.detect);
        let own = watch.own_level(now);
        let all: Vec<Ends> = watch.pairs.keys().copied().collect();
        for ends in all {
            let alive = watch.alive_beside(ends, pace);
            let Some(watched) = watch.pairs.get_mut(&ends) else {
                continue;
            };
            watched.pair.tick(now, pace, alive);
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let plain = watched
                .pair
                .probe_due(now, pace, mix(self.random))
                .then_some(None);
            let sized = watched.pair.size_due(now).map(Some);
            for size in plain.into_iter().chain(sized) {
                let probe = Probe {
                    state: watched.pair.state().number(),
                    asks: true,
                    size,
                    ..said(ends, own, now)
                };
                let Some(ring) = watch.rings.iter_mut().rev().find(|ring| ring.confirmed) else {
                    return;
                };
                self.outputs.push_back(MonitorOutput::Send {
                    link: ends.0,
                    to: watched.pair.address,
                    bytes: ring.seal(crypto, &probe),
                });
            }
        }
    }

    /// A packet that may be a probe has come in.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        (link, from): (u8, &LinkAddress),
        packet: &[u8],
        crypto: &dyn Crypto,
    ) {
        let number = probe::receiver(packet);
        let Some((number, &peer)) = number.and_then(|n| Some((n, self.receivers.get(&n)?))) else {
            return;
        };
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        let Some(ring) = watch.rings.iter_mut().find(|ring| ring.ours == number) else {
            return;
        };
        let Some(heard) = ring.open(crypto, packet) else {
            return;
        };
        let said_here = heard.probe;
        // The kernel may take in on one link what was sent to the address of another one.
        if said_here.to_link != link {
            return;
        }
        if said_here.watches {
            let level = if said_here.busy {
                Level::Busy
            } else {
                Level::Idle
            };
            watch.wishes(now, level);
            watch.set_level(now, self.detect);
        }
        let ends = (link, said_here.from_link);
        let disturbed = now < self.disturbed;
        let challenge = take(watch, now, (ends, *from), &heard, self.detect, disturbed);
        let state = watch.pairs.get(&ends).map(|w| w.pair.state());
        let own = Probe {
            state: state.unwrap_or(LaneState::Init).number(),
            ..said(ends, watch.own_level(now), now)
        };
        let challenge = challenge.map(|sent| Probe {
            asks: true,
            sent,
            ..own
        });
        let answer = said_here.asks.then_some(Probe {
            echo: Some(said_here.sent),
            size: said_here.size,
            ..own
        });
        for probe in challenge.into_iter().chain(answer) {
            if let Some(ring) = watch.rings.iter_mut().find(|ring| ring.ours == number) {
                self.outputs.push_back(MonitorOutput::Send {
                    link,
                    to: *from,
                    bytes: ring.seal(crypto, &probe),
                });
            }
        }
        self.refresh(now, peer);
    }

    /// The address of a peer's link, as it is reached over one of ours.
    pub(crate) fn address_of(&self, peer: u16, ends: Ends) -> Option<LinkAddress> {
        let watch = self.watches.get(&peer)?;
        watch.pairs.get(&ends).map(|watched| watched.pair.address)
    }

    /// A peer's own word about its links.
    pub(crate) fn links_of(&self, peer: u16) -> &[PeerLink] {
        self.watches.get(&peer).map_or(&[], |watch| &watch.links)
    }

    /// All ways to a peer.
    pub(crate) fn ways(&self, peer: u16) -> Vec<WayState> {
        let Some(watch) = self.watches.get(&peer) else {
            return Vec::new();
        };
        let state = |(ends, watched): (&Ends, &Watched)| WayState {
            ours: ends.0,
            theirs: ends.1,
            row: self.row_of(peer, watch, *ends, watched, watched.written),
            traffic: watched.traffic,
            ever_up: watched.pair.ever_up,
            shown: watch.shows(*ends),
        };
        watch.pairs.iter().map(state).collect()
    }
}

/// What every probe of ours says.
fn said(ends: Ends, own: Level, now: Instant) -> Probe {
    Probe {
        from_link: ends.0,
        to_link: ends.1,
        watches: own != Level::Off,
        busy: own == Level::Busy,
        sent: micros(now),
        ..Probe::default()
    }
}

/// What an authentic probe tells of its way. If it comes from where the peer was not so far: when a probe that asks
/// there was sent, for the peer to show that it hears it.
fn take(
    watch: &mut Watch,
    now: Instant,
    (ends, from): (Ends, LinkAddress),
    heard: &Heard,
    detect: Detect,
    disturbed: bool,
) -> Option<u32> {
    let pace = watch.pace(detect);
    let Watched { pair, .. } = watch.pairs.get_mut(&ends)?;
    pair.loss.count(heard.there, heard.here);
    let mut challenge = None;
    if heard.newest {
        challenge = pair.came_from(now, pace, from, heard.probe.echo);
        if let Some(state) = LaneState::from_number(heard.probe.state) {
            pair.hear(now, pace, state);
        }
    }
    if let Some(echo) = heard.probe.echo {
        let took = Duration::from_micros(micros(now).wrapping_sub(echo).into());
        pair.answer(
            now,
            pace,
            Some(took).filter(|_| !disturbed && heard.probe.size.is_none()),
        );
        if let Some(size) = heard.probe.size {
            pair.mtu.passed(now, size);
        }
    }
    challenge
}

/// The clock of probes; it begins again every 71 minutes.
pub(crate) const fn micros(now: Instant) -> u32 {
    (now.as_nanos() / 1000) as u32
}
