//! Acknowledgements that are owed to the peer.

use abi::time::Instant;

use super::Lane;
use crate::config::{ACK_HOLD, ACK_HOLD_LONG};
use crate::frame::{ACK_WORDS, Ack};

/// Packets of a session's first moments that are acknowledged more often.
const EAGER_PACKETS: u64 = 32;
const EAGER_EVERY: u32 = 2;
const ACK_EVERY: u32 = 64;

/// Acknowledgements that are owed to the peer.
#[derive(Clone, Debug)]
pub(crate) struct AckDebt {
    packets: u32,
    lazy: bool,
    deadline: Option<Instant>,
    now: bool,
    largest_at: Instant,
    since_sent: u64,
    total: u64,
    /// The newest packet with content bound to the lane.
    bound: Option<u64>,
}

impl AckDebt {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            packets: 0,
            lazy: false,
            deadline: None,
            now: false,
            largest_at: now,
            since_sent: 0,
            total: 0,
            bound: None,
        }
    }

    pub(super) fn note(&mut self, now: Instant, pn: u64, newest: bool, bound: bool) {
        if newest {
            self.largest_at = now;
        }
        self.since_sent += 1;
        if bound {
            self.bound = self.bound.max(Some(pn));
        }
    }

    /// When the acknowledgement must leave.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.packets > 0)
    }

    /// Whether an acknowledgement must leave at `now`.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.packets > 0 && (self.now || self.deadline.is_some_and(|deadline| deadline <= now))
    }

    pub(crate) const fn is_owed(&self) -> bool {
        self.packets > 0
    }

    /// Whether one should go along with something long.
    pub(crate) const fn is_welcome(&self) -> bool {
        self.lazy
    }
}

/// How soon the peer should hear that a packet has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Nothing in the packet asks for it.
    Never,
    /// It is welcome along with something long.
    Lazy,
    /// An answer may carry it.
    Hold,
    /// Along with some more.
    Long,
    /// At once.
    Now,
}

impl Lane {
    /// Notes that the peer wants to hear of the packet just received.
    pub(crate) fn owe(&mut self, now: Instant, urgency: Urgency, gap: bool) {
        if self.reliable || urgency == Urgency::Never {
            return;
        }
        let debt = &mut self.debt;
        if urgency == Urgency::Lazy {
            debt.lazy = true;
            debt.now |= gap && debt.packets > 0;
            return;
        }
        debt.packets += 1;
        debt.total += 1;
        let every = if debt.total < EAGER_PACKETS {
            EAGER_EVERY
        } else {
            ACK_EVERY
        };
        let many = urgency == Urgency::Long && debt.packets >= every || debt.packets >= ACK_EVERY;
        if gap || urgency == Urgency::Now || many {
            debt.now = true;
        }
        let hold = if urgency == Urgency::Hold {
            ACK_HOLD
        } else {
            ACK_HOLD_LONG
        };
        let deadline = now + hold;
        debt.deadline = Some(
            debt.deadline
                .map_or(deadline, |earlier| earlier.min(deadline)),
        );
    }

    /// The lane is left: the acknowledgements of late may be lost with it, and the peer would send again
    /// what has arrived. They are repeated where they get through.
    pub(crate) fn owe_again(&mut self) {
        if self.reliable || self.seen.largest().is_none() {
            return;
        }
        self.debt.packets += 1;
        self.debt.now = true;
        self.debt.since_sent += 64 * ACK_WORDS as u64;
    }

    /// Whether an acknowledgement of packets on this lane may leave on another: the newest packet
    /// is not bound to it.
    pub(crate) fn may_stray(&self) -> bool {
        self.debt
            .bound
            .is_none_or(|bound| self.seen.largest() > Some(bound))
    }

    /// The acknowledgement to send now; the debt is settled. One that is to leave on another lane
    /// says nothing of packets that are bound to this, nor of older ones.
    pub(crate) fn settle_debt(&mut self, now: Instant, strays: bool) -> Option<Ack> {
        let largest = self.seen.largest()?;
        let bound = self.debt.bound.filter(|_| strays);
        let mut bitmap = [0; ACK_WORDS];
        let mut words = 0;
        let reach = 64 + 4 * self.debt.since_sent;
        let mut newest = largest.checked_sub(1);
        let mut hole = false;
        while let Some(at) = newest
            && words < ACK_WORDS
            && (hole || (words as u64) * 64 < reach)
        {
            bitmap[words] = self.seen.seen_downward(at) & above(bound, at);
            hole |= bitmap[words] != u64::MAX && at >= 63;
            words += 1;
            newest = at.checked_sub(64);
        }
        let held = now.saturating_since(self.debt.largest_at).as_micros() / 8;
        self.debt.packets = 0;
        self.debt.lazy = false;
        self.debt.deadline = None;
        self.debt.now = false;
        self.debt.since_sent = 0;
        Some(Ack {
            lane: self.id,
            largest,
            delay: u16::try_from(held).unwrap_or(u16::MAX),
            words: words as u8,
            bitmap,
        })
    }
}

/// Of the 64 packets from `newest` downward, those above `bound`.
const fn above(bound: Option<u64>, newest: u64) -> u64 {
    match bound {
        None => u64::MAX,
        Some(bound) if bound >= newest => 0,
        Some(bound) if newest - bound >= 64 => u64::MAX,
        Some(bound) => (1 << (newest - bound)) - 1,
    }
}
