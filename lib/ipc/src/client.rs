//! The asking end: attaching, sending, pulses.
#![allow(unsafe_code)]

mod attaching;

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use abi::{ChannelId, ConnectionId, Errno, Incarnation, Instant, Result};
use transport::{OpKey, Request, SendError, SessionKey};

use crate::interrupt::{self, Registered};
use crate::meta::{Kind, Meta};
use crate::outcome::{answer, is_channel_gone};
use crate::policy::LinkPolicy;
use crate::poller::{Guard, Interest};
use crate::regions::{Purpose, Source, Target};
use crate::server::{DEFAULT_PRIORITY, INTERRUPTED, TIMED_OUT};
use crate::shared::{Shared, State};
use crate::wait::{Outcome, WaitIndex};
use crate::{Cause, Failure, Interrupt, Reply, SendOptions, clock};

/// Where a connection leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) session: SessionKey,
    pub(crate) attachment: u32,
    pub(crate) channel: ChannelId,
    pub(crate) connection: ConnectionId,
    pub(crate) incarnation: Incarnation,
    pub(crate) policy: LinkPolicy,
}

/// One operation to ask for.
struct Question<'a, 'b> {
    kind: Kind,
    request: &'a [IoSlice<'b>],
    reply: &'a mut [IoSliceMut<'b>],
    priority: u8,
    deadline: Option<Instant>,
    interrupt: Option<&'a Interrupt>,
}

impl Shared {
    pub(crate) fn send(
        self: &Arc<Self>,
        route: &Route,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        let deadline = options
            .deadline
            .map(|deadline| clock::deadline(clock::now(), deadline));
        let question = Question {
            kind: Kind::Message,
            request: shorten(request),
            reply: shorten_mut(reply),
            priority: options.priority.unwrap_or(DEFAULT_PRIORITY).max(1),
            deadline,
            interrupt: options.interrupt,
        };
        self.ask(route, question)
    }

    /// Asks and blocks for the answer.
    fn ask(
        self: &Arc<Self>,
        route: &Route,
        question: Question<'_, '_>,
    ) -> core::result::Result<Reply, Failure> {
        let local = |errno| Failure {
            peer: route.incarnation,
            ..Failure::local(errno)
        };
        if question.interrupt.is_some_and(Interrupt::is_triggered) {
            return Err(Failure {
                cause: Cause::Interrupted,
                ..local(Errno::EINTR)
            });
        }
        let len = total(question.request.iter().map(|slice| slice.len())).map_err(local)?;
        let room = total(question.reply.iter().map(|slice| slice.len())).map_err(local)?;
        let mut state = self.enter().map_err(local)?;
        let wait = state.waits.open();
        let (started, result) = self.begin(state, route, &question, (len, room), wait);
        state = started;
        let op = match result {
            Ok(op) => op,
            Err(failure) => {
                state.waits.close(wait);
                return Err(Failure {
                    peer: route.incarnation,
                    ..failure
                });
            }
        };
        let mut loan = Loan {
            shared: self,
            op: Some(op),
            wait,
        };
        // SAFETY: `loan` takes both back before this function ends, however it ends.
        let (source, target) =
            unsafe { (Source::lend(question.request), Target::lend(question.reply)) };
        state
            .regions
            .add_op(op, source, target, Purpose::Waited(wait));
        state.pump(clock::now());

        let registered = question
            .interrupt
            .map(|interrupt| self.register(&mut state, interrupt, op));
        let (after, outcome) = self.wait(state, question.deadline, Interest::Wait(wait), |state| {
            state.waits.take(wait)
        });
        state = after;
        let late = outcome.is_none();
        let outcome = match outcome {
            Some(Outcome::Interrupted) | None => {
                if late {
                    let now = clock::now();
                    state.transport.cancel(now, op, TIMED_OUT);
                    state.pump(now);
                }
                let (after, outcome) = self.leave(state, op, len, wait);
                state = after;
                outcome
            }
            Some(outcome) => outcome,
        };
        if question.kind == Kind::Message && is_channel_gone(outcome) {
            state.channel_gone(route);
        }
        loan.end(&mut state);
        self.settle(state);
        drop(registered);
        answer(outcome, late).map_err(|failure| Failure {
            peer: route.incarnation,
            ..route.policy.in_terms_of(failure)
        })
    }

