//! What a node knows of another one while it runs.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::peer::PeerLane;
use abi::{Incarnation, Instant, LinkAddress};
use transport::{OpKey, SessionKey};

use super::Tag;
use super::trust::TrustRecord;
use crate::crypto::{Initiator, Secret};
use crate::limits::{ADDRESSES_MAX, CHANNELS_PER_PEER, LIVES_MAX, RECONNECT_MIN, REJECT_AFTER};

/// An authenticated channel to another node: one session in which we ask and one in which we answer.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) asking: SessionKey,
    pub(crate) answering: SessionKey,
    /// The number that probes of this channel to us carry.
    pub(crate) probes: u32,
    /// The number that those to the peer carry.
    pub(crate) probes_there: u32,
    /// This end began the handshake.
    pub(crate) initiator: bool,
    /// Lanes beside the first one.
    pub(crate) lanes: Vec<PeerLane>,
    /// Keys of sessions between programs come from it.
    pub(crate) exporter: Secret,
    pub(crate) since: Instant,
    pub(crate) link: u8,
    pub(crate) address: LinkAddress,
    /// Whether that was one of its addresses by its own word, if it has told them since.
    pub(crate) listed: Option<bool>,
    pub(crate) incarnation: Incarnation,
    pub(crate) boot: u64,
    /// The other end is known to have the keys too, so this channel may be used.
    pub(crate) confirmed: bool,
    /// When it is to be closed, if a newer one has taken over or nobody confirms it.
    pub(crate) closes: Option<Instant>,
}

/// A handshake that this node has begun.
pub(crate) struct Attempt {
    pub(crate) index: u32,
    pub(crate) initiator: Box<dyn Initiator>,
    pub(crate) packet: Vec<u8>,
    pub(crate) asking: abi::SessionId,
    pub(crate) answering: abi::SessionId,
    pub(crate) cookie: Option<[u8; 16]>,
    pub(crate) tries: u32,
    pub(crate) next: Instant,
    pub(crate) ends: Instant,
}

impl core::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Attempt")
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

/// Something that the other node is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) bytes: Vec<u8>,
    pub(crate) deadline: Instant,
    /// Asked twice it does no harm.
    pub(crate) repeatable: bool,
    pub(crate) sent: Option<(OpKey, Instant)>,
    /// How often it was sent.
    pub(crate) times: u32,
}

/// What programs have been told about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Idle,
    Up,
    Down,
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) record: TrustRecord,
    pub(crate) channels: Vec<Channel>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) questions: BTreeMap<Tag, Question>,
    /// The last lives of its machine and the newest first message taken in each: older ones are replays. A machine
    /// whose calendar went back when it was started anew is still heard.
    greeted: VecDeque<(u64, u64)>,
    pub(crate) heard: Option<Instant>,
    pub(crate) known: Option<(Incarnation, u64)>,
    pub(crate) standing: Standing,
    pub(crate) retry: Option<Instant>,
    pub(crate) pause: Duration,
    pub(crate) next_ping: Option<Instant>,
    pub(crate) round_trip: Option<Duration>,
    /// The newest message about its links, in this run of its daemon.
    pub(crate) links_heard: u64,
}

impl Peer {
    pub(crate) fn new(record: TrustRecord) -> Self {
        Self {
            record,
            channels: Vec::new(),
            attempt: None,
            questions: BTreeMap::new(),
            greeted: VecDeque::new(),
            heard: None,
            known: None,
            standing: Standing::Idle,
            retry: None,
            pause: RECONNECT_MIN,
            next_ping: None,
            round_trip: None,
            links_heard: 0,
        }
    }

    /// Whether a first message is new, and not a recording.
    pub(crate) fn greets(&mut self, boot: u64, timestamp: u64) -> bool {
        if let Some((_, newest)) = self.greeted.iter_mut().find(|(known, _)| *known == boot) {
            let new = timestamp > *newest;
            *newest = timestamp.max(*newest);
            return new;
        }
        if self.greeted.len() >= LIVES_MAX {
            self.greeted.pop_front();
        }
        self.greeted.push_back((boot, timestamp));
        true
    }

    /// Makes room for one more channel: replaced ones go first, then half made ones, the one in use never. A half made
    /// one may be in use at the other end already.
    pub(crate) fn surplus_channel(&mut self) -> Option<Channel> {
        if self.channels.len() < CHANNELS_PER_PEER {
            return None;
        }
        let replaced = |channel: &Channel| channel.confirmed && channel.closes.is_some();
        let half_made = |channel: &Channel| !channel.confirmed;
        let place = self.channels.iter().position(replaced);
        let place = place.or_else(|| self.channels.iter().position(half_made));
        Some(self.channels.remove(place.unwrap_or(0)))
    }

    /// The channel to ask over: the newest one that is confirmed and not too old.
    pub(crate) fn usable(&self, now: Instant) -> Option<&Channel> {
        let good = |channel: &&Channel| {
            channel.confirmed
                && channel.closes.is_none()
                && now.saturating_since(channel.since) < REJECT_AFTER
        };
        self.channels.iter().rev().find(good)
    }

    /// The node was reached there: try it there first next time. Whether the address is new.
    pub(crate) fn reached_at(&mut self, address: LinkAddress) -> bool {
        let addresses = &mut self.record.addresses;
        let known = addresses.iter().position(|known| *known == address);
        if let Some(place) = known {
            addresses.remove(place);
        }
        addresses.insert(0, address);
        addresses.truncate(ADDRESSES_MAX);
        known.is_none()
    }

    /// Everything of this peer that has to happen at some time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let attempt = self
            .attempt
            .as_ref()
            .map(|attempt| attempt.next.min(attempt.ends));
        let questions = self
            .questions
            .values()
            .map(|question| question.deadline)
            .min();
        let silence = self.questions.values().filter_map(|question| {
            let (_, at) = question.sent.filter(|_| self.attempt.is_none())?;
            at.max(self.heard.unwrap_or(at))
                .checked_add(crate::limits::SILENCE)
        });
        let closes = self
            .channels
            .iter()
            .filter_map(|channel| channel.closes)
            .min();
        [
            attempt,
            questions,
            closes,
            self.retry,
            self.next_ping,
            silence.min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
