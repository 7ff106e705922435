//! An operation from its start to its end: the caller's memory, its slot, and the wait.

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use abi::{Errno, Instant, Result};
use transport::{OpKey, SendError};

use super::Route;
use crate::interrupt::{self, Registered};
use crate::meta::Kind;
use crate::outcome::{answer, is_channel_gone};
use crate::poller::{Guard, Interest};
use crate::regions::{Purpose, Source, Target};
use crate::server::{DEFAULT_PRIORITY, TIMED_OUT};
use crate::shared::{Shared, State};
use crate::wait::{Outcome, WaitIndex};
use crate::{Cause, Failure, Interrupt, Reply, SendOptions, clock};

/// One operation to ask for.
pub(super) struct Question<'a, 'b> {
    pub(super) kind: Kind,
    pub(super) request: &'a [IoSlice<'b>],
    pub(super) reply: &'a mut [IoSliceMut<'b>],
    pub(super) priority: u8,
    pub(super) deadline: Option<Instant>,
    pub(super) interrupt: Option<&'a Interrupt>,
}

/// An operation that has been started.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) op: OpKey,
    pub(super) wait: WaitIndex,
    pub(super) at: Instant,
    pub(super) len: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) kind: Kind,
}

impl Shared {
    /// Asks and blocks for the answer.
    pub(super) fn ask(
        self: &Arc<Self>,
        route: &Route,
        question: Question<'_, '_>,
    ) -> core::result::Result<Reply, Failure> {
        let (mut state, asked) = self.prepare(route, &question)?;
        let mut loan = Loan {
            shared: self,
            op: Some(asked.op),
            wait: asked.wait,
        };
        // SAFETY: `loan` takes both back before this function ends, however it ends.
        let (source, target) =
            unsafe { (Source::lend(question.request), Target::lend(question.reply)) };
        let purpose = Purpose::Called(asked.wait);
        state.regions.add_op(asked.op, source, target, purpose);
        state.pump_call(asked.at, route.session);

        let registered = question
            .interrupt
            .map(|interrupt| self.register(&mut state, interrupt, asked.op));
        let (mut state, result) = self.conclude(state, route, &asked);
        loan.end(&mut state);
        self.settle(state);
        drop(registered);
        result
    }

    /// Starts an operation; nothing of it has been sent yet, and its memory has to be told.
    pub(super) fn prepare(
        self: &Arc<Self>,
        route: &Route,
        question: &Question<'_, '_>,
    ) -> core::result::Result<(Guard<'_>, Asked), Failure> {
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
        let (mut state, result) = self.begin(state, route, question, (len, room), wait);
        match result {
            Ok((op, at)) => {
                let asked = Asked {
                    op,
                    wait,
                    at,
                    len,
                    deadline: question.deadline,
                    kind: question.kind,
                };
                Ok((state, asked))
            }
            Err(failure) => {
                state.waits.close(wait);
                Err(Failure {
                    peer: route.incarnation,
                    ..failure
                })
            }
        }
    }

    /// Waits for the end of an operation.
    #[inline(always)]
    pub(super) fn conclude<'a>(
        &'a self,
        state: Guard<'a>,
        route: &Route,
        asked: &Asked,
    ) -> (Guard<'a>, core::result::Result<Reply, Failure>) {
        let interest = Interest::Wait(asked.wait);
        let (mut state, outcome) = self.wait(state, asked.deadline, interest, |state| {
            state.waits.take(asked.wait)
        });
        let late = outcome.is_none();
        let outcome = match outcome {
            Some(Outcome::Interrupted) | None => {
                if late {
                    let now = clock::now();
                    state.transport.cancel(now, asked.op, TIMED_OUT);
                    state.pump(now);
                }
                let (after, outcome) = self.leave(state, asked.op, asked.len, asked.wait);
                state = after;
                outcome
            }
            Some(outcome) => outcome,
        };
        if asked.kind == Kind::Message && is_channel_gone(outcome) {
            state.channel_gone(route);
        }
        let result = answer(outcome, late).map_err(|failure| Failure {
            peer: route.incarnation,
            ..route.policy.in_terms_of(failure)
        });
        (state, result)
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

    /// Starts an operation, waiting for a free slot if need be; also tells when.
    fn begin<'a>(
        &'a self,
        mut state: Guard<'a>,
        route: &Route,
        question: &Question<'_, '_>,
        (len, room): (u64, u64),
        wait: WaitIndex,
    ) -> (Guard<'a>, core::result::Result<(OpKey, Instant), Failure>) {
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
                    return (state, Ok((op, now)));
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

    pub(super) fn register(
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

impl<'a, 'b> Question<'a, 'b> {
    pub(super) fn new(
        request: &'a [IoSlice<'b>],
        reply: &'a mut [IoSliceMut<'b>],
        options: &SendOptions<'a>,
    ) -> Self {
        let deadline = options
            .deadline
            .map(|deadline| clock::deadline(clock::now(), deadline));
        Self {
            kind: Kind::Message,
            request,
            reply,
            priority: options.priority.unwrap_or(DEFAULT_PRIORITY).max(1),
            deadline,
            interrupt: options.interrupt,
        }
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

/// How often a thread without a slot looks whether it has been interrupted.
const SLOT_TURN: abi::Duration = abi::Duration::from_millis(20);
/// How long nothing may be heard of a server before a caller that wants to leave does so without its word.
const SERVER_SILENCE: abi::Duration = abi::Duration::from_secs(1);