    /// Waits for the server's word on an operation that it has been asked to end. A server that lives may keep the
    /// caller as long as it likes (I40); one that stands still may not.
    fn leave<'a>(
        &'a self,
        state: Guard<'a>,
        op: OpKey,
        len: u64,
        wait: WaitIndex,
    ) -> (Guard<'a>, Outcome) {
        let word = |state: &mut State| match state.waits.take(wait) {
            Some(Outcome::Interrupted) => None,
            outcome => outcome,
        };
        let asked = clock::now();
        let until = Some(asked + SERVER_SILENCE);
        let (mut state, outcome) = self.wait(state, until, Interest::Wait(wait), word);
        if let Some(outcome) = outcome {
            return (state, outcome);
        }
        if state.transport.is_heard_since(op.session(), asked) {
            let (state, outcome) = self.wait(state, None, Interest::Wait(wait), word);
            return (state, outcome.unwrap_or(Outcome::Gone));
        }
        state.regions.leave_behind(op, len as usize);
        let failure = transport::Failure {
            cause: transport::Cause::Cancelled,
            delivery: transport::Delivery::Unknown,
        };
        (state, Outcome::Failed(failure))
    }

    /// Starts an operation, waiting for a free slot if need be.
    fn begin<'a>(
        &'a self,
        mut state: Guard<'a>,
        route: &Route,
        question: &Question<'_, '_>,
        (len, room): (u64, u64),
        wait: WaitIndex,
    ) -> (Guard<'a>, core::result::Result<OpKey, Failure>) {
        let mut ended = Failure::local(Errno::EBADF);
        loop {
            let Some(request) = state.request(route, question.kind, question.priority, len, room)
            else {
                return (state, Err(ended));
            };
            let now = clock::now();
            match state.transport.send(now, route.session, request) {
                Ok(op) => {
                    state.sessions.started(route.session);
                    return (state, Ok(op));
                }
                Err(SendError::Closed | SendError::TooLong) => return (state, Err(ended)),
                // The link may come back, or the nodes may find a way over it.
                Err(SendError::NoLane) if route.policy.waits() => {}
                Err(SendError::NoLane) => {
                    let failure = Failure::local(Errno::ENETDOWN);
                    let cause = Cause::Link;
                    return (state, Err(Failure { cause, ..failure }));
                }
                Err(SendError::NoSlot) => {}
            }
            // From here on the caller is blocked on a server, so its end is ESRCH as for everybody blocked (I22).
            ended = Failure {
                cause: Cause::Server,
                ..Failure::local(Errno::ESRCH)
            };
            if question.interrupt.is_some_and(Interrupt::is_triggered) {
                let failure = Failure::local(Errno::EINTR);
                return (
                    state,
                    Err(Failure {
                        cause: Cause::Interrupted,
                        ..failure
                    }),
                );
            }
            if question.deadline.is_some_and(|deadline| deadline <= now) {
                let failure = Failure::local(Errno::ETIMEDOUT);
                return (
                    state,
                    Err(Failure {
                        cause: Cause::TimedOut,
                        ..failure
                    }),
                );
            }
            let Some(client) = state.sessions.client(route.session) else {
                continue;
            };
            client.slot_waiters.push_back(wait);
            // An interrupt does not reach a thread without an operation, so it looks by itself.
            let turn = now + SLOT_TURN;
            let until = question
                .deadline
                .map_or(turn, |deadline| deadline.min(turn));
            let (after, _) = self.wait(state, Some(until), Interest::Wait(wait), |state| {
                state.waits.take(wait)
            });
            state = after;
            if let Some(client) = state.sessions.client(route.session) {
                client.slot_waiters.retain(|waiter| *waiter != wait);
            }
        }
    }

    fn register(
        self: &Arc<Self>,
        state: &mut Guard<'_>,
        interrupt: &Interrupt,
        op: OpKey,
    ) -> Registered {
        let target = Arc::new(Interruptible {
            shared: Arc::downgrade(self),
            op,
        });
        let registered = interrupt.register(target);
        // A trigger just before the registration has not reached it.
        if interrupt.is_triggered() {
            state.interrupt(op);
        }
        registered
    }
}

impl State {
    /// Asks the server to let the caller of an operation go, and tells the caller.
    fn interrupt(&mut self, op: OpKey) {
        let now = clock::now();
        self.transport.cancel(now, op, INTERRUPTED);
        self.pump(now);
        if let Some(wait) = self.regions.waiting_for(op) {
            self.finish(wait, Outcome::Interrupted);
        }
    }

    /// A new connection of an attachment; nothing if the session has ended. The flag tells that the attachment is new.
    fn connect(
        &mut self,
        session: SessionKey,
        channel: ChannelId,
        attachment: Option<u32>,
        policy: LinkPolicy,
    ) -> Result<Option<(Route, bool)>> {
        let next = self
            .sessions
            .next_connection
            .checked_add(1)
            .ok_or(Errno::EAGAIN)?;
        let Some(incarnation) = self
            .sessions
            .get(session)
            .map(|session| session.incarnation)
        else {
            return Ok(None);
        };
        let Some(client) = self.sessions.client(session) else {
            return Ok(None);
        };
        let (id, is_new) = match attachment {
            Some(id) => (id, false),
            None => client.attachment(channel),
        };
        let Some(attachment) = client.attachments.get_mut(&id) else {
            return Ok(None);
        };
        if attachment.connections.len() >= CONNECTIONS_MAX {
            return Err(Errno::EAGAIN);
        }
        let connection = ConnectionId(next);
        attachment.connections.insert(connection);
        self.sessions.next_connection = next;
        self.sessions.set_idle(session, false);
        let route = Route {
            session,
            attachment: id,
            channel,
            connection,
            incarnation,
            policy,
        };
        Ok(Some((route, is_new)))
    }

