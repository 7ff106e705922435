//! Lanes for sessions that live, over links that came later: the client's node sees the way, the server's node plans.
//!
//! The node of the client asks, once for each way that has begun to work; the server takes its lanes first, so that it
//! hears what the client sends over them. The session's keys hold for all its lanes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::peer::{Extend, Mtu, PeerMoreLanes, PeerReply, PeerRequest};
use abi::system::{
    self, Lane, LaneState, MoreLanes, Notice, OwnSockets, SessionRole, SocketOnLink,
};
use abi::{Errno, Instant, SessionId};
use transport::IncomingKey;

use super::Node;
use super::peer_answers::Ask;
use super::requests::Call;
use crate::interface::{Attached, ProgramKey};
use crate::limits::{LINKS_MAX, OFFER_WAIT, OFFERS_PER_PEER};
use crate::network_manager::lanes::{LanePlan, Sockets, is_protected, same_host};
use crate::process_manager::sessions::Session;

/// Sessions that are extended at once; the others follow.
const AT_ONCE: usize = 64;
/// After the first failure, before the same session is tried again: the other node may not have heard of the way. Doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// Failures in a row after which a session is left as it is.
const TRIES_MAX: u32 = 8;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// Where programs are, by their own word.
    sockets: BTreeMap<ProgramKey, Vec<SocketOnLink>>,
    /// Sessions of clients here.
    attempts: BTreeMap<SessionId, Attempt>,
    /// Servers here that have not answered, by the serials of their notices.
    asked: BTreeMap<u32, Asked>,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    node: u16,
    failures: u32,
    /// When to try again; `None` while an answer is awaited, or after too many failures.
    next: Option<Instant>,
    waits: bool,
}

#[derive(Debug)]
struct Asked {
    program: ProgramKey,
    node: u16,
    incoming: IncomingKey,
    session: SessionId,
    plans: Vec<LanePlan>,
    deadline: Instant,
}

impl Extensions {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let answers = self.asked.values().map(|asked| asked.deadline);
        let tries = self.attempts.values().filter_map(|attempt| attempt.next);
        answers.chain(tries).min()
    }

    /// A program has these sockets; of each link, the last word counts.
    pub(super) fn learn(&mut self, program: ProgramKey, sockets: &[SocketOnLink]) {
        let known = self.sockets.entry(program).or_default();
        known.retain(|old| !sockets.iter().any(|new| new.link == old.link));
        known.extend(sockets.iter().take(LINKS_MAX));
        known.truncate(LINKS_MAX);
    }

    fn failed(&mut self, now: Instant, session: SessionId) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            let pause = PAUSE * (1 << attempt.failures.min(TRIES_MAX));
            attempt.failures += 1;
            attempt.waits = false;
            attempt.next = now
                .checked_add(pause)
                .filter(|_| attempt.failures < TRIES_MAX);
        }
    }
}

impl Node {
    /// A program says where it is.
    pub(super) fn sockets(&mut self, now: Instant, program: ProgramKey, own: &OwnSockets) {
        let Ok(sockets) = self.checked_sockets(&own.sockets) else {
            return;
        };
        self.extensions.learn(program, &sockets);
        let sessions = self.processes.sessions.of_program(program);
        let mut nodes: Vec<u16> = sessions.map(|session| session.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            self.extend_sessions(now, node);
        }
    }

    /// Ways to a node may have begun to work: sessions of clients here that can use them are extended.
    pub(super) fn extend_sessions(&mut self, now: Instant, node: u16) {
        if node == 0 {
            return;
        }
        let waiting = self.extensions.attempts.values().filter(|a| a.waits);
        let room = AT_ONCE.saturating_sub(waiting.count());
        let sessions = self.processes.sessions.with_node(node);
        let free = |session: &&Session| {
            let attempt = self.extensions.attempts.get(&session.local);
            attempt.is_none_or(|a| !a.waits && a.next.is_none_or(|at| at <= now))
        };
        let chosen = sessions.filter(free).filter_map(|session| {
            let extend = self.extension(session)?;
            Some((session.local, extend))
        });
        let chosen: Vec<(SessionId, Extend)> = chosen.take(room).collect();
        for (session, extend) in chosen {
            let attempt = self.extensions.attempts.entry(session);
            let attempt = attempt.or_insert(Attempt {
                node,
                failures: 0,
                next: None,
                waits: false,
            });
            if attempt.failures >= TRIES_MAX {
                continue;
            }
            (attempt.waits, attempt.next) = (true, None);
            let ask = Ask::Extended { session };
            let request = PeerRequest::Extend(extend);
            if self.ask(now, node, ask, &request).is_err() {
                self.extensions.failed(now, session);
            }
        }
    }

