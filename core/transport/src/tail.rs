//! The end of a long message: what is still on a slow lane is given to a faster one, too, when
//! that has nothing else to do.

use abi::time::{Duration, Instant};

use crate::choice::lanes;
use crate::policy::Route;
use crate::recovery::SentFrame;
use crate::session::Session;

/// Fragments from which on a message is long.
const FRAGMENTS_MIN: u64 = 8;
/// Most copies, as a share of all bytes, and the time over which both are counted.
const SHARE: u64 = 50;
const PERIOD: Duration = Duration::from_secs(1);
/// Most packets copied at one look.
const COPIES_MAX: usize = 16;

/// How much was copied of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// The end of a long message has left and may be worth a copy.
    armed: bool,
    since: Instant,
    carried: u64,
    copied: u64,
}

impl Tail {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            armed: false,
            since: now,
            carried: 0,
            copied: 0,
        }
    }

    /// Whether so many bytes more may be copied, when `carried` were sent in all.
    fn allows(&mut self, now: Instant, bytes: u64, carried: u64) -> bool {
        if self.since + PERIOD < now {
            *self = Self {
                armed: self.armed,
                since: now,
                carried,
                copied: 0,
            };
        }
        (self.copied + bytes) * SHARE <= carried - self.carried
    }
}

impl Session {
    /// All of a message of `bytes` has left on a lane.
    pub(crate) fn message_sent(&mut self, index: usize, bytes: u64) {
        let long = bytes >= FRAGMENTS_MIN * self.lanes[index].size.packet() as u64;
        self.tail.armed |= long && self.lanes.len() > 1;
    }

    /// Nothing is queued: looks for something in flight that would arrive sooner on another lane,
    /// and queues it.
    pub(crate) fn find_tail(&mut self, now: Instant) {
        if !self.tail.armed || self.active.count_ones() < 2 {
            return;
        }
        for _ in 0..COPIES_MAX {
            let Some((lane, pn)) = self.late_packet(now) else {
                break;
            };
            let packet = self.lanes[lane].size.packet() as u64;
            if !self.tail.allows(now, packet, self.carried) {
                break;
            }
            self.tail.copied += packet;
            self.copy(lane, pn);
        }
        self.tail.armed = self.lanes.iter().any(|lane| lane.flight.bytes() > 0);
    }

    /// The newest packet on some lane that another lane would deliver sooner, from now on.
    fn late_packet(&mut self, now: Instant) -> Option<(usize, u64)> {
        let mut soonest = (f64::INFINITY, 0);
        for index in lanes(self.active) {
            let lane = &mut self.lanes[index];
            let (outlook, ready) = lane.outlook(now, false);
            let arrival = outlook.start + lane.size.packet() as f64 / outlook.rate;
            if ready && arrival < soonest.0 {
                soonest = (arrival, index);
            }
        }
        let (arrival, best) = soonest;
        lanes(self.active)
            .filter(|index| *index != best)
            .find_map(|index| {
                let (pn, due) = self.due(now, index)?;
                (due > arrival).then_some((index, pn))
            })
    }

    /// The newest packet of a lane, and in how many nanoseconds it arrives at the latest.
    fn due(&mut self, now: Instant, index: usize) -> Option<(u64, f64)> {
        let lane = &mut self.lanes[index];
        if lane.reliable {
            return None;
        }
        let (pn, sent) = lane.flight.newest_alone()?;
        let (outlook, _) = lane.outlook(now, true);
        let rtt = lane.control.min_rtt().or(lane.rtt.smoothed())?;
        let slack = lane.rtt.variation().as_nanos() as f64 - rtt.as_nanos() as f64 / 16.0;
        let passed = now.saturating_since(sent).as_nanos() as f64;
        Some((pn, outlook.start - passed + slack))
    }

    /// Queues the content of a packet once more, so far as it may use any lane.
    fn copy(&mut self, lane: usize, pn: u64) {
        let mut frames = core::mem::take(&mut self.scratch);
        self.lanes[lane].flight.copy(pn, &mut frames);
        frames.retain(|frame| {
            let route = match frame {
                SentFrame::Request { op, .. } => self.calls.get(*op).map(|call| call.route),
                SentFrame::Reply { op, .. } => self.served.get(*op).map(|incoming| incoming.route),
                SentFrame::Pulled { id, .. } => self.transfers.servings.get(id).map(|s| s.route),
                SentFrame::Pushed { id, .. } => self.transfers.get(*id).map(|push| push.route),
                _ => None,
            };
            route == Some(Route::Any)
        });
        self.lost(&mut frames);
        self.scratch = frames;
    }
}
