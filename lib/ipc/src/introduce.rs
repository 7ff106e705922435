//! Being introduced to a peer: tickets, offers, and the lanes they lead to.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::system::{
    Accept, DeathCause, Lane, LaneState as RowState, MoreLanes, Notice, Offer, OpenSession,
    OwnSockets, Protection as Sealing, Refuse, Reply, Request, SessionSecret, SocketOnLink, Ticket,
    UNSOLICITED,
};
use abi::{Duration, Errno, Instant, Nd, Result, SessionId};
use drivers::{MemoryDriver, MemoryParts, Silent};
use transport::keys::Secret;
use transport::{Cause, LaneParams, Protection, Role, SessionKey, SessionParams};

use crate::cipher::AeadCipher;
use crate::client_rights::known;
use crate::clock;
use crate::lanes::SessionLane;
use crate::session::{NewSession, NewSide, Peer};
use crate::shared::{Shared, State};

impl Shared {
    /// Opens a session by way of the node daemons.
    pub(crate) fn introduce(&self, nd: Nd, peer: &Peer) -> Result<SessionKey> {
        let mut open = OpenSession {
            nd,
            pid: peer.pid,
            identity: peer.identity.clone(),
            sockets: Vec::new(),
        };
        let mut descriptors = Vec::new();
        let mut silent = None;
        if nd.is_local() {
            let (rings, memfd) = Silent::create(RING).map_err(|_| Errno::ENFILE)?;
            descriptors = vec![Arc::new(memfd)];
            silent = Some(rings);
        } else {
            self.open_relay()?;
            let mut state = self.enter()?;
            open.sockets = state.own_sockets()?;
            // Before the session exists: a daemon that dies right after it takes the name along.
            state.node.learn_name(nd);
        }
        let (reply, doorbells) = self.request_with(&Request::OpenSession(open), descriptors)?;
        let ticket = granted(reply)?;
        let memory = silent.map(|silent| join(silent, doorbells));
        let memory = match memory.transpose() {
            Ok(memory) => memory.map(Arc::new),
            Err(errno) => {
                self.enter()?.node.session_ended(ticket.local);
                return Err(errno);
            }
        };
        let mut state = self.enter()?;
        let Ticket {
            local,
            peer: remote,
            incarnation,
            secret,
            lanes,
            slots,
            unscheduled,
            proof,
            ..
        } = ticket;
        let mut params = SessionParams::new(local, remote, Role::Client);
        params.slots = slots;
        params.unscheduled = unscheduled;
        let installed = self.dress(
            &mut state,
            &mut params,
            secret.as_ref(),
            &lanes,
            memory.is_some(),
        );
        let installed = installed.and_then(|()| {
            let (side, pid) = (NewSide::Client(peer.clone()), peer.pid);
            let new = NewSession {
                params,
                memory,
                lifeline: None,
                nd,
                pid,
                incarnation,
                proof,
                side,
            };
            state.install(clock::now(), new)
        });
        if installed.is_err() {
            state.node.session_ended(local);
        }
        state.node.learn_name(nd);
        self.settle(state);
        installed
    }

    /// Gives a session its cipher and lanes.
    fn dress(
        &self,
        state: &mut State,
        params: &mut SessionParams,
        secret: Option<&SessionSecret>,
        lanes: &[Lane],
        is_memory: bool,
    ) -> Result {
        if is_memory {
            return Ok(());
        }
        let secret = secret.ok_or(Errno::EPROTO)?;
        if lanes.iter().any(|lane| lane.protection == Sealing::Sealed) {
            let cipher = AeadCipher::new(&secret.0, params.role, Arc::clone(self.guard()));
            params.cipher = Some(Box::new(cipher));
            let mut challenge = Secret::ZERO;
            getrandom::fill(&mut challenge.0).map_err(|_| Errno::EIO)?;
            params.challenge = Some(challenge);
        }
        for lane in lanes {
            params.lanes.push(state.lane_params(lane)?.0);
        }
        Ok(())
    }

