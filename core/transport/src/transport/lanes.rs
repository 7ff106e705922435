//! What happens to links and lanes.

use abi::time::Instant;

use super::Transport;
use crate::config::{LANES_MAX, LaneParams, MTU_MAX, MTU_MIN, Protection};
use crate::event::{LinkIndex, OpenError, SessionKey};
use crate::lane::Lane;
use crate::session::{Events, Session};
use crate::summary::{LaneReason, LaneReport};

/// Sessions that are looked at for what they have measured.
const RECALLED_MAX: usize = 64;

impl Transport {
    /// The link has failed: what is in flight on it goes to other lanes at once.
    pub fn link_down(&mut self, now: Instant, link: LinkIndex) {
        self.full.remove(&link);
        self.for_lanes_of(now, link, |session, lane, events| {
            session.lane_down(now, lane, LaneReason::Link, events);
        });
    }

    /// The link may work again: its lanes are probed and return when they answer.
    pub fn link_up(&mut self, now: Instant, link: LinkIndex) {
        self.for_lanes_of(now, link, |session, lane, events| {
            session.lane_up(now, lane, LaneReason::Link, events);
        });
    }

    /// The link's socket was made anew, perhaps with another address: its lanes are probed at once,
    /// so that the peers learn where the packets come from now.
    pub fn rebound(&mut self, now: Instant, link: LinkIndex) {
        self.for_lanes_of(now, link, |session, lane, events| {
            session.lane_rebound(now, lane, events);
        });
    }

    /// Takes what the node daemon says of a lane. Does nothing for a lane that does not exist.
    pub fn report_lane(&mut self, now: Instant, session: SessionKey, lane: u8, report: LaneReport) {
        if let Some((open, events)) = self.parts(session)
            && let Some(index) = open.lanes.iter().position(|known| known.id == lane)
        {
            open.lane_report(now, index, &report, events);
            self.touched(now, session.index);
        }
    }

    /// Gives a session one more lane. Both ends do it, in any order: what one end sends on it before the other end has
    /// it is lost, and recovered like any loss.
    ///
    /// # Errors
    /// [`OpenError::BadLanes`] if the session is gone, has a lane of this number, or has all it can have;
    /// [`OpenError::BadMtu`]; [`OpenError::CipherRequired`]. Nothing was changed.
    pub fn add_lane(
        &mut self,
        now: Instant,
        session: SessionKey,
        lane: &LaneParams,
    ) -> Result<(), OpenError> {
        self.check_lane(session, lane)?;
        let config = self.config;
        let mut lane = lane.clone();
        self.recall(now, &mut lane);
        let (open, _) = self.parts(session).ok_or(OpenError::BadLanes)?;
        open.add_lane(Lane::new(now, &lane, &config));
        self.touched(now, session.index);
        Ok(())
    }

    /// Whether a session can be given one more lane, as [`Self::add_lane`] would. Nothing is changed.
    ///
    /// # Errors
    /// Those of [`Self::add_lane`].
    pub fn check_lane(&mut self, session: SessionKey, lane: &LaneParams) -> Result<(), OpenError> {
        if !(MTU_MIN..=MTU_MAX).contains(&lane.mtu) {
            return Err(OpenError::BadMtu);
        }
        let (open, _) = self.parts(session).ok_or(OpenError::BadLanes)?;
        let full = open.lanes.len() >= LANES_MAX || usize::from(lane.id) >= LANES_MAX;
        if full || open.lanes.iter().any(|other| other.id == lane.id) {
            return Err(OpenError::BadLanes);
        }
        if open.cipher.is_none() && lane.protection == Protection::Sealed {
            return Err(OpenError::CipherRequired);
        }
        Ok(())
    }

    /// Completes what is known of a new lane by what other sessions have measured.
    pub(super) fn recall(&mut self, now: Instant, lane: &mut LaneParams) {
        for slot in self.slots.iter().rev().take(RECALLED_MAX) {
            let Some(session) = slot.session.as_deref() else {
                continue;
            };
            for other in session.lanes.iter().filter(|other| other.link == lane.link) {
                self.remembered.learn(session.busy_at, other);
            }
        }
        self.remembered.complete(now, lane);
    }

    pub(super) fn for_lanes_of(
        &mut self,
        now: Instant,
        link: LinkIndex,
        each: impl Fn(&mut Session, usize, &mut Events),
    ) {
        for index in 0..self.slots.len() {
            let Some(session) = self.slots[index].session.as_deref_mut() else {
                continue;
            };
            let mut concerned = false;
            for lane in 0..session.lanes.len() {
                if session.lanes[lane].link == link {
                    each(session, lane, &mut self.events);
                    concerned = true;
                }
            }
            if concerned {
                self.touched(now, index as u32);
            }
        }
    }
}
