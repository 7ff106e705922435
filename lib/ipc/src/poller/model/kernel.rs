//! What the kernel, the clock and the peers do, as far as a thread that polls can tell.

use std::collections::{HashSet, VecDeque};

use abi::{Duration, Instant};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread::{self, ThreadId};
use transport::LinkIndex;

use super::{Bell, Events, MEMORY, SOCKET};
use crate::poller::{ALARM, KICK};
use crate::wait::WaitIndex;

pub(super) struct Kernel {
    world: Mutex<World>,
    changed: Condvar,
}

/// What has arrived.
#[derive(Clone, Copy)]
pub(super) enum Packet {
    Answer(WaitIndex),
    Item,
    /// Something that comes to a descriptor.
    Byte,
}

#[derive(Default)]
struct World {
    now: Instant,
    /// When somebody wants to be woken.
    deadlines: Vec<Instant>,
    /// Threads that were woken and have not slept since.
    woken: HashSet<ThreadId>,
    parked: HashSet<ThreadId>,
    kicked: bool,
    helper_kicked: bool,
    alarm: Option<Instant>,
    /// The alarm has rung and nobody has been told.
    alarm_edge: bool,
    nested: bool,
    /// Requests on their way to the peer.
    requests: VecDeque<(LinkIndex, WaitIndex)>,
    socket: VecDeque<Packet>,
    memory: VecDeque<Packet>,
    /// The peer is to ring when it puts something into the memory.
    asleep: bool,
    /// The doorbell of the memory has rung and nobody has been told.
    memory_edge: bool,
    ended: bool,
}

impl World {
    fn is_ready(&self) -> bool {
        self.kicked || self.alarm_edge || self.memory_edge || !self.socket.is_empty()
    }
}