    /// The daemon says something unasked.
    pub(crate) fn noticed(
        &self,
        state: &mut State,
        now: Instant,
        serial: u32,
        notice: Notice,
        descriptors: Vec<OwnedFd>,
    ) {
        match notice {
            Notice::Offer(offer) => {
                let answer = match self.accept(state, now, offer, descriptors) {
                    Ok(accept) => Request::Accept(accept),
                    Err(errno) => Request::Refuse(Refuse { errno }),
                };
                state.node.tell(serial, &answer);
            }
            Notice::Death(death) => {
                let cause = match death.cause {
                    DeathCause::Process | DeathCause::Session => Cause::Server,
                    DeathCause::Node => Cause::Node,
                };
                state.for_sessions(&death.sessions, |state, key| {
                    state.peer_died(now, key, cause)
                });
            }
            Notice::Verify(verify) => {
                state.for_sessions(&verify.sessions, |state, key| {
                    state.transport.verify(now, key, VERIFY_MAX);
                    state.pump(now);
                });
            }
            Notice::Links(links) => state.links_changed(now, links.links),
            Notice::Lanes => state.pump(now),
            Notice::MoreLanes(more) => {
                let sockets = state.more_lanes(now, &more);
                if serial != UNSOLICITED {
                    let took = Request::TookLanes(OwnSockets { sockets });
                    state.node.tell(serial, &took);
                }
            }
            Notice::Rights(new) => self.new_rights(state, &new),
            Notice::Revoke(revoke) => {
                state.for_sessions(&revoke.sessions, |state, key| {
                    state.end_session(now, key, Cause::Node);
                    state.pump(now);
                });
            }
        }
    }

    fn accept(
        &self,
        state: &mut State,
        now: Instant,
        offer: Offer,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Accept> {
        let Offer {
            local,
            peer,
            credentials,
            user,
            rights,
            incarnation,
            secret,
            lanes,
            proof,
        } = offer;
        let mut memory = None;
        if secret.is_none() {
            let [memfd, rings, hears] =
                <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| Errno::EPROTO)?;
            let parts = MemoryParts {
                memfd,
                rings,
                hears,
            };
            let driver = MemoryDriver::attach(parts).map_err(|_| Errno::EPROTO)?;
            memory = Some(Arc::new(driver));
        }
        let mut params = SessionParams::new(local, peer, Role::Server);
        params.slots = SLOTS;
        self.dress(
            state,
            &mut params,
            secret.as_ref(),
            &lanes,
            memory.is_some(),
        )?;
        let mut sockets = Vec::new();
        for lane in &lanes {
            let socket = SocketOnLink {
                link: lane.link,
                address: state.socket_on(lane.link)?.1,
            };
            if !sockets.contains(&socket) {
                sockets.push(socket);
            }
        }
        let unscheduled = params.unscheduled;
        let (nd, pid) = (credentials.node, credentials.pid);
        let side = NewSide::Server {
            credentials,
            user,
            rights: known(&rights),
        };
        state.node.learn_name(nd);
        let new = NewSession {
            params,
            memory,
            lifeline: None,
            nd,
            pid,
            incarnation,
            proof,
            side,
        };
        state.install(now, new)?;
        Ok(Accept {
            sockets,
            slots: SLOTS,
            unscheduled,
        })
    }
}

impl State {
    pub(crate) fn for_sessions(
        &mut self,
        sessions: &[SessionId],
        mut act: impl FnMut(&mut Self, SessionKey),
    ) {
        for local in sessions {
            if let Some(key) = self.sessions.by_local(*local) {
                act(self, key);
            }
        }
    }

