//! Everything the monitor knows of one peer.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::system::Detect;
use abi::system::peer::PeerLink;
use abi::{Instant, LinkAddress};

use super::pace::{
    BUSY_AFTER_HANDSHAKE, BUSY_AFTER_USE, IDLE_AFTER_USE, Level, Pace, WISH_LIFE, faster,
};
use super::pair::Pair;
use super::probe::Keyring;
use super::traffic::Traffic;
use crate::network_manager::lanes::same_host;

/// Our link and the peer's.
pub(crate) type Ends = (u8, u8);

/// A pair, and what is known of it beside its state.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pair: Pair,
    pub(crate) traffic: Traffic,
    /// Its row in the node page, and what is written there.
    pub(crate) row: Option<(u16, abi::system::LaneRow)>,
    /// When round-trip time and loss were written last.
    pub(crate) written: Instant,
    /// Of the socket on our link, when the pair was looked at last.
    pub(crate) epoch: Option<u32>,
}

impl Watched {
    pub(crate) fn new(now: Instant, pair: Pair) -> Self {
        Self {
            pair,
            traffic: Traffic::default(),
            row: None,
            written: now,
            epoch: None,
        }
    }
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) pairs: BTreeMap<Ends, Watched>,
    pub(crate) links: Vec<PeerLink>,
    detect: Detect,
    /// Probes of each channel that is open, the newest last.
    pub(crate) rings: Vec<Keyring>,
    /// It has said that it does not trust us any more.
    pub(crate) forgotten: bool,
    /// Programs have sessions with it.
    sessions: bool,
    used: Option<Instant>,
    /// The last handshake, and the way it took.
    shaken: Option<(Instant, (u8, LinkAddress))>,
    /// The pair of that way is known and believed in.
    proven: bool,
    /// The peer wants to watch, as it said then.
    wish: Option<(Instant, Level)>,
    pub(crate) level: Level,
    pace: Option<Pace>,
    /// When the reasons to watch were looked at.
    looked: Instant,
}

