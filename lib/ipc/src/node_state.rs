//! What this endpoint and its node daemon owe each other: answers, prefixes, sessions.

mod greeting;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use abi::system::{
    self, Attach, CloseSession, Detach, FromNode, NodeLink, Query, QueryKind, Reply, Request, Rows,
    UNSOLICITED,
};
use abi::{
    AttachFlags, ChannelId, Duration, Errno, FileType, Handle, Instant, Nd, NodeName, Pid, Result,
    SessionId,
};
use rustix::event::epoll;

use crate::clock;
use crate::node_socket::{Incoming, NodeSocket, Packet};
use crate::policy::KnownPolicies;
use crate::poller::{Guard, Interest, NODE};
use crate::relaying::Relaying;
use crate::shared::{Shared, State};
use crate::sockets::Sockets;
use crate::system_error::errno;
use crate::wait::{Outcome, WaitIndex};
use greeting::{Greeted, greet, unknown_name};

/// The state of the conversation with the node daemon; used with the endpoint's lock held.
#[derive(Default)]
pub(crate) struct NodeState {
    /// Where the daemon is; `None` for an endpoint that has none.
    directory: Option<PathBuf>,
    pub(crate) socket: Option<NodeSocket>,
    next_serial: u32,
    pending: Vec<Pending>,
    prefixes: Vec<Prefix>,
    next_prefix: u64,
    pub(crate) links: Vec<NodeLink>,
    pub(crate) sockets: Sockets,
    pub(crate) relay: Relaying,
    pub(crate) policies: KnownPolicies,
    /// Names of the nodes that sessions lead to, as this daemon numbers them.
    names: BTreeMap<u16, NodeName>,
    /// Nodes of the sessions that are older than this daemon.
    old_sessions: BTreeMap<SessionId, NodeName>,
    /// When to try again to reach a daemon that is gone.
    retry_at: Instant,
    backoff: Duration,
}

/// A request whose answer is awaited.
struct Pending {
    serial: u32,
    packet: Packet,
    asker: Asker,
    answer: Option<(Reply, Vec<OwnedFd>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Thread(WaitIndex),
    /// A prefix is claimed again at a restarted daemon.
    Prefix(u64),
    /// The names of nodes are learnt.
    Names,
    /// Rings through which the node passes packets on.
    Relay,
}

/// A prefix of this endpoint.
struct Prefix {
    id: u64,
    attach: Attach,
    /// The daemon's number for it.
    remote: u32,
}

impl NodeState {
    pub(crate) fn new(directory: PathBuf) -> Self {
        // The first conversation is begun by whoever makes the endpoint. A helper that began another one beside it would
        // register the program twice, and the end of one would be taken for the program's.
        Self {
            directory: Some(directory),
            retry_at: Instant::MAX,
            ..Self::default()
        }
    }

    /// Whether there is a daemon that does not answer at present.
    pub(crate) fn is_lost(&self) -> bool {
        self.directory.is_some() && self.socket.is_none()
    }

    /// When the helper thread has to look after the conversation, if that is due at a time of its own.
    pub(crate) fn care_at(&self, now: Instant) -> Option<Instant> {
        if self.is_lost() {
            return Some(self.retry_at.max(now));
        }
        let is_behind = self.socket.as_ref().is_some_and(NodeSocket::is_behind);
        is_behind.then(|| now + BACKOFF_MIN)
    }

    /// Ends the conversation for good.
    pub(crate) fn disconnect(&mut self) {
        self.directory = None;
        self.socket = None;
    }

    /// Tells the daemon, if it is there, that a session is over.
    pub(crate) fn session_ended(&mut self, session: SessionId) {
        self.tell(
            UNSOLICITED,
            &Request::CloseSession(CloseSession { session }),
        );
    }

    pub(crate) fn tell(&mut self, serial: u32, request: &Request) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let Ok(bytes) = system::packet(serial, request) else {
            return;
        };
        // A daemon that is gone is noticed when its socket is read.
        let _ = socket.send(Packet {
            bytes,
            descriptors: Vec::new(),
        });
    }

    /// Makes sure that the name of a session's node is known, for the day on which the daemon is not.
    pub(crate) fn learn_name(&mut self, nd: Nd) {
        let asked = self
            .pending
            .iter()
            .any(|pending| pending.asker == Asker::Names);
        if !nd.is_local() && !self.names.contains_key(&nd.node()) && !asked {
            self.learn_names(0);
        }
    }

    fn learn_names(&mut self, from: u32) {
        let query = Query {
            what: QueryKind::Nodes,
            nd: Nd::LOCAL,
            from,
        };
        if let Err(errno) = self.ask(Asker::Names, &Request::Query(query), Vec::new()) {
            tracing::debug!(%errno, "the names of nodes cannot be asked for");
        }
    }

