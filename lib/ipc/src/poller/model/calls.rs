//! What threads do in stories.

use std::sync::Arc;

use abi::Duration;
use shuttle::thread::{self, JoinHandle};
use transport::LinkIndex;

use super::kernel::Packet;
use super::{CHANNEL, HELD_FOR, Model, ModelState, SOCKET};
use crate::poller::{Holder, Interest, Surroundings, Work as _, settle, wait};
use crate::wait::{Outcome, WaitIndex};

impl Model {
    fn begin_call(&self) -> <Self as Surroundings>::Guard<'_> {
        let mut state = self.lock();
        state.callers += 1;
        state
    }

    fn end_call<'a>(&'a self, state: <Self as Surroundings>::Guard<'a>) {
        settle(self, state);
        // Those whom it wakes are awake only now.
        self.lock().callers -= 1;
    }

    /// Waits until the call of `index` has ended by `outcome`, and closes it.
    fn await_outcome<'a>(
        &'a self,
        state: <Self as Surroundings>::Guard<'a>,
        index: WaitIndex,
        outcome: Outcome,
    ) -> <Self as Surroundings>::Guard<'a> {
        let (mut state, ended) = wait(self, state, None, Interest::Wait(index), |state| {
            state.waits.take(index)
        });
        assert_eq!(ended, Some(outcome), "a call without a deadline ended");
        state.waits.close(index);
        state
    }

    /// Keeps a new call over `link` back.
    fn keep_back(&self, state: &mut ModelState, link: LinkIndex) -> WaitIndex {
        let index = state.waits.open();
        state.held.push((link, index));
        let until = self.now() + HELD_FOR;
        state.held_until.get_or_insert(until);
        index
    }

    /// Keeps a call back by a thread that does not wait for it now.
    fn submit(&self, link: LinkIndex) -> WaitIndex {
        let mut state = self.lock();
        let index = self.keep_back(&mut state, link);
        state.held_by_others = true;
        state.polling.look_again();
        settle(self, state);
        index
    }

    /// A call: something goes out, and its answer comes back over `link`.
    pub(super) fn call(&self, link: LinkIndex) {
        let mut state = self.begin_call();
        let index = state.waits.open();
        self.kernel.ask(link, index);
        let state = self.await_outcome(state, index, Outcome::Done);
        self.end_call(state);
    }

    /// A call that is answered when the daemon, which is gone for so long, has been reached again.
    pub(super) fn call_without_daemon(self: &Arc<Self>, gone: Duration) {
        let mut state = self.lock();
        state.daemon_back = Some(self.now() + gone);
        state.polling.wake_helper();
        settle(&**self, state);
        let model = Arc::clone(self);
        let reached = thread::spawn(move || {
            while model.lock().daemon_back.is_some() {
                model.kernel.sleep(gone);
            }
        });
        self.call_that_takes(Duration::ZERO, vec![reached]);
    }

    /// A call that is kept back to leave with others, and is waited for after `pause`.
    pub(super) fn call_later(&self, link: LinkIndex, pause: Duration) {
        let index = self.submit(link);
        self.kernel.sleep(pause);
        let state = self.await_outcome(self.lock(), index, Outcome::Done);
        settle(self, state);
    }

    /// A call that is kept back for others, who may not come, by a thread that waits at once.
    pub(super) fn call_with_others(&self, link: LinkIndex) {
        let mut state = self.begin_call();
        let index = self.keep_back(&mut state, link);
        let state = self.await_outcome(state, index, Outcome::Done);
        self.end_call(state);
    }

    /// A call that is kept back by a thread that never waits, until another one has ended.
    pub(super) fn call_for(&self, link: LinkIndex) {
        let index = self.submit(link);
        // Its answer ends this, whoever takes it in.
        while self.lock().waits.take(index).is_none() {
            self.kernel.sleep(HELD_FOR);
        }
        self.lock().waits.close(index);
    }

    /// A call whose answer comes over the socket after `delay`, or later: when `before` have ended.
    pub(super) fn call_that_takes(&self, delay: Duration, before: Vec<JoinHandle<()>>) {
        let mut state = self.begin_call();
        let index = state.waits.open();
        let kernel = Arc::clone(&self.kernel);
        let answer = thread::spawn(move || {
            kernel.sleep(delay);
            for thread in before {
                thread.join().unwrap();
            }
            kernel.deliver(SOCKET, Packet::Answer(index));
        });
        let state = self.await_outcome(state, index, Outcome::Done);
        self.end_call(state);
        answer.join().unwrap();
    }

    /// A call that another thread of the process ends.
    pub(super) fn call_until_interrupted(self: &Arc<Self>) {
        let mut state = self.lock();
        let model = Arc::clone(self);
        let index = state.waits.open();
        let interrupter = thread::spawn(move || {
            let mut state = model.lock();
            state.finish(index, Outcome::Interrupted);
            settle(&*model, state);
        });
        let state = self.await_outcome(state, index, Outcome::Interrupted);
        settle(&**self, state);
        interrupter.join().unwrap();
    }

    /// A call whose answer comes over the socket only after something has come to a descriptor, which the same thread
    /// waits for beside it.
    pub(super) fn call_beside(&self) {
        let mut state = self.begin_call();
        let index = state.waits.open();
        state.beside = Some(index);
        drop(state);
        self.kernel.deliver(SOCKET, Packet::Byte);
        let interest = Interest::Beside(index);
        let (state, came) = wait(self, self.lock(), None, interest, |state| {
            assert!(!state.waits.has_outcome(index), "nobody has asked yet");
            std::mem::take(&mut state.bytes).then_some(())
        });
        assert_eq!(came, Some(()));
        self.kernel.ask(SOCKET, index);
        let (mut state, outcome) =
            wait(self, state, None, interest, |state| state.waits.take(index));
        assert_eq!(outcome, Some(Outcome::Done));
        state.beside = None;
        state.waits.close(index);
        self.end_call(state);
    }

    /// A call that nobody answers.
    pub(super) fn call_in_vain(&self, patience: Duration) {
        let mut state = self.lock();
        let index = state.waits.open();
        let deadline = self.now() + patience;
        let interest = Interest::Wait(index);
        let (mut state, outcome) = wait(self, state, Some(deadline), interest, |state| {
            state.waits.take(index)
        });
        assert_eq!(outcome, None);
        assert!(self.kernel.now() >= deadline, "gave up too early");
        state.waits.close(index);
        settle(self, state);
    }

    /// A call that ends by a timer of the endpoint, which another thread sets.
    pub(super) fn call_until_timer(self: &Arc<Self>, after: Duration) {
        let mut state = self.lock();
        let index = state.waits.open();
        let model = Arc::clone(self);
        let setter = thread::spawn(move || {
            let mut state = model.lock();
            state.timer = Some((model.now() + after, index));
            settle(&*model, state);
        });
        let state = self.await_outcome(state, index, Outcome::Done);
        settle(&**self, state);
        setter.join().unwrap();
    }

    /// Takes one item from the channel; false if the endpoint is closed first.
    pub(super) fn receive(&self) -> bool {
        let state = self.lock();
        let (state, taken) = wait(self, state, None, Interest::Channel(CHANNEL), |state| {
            if state.items > 0 {
                state.items -= 1;
                return Some(true);
            }
            state.closed.then_some(false)
        });
        settle(self, state);
        taken.unwrap()
    }

    pub(super) fn is_polled_by_a_thread(&self) -> bool {
        self.lock().polling.holder == Holder::Thread
    }

    /// Puts an item into the channel from inside the process.
    pub(super) fn post(&self) {
        let mut state = self.lock();
        state.items += 1;
        state.touch(CHANNEL);
        settle(self, state);
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.polling.wake_all();
        settle(self, state);
    }
}
