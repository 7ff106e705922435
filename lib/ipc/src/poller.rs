//! Who waits for packets: leader and followers.
//!
//! A thread that has to wait takes the role of the poller if it is free: it sleeps in epoll, takes packets in and
//! returns straight to its caller when its own answer is there, without handing anything to another thread.
//! Others park until the poller has something for them or the role is free. When nobody has polled for
//! a while, the helper thread does; a thread that comes to wait takes the role back from it.

mod stand_in;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::thread::Thread;

use abi::{ChannelId, Duration, Instant, Result};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use transport::LinkIndex;

use crate::clock;
use crate::shared::{Shared, State};
use crate::spin::{self, Spin};
use crate::system_error::errno;
use crate::wait::WaitIndex;

/// The descriptors of polling; used without the lock.
pub(crate) struct Poller {
    /// All links, the daemon socket and `kick`.
    pub(crate) epoll: Arc<OwnedFd>,
    /// Wakes a sleeping thread that has to look again.
    kick: OwnedFd,
    /// In `epoll`; rings when a sleeper must look at its timers. Set anew only for an earlier time: a timeout
    /// of each wait would cost more than the wait, and most are never reached.
    alarm: OwnedFd,
    /// `epoll` itself and `helper_kick`.
    helper_epoll: OwnedFd,
    /// Takes the role back from the sleeping helper.
    helper_kick: OwnedFd,
}

/// The state of polling; used with the lock held.
pub(crate) struct Polling {
    holder: Holder,
    /// Until when the holder sleeps in epoll; `None` while it is awake.
    sleeping_until: Option<Instant>,
    /// What the alarm is set to; `None` once it has rung.
    alarm_at: Option<Instant>,
    /// Parked threads, the newest last.
    followers: Vec<(u64, Thread)>,
    next_follower: u64,
    /// When the role was last given up, as far as the giver knew.
    released_at: Instant,
    releases: u64,
    /// How long threads usually stay away between two times of polling, in nanoseconds.
    absence: u64,
    /// The helper thread, and whether it sleeps until the role is given up.
    helper: Option<Thread>,
    helper_waits: bool,
    spin: Spin,
    /// Rounds in which packets came without asking the kernel.
    rounds: u32,
    /// Something has changed that the sleeping poller does not know of.
    pub(crate) nudge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Thread,
    Helper,
}

/// What a thread waits for, so that it is woken when it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interest {
    /// The end of an operation.
    Wait(WaitIndex),
    /// An item in the queue of a channel.
    Channel(ChannelId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleeper {
    Thread,
    Helper,
}

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
        let helper_epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
        let (kick, helper_kick) = (
            eventfd(0, flags).map_err(errno)?,
            eventfd(0, flags).map_err(errno)?,
        );
        epoll::add(
            &epoll,
            &kick,
            epoll::EventData::new_u64(KICK),
            epoll::EventFlags::IN,
        )
        .map_err(errno)?;
        let alarm = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )
        .map_err(errno)?;
        // Edge-triggered and never read: setting it anew makes it silent.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &alarm, epoll::EventData::new_u64(ALARM), edge).map_err(errno)?;
        let nested = epoll::EventData::new_u64(0);
        epoll::add(&helper_epoll, &helper_kick, nested, epoll::EventFlags::IN).map_err(errno)?;
        Ok(Self {
            epoll: Arc::new(epoll),
            kick,
            alarm,
            helper_epoll,
            helper_kick,
        })
    }
}

impl Polling {
    pub(crate) fn new() -> Self {
        Self {
            holder: Holder::Nobody,
            sleeping_until: None,
            alarm_at: None,
            followers: Vec::new(),
            next_follower: 0,
            released_at: Instant::default(),
            releases: 0,
            absence: 0,
            helper: None,
            helper_waits: false,
            spin: Spin::default(),
            rounds: 0,
            nudge: false,
        }
    }

