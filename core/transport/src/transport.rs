//! All sessions of one process.

mod arrivals;
mod lanes;
mod remembered;
mod serving;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};

use crate::config::{
    Config, LANES_MAX, LaneParams, MTU_MAX, MTU_MIN, Protection, SLOTS_MAX, SessionParams,
};
use crate::event::{
    Cause, Event, IncomingKey, LinkIndex, Memory, OpKey, OpenError, Request, SendError, SessionKey,
};
use crate::frame::WireOp;
use crate::outgoing::Cancel;
use crate::session::{Events, Session};
use crate::summary::SessionSummary;
use crate::timers::Timers;

pub use self::arrivals::Arrivals;
use self::remembered::Remembered;

/// What [`Transport::transmit`] has written: packets for one peer, all `segment` bytes long but
/// the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub to: LinkAddress,
    /// Length of each packet in bytes.
    pub segment: usize,
    /// Length of all packets in bytes.
    pub len: usize,
}

/// All sessions of one process.
pub struct Transport {
    config: Config,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: BTreeMap<SessionId, u32>,
    events: Events,
    /// Sessions that may have something to send, each at most once.
    ready: VecDeque<u32>,
    timers: Timers,
    /// Links whose driver accepts nothing at the moment.
    full: BTreeSet<LinkIndex>,
    remembered: Remembered,
}

/// A place for a session; the generation makes old keys invalid.
struct Slot {
    generation: u32,
    session: Option<Box<Session>>,
}