    /// What to ask for a session; `None` if no way leads to the peer that the session does not use.
    fn extension(&self, session: &Session) -> Option<Extend> {
        if session.role != SessionRole::Client || session.lanes.len() >= LINKS_MAX {
            return None;
        }
        let ways = self.network.monitor.ways(session.node);
        let is_new = |socket: &&SocketOnLink| {
            ways.iter().any(|way| {
                let used =
                    |lane: &Lane| lane.link == way.ours || same_host(&lane.peer, &way.row.peer);
                way.ours == socket.link
                    && way.row.state == LaneState::Up
                    && !session.lanes.iter().any(used)
            })
        };
        let known = self.extensions.sockets.get(&session.program)?;
        let sockets: Vec<SocketOnLink> = known.iter().filter(is_new).copied().collect();
        let mtu = |socket: &SocketOnLink| {
            let link = self.config.links.get(usize::from(socket.link));
            link.map(|link| Mtu { bytes: link.mtu })
        };
        let mtu: Option<Vec<Mtu>> = sockets.iter().map(mtu).collect();
        let pair = session.pair();
        (!sockets.is_empty()).then_some(Extend {
            session: pair,
            sockets,
            mtu: mtu?,
        })
    }

    /// Another node wants more lanes for one of its clients.
    pub(super) fn peer_extends(
        &mut self,
        now: Instant,
        node: u16,
        incoming: IncomingKey,
        extend: &Extend,
    ) -> Result<(), Errno> {
        let of_node = self.extensions.asked.values().filter(|a| a.node == node);
        if of_node.count() >= OFFERS_PER_PEER {
            return Err(Errno::EAGAIN);
        }
        let session = self.processes.sessions.named(node, extend.session);
        let session = session
            .filter(|session| session.role == SessionRole::Server)
            .ok_or(Errno::ESRCH)?;
        if extend.sockets.len() != extend.mtu.len() || extend.sockets.len() > LINKS_MAX {
            return Err(Errno::EBADMSG);
        }
        let client = Sockets {
            sockets: &extend.sockets,
            mtu: &extend.mtu,
        };
        let plans = self
            .network
            .plan_more_lanes(incoming.session(), client, &session.lanes);
        if plans.is_empty() {
            return Err(Errno::EHOSTUNREACH);
        }
        let (local, program) = (session.local, session.program);
        let busy = |asked: &Asked| asked.session == local;
        if self.extensions.asked.values().any(busy) {
            return Err(Errno::EALREADY);
        }
        let notice = Notice::MoreLanes(MoreLanes {
            session: local,
            lanes: plans.iter().map(LanePlan::for_server).collect(),
        });
        self.extensions.last = self.extensions.last.checked_add(1).unwrap_or(1);
        let serial = self.extensions.last;
        let asked = Asked {
            program,
            node,
            incoming,
            session: local,
            plans,
            deadline: now.checked_add(OFFER_WAIT).unwrap_or(now),
        };
        self.extensions.asked.insert(serial, asked);
        self.send(program, serial, &notice, Attached::Nothing);
        Ok(())
    }