impl Watch {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            pairs: BTreeMap::new(),
            links: Vec::new(),
            detect: Detect::Default,
            rings: Vec::new(),
            forgotten: false,
            sessions: false,
            used: None,
            shaken: None,
            proven: false,
            wish: None,
            level: Level::Off,
            pace: None,
            looked: now,
        }
    }

    /// Of links with the same number, the first one counts.
    pub(crate) fn set_links(&mut self, detect: Detect, mut links: Vec<PeerLink>) {
        let mut numbers = BTreeSet::new();
        links.retain(|link| numbers.insert(link.index));
        (self.detect, self.links) = (detect, links);
    }

    pub(crate) const fn set_sessions(&mut self, sessions: bool) -> bool {
        core::mem::replace(&mut self.sessions, sessions) != sessions
    }

    pub(crate) const fn used(&mut self, now: Instant) {
        self.used = Some(now);
    }

    pub(crate) const fn shaken(&mut self, now: Instant, way: (u8, LinkAddress)) {
        self.shaken = Some((now, way));
        self.proven = false;
    }

    /// The way of a handshake that has just ended works, so much is known.
    pub(crate) fn prove(&mut self, now: Instant, ours: Detect) {
        let pace = self.pace(ours);
        let Some((at, (link, address))) = self.shaken else {
            return;
        };
        let fresh = !self.proven && now.saturating_since(at) < BUSY_AFTER_HANDSHAKE;
        let own = self
            .pairs
            .iter_mut()
            .find(|(ends, watched)| ends.0 == link && same_host(&watched.pair.address, &address));
        if let Some((_, watched)) = own.filter(|_| fresh) {
            watched.pair.proven(now, pace);
            self.proven = true;
        }
    }

    pub(crate) fn wishes(&mut self, now: Instant, level: Level) {
        self.wish = Some((now, level));
    }

    /// Whether there are reasons of our own to watch it.
    pub(crate) fn own_level(&self, now: Instant) -> Level {
        let within =
            |at: Option<Instant>, time| at.is_some_and(|at| now.saturating_since(at) < time);
        if self.sessions
            || within(self.used, BUSY_AFTER_USE)
            || within(self.shaken.map(|(at, _)| at), BUSY_AFTER_HANDSHAKE)
        {
            Level::Busy
        } else if within(self.used, IDLE_AFTER_USE) {
            Level::Idle
        } else {
            Level::Off
        }
    }

    fn wanted_level(&self, now: Instant) -> Level {
        if !self.rings.iter().any(|ring| ring.confirmed) {
            return Level::Off;
        }
        let wish = self
            .wish
            .filter(|(at, _)| now.saturating_since(*at) < WISH_LIFE);
        self.own_level(now)
            .max(wish.map_or(Level::Off, |(_, level)| level))
    }

    /// Starts, stops or hastens watching as there is need. Whether anything has changed.
    pub(crate) fn set_level(&mut self, now: Instant, ours: Detect) -> bool {
        self.looked = now;
        let level = self.wanted_level(now);
        let pace = Pace::of(faster(ours, self.detect), level);
        if level == self.level && (level == Level::Off || self.pace == Some(pace)) {
            return false;
        }
        (self.level, self.pace) = (level, Some(pace));
        for watched in self.pairs.values_mut() {
            if level == Level::Off {
                watched.pair.pause();
            } else {
                watched.pair.resume(now, pace);
            }
        }
        true
    }

    pub(crate) fn pace(&self, ours: Detect) -> Pace {
        Pace::of(faster(ours, self.detect), self.level)
    }

    /// When the next thing has to happen.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.level == Level::Off {
            return None;
        }
        let after = |at: Option<Instant>, time| at.and_then(|at| at.checked_add(time));
        // A reason that ends: the level is to be looked at again.
        let reasons = [
            after(self.used, BUSY_AFTER_USE),
            after(self.used, IDLE_AFTER_USE),
            after(self.shaken.map(|(at, _)| at), BUSY_AFTER_HANDSHAKE),
            after(self.wish.map(|(at, _)| at), WISH_LIFE),
        ];
        let pairs = self.pairs.values().map(|watched| watched.pair.deadline());
        let ends = reasons.into_iter().flatten().filter(|at| *at > self.looked);
        pairs.chain(ends).min()
    }

    /// Whether people and programs are to see a way: it has worked, or it ought to and nothing else over our link does.
    /// A way between two networks is not seen if both links have one within their own: it works only because kernels
    /// take packets for any of their addresses from any wire.
    pub(crate) fn shows(&self, ends: Ends) -> bool {
        let Some(own) = self.pairs.get(&ends) else {
            return false;
        };
        let others = || {
            let others = self.pairs.iter();
            others.filter(|(other, watched)| **other != ends && watched.pair.ever_up)
        };
        if !own.pair.ever_up {
            return own.pair.near && !others().any(|(other, _)| other.0 == ends.0);
        }
        let home_here = others().any(|(other, w)| other.0 == ends.0 && w.pair.home);
        let home_there = others().any(|(other, w)| other.1 == ends.1 && w.pair.home);
        own.pair.home || !(home_here && home_there)
    }

    /// Whether the peer has answered on another way so long after its last answer on this one that it would have
    /// answered here, too.
    pub(crate) fn alive_beside(&self, ends: Ends, pace: Pace) -> bool {
        let Some(own) = self.pairs.get(&ends) else {
            return false;
        };
        self.pairs.iter().any(|(other, watched)| {
            let slack = own.pair.rtt.slack().max(watched.pair.rtt.slack());
            let patience = pace.interval * 3 / 2 + slack;
            let late = own.pair.last_heard().checked_add(patience);
            *other != ends && late.is_some_and(|late| watched.pair.answered_since(late))
        })
    }
}