impl Transport {
    /// A transport without sessions.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            events: VecDeque::new(),
            ready: VecDeque::new(),
            timers: Timers::default(),
            full: BTreeSet::new(),
            remembered: Remembered::default(),
        }
    }

    /// Opens a session. Both ends call it with mirrored parameters before the first packet.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(
        &mut self,
        now: Instant,
        mut params: SessionParams,
    ) -> Result<SessionKey, OpenError> {
        self.check(&params)?;
        for lane in &mut params.lanes {
            self.recall(now, lane);
        }
        let local = params.local;
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(Slot {
                generation: 0,
                session: None,
            });
        }
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let key = SessionKey {
            index,
            generation: slot.generation,
        };
        slot.session = Some(Box::new(Session::new(now, key, params, &self.config)));
        self.by_id.insert(local, index);
        Ok(key)
    }

    /// A link on which something can be sent at once, or `None` until the next input or timeout.
    pub fn next_link(&mut self, now: Instant) -> Option<LinkIndex> {
        while let Some(&index) = self.ready.front() {
            let full = &self.full;
            let session = self.slots[index as usize].session.as_deref_mut();
            if let Some(session) = session {
                if let Some(lane) = session.sending_lane(now, |link| full.contains(&link)) {
                    return Some(session.lanes[lane].link);
                }
                session.listed = false;
            }
            self.ready.pop_front();
            self.arm(now, index);
        }
        None
    }

    /// Writes the next packets for `link` into `space`, which must hold at least the largest
    /// packet of the link's lanes, and should hold [`Config::batch_max`] bytes on links that take
    /// batches. `None` if there is nothing to send on it, or `space` is too small.
    pub fn transmit(
        &mut self,
        now: Instant,
        link: LinkIndex,
        space: &mut [u8],
        memory: &mut dyn Memory,
    ) -> Option<Transmit> {
        for _ in 0..self.ready.len() {
            let index = self.ready.pop_front()?;
            let full = &self.full;
            let Some(session) = self.slots[index as usize].session.as_deref_mut() else {
                continue;
            };
            let Some(lane) = session.sending_lane(now, |link| full.contains(&link)) else {
                session.listed = false;
                self.arm(now, index);
                continue;
            };
            // Sessions take turns.
            self.ready.push_back(index);
            if session.lanes[lane].link == link {
                let to = session.lanes[lane].place.at();
                let sent = session.transmit(now, lane, space, memory, &mut self.events);
                if sent.is_none() {
                    session.listed = false;
                    self.ready.pop_back();
                    self.arm(now, index);
                    return None;
                }
                self.touched(now, index);
                return sent.map(|(len, segment)| Transmit { to, segment, len });
            }
        }
        None
    }

    /// The driver accepts no packets: the link is not offered by [`Self::next_link`] until
    /// [`Self::link_ready`].
    pub fn link_full(&mut self, _now: Instant, link: LinkIndex) {
        self.full.insert(link);
    }

    /// The driver accepts packets again.
    pub fn link_ready(&mut self, now: Instant, link: LinkIndex) {
        if self.full.remove(&link) {
            self.for_lanes_of(now, link, |_, _, _| {});
        }
    }

    /// When to call [`Self::handle_timeout`] at the latest. May be earlier than needed.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(index) = self.timers.pop_due(now) {
            if let Some(session) = self.slots[index as usize].session.as_deref_mut() {
                let due = session.armed.take().unwrap_or(now);
                session.handle_timeout(now, due, &mut self.events);
                self.touched(now, index);
            }
        }
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Asks the peer for an operation. It ends by exactly one of [`Event::Replied`],
    /// [`Event::Refused`] and [`Event::Failed`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed.
    #[doc(alias = "MsgSend")]
    pub fn send(
        &mut self,
        now: Instant,
        session: SessionKey,
        request: Request,
    ) -> Result<OpKey, SendError> {
        let (open, events) = self.parts(session).ok_or(SendError::Closed)?;
        let op = open.send(&request, events)?;
        self.touched(now, session.index);
        Ok(op)
    }

    /// Asks the peer to give the operation up; `reason` is the peer's to read. The operation still
    /// ends by an event. Does nothing for an operation that has ended.
    pub fn cancel(&mut self, now: Instant, op: OpKey, reason: u8) {
        let cancel = Cancel {
            reason,
            cause: Cause::Cancelled,
        };
        let wire = WireOp {
            slot: op.slot,
            seq: op.seq,
        };
        if let Some((session, events)) = self.parts(op.session) {
            session.cancel(now, wire, cancel, events);
            self.touched(now, op.session.index);
        }
    }

    /// Whether an authentic packet of the peer has arrived since `since`, or nothing was expected then.
    #[must_use]
    pub fn is_heard_since(&mut self, session: SessionKey, since: Instant) -> bool {
        self.parts(session)
            .is_some_and(|(open, _)| open.is_heard_since(since))
    }

    /// Checks that the peer lives: the session is closed with [`Cause::Link`] unless an authentic
    /// packet arrives within `bound`.
    pub fn verify(&mut self, now: Instant, session: SessionKey, bound: Duration) {
        if let Some((open, _)) = self.parts(session) {
            open.verify(now + bound);
            self.touched(now, session.index);
        }
    }

    /// Closes a session and tells the peer `code`. Operations end with [`Cause::Closed`].
    pub fn close(&mut self, now: Instant, session: SessionKey, code: u16) {
        if let Some((open, events)) = self.parts(session) {
            open.close(now, code, Cause::Closed, events);
            self.touched(now, session.index);
        }
    }

    /// Ends a session whose peer is known to be dead. Operations end with `cause`.
    pub fn abandon(&mut self, now: Instant, session: SessionKey, cause: Cause) {
        if let Some((open, events)) = self.parts(session) {
            open.end(cause, events);
            self.touched(now, session.index);
        }
    }

    /// The session with this local id.
    #[must_use]
    pub fn session(&self, local: SessionId) -> Option<SessionKey> {
        let index = *self.by_id.get(&local)?;
        let session = self.slots[index as usize].session.as_ref()?;
        session.is_open().then_some(session.key)
    }

    /// All open sessions, in the order of their indices.
    pub fn sessions(&self) -> impl Iterator<Item = SessionSummary> + '_ {
        let sessions = self.slots.iter().filter_map(|slot| slot.session.as_deref());
        sessions
            .filter(|session| session.is_open())
            .map(Session::summary)
    }

    /// What is known of one session, unless it has ended.
    #[must_use]
    pub fn summary(&self, session: SessionKey) -> Option<SessionSummary> {
        let slot = self.slots.get(session.index())?;
        let open = slot.session.as_deref().filter(|open| open.is_open())?;
        Some(open.summary()).filter(|summary| summary.session == session)
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn check(&self, params: &SessionParams) -> Result<(), OpenError> {
        if self.by_id.len() >= self.config.sessions_max as usize {
            return Err(OpenError::TooManySessions);
        }
        if params.local == SessionId(0) || self.by_id.contains_key(&params.local) {
            return Err(OpenError::IdInUse);
        }
        let lanes = &params.lanes;
        let doubled = |i: usize| lanes[..i].iter().any(|lane| lane.id == lanes[i].id);
        if lanes.is_empty()
            || lanes.len() > LANES_MAX
            || (0..lanes.len()).any(|i| doubled(i) || usize::from(lanes[i].id) >= LANES_MAX)
        {
            return Err(OpenError::BadLanes);
        }
        if lanes
            .iter()
            .any(|lane| !(MTU_MIN..=MTU_MAX).contains(&lane.mtu))
        {
            return Err(OpenError::BadMtu);
        }
        let sealed = |lane: &LaneParams| lane.protection == Protection::Sealed;
        if params.cipher.is_none() && lanes.iter().any(sealed) {
            return Err(OpenError::CipherRequired);
        }
        if params.slots == 0 || params.slots > SLOTS_MAX {
            return Err(OpenError::BadSlots);
        }
        Ok(())
    }

    /// An open session and the list its events go to.
    fn parts(&mut self, key: SessionKey) -> Option<(&mut Session, &mut Events)> {
        let Self { slots, events, .. } = self;
        let slot = slots.get_mut(key.index as usize)?;
        let session = slot.session.as_deref_mut()?;
        (slot.generation == key.generation && session.is_open()).then_some((session, events))
    }

    /// Something about a session has changed: it may have something to send, or be over.
    fn touched(&mut self, now: Instant, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(session) = slot.session.as_deref_mut() else {
            return;
        };
        if session.ended.is_some() {
            for lane in &session.lanes {
                self.remembered.learn(session.busy_at, lane);
            }
            self.timers.disarm(session.armed, index);
            self.by_id.remove(&session.local);
            if session.listed {
                self.ready.retain(|listed| *listed != index);
            }
            slot.session = None;
            self.free.push(index);
            return;
        }
        if session.dormant && !session.queue.is_empty() {
            session.wake_up(now);
        }
        // Nothing can leave, so nothing else would notice that the peer stays away.
        if session.active == 0 && session.is_open() && session.has_open_operations() {
            session.expect_answer(now);
        }
        if !session.listed {
            session.listed = true;
            self.ready.push_back(index);
        }
        self.arm(now, index);
    }

    fn arm(&mut self, now: Instant, index: u32) {
        if let Some(session) = self.slots[index as usize].session.as_deref_mut() {
            // Never in the past, so that one look at all that is due comes to an end.
            let deadline = session.deadline(now).map(|at| at.max(now + TIMER_STEP));
            self.timers.arm(&mut session.armed, deadline, index);
        }
    }
}

/// Finest step of the timers.
const TIMER_STEP: Duration = Duration::from_micros(1);

const fn wire(key: IncomingKey) -> WireOp {
    WireOp {
        slot: key.slot,
        seq: key.seq,
    }
}