impl Kernel {
    pub(super) fn new() -> Self {
        let world = World {
            now: Instant::from_nanos(1_000_000_000),
            ..World::default()
        };
        Self {
            world: Mutex::new(world),
            changed: Condvar::new(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world());
        self.changed.notify_all();
        result
    }

    /// Blocks until `check` answers something, or until `deadline`.
    fn block<T>(
        &self,
        deadline: Option<Instant>,
        mut check: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        let mut world = self.world();
        if let Some(deadline) = deadline {
            world.deadlines.push(deadline);
            self.changed.notify_all();
        }
        let result = loop {
            if let Some(value) = check(&mut world) {
                break Some(value);
            }
            if deadline.is_some_and(|deadline| deadline <= world.now) {
                break None;
            }
            world = self.changed.wait(world).unwrap();
        };
        if let Some(deadline) = deadline {
            let at = world.deadlines.iter().position(|at| *at == deadline);
            world.deadlines.swap_remove(at.unwrap());
        }
        result
    }

    pub(super) fn now(&self) -> Instant {
        self.world().now
    }

    /// Time that the calling thread has used up.
    pub(super) fn pass(&self, time: Duration) -> Instant {
        self.change(|world| {
            world.now += time;
            world.look_at_alarm();
            world.now
        })
    }

    pub(super) fn park(&self, thread: ThreadId, limit: Option<Duration>) {
        if thread_rng().gen_ratio(1, 32) {
            // Parking may end without a reason.
            return;
        }
        let deadline = limit.map(|limit| self.now() + limit);
        let woken = self.block(deadline, |world| {
            world.parked.insert(thread);
            let woken = world.woken.remove(&thread);
            woken.then(|| world.parked.remove(&thread))
        });
        if woken.is_none() {
            self.change(|world| world.parked.remove(&thread));
        }
    }

    /// Threads that are parked and that nobody has woken.
    pub(super) fn parked(&self) -> usize {
        let world = self.world();
        world.parked.difference(&world.woken).count()
    }

    /// A thread outside the endpoint lets time pass.
    pub(super) fn sleep(&self, time: Duration) {
        let deadline = self.now() + time;
        self.block::<()>(Some(deadline), |_| None);
    }

    pub(super) fn wake(&self, thread: ThreadId) {
        self.change(|world| world.woken.insert(thread));
    }

    pub(super) fn ring(&self, bell: Bell) {
        self.change(|world| *world.bell(bell) = true);
    }

    pub(super) fn silence(&self, bell: Bell) {
        self.change(|world| *world.bell(bell) = false);
    }

    pub(super) fn set_alarm(&self, at: Instant) {
        self.change(|world| {
            world.alarm = Some(at);
            world.alarm_edge = false;
            world.look_at_alarm();
        });
    }

    pub(super) fn nest(&self, nested: bool) {
        self.change(|world| world.nested = nested);
    }

    pub(super) fn events_or_bell(&self, waits: bool) -> bool {
        let look = |world: &mut World| {
            let any = world.helper_kicked || (world.nested && world.is_ready());
            any.then_some(true)
        };
        if waits {
            return self.block(None, look).unwrap();
        }
        look(&mut self.world()).is_some()
    }

    pub(super) fn events(&self, events: &mut Events, waits: bool) -> usize {
        let interrupted = thread_rng().gen_ratio(1, 32);
        let mut look = |world: &mut World| {
            let mut n = 0;
            let mut add = |event| {
                events[n] = event;
                n += 1;
            };
            if std::mem::take(&mut world.memory_edge) {
                add(u64::from(MEMORY.0));
            }
            if world.kicked {
                add(KICK);
            }
            if !world.socket.is_empty() {
                add(u64::from(SOCKET.0));
            }
            if std::mem::take(&mut world.alarm_edge) {
                add(ALARM);
            }
            (n > 0).then_some(n)
        };
        if !waits {
            return look(&mut self.world()).unwrap_or(0);
        }
        self.block(None, |world| look(world).or(interrupted.then_some(0)))
            .unwrap()
    }

    pub(super) fn has_data(&self, link: LinkIndex) -> bool {
        !self.world().link(link).is_empty()
    }

    /// Asks the peer to ring; false if something is there.
    pub(super) fn arm(&self) -> bool {
        let mut world = self.world();
        world.asleep = true;
        drop(world);
        world = self.world();
        if !world.memory.is_empty() {
            world.asleep = false;
        }
        world.memory.is_empty()
    }

    pub(super) fn take(&self, link: LinkIndex) -> Option<Packet> {
        self.world().link(link).pop_front()
    }

    /// The peer sends something.
    pub(super) fn deliver(&self, link: LinkIndex, packet: Packet) {
        self.change(|world| world.link(link).push_back(packet));
        if link == MEMORY {
            // As in the ring: published first, then a look whether somebody sleeps.
            self.change(|world| {
                if std::mem::take(&mut world.asleep) {
                    world.memory_edge = true;
                }
            });
        }
    }

    /// Something goes to the peer, which answers over `link`.
    pub(super) fn ask(&self, link: LinkIndex, wait: WaitIndex) {
        self.change(|world| world.requests.push_back((link, wait)));
    }

    /// Answers requests until the end.
    pub(super) fn run_peer(&self) {
        loop {
            let request = self.block(None, |world| {
                let request = world.requests.pop_front();
                request.map(Some).or(world.ended.then_some(None))
            });
            let Some((link, wait)) = request.flatten() else {
                return;
            };
            self.deliver(link, Packet::Answer(wait));
        }
    }

    /// Lets time pass: from one moment for which somebody waits to the next, after the others had some turns.
    pub(super) fn run_clock(&self) {
        loop {
            let next = self.block(None, |world| {
                let next = world.deadlines.iter().chain(&world.alarm).min().copied();
                next.map(Some).or(world.ended.then_some(None))
            });
            let Some(next) = next.flatten() else {
                return;
            };
            for _ in 0..thread_rng().gen_range(0..16) {
                thread::yield_now();
            }
            self.change(|world| {
                world.now = world.now.max(next);
                world.look_at_alarm();
            });
        }
    }

    pub(super) fn end(&self) {
        self.change(|world| {
            world.alarm = None;
            world.ended = true;
        });
    }
}

impl World {
    fn link(&mut self, link: LinkIndex) -> &mut VecDeque<Packet> {
        if link == MEMORY {
            &mut self.memory
        } else {
            &mut self.socket
        }
    }

    fn bell(&mut self, bell: Bell) -> &mut bool {
        match bell {
            Bell::Kick => &mut self.kicked,
            Bell::Helper => &mut self.helper_kicked,
        }
    }

    fn look_at_alarm(&mut self) {
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            self.alarm_edge = true;
        }
    }
}
