//! Sessions: one per pair of processes, direction and identity.

mod side;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::system::Identity;
use abi::{
    ChannelId, ConnectionId, Credentials, Errno, Incarnation, Instant, Nd, Pid, Result, SenderId,
    SessionId, Uid,
};
use drivers::{MemoryDriver, PacketDriver};
use rights::ClientRights;
use rustix::event::epoll;
use transport::{Cause, LaneParams, LinkIndex, Role, SessionKey, SessionParams};

use crate::clock;
use crate::lanes::SessionLane;
use crate::shared::{Shared, State, epoll_fd};
use crate::wait::{Outcome, WaitIndex};

/// One session.
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) local: SessionId,
    remote: SessionId,
    pub(crate) nd: Nd,
    pub(crate) pid: Pid,
    pub(crate) incarnation: Incarnation,
    /// What claims the session from a restarted daemon.
    pub(crate) proof: [u8; 16],
    /// The link that belongs to this session alone.
    memory: Option<LinkIndex>,
    pub(crate) lanes: Vec<SessionLane>,
    /// Reports the peer's end where no daemon does: its other end is held by the peer alone.
    lifeline: Option<(u32, OwnedFd)>,
    pub(crate) side: Side,
    pub(crate) operations: usize,
}

/// Which end of a session this process is.
pub(crate) enum Side {
    Client(ClientSide),
    Server(ServerSide),
}

/// The asking end.
pub(crate) struct ClientSide {
    peer: Peer,
    pub(crate) attachments: BTreeMap<u32, Attachment>,
    next_attachment: u32,
    /// Pulses that the server has not taken yet.
    pub(crate) pulses: u32,
    /// Threads that wait for a free slot.
    pub(crate) slot_waiters: VecDeque<WaitIndex>,
    /// Attachments whose end could not be told yet for want of a slot.
    pub(crate) detached: Vec<Detached>,
}

/// A client's hold on one channel, shared by its connections (I7).
pub(crate) struct Attachment {
    pub(crate) channel: ChannelId,
    pub(crate) connections: BTreeSet<ConnectionId>,
    /// Pulses sent so far, modulo 2^32.
    pub(crate) pulses_sent: u32,
    /// How the server has refused a pulse.
    pub(crate) refused: Option<Errno>,
    /// The channel is known to be gone.
    pub(crate) is_dead: bool,
}

/// An attachment that has ended here and not there yet.
pub(crate) struct Detached {
    pub(crate) id: u32,
    pub(crate) channel: ChannelId,
    pub(crate) pulses_sent: u32,
}

/// The answering end.
pub(crate) struct ServerSide {
    pub(crate) credentials: Arc<Credentials>,
    /// The client's user in the numbers of its own node.
    pub(crate) user: Uid,
    pub(crate) rights: Arc<ClientRights>,
    pub(crate) senders: BTreeMap<u32, Sender>,
    /// Attachments that have ended so far, modulo 2^32.
    pub(crate) farewells: u32,
    /// Served operations by slot, [`NOT_SERVED`] where there is none.
    pub(crate) served: Vec<u32>,
}

/// A client's attachment as the server knows it.
pub(crate) struct Sender {
    pub(crate) id: SenderId,
    pub(crate) channel: ChannelId,
    /// Pulses queued so far, modulo 2^32.
    pub(crate) pulses_taken: u32,
    /// Operations that wait for pulses sent before them.
    pub(crate) held: Vec<Held>,
}

/// An operation that has overtaken a pulse.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) pulses_before: u32,
    pub(crate) what: HeldKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldKind {
    Served(u32),
    Detach,
}

/// Whom a client's session leads to, and for whom it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) node: u16,
    pub(crate) pid: Pid,
    pub(crate) identity: Option<Identity>,
}

enum Peering {
    Opening,
    Open(SessionKey),
}

/// Everything needed to start a session.
pub(crate) struct NewSession {
    pub(crate) params: SessionParams,
    /// The session's own link; the lane is made for it.
    pub(crate) memory: Option<Arc<MemoryDriver>>,
    pub(crate) lifeline: Option<OwnedFd>,
    pub(crate) nd: Nd,
    pub(crate) pid: Pid,
    pub(crate) incarnation: Incarnation,
    /// As the daemon gave it; zeros where there is no daemon.
    pub(crate) proof: [u8; 16],
    pub(crate) side: NewSide,
}

pub(crate) enum NewSide {
    Client(Peer),
    Server {
        credentials: Credentials,
        user: Uid,
        rights: ClientRights,
    },
}

/// All sessions of an endpoint.
#[derive(Default)]
pub(crate) struct Sessions {
    sessions: Vec<Option<Session>>,
    peers: HashMap<Peer, Peering>,
    /// Client sessions without connections, the longest idle first.
    idle: VecDeque<SessionKey>,
    pub(crate) next_connection: u32,
    next_sender: u32,
    /// Numbers of the senders that are here.
    senders: HashSet<SenderId>,
    next_lifeline: u32,
}

