//! The hand-over in every order that threads can take: its own code, with a model of the kernel and of the peers.
//!
//! Nothing in the model retransmits. So a wake that is lost leaves all threads blocked, or the helper alone with its
//! naps, and the run fails; it prints the schedule that plays it again.

mod calls;
mod kernel;
mod stories;

use std::sync::Arc;

use abi::{ChannelId, Duration, Instant};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::{Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle, ThreadId};
use transport::LinkIndex;

use super::{Bell, Events, Polling, Receivers, Surroundings, Wake, Work, stand_in};
use crate::locked::{Locked, Wakes};
use crate::wait::{Outcome, WaitIndex, Waits};
use kernel::{Kernel, Packet};

/// One endpoint.
struct Model {
    kernel: Arc<Kernel>,
    state: Mutex<ModelState>,
}

struct ModelState {
    kernel: Arc<Kernel>,
    polling: Polling<ModelThread>,
    waits: Waits<ModelThread>,
    woken: Vec<ModelThread>,
    touched: Vec<ChannelId>,
    receivers: Receivers<ModelThread>,
    /// Items in the queue of the one channel.
    items: usize,
    /// The memory link rings by itself.
    armed: bool,
    timer: Option<(Instant, WaitIndex)>,
    /// Who waits for a descriptor, and whether something has come to it.
    beside: Option<WaitIndex>,
    bytes: bool,
    /// Calls that are kept back, and when they have to leave.
    held: Vec<(LinkIndex, WaitIndex)>,
    held_until: Option<Instant>,
    /// Some of it by threads that do not wait for its answer.
    held_by_others: bool,
    /// Threads that call and wait.
    callers: usize,
    /// When the daemon, which is gone, can be reached again.
    daemon_back: Option<Instant>,
    closed: bool,
}

#[derive(Clone)]
struct ModelThread {
    kernel: Arc<Kernel>,
    id: ThreadId,
}

/// The link that only the kernel knows of.
const SOCKET: LinkIndex = LinkIndex(0);
/// The link that has to be armed.
const MEMORY: LinkIndex = LinkIndex(1);
const CHANNEL: ChannelId = ChannelId(1);
/// How long calls are kept back.
const HELD_FOR: Duration = Duration::from_micros(100);

impl Model {
    fn new() -> Arc<Self> {
        let kernel = Arc::new(Kernel::new());
        Arc::new(Self {
            state: Mutex::new(ModelState {
                kernel: Arc::clone(&kernel),
                polling: Polling::new(),
                waits: Waits::default(),
                woken: Vec::new(),
                touched: Vec::new(),
                receivers: Receivers::default(),
                items: 0,
                armed: false,
                timer: None,
                beside: None,
                bytes: false,
                held: Vec::new(),
                held_until: None,
                held_by_others: false,
                callers: 0,
                daemon_back: None,
                closed: false,
            }),
            kernel,
        })
    }
}

impl Surroundings for Model {
    type Thread = ModelThread;
    type State = ModelState;
    type Guard<'a> = Locked<MutexGuard<'a, ModelState>>;

    fn lock(&self) -> Self::Guard<'_> {
        Locked::new(self.state.lock().unwrap())
    }

    fn now(&self) -> Instant {
        self.kernel
            .pass(Duration::from_micros(thread_rng().gen_range(0..40)))
    }

    fn this_thread(&self) -> ModelThread {
        ModelThread {
            kernel: Arc::clone(&self.kernel),
            id: thread::current().id(),
        }
    }

    fn park(&self, limit: Option<Duration>) {
        self.kernel.park(thread::current().id(), limit);
    }

    fn ring(&self, bell: Bell) {
        self.kernel.ring(bell);
    }

    fn silence(&self, bell: Bell) {
        self.kernel.silence(bell);
    }

    fn set_alarm(&self, at: Instant) {
        self.kernel.set_alarm(at);
    }

    fn events(&self, events: &mut Events, waits: bool) -> usize {
        self.kernel.events(events, waits)
    }

    fn nest(&self, nested: bool) {
        self.kernel.nest(nested);
    }

    fn events_or_bell(&self, waits: bool) -> bool {
        self.kernel.events_or_bell(waits)
    }

    fn spin<'a>(&'a self, state: Self::Guard<'a>, _now: Instant) -> (Self::Guard<'a>, bool) {
        if thread_rng().gen_ratio(1, 2) {
            return (state, false);
        }
        drop(state);
        thread::yield_now();
        let found = self.kernel.has_data(MEMORY);
        (self.lock(), found)
    }

    fn give_way(&self) {
        thread::yield_now();
    }

    fn happened(&self, state: &mut ModelState, now: Instant, event: u64) {
        let link = LinkIndex(u32::try_from(event).unwrap());
        if link == MEMORY {
            state.armed = false;
        }
        state.take_in(now, link);
    }

    fn reconnect<'a>(&'a self, mut state: Self::Guard<'a>) -> Self::Guard<'a> {
        if state.daemon_back.is_some_and(|at| at <= self.now()) {
            state.daemon_back = None;
        }
        state
    }
}