    /// Wakes the helper if it waits to be needed.
    pub(crate) fn wake_helper(&mut self) {
        if std::mem::take(&mut self.helper_waits)
            && let Some(helper) = &self.helper
        {
            helper.unpark();
        }
    }

    /// Wakes everybody, because the endpoint closes.
    pub(crate) fn wake_all(&mut self) {
        self.nudge = true;
        for (_, thread) in &self.followers {
            thread.unpark();
        }
        if let Some(helper) = &self.helper {
            helper.unpark();
        }
    }
}

impl Shared {
    /// Waits until `check` answers something, or until `deadline`. Polls if nobody else does. `check` runs with the
    /// lock held, at least once after a look at what has arrived, even if the deadline has passed.
    pub(crate) fn wait<'a, T>(
        &'a self,
        mut state: Guard<'a>,
        deadline: Option<Instant>,
        interest: Interest,
        mut check: impl FnMut(&mut State) -> Option<T>,
    ) -> (Guard<'a>, Option<T>) {
        let mut polls = false;
        let mut looked = false;
        let result = loop {
            if polls {
                state.polling.nudge = false;
            }
            if let Some(value) = check(&mut state) {
                break Some(value);
            }
            let now = clock::now();
            let late = deadline.is_some_and(|deadline| deadline <= now);
            if late && looked {
                break None;
            }
            polls = polls || self.take_role(&mut state, now);
            state = if polls {
                let state = self.poll(state, now, deadline, Sleeper::Thread);
                self.woken(state, Some(interest))
            } else if late {
                break None;
            } else {
                self.park(state, now, deadline, interest)
            };
            looked = true;
        };
        if let Interest::Channel(channel) = interest {
            state.wake_receivers(channel);
        }
        if polls {
            release_role(&mut state);
        }
        (state, result)
    }

    /// To be called at the end of every call that does not wait: the poller may sleep too long otherwise.
    pub(crate) fn settle(&self, state: Guard<'_>) {
        let mut state = self.woken(state, None);
        let Some(until) = state.polling.sleeping_until else {
            return;
        };
        let earlier = state
            .transport
            .timeout()
            .is_some_and(|timeout| timeout < until);
        if !earlier && !state.polling.nudge {
            return;
        }
        state.polling.nudge = false;
        // One kick is enough until the poller has been awake.
        state.polling.sleeping_until = None;
        let fd = if state.polling.holder == Holder::Helper {
            &self.poller.helper_kick
        } else {
            &self.poller.kick
        };
        drop(state);
        ring(fd);
    }

    /// Wakes receivers of channels that got something, but not for the channel that this thread looks at itself.
    fn woken<'a>(&self, mut state: Guard<'a>, interest: Option<Interest>) -> Guard<'a> {
        while let Some(channel) = state.touched.pop() {
            match interest {
                Some(Interest::Channel(own)) if own == channel => {}
                _ => state.wake_receivers(channel),
            }
        }
        state
    }

    /// True if the calling thread is the poller from here on.
    fn take_role(&self, state: &mut State, now: Instant) -> bool {
        match state.polling.holder {
            Holder::Thread => return false,
            Holder::Nobody => {
                let away = now.saturating_since(state.polling.released_at).as_nanos();
                let away = u64::try_from(away).unwrap_or(u64::MAX).min(ABSENCE_MAX);
                state.polling.absence = (state.polling.absence * 7 + away) / 8;
            }
            Holder::Helper => {
                if state.polling.sleeping_until.take().is_some() {
                    ring(&self.poller.helper_kick);
                }
            }
        }
        state.polling.holder = Holder::Thread;
        true
    }

    /// Sleeps until woken, or until `deadline`.
    fn park<'a>(
        &'a self,
        mut state: Guard<'a>,
        now: Instant,
        deadline: Option<Instant>,
        interest: Interest,
    ) -> Guard<'a> {
        let id = state.polling.next_follower;
        state.polling.next_follower += 1;
        let thread = std::thread::current();
        match interest {
            Interest::Wait(wait) => state.waits.set_thread(wait, Some(thread.clone())),
            Interest::Channel(channel) => state.add_receiver(channel, id, thread.clone()),
        }
        state.polling.followers.push((id, thread));
        drop(state);
        match deadline {
            Some(deadline) => std::thread::park_timeout(deadline.saturating_since(now)),
            None => std::thread::park(),
        }
        let mut state = self.lock();
        state
            .polling
            .followers
            .retain(|(follower, _)| *follower != id);
        match interest {
            Interest::Wait(wait) => state.waits.set_thread(wait, None),
            Interest::Channel(channel) => state.remove_receiver(channel, id),
        }
        state
    }

    /// One round of polling: takes in what is there, or sleeps until something comes, a timer runs out, or
    /// `deadline`.
    fn poll<'a>(
        &'a self,
        mut state: Guard<'a>,
        now: Instant,
        deadline: Option<Instant>,
        sleeper: Sleeper,
    ) -> Guard<'a> {
        state.polling.released_at = now;
        if let Some(link) = state.links.ready()
            && state.polling.rounds < ROUNDS_MAX
        {
            state.polling.rounds += 1;
            state.take_in(now, link);
            return state;
        }
        if state
            .transport
            .timeout()
            .is_some_and(|timeout| timeout <= now)
        {
            state.transport.handle_timeout(now);
            state.pump(now);
            return state;
        }
        let may_spin = sleeper == Sleeper::Thread && state.polling.rounds < ROUNDS_MAX;
        if may_spin && deadline.is_none_or(|deadline| deadline > now) {
            let (spun, found) = self.spin(state, now);
            state = spun;
            if found || state.polling.nudge {
                return state;
            }
        }
        if !state.links.arm() {
            state.polling.rounds += 1;
            if state.polling.rounds < ROUNDS_MAX {
                state.take_in_ready(now);
                return state;
            }
        }
        self.sleep(state, now, deadline, sleeper)
    }

    fn spin<'a>(&'a self, mut state: Guard<'a>, now: Instant) -> (Guard<'a>, bool) {
        let mut hot = [None, None, None, None];
        let n = state.links.hot(&mut hot);
        if n == 0 || !state.polling.spin.is_due(&hot[..n]) {
            return (state, false);
        }
        drop(state);
        let found = spin::spin(now, &hot[..n]);
        let mut state = self.lock();
        state.polling.spin.learn(found);
        (state, found)
    }

    fn sleep<'a>(
        &'a self,
        mut state: Guard<'a>,
        now: Instant,
        deadline: Option<Instant>,
        sleeper: Sleeper,
    ) -> Guard<'a> {
        let mut until = state.transport.timeout().unwrap_or(Instant::MAX);
        until = until.min(deadline.unwrap_or(Instant::MAX));
        // Links that keep a thread busy must not starve those that only the kernel knows of.
        if std::mem::take(&mut state.polling.rounds) >= ROUNDS_MAX {
            until = now;
        }
        state.polling.sleeping_until = (until > now).then_some(until);
        let timeout = if until > now { None } else { Some(NO_TIME) };
        if timeout.is_none() {
            self.set_alarm(&mut state.polling, now, until);
        }
        drop(state);

        let mut events = [const { EMPTY }; EVENTS];
        let fd = self.poller.epoll.as_fd();
        let mut n = 0;
        match sleeper {
            Sleeper::Thread => n = epoll::wait(fd, &mut events, timeout.as_ref()).unwrap_or(0),
            Sleeper::Helper => {
                // Only for now: each packet would ring at the outer one, too, while a thread waits for it.
                let outer = &self.poller.helper_epoll;
                let data = epoll::EventData::new_u64(0);
                if epoll::add(outer, fd, data, epoll::EventFlags::IN).is_err() {
                    tracing::error!("the helper cannot watch for packets");
                }
                let woken = epoll::wait(outer, &mut events[..2], timeout.as_ref());
                let _ = epoll::delete(outer, fd);
                clear(&self.poller.helper_kick);
                if woken.unwrap_or(0) > 0 {
                    n = epoll::wait(fd, &mut events, Some(&NO_TIME)).unwrap_or(0);
                }
            }
        }

        let mut state = self.lock();
        if sleeper == Sleeper::Thread || state.polling.holder == Holder::Helper {
            state.polling.sleeping_until = None;
        }
        if n > 0 {
            let now = clock::now();
            for event in &events[..n] {
                self.happened(&mut state, now, event.data.u64());
            }
            // A thread that took the role meanwhile may sleep for what was taken in here.
            if sleeper == Sleeper::Helper && state.polling.holder == Holder::Thread {
                state.polling.nudge = true;
                state.polling.sleeping_until = None;
                // Even if it was kicked already: that kick may be among what was taken here.
                ring(&self.poller.kick);
            }
        }
        state
    }

    /// Makes sure that a sleeper wakes up at `until`, or earlier.
    fn set_alarm(&self, polling: &mut Polling, now: Instant, until: Instant) {
        if until == Instant::MAX || polling.alarm_at.is_some_and(|at| at > now && at <= until) {
            return;
        }
        polling.alarm_at = Some(until);
        let nanos = until.as_nanos();
        let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
        let at = Timespec {
            tv_sec: seconds,
            tv_nsec: (nanos % 1_000_000_000).cast_signed(),
        };
        let time = Itimerspec {
            it_interval: NO_TIME,
            it_value: at,
        };
        if timerfd_settime(&self.poller.alarm, TimerfdTimerFlags::ABSTIME, &time).is_err() {
            tracing::error!("the alarm of a sleeper cannot be set");
        }
    }

    fn happened(&self, state: &mut State, now: Instant, data: u64) {
        match data {
            ALARM => state.polling.alarm_at = None,
            KICK => clear(&self.poller.kick),
            NODE => self.node_readable(state, now),
            link => {
                let Ok(link) = u32::try_from(link) else {
                    state.lifeline_ended(now, (link & u64::from(u32::MAX)) as u32);
                    return;
                };
                state.links.rang(LinkIndex(link));
                state.take_in(now, LinkIndex(link));
            }
        }
    }
}