    /// A server has taken lanes.
    pub(super) fn took_lanes(&mut self, now: Instant, call: Call, own: &OwnSockets) {
        let theirs = |asked: &Asked| asked.program == call.program;
        if !self.extensions.asked.get(&call.serial).is_some_and(theirs) {
            return;
        }
        let Some(asked) = self.extensions.asked.remove(&call.serial) else {
            return;
        };
        let sockets = self.checked_sockets(&own.sockets).unwrap_or_default();
        let taken = asked.plans.iter().filter_map(|plan| {
            let there = plan.for_client(&sockets)?;
            Some((plan.for_server(), there))
        });
        let (ours, lanes): (Vec<Lane>, Vec<Lane>) = taken.unzip();
        if lanes.is_empty() {
            return self
                .network
                .refuse(now, asked.incoming, Errno::EHOSTUNREACH);
        }
        self.processes.sessions.extend(asked.session, &ours);
        self.route(asked.session, &ours);
        let more = PeerMoreLanes { lanes };
        self.network
            .answer(now, asked.incoming, &PeerReply::MoreLanes(more));
    }

    /// The other node has answered: the client gets what the server has.
    pub(super) fn extended(
        &mut self,
        now: Instant,
        node: u16,
        local: SessionId,
        answer: Result<PeerReply, Errno>,
    ) {
        let session = self.processes.sessions.get(local);
        let session = session.filter(|session| session.node == node);
        let lanes = match (session, answer) {
            (Some(session), Ok(PeerReply::MoreLanes(more))) if self.is_sound(session, &more) => {
                more.lanes
            }
            _ => {
                self.extensions.failed(now, local);
                return self.extend_sessions(now, node);
            }
        };
        let program = session.map(|session| session.program);
        self.extensions.attempts.remove(&local);
        self.processes.sessions.extend(local, &lanes);
        self.route(local, &lanes);
        if let Some(program) = program {
            let notice = Notice::MoreLanes(MoreLanes {
                session: local,
                lanes,
            });
            self.send(program, system::UNSOLICITED, &notice, Attached::Nothing);
        }
        self.extend_sessions(now, node);
    }

    /// Whether another node's answer can be true: lanes over links of ours that the session does not use, protected as we
    /// demand, with numbers that are free.
    fn is_sound(&self, session: &Session, more: &PeerMoreLanes) -> bool {
        let known = self.extensions.sockets.get(&session.program);
        let mut seen = session.lanes.clone();
        more.lanes.iter().all(|lane| {
            let has = known.is_some_and(|known| known.iter().any(|s| s.link == lane.link));
            let used = |other: &Lane| other.link == lane.link || other.id == lane.id;
            let fits = has && !seen.iter().any(used) && usize::from(lane.id) < LINKS_MAX;
            seen.push(*lane);
            fits && is_protected(&self.config.links, lane)
        })
    }

    /// Tries again what has failed, and gives up servers that do not answer.
    pub(super) fn drive_extensions(&mut self, now: Instant) {
        let late = |asked: &Asked| asked.deadline <= now;
        let over = self.extensions.asked.extract_if(.., |_, asked| late(asked));
        let over: Vec<IncomingKey> = over.map(|(_, asked)| asked.incoming).collect();
        for incoming in over {
            self.network.refuse(now, incoming, Errno::ETIMEDOUT);
        }
        let sessions = &self.processes.sessions;
        let attempts = &mut self.extensions.attempts;
        attempts.retain(|session, _| sessions.get(*session).is_some());
        let due = attempts
            .values_mut()
            .filter(|a| a.next.is_some_and(|at| at <= now));
        let mut nodes = Vec::new();
        for attempt in due {
            attempt.next = None;
            nodes.push(attempt.node);
        }
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            self.extend_sessions(now, node);
        }
    }

    /// A program is gone.
    pub(super) fn forget_sockets(&mut self, now: Instant, program: ProgramKey) {
        self.extensions.sockets.remove(&program);
        let theirs = |asked: &Asked| asked.program == program;
        let over = self
            .extensions
            .asked
            .extract_if(.., |_, asked| theirs(asked));
        let over: Vec<IncomingKey> = over.map(|(_, asked)| asked.incoming).collect();
        for incoming in over {
            self.network.refuse(now, incoming, Errno::ESRCH);
        }
    }
}