    /// The sockets of this endpoint on all links of the node, opened on first use.
    fn own_sockets(&mut self) -> Result<Vec<SocketOnLink>> {
        let there = self
            .node
            .links
            .iter()
            .filter(|link| !link.address.is_none());
        let links: Vec<u8> = there.map(|link| link.index).collect();
        let mut sockets = Vec::new();
        let mut failure = Errno::ENOREMOTE;
        for link in links {
            match self.socket_on(link) {
                Ok((_, address)) => sockets.push(SocketOnLink { link, address }),
                Err(errno) => failure = errno,
            }
        }
        if sockets.is_empty() {
            Err(failure)
        } else {
            Ok(sockets)
        }
    }
}

impl State {
    /// A lane as the transport takes it, and the socket that it goes over, which is opened on first use.
    fn lane_params(&mut self, lane: &Lane) -> Result<(LaneParams, SocketOnLink)> {
        let (link, address) = self.socket_on(lane.link)?;
        let row = self.row_of(lane.link, &lane.peer);
        let known = row.filter(|row| row.state == RowState::Up);
        let params = LaneParams {
            protection: protection(lane.protection),
            rtt: known.and_then(|row| row.rtt),
            rate: known.and_then(|row| row.rate),
            ..LaneParams::new(lane.id, link, lane.peer, u32::from(lane.mtu))
        };
        let socket = SocketOnLink {
            link: lane.link,
            address,
        };
        Ok((params, socket))
    }

    /// A session gets lanes over links that came later. Those that it cannot have are left out; answers the sockets of the
    /// others.
    fn more_lanes(&mut self, now: Instant, more: &MoreLanes) -> Vec<SocketOnLink> {
        let mut taken = Vec::new();
        let Some(key) = self.sessions.by_local(more.session) else {
            return taken;
        };
        for lane in &more.lanes {
            let Ok((params, socket)) = self.lane_params(lane) else {
                continue;
            };
            if self.transport.add_lane(now, key, &params).is_err() {
                continue;
            }
            if let Some(session) = self.sessions.get_mut(key) {
                session.lanes.push(SessionLane::new(&params, lane.link));
            }
            self.focus_links(&[params.link]);
            taken.push(socket);
        }
        self.lane_book.look_again();
        self.pump(now);
        taken
    }

    /// Tells the node where this endpoint is, if it has sessions that can get lanes there.
    pub(crate) fn tell_sockets(&mut self) {
        let any_far = self.sessions.iter().any(|session| !session.nd.is_local());
        if !any_far || self.node.socket.is_none() {
            return;
        }
        if let Ok(sockets) = self.own_sockets() {
            let own = Request::Sockets(OwnSockets { sockets });
            self.node.tell(UNSOLICITED, &own);
        }
    }
}

const fn protection(of: Sealing) -> Protection {
    match of {
        Sealing::Sealed => Protection::Sealed,
        Sealing::Checksum => Protection::Checksum,
        Sealing::Plain => Protection::Plain,
    }
}

fn granted(reply: Reply) -> Result<Ticket> {
    match reply {
        Reply::Ticket(ticket) => Ok(ticket),
        Reply::Error(refusal) => Err(refusal.errno),
        _ => Err(Errno::EPROTO),
    }
}

pub(crate) fn join(silent: Silent, doorbells: Vec<OwnedFd>) -> Result<MemoryDriver> {
    let [rings, hears] = <[OwnedFd; 2]>::try_from(doorbells).map_err(|_| Errno::EPROTO)?;
    silent
        .with_doorbells(rings, hears)
        .map_err(|_| Errno::EPROTO)
}

/// Operations that one client process may have outstanding: its blocked threads and its pulses.
pub(crate) const SLOTS: u16 = 1024;
/// Bytes of each direction of the memory shared with a local peer: a message of 1 MiB and its answer fit, so that
/// two processes of one CPU need not take turns for it. Pages that nothing has touched cost nothing.
pub(crate) const RING: usize = MemoryDriver::RING;
/// How long a peer whose node does not answer may stay silent.
const VERIFY_MAX: Duration = Duration::from_secs(3);
