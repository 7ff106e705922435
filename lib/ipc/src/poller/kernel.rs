//! The descriptors of polling, and the endpoint as the surroundings of the hand-over.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::{ChannelId, Duration, Instant, Result};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use transport::LinkIndex;

use super::{
    ALARM, Bell, EVENTS, Events, Guard, Interest, KICK, NODE, Polling, Receivers, Surroundings,
    Work,
};
use crate::locked::Wakes;
use crate::readable::READABLE;
use crate::shared::{Shared, State};
use crate::system_error::errno;
use crate::wait::Waits;
use crate::{clock, spin};

/// The descriptors of polling; used without the lock.
pub(crate) struct Poller {
    /// All links, the daemon socket, `kick` and `alarm`.
    pub(crate) epoll: Arc<OwnedFd>,
    /// Wakes a sleeping thread that has to look again.
    kick: OwnedFd,
    /// In `epoll`; rings when a sleeper must look at its timers.
    alarm: OwnedFd,
    /// `epoll` itself and `helper_kick`.
    helper_epoll: OwnedFd,
    /// Takes the role back from the sleeping helper.
    helper_kick: OwnedFd,
}

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

    fn bell(&self, bell: Bell) -> &OwnedFd {
        match bell {
            Bell::Kick => &self.kick,
            Bell::Helper => &self.helper_kick,
        }
    }
}

impl Shared {
    /// As [`super::wait`].
    pub(crate) fn wait<'a, T>(
        &'a self,
        state: Guard<'a>,
        deadline: Option<Instant>,
        interest: Interest,
        check: impl FnMut(&mut State) -> Option<T>,
    ) -> (Guard<'a>, Option<T>) {
        super::wait(self, state, deadline, interest, check)
    }

    /// As [`super::settle`].
    pub(crate) fn settle<'a>(&'a self, state: Guard<'a>) {
        super::settle(self, state);
    }
}

impl Surroundings for Shared {
    type Thread = std::thread::Thread;
    type State = State;
    type Guard<'a> = Guard<'a>;

    #[inline]
    fn lock(&self) -> Guard<'_> {
        Self::lock(self)
    }

    #[inline]
    fn now(&self) -> Instant {
        clock::now()
    }

    fn this_thread(&self) -> Self::Thread {
        std::thread::current()
    }

    fn park(&self, limit: Option<Duration>) {
        match limit {
            Some(limit) => std::thread::park_timeout(limit),
            None => std::thread::park(),
        }
    }

    fn ring(&self, bell: Bell) {
        // Only a full counter fails, and then the sleeper wakes anyway.
        let _ = rustix::io::write(self.poller.bell(bell), &EVENTFD_ONE);
    }

    fn silence(&self, bell: Bell) {
        let _ = rustix::io::read(self.poller.bell(bell), &mut [0; 8]);
    }

    fn set_alarm(&self, at: Instant) {
        let nanos = at.as_nanos();
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

    fn events(&self, into: &mut Events, waits: bool) -> usize {
        let mut events = [const { EMPTY }; EVENTS];
        let timeout = if waits { None } else { Some(&NO_TIME) };
        let n = epoll::wait(&self.poller.epoll, &mut events, timeout).unwrap_or(0);
        for (into, event) in into.iter_mut().zip(&events[..n]) {
            *into = event.data.u64();
        }
        n
    }

    fn nest(&self, nested: bool) {
        let (outer, inner) = (&self.poller.helper_epoll, self.poller.epoll.as_fd());
        let done = if nested {
            let data = epoll::EventData::new_u64(0);
            epoll::add(outer, inner, data, epoll::EventFlags::IN)
        } else {
            epoll::delete(outer, inner)
        };
        if done.is_err() {
            tracing::error!(nested, "the helper cannot watch for packets");
        }
    }

    fn events_or_bell(&self, waits: bool) -> bool {
        let mut events = [const { EMPTY }; 2];
        let timeout = if waits { None } else { Some(&NO_TIME) };
        epoll::wait(&self.poller.helper_epoll, &mut events, timeout).unwrap_or(0) > 0
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

    fn give_way(&self) {
        rustix::thread::sched_yield();
    }

    fn happened(&self, state: &mut State, now: Instant, event: u64) {
        if event == NODE {
            self.node_readable(state, now);
            return;
        }
        let Ok(link) = u32::try_from(event) else {
            if event & READABLE != 0 {
                state.readable_rang((event & u64::from(u32::MAX)) as u32);
                return;
            }
            state.lifeline_ended(now, (event & u64::from(u32::MAX)) as u32);
            return;
        };
        state.links.rang(LinkIndex(link));
        state.take_in(now, LinkIndex(link));
    }

    fn reconnect<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        Self::reconnect(self, state)
    }
}