impl Sessions {
    #[inline]
    pub(crate) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.sessions
            .get(key.index())?
            .as_ref()
            .filter(|session| session.key == key)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions
            .get_mut(key.index())?
            .as_mut()
            .filter(|session| session.key == key)
    }

    #[inline]
    pub(crate) fn client(&mut self, key: SessionKey) -> Option<&mut ClientSide> {
        match &mut self.get_mut(key)?.side {
            Side::Client(client) => Some(client),
            Side::Server(_) => None,
        }
    }

    #[inline]
    pub(crate) fn server(&mut self, key: SessionKey) -> Option<&mut ServerSide> {
        match &mut self.get_mut(key)?.side {
            Side::Server(server) => Some(server),
            Side::Client(_) => None,
        }
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.iter().map(|session| session.key).collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions.iter_mut().flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().flatten()
    }

    /// Node descriptors mean something else from here on, perhaps.
    pub(crate) fn forget_remote_peers(&mut self) {
        self.peers
            .retain(|peer, peering| peer.node == 0 || matches!(peering, Peering::Opening));
    }

    pub(crate) fn by_local(&self, local: SessionId) -> Option<SessionKey> {
        self.iter()
            .find(|session| session.local == local)
            .map(|session| session.key)
    }

    pub(crate) fn over_link(&self, link: LinkIndex) -> Vec<SessionKey> {
        self.iter()
            .filter(|session| session.memory == Some(link))
            .map(|session| session.key)
            .collect()
    }

    /// A number for a new sender. Servers know their clients by it, so no other sender may have it.
    pub(crate) fn fresh_sender(&mut self) -> SenderId {
        loop {
            self.next_sender = self.next_sender.wrapping_add(1).max(1);
            let id = SenderId(self.next_sender);
            if self.senders.insert(id) {
                return id;
            }
        }
    }

    /// A sender is gone: after a full round of the numbers another one may get its number.
    pub(crate) fn sender_left(&mut self, id: SenderId) {
        self.senders.remove(&id);
    }

    /// An operation of the session has been started.
    #[inline]
    pub(crate) fn started(&mut self, key: SessionKey) {
        if let Some(session) = self.get_mut(key) {
            session.operations += 1;
        }
    }

    /// An operation of the session has ended.
    #[inline]
    pub(crate) fn ended(&mut self, key: SessionKey) -> Option<&mut ClientSide> {
        let session = self.get_mut(key)?;
        session.operations = session.operations.saturating_sub(1);
        match &mut session.side {
            Side::Client(client) => Some(client),
            Side::Server(_) => None,
        }
    }

    /// A client session has got its first connection, or lost its last one.
    pub(crate) fn set_idle(&mut self, key: SessionKey, idle: bool) -> Option<SessionKey> {
        self.idle.retain(|k| *k != key);
        if idle {
            self.idle.push_back(key);
        }
        if self.idle.len() > IDLE_MAX {
            self.idle.pop_front()
        } else {
            None
        }
    }
}