    fn serial(&mut self) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1).max(1);
        self.next_serial
    }

    pub(crate) fn ask(
        &mut self,
        asker: Asker,
        request: &Request,
        descriptors: Vec<Arc<OwnedFd>>,
    ) -> Result {
        if self.pending.len() >= PENDING_MAX {
            return Err(Errno::EAGAIN);
        }
        let serial = self.serial();
        let bytes = system::packet(serial, request).map_err(|_| Errno::EMSGSIZE)?;
        let packet = Packet { bytes, descriptors };
        if let Some(socket) = &mut self.socket {
            // A daemon that is gone gets it again from its successor.
            if socket.send(packet.clone()) == Err(Errno::EAGAIN) {
                return Err(Errno::EAGAIN);
            }
        }
        self.pending.push(Pending {
            serial,
            packet,
            asker,
            answer: None,
        });
        Ok(())
    }

    fn take_answer(&mut self, wait: WaitIndex) -> Option<(Reply, Vec<OwnedFd>)> {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.asker == Asker::Thread(wait))?;
        self.pending.swap_remove(at).answer
    }
}

impl Shared {
    pub(crate) fn connect(directory: &std::path::Path) -> Result<Arc<Self>> {
        let shared = Self::start(
            NodeState::new(directory.to_owned()),
            Pid(0),
            unknown_name()?,
        )?;
        let greeted = {
            let hello = shared.lock().hello(Pid(0));
            greet(directory, &hello)
        };
        let greeted = greeted.and_then(|greeted| shared.welcome(shared.lock(), greeted));
        match greeted {
            Ok(()) => {
                if let Err(errno) = shared.open_relay() {
                    tracing::warn!(%errno, "the node does not pass packets on");
                }
                Ok(shared)
            }
            Err(errno) => {
                shared.close();
                Err(errno)
            }
        }
    }

    /// Asks the daemon; a refusal is an error.
    pub(crate) fn request(&self, request: &Request) -> Result<Reply> {
        match self.request_with(request, Vec::new())?.0 {
            Reply::Error(refusal) => Err(refusal.errno),
            reply => Ok(reply),
        }
    }

    /// Asks the daemon, with descriptors; the answer may have some, too. A refusal is an answer.
    pub(crate) fn request_with(
        &self,
        request: &Request,
        descriptors: Vec<Arc<OwnedFd>>,
    ) -> Result<(Reply, Vec<OwnedFd>)> {
        let mut state = self.enter()?;
        if state.node.directory.is_none() {
            return Err(Errno::ENOTCONN);
        }
        let wait = state.waits.open();
        if let Err(errno) = state.node.ask(Asker::Thread(wait), request, descriptors) {
            state.waits.close(wait);
            return Err(errno);
        }
        if state.node.is_lost() {
            state.polling.wake_helper();
        }
        let deadline = clock::now() + REQUEST_MAX;
        let (mut state, outcome) =
            self.wait(state, Some(deadline), Interest::Wait(wait), |state| {
                state.waits.take(wait)
            });
        let reply = state.node.take_answer(wait);
        state.waits.close(wait);
        self.settle(state);
        match (outcome, reply) {
            (None, _) => Err(Errno::ETIMEDOUT),
            (Some(_), Some(reply)) => Ok(reply),
            (Some(_), None) => Err(Errno::EBADF),
        }
    }

    pub(crate) fn attach_prefix(
        &self,
        path: &[u8],
        flags: AttachFlags,
        file_type: FileType,
        channel: ChannelId,
        handle: Handle,
    ) -> Result<u64> {
        let attach = Attach {
            path: path.to_vec(),
            flags,
            file_type,
            channel,
            handle,
        };
        let Reply::Attached(attached) = self.request(&Request::Attach(attach.clone()))? else {
            return Err(Errno::EPROTO);
        };
        let mut state = self.enter()?;
        state.node.next_prefix += 1;
        let id = state.node.next_prefix;
        state.node.prefixes.push(Prefix {
            id,
            attach,
            remote: attached.id,
        });
        Ok(id)
    }

    pub(crate) fn detach_prefix(&self, id: u64) -> Result {
        let mut state = self.enter()?;
        let at = state
            .node
            .prefixes
            .iter()
            .position(|prefix| prefix.id == id)
            .ok_or(Errno::EBADF)?;
        let remote = state.node.prefixes.swap_remove(at).remote;
        if state.node.socket.is_none() {
            // The next daemon will not hear of it at all.
            return Ok(());
        }
        drop(state);
        self.request(&Request::Detach(Detach { id: remote }))
            .map(|_| ())
    }

    /// The daemon socket has something.
    pub(crate) fn node_readable(&self, state: &mut State, now: Instant) {
        for _ in 0..PACKETS_MAX {
            let Some(socket) = &mut state.node.socket else {
                return;
            };
            match socket.receive() {
                Incoming::Nothing => {
                    let _ = socket.flush();
                    return;
                }
                Incoming::Ended => {
                    state.node_lost(now);
                    return;
                }
                Incoming::Packet(len, descriptors) => {
                    let packet = system::unpack::<FromNode>(socket.bytes(len));
                    let Ok((serial, Ok(message))) = packet else {
                        tracing::warn!(len, "the node daemon said something that makes no sense");
                        continue;
                    };
                    match message {
                        FromNode::Reply(reply) => state.replied(serial, reply, descriptors),
                        FromNode::Notice(notice) => {
                            self.noticed(state, now, serial, notice, descriptors)
                        }
                    }
                }
            }
        }
    }

