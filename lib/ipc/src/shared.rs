//! What all handles of one endpoint share, and how events find their owners.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use abi::{ChannelId, Instant, NodeName, Pid, Result};
use transport::{Cause, Config, Event, LinkIndex, SessionKey, Transport};

use crate::channels::Channels;
use crate::client_rights::RightsGeneration;
use crate::fork_guard::ForkGuard;
use crate::held::{Held, Returning};
use crate::lanes::LaneBook;
use crate::links::{Arrival, Links};
use crate::locked::Locked;
use crate::node_page::NodePage;
use crate::node_state::NodeState;
use crate::poller::{self, Guard, Poller, Polling, Work};
use crate::readable::Readables;
use crate::regions::{Purpose, Regions};
use crate::session::Sessions;
use crate::wait::{Outcome, WaitIndex, Waits};

/// What all handles of one endpoint share.
pub(crate) struct Shared {
    guard: Arc<ForkGuard>,
    state: Mutex<State>,
    /// A session has been opened, or could not be.
    pub(crate) opened: Condvar,
    pub(crate) poller: Poller,
    pub(crate) node: Arc<NodePage>,
    pub(crate) rights: RightsGeneration,
}

/// Everything that changes; behind one lock.
pub(crate) struct State {
    pub(crate) transport: Transport,
    pub(crate) regions: Regions,
    pub(crate) links: Links,
    pub(crate) waits: Waits,
    pub(crate) readables: Readables,
    pub(crate) held: Held,
    pub(crate) returning: Returning,
    /// Threads that wake when the lock is free.
    pub(crate) woken: Vec<Thread>,
    pub(crate) polling: Polling,
    pub(crate) channels: Channels,
    pub(crate) sessions: Sessions,
    pub(crate) node: NodeState,
    pub(crate) page: Arc<NodePage>,
    pub(crate) lane_book: LaneBook,
    /// Channels that got something since receivers were last woken.
    pub(crate) touched: Vec<ChannelId>,
    pub(crate) epoll: Arc<OwnedFd>,
    /// The last handle is gone.
    pub(crate) closed: bool,
}

impl Shared {
    /// An endpoint without sessions, and its helper thread.
    pub(crate) fn start(node: NodeState, pid: Pid, name: NodeName) -> Result<Arc<Self>> {
        let poller = Poller::new()?;
        let page = Arc::new(NodePage::new(pid, name));
        let shared = Arc::new(Self {
            guard: Arc::new(ForkGuard::new()?),
            state: Mutex::new(State {
                transport: Transport::new(Config::default()),
                regions: Regions::default(),
                links: Links::new(),
                waits: Waits::default(),
                readables: Readables::default(),
                held: Held::default(),
                returning: Returning::default(),
                woken: Vec::new(),
                polling: Polling::new(),
                channels: Channels::default(),
                sessions: Sessions::default(),
                node,
                page: Arc::clone(&page),
                lane_book: LaneBook::default(),
                touched: Vec::new(),
                epoll: Arc::clone(&poller.epoll),
                closed: false,
            }),
            opened: Condvar::new(),
            poller,
            node: page,
            rights: RightsGeneration::default(),
        });
        Self::start_helper(&shared)?;
        Ok(shared)
    }

    fn start_helper(shared: &Arc<Self>) -> Result {
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name("slashnet-helper".into())
            .stack_size(HELPER_STACK)
            .spawn(move || {
                crate::signals::block_all();
                poller::help(&*shared);
            })
            .map_err(abi::Errno::from)?;
        Ok(())
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_> {
        Locked::new(self.plain_lock())
    }

    /// As [`lock`](Self::lock), for what wakes nobody.
    #[inline]
    pub(crate) fn plain_lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held can only come from a broken invariant of this crate; what remains
        // is still enough to fail the operations of others in an orderly way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless this is a forked child or the endpoint is closed.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Guard<'_>> {
        self.guard.check()?;
        Ok(self.lock())
    }

    pub(crate) fn guard(&self) -> &Arc<ForkGuard> {
        &self.guard
    }

    pub(crate) fn pid(&self) -> Pid {
        self.node.pid()
    }

    pub(crate) fn node_name(&self) -> NodeName {
        self.node.name()
    }

    pub(crate) fn namespace_generation(&self) -> u64 {
        self.node.generation()
    }

    /// The last handle is gone: peers are told, threads of this crate end.
    pub(crate) fn close(&self) {
        if !self.guard.is_owner() {
            return;
        }
        let mut state = self.lock();
        let now = crate::clock::now();
        state.closed = true;
        state.report_all_traffic(now);
        for session in state.sessions.keys() {
            state.transport.close(now, session, 0);
        }
        state.pump(now);
        state.node.disconnect();
        state.polling.wake_all();
        self.settle(state);
    }
}

impl State {
    /// Takes in what has come over `link`, acts on it and sends what it leads to.
    pub(crate) fn take_in(&mut self, now: Instant, link: LinkIndex) {
        self.receive(now, link);
        self.retry_blocked(now);
        self.pump(now);
    }