impl State {
    /// Starts a session.
    pub(crate) fn install(&mut self, now: Instant, new: NewSession) -> Result<SessionKey> {
        let mut params = new.params;
        let epoll = Arc::clone(&self.epoll);
        let epoll = epoll_fd(&epoll);
        let mut memory = None;
        if let Some(driver) = new.memory {
            let mtu = u32::try_from(driver.properties().max_frame).unwrap_or(u32::MAX);
            let mtu = mtu.min(transport::config::MTU_MAX);
            let address = driver.peer_address();
            let link = self.links.add_memory(epoll, driver)?;
            // A sleeping poller has not armed the new link.
            self.polling.nudge = true;
            params.lanes = vec![LaneParams::reliable(0, link, address, mtu)];
            memory = Some(link);
        }
        let (local, remote) = (params.local, params.peer);
        let lanes: Vec<_> = params
            .lanes
            .iter()
            .map(|lane| SessionLane::new(lane, self.node.sockets.node_link(lane.link)))
            .collect();
        let links: Vec<_> = lanes.iter().map(|lane| lane.link).collect();
        let key = match self.transport.open(now, params) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%error, "a session cannot be opened");
                if let Some(link) = memory {
                    self.links.remove(epoll, link);
                }
                return Err(Errno::EAGAIN);
            }
        };
        let lifeline = new.lifeline.map(|fd| {
            self.sessions.next_lifeline = self.sessions.next_lifeline.wrapping_add(1);
            let id = self.sessions.next_lifeline;
            let data = epoll::EventData::new_u64(LIFELINE | u64::from(id));
            let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
            if epoll::add(epoll, &fd, data, flags).is_err() {
                tracing::warn!("the end of a peer cannot be watched");
            }
            (id, fd)
        });
        if let NewSide::Client(peer) = &new.side {
            self.sessions.peers.insert(peer.clone(), Peering::Open(key));
        }
        let side = Side::new(new.side);
        let index = key.index();
        if self.sessions.sessions.len() <= index {
            self.sessions.sessions.resize_with(index + 1, || None);
        }
        self.sessions.sessions[index] = Some(Session {
            key,
            local,
            remote,
            nd: new.nd,
            pid: new.pid,
            incarnation: new.incarnation,
            proof: new.proof,
            memory,
            lanes,
            lifeline,
            side,
            operations: 0,
        });
        self.focus_links(&links);
        self.lane_book.look_again();
        Ok(key)
    }

    /// The transport has ended the session; all its operations have ended before.
    pub(crate) fn session_closed(&mut self, key: SessionKey, cause: Cause) {
        if self.sessions.get(key).is_none() {
            return;
        }
        let Some(session) = self.sessions.sessions[key.index()].take() else {
            return;
        };
        let epoll = Arc::clone(&self.epoll);
        if let Some((_, fd)) = &session.lifeline {
            let _ = epoll::delete(&*epoll, fd);
        }
        if let Some(link) = session.memory {
            self.links.remove(epoll_fd(&epoll), link);
            // Its number goes to another link, which is not full.
            self.transport.link_ready(clock::now(), link);
        }
        self.sessions.idle.retain(|idle| *idle != key);
        tracing::debug!(session = session.local.0, ?cause, "a session has ended");
        match session.side {
            Side::Client(client) => {
                let current = self.sessions.peers.get(&client.peer);
                if matches!(current, Some(Peering::Open(current)) if *current == key) {
                    self.sessions.peers.remove(&client.peer);
                }
                for wait in client.slot_waiters {
                    self.finish(wait, Outcome::Gone);
                }
                for attachment in client.attachments.values() {
                    self.connections_died(&attachment.connections);
                }
            }
            Side::Server(server) => self.clients_gone(key, server),
        }
        self.regions.end_session(key);
        let links: Vec<_> = session.lanes.iter().map(|lane| lane.link).collect();
        self.focus_links(&links);
        self.node.session_ended(session.local);
    }

    /// The other end of a lifeline has been closed.
    pub(crate) fn lifeline_ended(&mut self, now: Instant, id: u32) {
        let found = self
            .sessions
            .iter()
            .find(|session| session.lifeline.as_ref().is_some_and(|l| l.0 == id));
        if let Some(key) = found.map(|session| session.key) {
            self.peer_died(now, key, Cause::Server);
        }
    }

    /// The peer process is gone for sure. What it has put into the shared memory before still counts.
    pub(crate) fn peer_died(&mut self, now: Instant, key: SessionKey, cause: Cause) {
        if let Some(link) = self.sessions.get(key).and_then(|session| session.memory) {
            for _ in 0..DRAIN_MAX {
                if self
                    .links
                    .receive(now, link, &mut self.transport, &mut self.regions)
                    != crate::links::Arrival::Packets
                {
                    break;
                }
                self.pump(now);
            }
        }
        self.end_session(now, key, cause);
        self.pump(now);
    }
}

impl Shared {
    /// The session to a process, opened by way of the node daemons if there is none. Blocks for it.
    pub(crate) fn session_with(&self, nd: Nd, peer: &Peer) -> Result<SessionKey> {
        self.guard().check()?;
        let mut state = self.plain_lock();
        loop {
            match state.sessions.peers.get(peer) {
                Some(Peering::Open(key)) => return Ok(*key),
                Some(Peering::Opening) => {
                    state = self
                        .opened
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                None => break,
            }
        }
        state.sessions.peers.insert(peer.clone(), Peering::Opening);
        drop(state);
        let opened = self.introduce(nd, peer);
        let mut state = self.lock();
        if opened.is_err()
            && let Some(Peering::Opening) = state.sessions.peers.get(peer)
        {
            state.sessions.peers.remove(peer);
        }
        drop(state);
        self.opened.notify_all();
        opened
    }
}

impl Session {
    /// Whether it runs over memory shared with one process of this node.
    pub(crate) const fn is_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub(crate) const fn remote(&self) -> SessionId {
        self.remote
    }

    pub(crate) const fn role(&self) -> Role {
        match self.side {
            Side::Client(_) => Role::Client,
            Side::Server(_) => Role::Server,
        }
    }
}

/// No served operation in a slot.
pub(crate) const NOT_SERVED: u32 = u32::MAX;
/// Mark of lifelines in epoll data; links are below it.
const LIFELINE: u64 = 1 << 32;
/// Client sessions kept open without connections, so that opening again is cheap.
const IDLE_MAX: usize = 16;
/// Reads of a dead peer's ring: more than a ring holds.
const DRAIN_MAX: usize = 1024;