impl Wakes for State {
    type Thread = std::thread::Thread;

    #[inline]
    fn woken(&mut self) -> &mut Vec<std::thread::Thread> {
        &mut self.woken
    }
}

impl Work<std::thread::Thread> for State {
    #[inline]
    fn polling(&mut self) -> &mut Polling<std::thread::Thread> {
        &mut self.polling
    }

    #[inline]
    fn waits(&mut self) -> &mut Waits<std::thread::Thread> {
        &mut self.waits
    }

    #[inline]
    fn touched(&mut self) -> &mut Vec<ChannelId> {
        &mut self.touched
    }

    fn receivers(
        &mut self,
        channel: ChannelId,
    ) -> Option<(&mut Receivers<std::thread::Thread>, usize)> {
        let channel = self.channels.get_mut(channel)?;
        let items = channel.queue.len();
        Some((&mut channel.receivers, items))
    }

    #[inline]
    fn timeout(&self) -> Option<Instant> {
        let transport = self.transport.timeout();
        let others = self
            .traffic_at()
            .into_iter()
            .chain(self.links.failed.retry_at())
            .chain(self.lane_book.check_at())
            .chain(self.held.until());
        transport.into_iter().chain(others).min()
    }

    fn run_timers(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        self.report_traffic(now);
        self.retry_links(now);
        self.check_node(now);
        self.pump(now);
    }

    fn gather(&mut self, now: Instant) -> bool {
        if !self.held.is_worth_more(now) {
            return false;
        }
        let link = self.links.ready().or_else(|| self.links.hot_socket());
        let found = link.is_some_and(|link| self.take_in_only(now, link));
        self.held.learn_more(found);
        found
    }

    fn flush(&mut self, now: Instant) -> bool {
        let any = self.held.any();
        if any {
            self.pump(now);
        }
        any
    }

    fn awaits_callers(&self, now: Instant) -> bool {
        self.held.any() && self.returning.is_awaited(now)
    }

    fn flush_at(&self) -> Option<Instant> {
        self.held.until()
    }

    fn care_at(&self, now: Instant) -> Option<Instant> {
        self.node.care_at(now)
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn may_give_way(&mut self) -> bool {
        self.links.has_hot() && self.polling.patience.is_worth_it()
    }

    #[inline(always)]
    fn look(&mut self, now: Instant) -> bool {
        let link = self.links.ready().or_else(|| self.links.hot_socket());
        link.is_some_and(|link| self.look_at(now, link))
    }

    fn has_given_way(&mut self, found: bool) {
        self.polling.patience.learn(found);
    }

    #[inline]
    fn ready(&self) -> Option<LinkIndex> {
        self.links.ready()
    }

    #[inline]
    fn arm(&mut self) -> bool {
        self.links.arm()
    }

    fn take_in(&mut self, now: Instant, link: LinkIndex) {
        Self::take_in(self, now, link);
    }

    fn take_in_ready(&mut self, now: Instant) {
        Self::take_in_ready(self, now);
    }
}

const EMPTY: epoll::Event = epoll::Event {
    flags: epoll::EventFlags::empty(),
    data: epoll::EventData::new_u64(0),
};
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// Eight bytes that are not zero in any byte order, and small enough to be added many times.
const EVENTFD_ONE: [u8; 8] = [0, 0, 0, 1, 1, 0, 0, 0];