    /// Gives the transport what has come over `link`.
    #[inline(always)]
    fn receive(&mut self, now: Instant, link: LinkIndex) -> Arrival {
        let arrival = self
            .links
            .receive(now, link, &mut self.transport, &mut self.regions);
        if arrival == Arrival::Broken {
            self.link_broken(now, link);
        }
        arrival
    }

    /// Takes in what has come over `link`, and sends nothing for the moment. True if something has come.
    pub(crate) fn take_in_only(&mut self, now: Instant, link: LinkIndex) -> bool {
        let arrival = self.receive(now, link);
        while let Some(event) = self.transport.event() {
            self.happen(now, event);
        }
        arrival != Arrival::Nothing
    }

    /// Sends what a driver had no room for.
    fn retry_blocked(&mut self, now: Instant) {
        if self.links.is_blocked() {
            let epoll = Arc::clone(&self.epoll);
            if let Some(broken) = self.links.retry(epoll_fd(&epoll), now, &mut self.transport) {
                self.link_broken(now, broken);
            }
        }
    }

    /// As [`take_in`](Self::take_in), but does nothing else if nothing has come.
    #[inline(always)]
    pub(crate) fn look_at(&mut self, now: Instant, link: LinkIndex) -> bool {
        let any = self.receive(now, link) != Arrival::Nothing;
        // A driver may tell of room only once, to whoever looks first.
        if any || self.links.is_blocked() {
            self.retry_blocked(now);
            self.pump(now);
        }
        any
    }

    /// As [`take_in`](Self::take_in) for whichever link has something.
    pub(crate) fn take_in_ready(&mut self, now: Instant) {
        let link = self
            .links
            .ready()
            .or_else(|| self.links.unarmed.last().copied());
        if let Some(link) = link {
            self.take_in(now, link);
        }
    }

    /// Sends what there is to send and hands events out, until there are no more.
    pub(crate) fn pump(&mut self, now: Instant) {
        if let Some(since) = self.held.clear() {
            self.returning.sent(now, since);
        }
        self.look_at_rows(now);
        loop {
            let broken = {
                let epoll = epoll_fd(&self.epoll);
                self.links
                    .flush(epoll, now, &mut self.transport, &mut self.regions)
            };
            if let Some(link) = broken {
                self.link_broken(now, link);
                continue;
            }
            let mut any = false;
            while let Some(event) = self.transport.event() {
                any = true;
                self.happen(now, event);
            }
            if !any {
                return;
            }
        }
    }

    /// As [`Work::finish`].
    pub(crate) fn finish(&mut self, wait: WaitIndex, outcome: Outcome) {
        Work::finish(self, wait, outcome);
    }

    fn happen(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { .. } => self.arrived(now, &event),
            Event::Replied { op, status, len } => {
                self.op_ended(now, op, Outcome::Replied { status, len });
            }
            Event::Refused { op, errno } => self.op_ended(now, op, Outcome::Refused { errno }),
            Event::Failed { op, failure } => self.op_ended(now, op, Outcome::Failed(failure)),
            Event::Transferred { transfer } => {
                if let Some(wait) = self.regions.end_transfer(transfer) {
                    self.finish(wait, Outcome::Done);
                }
            }
            Event::TransferFailed { transfer } => {
                if let Some(wait) = self.regions.end_transfer(transfer) {
                    self.finish(wait, Outcome::Gone);
                }
            }
            Event::Unblock { incoming, reason } => self.unblock(now, incoming, reason),
            Event::Withdrawn { incoming } => self.withdrawn(incoming),
            Event::Released { incoming } => self.released(incoming),
            Event::Closed { session, cause, .. } => self.session_closed(session, cause),
            Event::LaneChanged {
                session,
                lane,
                state,
                ..
            } => self.lane_changed(session, lane, state),
        }
    }

    fn op_ended(&mut self, now: Instant, op: transport::OpKey, outcome: Outcome) {
        match self.regions.end_op(op) {
            Some(Purpose::Waited(wait)) => self.finish(wait, outcome),
            Some(Purpose::Called(wait)) => {
                self.returning.ended(now);
                self.finish(wait, outcome);
            }
            Some(Purpose::Pulse(attachment)) => self.pulse_ended(op.session(), attachment, outcome),
            Some(Purpose::Orphan) | None => {}
        }
        self.slot_freed(op.session());
    }

    fn link_broken(&mut self, now: Instant, link: LinkIndex) {
        tracing::warn!(link = link.0, "a peer broke the rules of shared memory");
        self.transport.link_full(now, link);
        for session in self.sessions.over_link(link) {
            self.end_session(now, session, Cause::Protocol);
        }
    }

    /// The peer of a session is known to be gone: what it has sent still counts, nothing else does.
    pub(crate) fn end_session(&mut self, now: Instant, session: SessionKey, cause: Cause) {
        self.session_counts(session);
        self.transport.abandon(now, session, cause);
    }
}

pub(crate) fn epoll_fd(epoll: &OwnedFd) -> std::os::fd::BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(epoll)
}

/// The helper decrypts and dispatches like any other thread, but runs no code of the program.
const HELPER_STACK: usize = 512 * 1024;
