//! Answering with bytes, and moving bytes while a client is blocked: where server threads lend memory.
#![allow(unsafe_code)]

use std::io::IoSlice;

use abi::{Errno, Instant, Result};
use transport::{Cause, IncomingKey, TransferKey};

use crate::channels::Stage;
use crate::patience::Patience;
use crate::poller::{Guard, Interest};
use crate::receive::Lent;
use crate::regions::{Outgoing, Source, Target};
use crate::shared::{Shared, State};
use crate::wait::{Outcome, WaitIndex};
use crate::{MessageId, clock};

impl Shared {
    pub(crate) fn reply(&self, id: MessageId, status: i64, bytes: &[u8]) -> Result {
        let mut state = self.enter()?;
        let (index, served) = state.channels.served(id).ok_or(Errno::ESRCH)?;
        let key = served.key.ok_or(Errno::ESRCH)?;
        let room = usize::try_from(served.reply_max).unwrap_or(usize::MAX);
        let bytes = &bytes[..room.min(bytes.len())];
        let now = clock::now();

        let may_wait = bytes.len() <= HELD_MAX && state.may_wait(now, index);
        let is_long = bytes.len() > KEPT_MAX;
        let wait = is_long.then(|| state.waits.open());
        match wait {
            Some(wait) => state.channels.by_index(index).stage = Stage::Replying(wait),
            None => state.answered(index),
        }
        let slices = [IoSlice::new(bytes)];
        let mut loan = Loan {
            shared: self,
            what: Borrower::Reply(key),
            wait,
        };
        if !bytes.is_empty() {
            // SAFETY: `loan` takes the memory back before this function ends, however it ends.
            let source = unsafe { Source::lend(&slices) };
            state.regions.set_outgoing(key, Outgoing::Lent(source));
        }
        if state
            .transport
            .reply(now, key, status, bytes.len() as u64)
            .is_err()
        {
            if is_long {
                state.drop_served(index);
            }
            loan.end(&mut state);
            return Err(Errno::ESRCH);
        }
        state.regions.drop_arrived(key);
        if may_wait {
            state.regions.keep_outgoing(key, bytes.len());
            state.pump_soon(now);
        } else {
            state.pump(now);
        }
        let Some(wait) = wait else {
            state.regions.keep_outgoing(key, bytes.len());
            loan.end(&mut state);
            self.settle(state);
            return Ok(());
        };
        let (mut state, outcome) = self.wait_moving(state, wait, Borrower::Reply(key));
        if outcome.is_none() {
            // The client takes nothing any more; a server must not hang on that.
            state.stalled(index, key, bytes.len());
        }
        loan.end(&mut state);
        self.settle(state);
        // As in QNX, success does not mean that the client got it (I64).
        Ok(())
    }

    /// Waits until a pull or push has been carried out.
    pub(crate) fn transfer<'a>(
        &'a self,
        mut state: Guard<'a>,
        transfer: TransferKey,
        lent: Lent<'_, '_>,
    ) -> (Guard<'a>, Result) {
        let wait = state.waits.open();
        let mut loan = Loan {
            shared: self,
            what: Borrower::Transfer(transfer),
            wait: Some(wait),
        };
        let (source, target) = match lent {
            // SAFETY: `loan` takes the memory back before this function ends, however it ends.
            Lent::Source(slices) => (unsafe { Source::lend(slices) }, Target::EMPTY),
            // SAFETY: as above.
            Lent::Target(slices) => (Source::EMPTY, unsafe { Target::lend(slices) }),
        };
        state.regions.add_transfer(transfer, source, target, wait);
        state.pump(clock::now());
        let (mut state, outcome) = self.wait_moving(state, wait, Borrower::Transfer(transfer));
        loan.end(&mut state);
        match outcome {
            Some(Outcome::Done) => (state, Ok(())),
            _ => (state, Err(Errno::ESRCH)),
        }
    }

    /// Waits for an outcome for as long as bytes move at a pace; nothing if they do not.
    fn wait_moving<'a>(
        &'a self,
        mut state: Guard<'a>,
        wait: WaitIndex,
        what: Borrower,
    ) -> (Guard<'a>, Option<Outcome>) {
        let mut patience = Patience::new(clock::now(), what.moved(&mut state));
        loop {
            let (after, outcome) = self.wait(
                state,
                Some(patience.until()),
                Interest::Wait(wait),
                |state| state.waits.take(wait),
            );
            state = after;
            let moved = what.moved(&mut state);
            if outcome.is_some() || !patience.lasts(clock::now(), moved) {
                return (state, outcome);
            }
        }
    }
}

impl State {
    /// Whether the reply to a message need not leave before that to the next one: it is here and will not take long.
    fn may_wait(&mut self, now: Instant, index: u32) -> bool {
        let served = self.channels.by_index(index);
        let (channel, received_at) = (served.channel, served.received_at);
        let Some(channel) = self.channels.get_mut(channel) else {
            return false;
        };
        channel.pace.learn(now.saturating_since(received_at));
        channel.pace.is_quick() && (self.held.any() || channel.queue.len() > 0)
    }

    /// A client does not take its reply: it is kept for it if that is affordable; else the session ends.
    fn stalled(&mut self, index: u32, key: IncomingKey, len: usize) {
        if len <= STALLED_MAX {
            self.regions.keep_outgoing(key, len);
            self.drop_served(index);
        } else {
            let now = clock::now();
            self.end_session(now, key.session(), Cause::Link);
            self.pump(now);
        }
    }
}

/// Memory on loan to the transport; it comes back when this is dropped.
struct Loan<'a> {
    shared: &'a Shared,
    what: Borrower,
    wait: Option<WaitIndex>,
}

#[derive(Clone, Copy)]
enum Borrower {
    Reply(IncomingKey),
    Transfer(TransferKey),
    Over,
}

impl Borrower {
    /// How many bytes of it are where they go. What is sent in vain again and again does not count, nor what is
    /// sent to others.
    fn moved(self, state: &mut State) -> u64 {
        match self {
            Self::Reply(key) => state.transport.reply_progress(key),
            Self::Transfer(key) => state.transport.transfer_progress(key),
            Self::Over => 0,
        }
    }
}

impl Loan<'_> {
    fn end(&mut self, state: &mut Guard<'_>) {
        match std::mem::replace(&mut self.what, Borrower::Over) {
            Borrower::Reply(key) => {
                if state.regions.is_lent(key) {
                    state.regions.end_served(key);
                }
            }
            Borrower::Transfer(key) => {
                state.regions.end_transfer(key);
            }
            Borrower::Over => {}
        }
        if let Some(wait) = self.wait.take() {
            state.waits.close(wait);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        // Only a panic gets here with something left, and has given the lock back by then.
        if !matches!(self.what, Borrower::Over) {
            let mut state = self.shared.lock();
            self.end(&mut state);
        }
    }
}

/// Longest reply that is copied so that its thread need not wait for the client: what is kept for clients
/// that never fetch it is this times the operations of a session, at most.
const KEPT_MAX: usize = 64 * 1024;
/// Longest reply that is kept back for a moment: longer ones fill packets of their own.
const HELD_MAX: usize = 1024;
/// Longest reply that is kept for a client that does not take it.
const STALLED_MAX: usize = 16 << 20;