    pub(crate) fn request(
        &mut self,
        route: &Route,
        kind: Kind,
        priority: u8,
        len: u64,
        room: u64,
    ) -> Option<Request> {
        let client = self.sessions.client(route.session)?;
        let attachment = client.attachments.get(&route.attachment)?;
        let meta = Meta {
            kind,
            priority,
            connection: route.connection,
            attachment: route.attachment,
            channel: route.channel,
            pulses_before: attachment.pulses_sent,
        };
        Some(Request {
            policy: self.lane_policy(route.session, route.policy),
            ..Request::new(meta.pack(), len, room)
        })
    }

    /// The server lives, its channel does not: the connections to it are dead (I3, I45).
    fn channel_gone(&mut self, route: &Route) {
        let Some(client) = self.sessions.client(route.session) else {
            return;
        };
        let Some(attachment) = client.attachments.get_mut(&route.attachment) else {
            return;
        };
        if !std::mem::replace(&mut attachment.is_dead, true) {
            let dead = attachment.connections.clone();
            self.connections_died(&dead);
        }
    }

    /// Tells the server of attachments that have ended, as far as there are free slots.
    fn tell_detached(&mut self, now: Instant, session: SessionKey) {
        while let Some(client) = self.sessions.client(session) {
            let Some(detached) = client.detached.pop() else {
                return;
            };
            let meta = Meta {
                kind: Kind::Detach,
                priority: DEFAULT_PRIORITY,
                connection: ConnectionId(0),
                attachment: detached.id,
                channel: detached.channel,
                pulses_before: detached.pulses_sent,
            };
            let request = Request {
                one_way: true,
                ..Request::new(meta.pack(), 0, 0)
            };
            match self.transport.send(now, session, request) {
                Ok(op) => {
                    self.sessions.started(session);
                    self.regions
                        .add_op(op, Source::EMPTY, Target::EMPTY, Purpose::Orphan);
                }
                Err(SendError::NoSlot) => {
                    if let Some(client) = self.sessions.client(session) {
                        client.detached.push(detached);
                    }
                    return;
                }
                Err(SendError::Closed | SendError::TooLong | SendError::NoLane) => return,
            }
        }
    }

    /// An operation of the session has ended, so there is a free slot.
    pub(crate) fn slot_freed(&mut self, session: SessionKey) {
        let Some(client) = self.sessions.ended(session) else {
            return;
        };
        if !client.detached.is_empty() {
            self.tell_detached(clock::now(), session);
            return;
        }
        if let Some(wait) = client.slot_waiters.pop_front() {
            self.finish(wait, Outcome::Done);
        }
    }
}

impl Meta {
    fn pack(&self) -> transport::Meta {
        let mut bytes = [0; Self::LEN_MAX];
        let len = self.encode(&mut bytes);
        transport::Meta::new(&bytes[..len]).unwrap_or(transport::Meta::EMPTY)
    }
}

/// Memory on loan to the transport, and the wait for the outcome; both come back when this is dropped.
struct Loan<'a> {
    shared: &'a Shared,
    op: Option<OpKey>,
    wait: WaitIndex,
}

impl Loan<'_> {
    fn end(&mut self, state: &mut Guard<'_>) {
        if let Some(op) = self.op.take() {
            state.regions.orphan_op(op);
            state.waits.close(self.wait);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        // Only a panic gets here with something left, and has given the lock back by then.
        if self.op.is_some() {
            let mut state = self.shared.lock();
            self.end(&mut state);
        }
    }
}

/// A blocked operation as the target of an interrupt.
struct Interruptible {
    shared: Weak<Shared>,
    op: OpKey,
}

impl interrupt::Target for Interruptible {
    fn interrupt(&self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let Ok(mut state) = shared.enter() else {
            return;
        };
        state.interrupt(self.op);
        shared.settle(state);
    }
}

fn total(mut lens: impl Iterator<Item = usize>) -> Result<u64> {
    lens.try_fold(0u64, |sum, len| sum.checked_add(len as u64))
        .ok_or(Errno::EOVERFLOW)
}

/// Two pieces of one lifetime: the pieces of a request and of a reply live differently long.
fn shorten<'a, 'b: 'a>(slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'a>] {
    slices
}

fn shorten_mut<'a, 'b: 'a>(slices: &'a mut [IoSliceMut<'b>]) -> &'a mut [IoSliceMut<'a>] {
    // SAFETY: only lengths and bytes are used through the result, and no slice is put in its place, so that
    // none of a shorter life can be left behind.
    unsafe { std::slice::from_raw_parts_mut(slices.as_mut_ptr().cast(), slices.len()) }
}

/// Connections of one process to one channel.
const CONNECTIONS_MAX: usize = 1 << 20;
/// How often a thread without a slot looks whether it has been interrupted.
const SLOT_TURN: abi::Duration = abi::Duration::from_millis(20);
/// How long nothing may be heard of a server before a caller that wants to leave does so without its word.
const SERVER_SILENCE: abi::Duration = abi::Duration::from_secs(1);