fn release_role(state: &mut State) {
    state.polling.holder = Holder::Nobody;
    state.polling.releases += 1;
    state.polling.wake_helper();
    if state.polling.absence > HAND_OVER
        && let Some((_, follower)) = state.polling.followers.last()
    {
        follower.unpark();
    }
}

fn ring(fd: &OwnedFd) {
    // Only a full counter fails, and then the sleeper wakes anyway.
    let _ = rustix::io::write(fd, &EVENTFD_ONE);
}

fn clear(fd: &OwnedFd) {
    let _ = rustix::io::read(fd, &mut [0; 8]);
}

/// Epoll data of the kick.
const KICK: u64 = u64::MAX;
/// Epoll data of the daemon socket.
pub(crate) const NODE: u64 = u64::MAX - 1;
/// Epoll data of the alarm.
const ALARM: u64 = u64::MAX - 2;
const EMPTY: epoll::Event = epoll::Event {
    flags: epoll::EventFlags::empty(),
    data: epoll::EventData::new_u64(0),
};
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// Events taken from the kernel at once.
const EVENTS: usize = 16;
/// Rounds of packets after which the kernel is asked even if more are there.
const ROUNDS_MAX: u32 = 64;
/// How long nobody must have polled before the helper does.
const ABSENCE: Duration = Duration::from_micros(300);
/// Absences beyond this count as this, so that one long one is forgotten soon.
const ABSENCE_MAX: u64 = 10_000_000;
/// Usual absence, in nanoseconds, from which on it is worth waking a follower to take over.
const HAND_OVER: u64 = 30_000;
/// Eight bytes that are not zero in any byte order, and small enough to be added many times.
const EVENTFD_ONE: [u8; 8] = [0, 0, 0, 1, 1, 0, 0, 0];