    /// Helper's part: reaches a daemon that has been restarted.
    pub(crate) fn reconnect<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        if let Some(socket) = &mut state.node.socket {
            // A daemon that is gone is noticed when its socket is read.
            let _ = socket.flush();
        }
        if !state.node.is_lost() || clock::now() < state.node.retry_at {
            return state;
        }
        let Some(directory) = state.node.directory.clone() else {
            return state;
        };
        let hello = state.hello(self.pid());
        drop(state);
        let result =
            greet(&directory, &hello).and_then(|greeted| self.welcome(self.lock(), greeted));
        let mut state = self.lock();
        match result {
            Ok(()) => tracing::info!("the node daemon is back"),
            Err(_) => {
                let backoff = state.node.backoff;
                state.node.backoff = (backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
                state.node.retry_at = clock::now() + backoff;
            }
        }
        state
    }

    /// Takes up the conversation with a daemon that has greeted us.
    fn welcome<'a>(&'a self, mut state: Guard<'a>, greeted: Greeted) -> Result {
        if state.closed {
            return Err(Errno::EBADF);
        }
        let Greeted {
            socket,
            welcome,
            page,
        } = greeted;
        self.node.renew(welcome.pid, welcome.node, &page)?;
        let epoll = Arc::clone(&state.epoll);
        epoll::add(
            &*epoll,
            socket.fd(),
            epoll::EventData::new_u64(NODE),
            epoll::EventFlags::IN,
        )
        .map_err(errno)?;
        state.node.socket = Some(socket);
        state.node.policies.clear();
        state.node.backoff = BACKOFF_MIN;
        // The new daemon may number nodes differently: sessions go on, but nobody finds them by number.
        state.keep_names();
        state.sessions.forget_remote_peers();
        state.claim_again();
        state.links_of_new_daemon(clock::now(), welcome.links);
        self.settle(state);
        Ok(())
    }
}

impl State {
    /// Ties the sessions there are to the names of their nodes, before their numbers mean something else.
    fn keep_names(&mut self) {
        let names = std::mem::take(&mut self.node.names);
        let mut older = std::mem::take(&mut self.node.old_sessions);
        for session in self
            .sessions
            .iter()
            .filter(|session| !session.nd.is_local())
        {
            let name = older.remove(&session.local);
            if let Some(name) = name.or_else(|| names.get(&session.nd.node()).copied()) {
                self.node.old_sessions.insert(session.local, name);
            }
        }
    }

    fn node_lost(&mut self, now: Instant) {
        let Some(socket) = self.node.socket.take() else {
            return;
        };
        let _ = epoll::delete(&*self.epoll, socket.fd());
        if self.closed {
            return;
        }
        tracing::info!("the node daemon is gone; sessions go on without it");
        self.rows_are_old(now);
        self.node.retry_at = now;
        self.node.backoff = BACKOFF_MIN;
        self.polling.wake_helper();
    }

    fn replied(&mut self, serial: u32, reply: Reply, descriptors: Vec<OwnedFd>) {
        let pending = &mut self.node.pending;
        let Some(at) = pending.iter().position(|pending| pending.serial == serial) else {
            if let Reply::Ticket(late) = reply {
                // Whoever wanted the session waits no more; its server would keep it for nobody.
                self.node.session_ended(late.local);
            }
            return;
        };
        match pending[at].asker {
            Asker::Thread(wait) => {
                pending[at].answer = Some((reply, descriptors));
                self.finish(wait, Outcome::Answered);
            }
            Asker::Relay => {
                pending.swap_remove(at);
                if let Err(errno) = self.relay_opened(&reply, descriptors) {
                    tracing::warn!(%errno, "the node does not pass packets on");
                }
                // Sockets that wait for the rings are made now.
                let links = self.node.links.clone();
                self.links_changed(clock::now(), links);
            }
            Asker::Names => {
                pending.swap_remove(at);
                if let Reply::Table(table) = reply
                    && let Rows::Nodes(rows) = table.rows
                {
                    self.node
                        .names
                        .extend(rows.iter().map(|row| (row.nd.node(), row.name)));
                    if let Some(from) = table.next {
                        self.node.learn_names(from);
                    }
                }
            }
            Asker::Prefix(id) => {
                pending.swap_remove(at);
                let prefix = self.node.prefixes.iter_mut().find(|prefix| prefix.id == id);
                match (reply, prefix) {
                    (Reply::Attached(attached), Some(prefix)) => prefix.remote = attached.id,
                    // Given up meanwhile.
                    (Reply::Attached(attached), None) => {
                        self.node
                            .tell(UNSOLICITED, &Request::Detach(Detach { id: attached.id }));
                    }
                    (other, _) => tracing::warn!(?other, "a prefix could not be claimed again"),
                }
            }
        }
    }
}

/// Longest wait for an answer of the daemon.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Requests of one endpoint that may be under way: a thread has one at a time.
const PENDING_MAX: usize = 4096;
/// Packets taken from the daemon before other work gets its turn.
const PACKETS_MAX: usize = 64;
/// First and last pause between two tries to reach a daemon that is gone.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
