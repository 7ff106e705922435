//! Everything the monitor knows of one peer.

use alloc::collections::BTreeMap;
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

    pub(crate) fn set_links(&mut self, detect: Detect, links: Vec<PeerLink>) {
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
    pub(crate) fn shows(&self, ends: Ends) -> bool {
        let beside = |(other, watched): (&Ends, &Watched)| {
            *other != ends && other.0 == ends.0 && watched.pair.ever_up
        };
        let own = self.pairs.get(&ends);
        own.is_some_and(|own| own.pair.ever_up || own.pair.near && !self.pairs.iter().any(beside))
    }

    /// Whether the peer has answered on another way than this one so lately that it would have answered here.
    pub(crate) fn alive_beside(&self, ends: Ends, now: Instant, pace: Pace) -> bool {
        self.pairs.iter().any(|(other, watched)| {
            let patience = pace.interval * 2 + watched.pair.rtt.slack();
            let since = now.checked_sub(patience).unwrap_or(Instant::from_nanos(0));
            *other != ends && watched.pair.answered_since(since)
        })
    }
}