impl Wakes for ModelState {
    type Thread = ModelThread;

    fn woken(&mut self) -> &mut Vec<ModelThread> {
        &mut self.woken
    }
}

impl Work<ModelThread> for ModelState {
    fn polling(&mut self) -> &mut Polling<ModelThread> {
        &mut self.polling
    }

    fn waits(&mut self) -> &mut Waits<ModelThread> {
        &mut self.waits
    }

    fn touched(&mut self) -> &mut Vec<ChannelId> {
        &mut self.touched
    }

    fn receivers(&mut self, _: ChannelId) -> Option<(&mut Receivers<ModelThread>, usize)> {
        Some((&mut self.receivers, self.items))
    }

    fn timeout(&self) -> Option<Instant> {
        let timer = self.timer.map(|(at, _)| at);
        timer.into_iter().chain(self.held_until).min()
    }

    fn gather(&mut self, now: Instant) -> bool {
        if self.held.is_empty() || thread_rng().gen_ratio(1, 2) {
            return false;
        }
        let link = self.ready().unwrap_or(SOCKET);
        let found = self.kernel.has_data(link);
        self.take_in(now, link);
        found
    }

    fn flush(&mut self, _: Instant) -> bool {
        self.held_until = None;
        let any = !self.held.is_empty();
        for (link, wait) in self.held.drain(..) {
            self.kernel.ask(link, wait);
        }
        any
    }

    fn awaits_callers(&self, _: Instant) -> bool {
        !self.held.is_empty() && thread_rng().gen_ratio(1, 2)
    }

    fn flush_at(&self) -> Option<Instant> {
        self.held_until
    }

    fn run_timers(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.flush(now);
        }
        if let Some((at, wait)) = self.timer.filter(|(at, _)| *at <= now) {
            assert!(at <= now);
            self.timer = None;
            self.finish(wait, Outcome::Done);
        }
    }

    fn care_at(&self, _: Instant) -> Option<Instant> {
        let is_left = !self.held.is_empty() && self.polling.holder == super::Holder::Nobody;
        assert!(
            !is_left || self.held_by_others || self.kernel.parked() < self.callers,
            "what callers keep back is left to the helper"
        );
        self.daemon_back
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn may_give_way(&mut self) -> bool {
        thread_rng().gen_ratio(1, 2)
    }

    fn look(&mut self, now: Instant) -> bool {
        let link = self.ready().unwrap_or(SOCKET);
        let found = self.kernel.has_data(link);
        self.take_in(now, link);
        found
    }

    fn has_given_way(&mut self, _found: bool) {}

    fn ready(&self) -> Option<LinkIndex> {
        (!self.armed && self.kernel.has_data(MEMORY)).then_some(MEMORY)
    }

    fn arm(&mut self) -> bool {
        if !self.armed {
            self.armed = self.kernel.arm();
        }
        self.armed
    }

    fn take_in(&mut self, _: Instant, link: LinkIndex) {
        // As from a real one: all of a ring, one read of a socket.
        while let Some(packet) = self.kernel.take(link) {
            match packet {
                Packet::Answer(wait) => self.finish(wait, Outcome::Done),
                Packet::Item => {
                    self.items += 1;
                    self.touch(CHANNEL);
                }
                Packet::Byte => {
                    self.bytes = true;
                    if let Some(wait) = self.beside {
                        self.rouse(wait);
                    }
                }
            }
            if link == SOCKET {
                return;
            }
        }
    }

    fn take_in_ready(&mut self, now: Instant) {
        if !self.armed {
            self.take_in(now, MEMORY);
        }
    }
}

impl Wake for ModelThread {
    fn wake(&self) {
        self.kernel.wake(self.id);
    }
}

/// Plays a story: its threads, the helper, the clock and the peer. All must end.
fn play(story: impl FnOnce(&Arc<Model>) -> Vec<JoinHandle<()>>) {
    let model = Model::new();
    let helper = Arc::clone(&model);
    let clock = Arc::clone(&model.kernel);
    let peer = Arc::clone(&model.kernel);
    let servants = [
        thread::spawn(move || clock.run_clock()),
        thread::spawn(move || peer.run_peer()),
    ];
    let helper = thread::spawn(move || stand_in::help(&*helper));
    for thread in story(&model) {
        thread.join().unwrap();
    }
    model.close();
    helper.join().unwrap();
    model.kernel.end();
    for servant in servants {
        servant.join().unwrap();
    }
}
