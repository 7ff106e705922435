//! Who waits for packets: leader and followers.
//!
//! A thread that has to wait takes the role of the poller if it is free: it sleeps in epoll, takes packets in and
//! returns straight to its caller when its own answer is there, without handing anything to another thread.
//! Others park until the poller has something for them or the role is free. When nobody has polled for
//! a while, the helper thread does; a thread that comes to wait takes the role back from it. A caller that has waited for
//! long leaves the role to the helper: all who call meanwhile would have their answers by way of it otherwise.

mod kept_back;
mod kernel;
#[cfg(test)]
mod model;
mod round;
mod stand_in;
mod surroundings;

use std::sync::MutexGuard;

use abi::{Duration, Instant};

use crate::locked::{Locked, Wakes as _};
use crate::shared::State;
use crate::spin::Spin;
use kept_back::{alarm_for_held, leave_nothing};
pub(crate) use kernel::Poller;
use round::poll;
pub(crate) use stand_in::help;
pub(crate) use surroundings::{Bell, Interest, Receivers, Surroundings, Wake, Work};

/// The state of polling; used with the lock held.
pub(crate) struct Polling<T = std::thread::Thread> {
    holder: Holder,
    /// Until when the holder sleeps in epoll; `None` while it is awake.
    sleeping_until: Option<Instant>,
    /// What the alarm is set to; `None` once it has rung.
    alarm_at: Option<Instant>,
    /// Parked threads that take the role, the newest last.
    followers: Vec<(u64, T)>,
    /// Those that do not.
    bystanders: Vec<(u64, T)>,
    next_follower: u64,
    /// When the role was last given up, as far as the giver knew.
    released_at: Instant,
    releases: u64,
    /// How long threads usually stay away between two times of polling, in nanoseconds.
    absence: u64,
    /// The helper thread, and whether it sleeps until the role is given up.
    helper: Option<T>,
    helper_waits: bool,
    spin: Spin,
    /// Whether giving way to others pays.
    patience: Spin,
    /// Rounds in which packets came without asking the kernel, and when the first of them was.
    rounds: u32,
    rounds_since: Instant,
    /// Something has changed that the sleeping poller does not know of.
    pub(crate) nudge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Thread,
    Helper,
}

/// Whether a thread that parks takes the role when it becomes free.
#[derive(Clone, Copy)]
enum Follows {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleeper {
    Thread,
    /// A thread that only the kernel can wake for all that it waits for.
    Watcher,
    Helper,
}

pub(crate) type Guard<'a> = Locked<MutexGuard<'a, State>>;

impl<T: Wake> Polling<T> {
    pub(crate) fn new() -> Self {
        Self {
            holder: Holder::Nobody,
            sleeping_until: None,
            alarm_at: None,
            followers: Vec::new(),
            bystanders: Vec::new(),
            next_follower: 0,
            released_at: Instant::default(),
            releases: 0,
            absence: 0,
            helper: None,
            helper_waits: false,
            spin: Spin::default(),
            patience: Spin::default(),
            rounds: 0,
            rounds_since: Instant::default(),
            nudge: false,
        }
    }

    /// Wakes the helper if it waits to be needed.
    pub(crate) fn wake_helper(&mut self) {
        if std::mem::take(&mut self.helper_waits)
            && let Some(helper) = &self.helper
        {
            helper.wake();
        }
    }

    /// Something was kept back: whoever polls looks again before it sleeps.
    pub(crate) fn look_again(&mut self) {
        if self.sleeping_until.is_none() {
            self.nudge = true;
        }
    }

    /// Whether a thread polls that will look again before it sleeps.
    fn is_awake(&self) -> bool {
        self.holder == Holder::Thread && self.sleeping_until.is_none()
    }

    /// Wakes everybody, because the endpoint closes.
    pub(crate) fn wake_all(&mut self) {
        self.nudge = true;
        for (_, thread) in self.followers.iter().chain(&self.bystanders) {
            thread.wake();
        }
        if let Some(helper) = &self.helper {
            helper.wake();
        }
    }
}

/// Waits until `check` answers something, or until `deadline`. Polls if nobody else does. `check` runs with the
/// lock held, at least once after a look at what has arrived, even if the deadline has passed.
pub(crate) fn wait<'a, S: Surroundings, T>(
    around: &'a S,
    mut state: S::Guard<'a>,
    deadline: Option<Instant>,
    interest: Interest,
    mut check: impl FnMut(&mut S::State) -> Option<T>,
) -> (S::Guard<'a>, Option<T>) {
    let mut polls = false;
    let mut looked = false;
    let mut begun = None;
    let result = loop {
        if polls {
            state.polling().nudge = false;
        }
        if let Some(value) = check(&mut state) {
            break Some(value);
        }
        let now = around.now();
        let late = deadline.is_some_and(|deadline| deadline <= now);
        if late && looked {
            break None;
        }
        // Whoever polls sends it before it sleeps, with what others may add until then; or the last of those who are
        // about to add to it.
        let is_left = !polls && state.polling().is_awake();
        if !is_left && !state.awaits_callers(now) {
            if state.gather(now) {
                woken(&mut *state, Some(interest));
                continue;
            }
            if state.flush(now)
                && let Some(value) = check(&mut state)
            {
                break Some(value);
            }
        }
        let is_long = matches!(interest, Interest::Wait(_))
            && now.saturating_since(*begun.get_or_insert(now)) >= LONG;
        if is_long && std::mem::take(&mut polls) {
            leave_role(around, &mut state);
        }
        polls = polls || !is_long && take_role(around, state.polling(), now);
        state = if polls {
            let mut state = poll(around, state, now, deadline, interest.sleeper());
            woken(&mut *state, Some(interest));
            let_in(around, state)
        } else if late {
            break None;
        } else if is_long {
            state = leave_to_others(around, state);
            if let Some(value) = check(&mut state) {
                break Some(value);
            }
            park(around, state, now, deadline, (interest, Follows::No))
        } else {
            alarm_for_held(around, &mut *state, now);
            park(around, state, now, deadline, (interest, Follows::Yes))
        };
        looked = true;
    };
    if let Interest::Channel(channel) = interest {
        state.wake_receivers(channel);
    }
    if polls {
        leave_role(around, &mut state);
    } else if looked && state.polling().holder == Holder::Nobody {
        leave_nothing(around, &mut *state);
    }
    (state, result)
}

/// For a thread that does not poll any more and may have been woken to take the role.
fn leave_to_others<'a, S: Surroundings>(around: &'a S, mut state: S::Guard<'a>) -> S::Guard<'a> {
    if state.polling().holder == Holder::Nobody {
        leave_nothing(around, &mut *state);
        state.polling().offer();
    }
    // Whoever has it may sleep too long for what this thread has sent.
    settle(around, state);
    around.lock()
}

fn leave_role<S: Surroundings>(around: &S, state: &mut S::Guard<'_>) {
    leave_nothing(around, &mut *state);
    state.polling().release();
}

/// To be called at the end of every call that does not wait: the poller may sleep too long otherwise.
pub(crate) fn settle<'a, S: Surroundings>(around: &'a S, mut state: S::Guard<'a>) {
    woken(&mut *state, None);
    let Some(until) = state.polling().sleeping_until else {
        return;
    };
    let (timeout, flush_at) = (state.timeout(), state.flush_at());
    let earlier = timeout.is_some_and(|timeout| timeout < until && Some(timeout) != flush_at);
    if !earlier && !state.polling().nudge {
        if flush_at.is_some() {
            alarm_for_held(around, &mut *state, around.now());
        }
        return;
    }
    let polling = state.polling();
    polling.nudge = false;
    // One kick is enough until the poller has been awake.
    polling.sleeping_until = None;
    let bell = if polling.holder == Holder::Helper {
        Bell::Helper
    } else {
        Bell::Kick
    };
    drop(state);
    around.ring(bell);
}

/// Lets those go on who have been woken, as soon as there are any.
fn let_in<'a, S: Surroundings>(around: &'a S, mut state: S::Guard<'a>) -> S::Guard<'a> {
    if state.woken().is_empty() {
        return state;
    }
    drop(state);
    around.lock()
}

/// Wakes receivers of channels that got something, but not for the channel that this thread looks at itself.
fn woken<T: Wake>(state: &mut impl Work<T>, interest: Option<Interest>) {
    while let Some(channel) = state.touched().pop() {
        match interest {
            Some(Interest::Channel(own)) if own == channel => {}
            _ => state.wake_receivers(channel),
        }
    }
}

/// True if the calling thread is the poller from here on.
fn take_role<S: Surroundings>(around: &S, polling: &mut Polling<S::Thread>, now: Instant) -> bool {
    match polling.holder {
        Holder::Thread => return false,
        Holder::Nobody => {
            let away = now.saturating_since(polling.released_at).as_nanos();
            let away = u64::try_from(away).unwrap_or(u64::MAX).min(ABSENCE_MAX);
            polling.absence = (polling.absence * 7 + away) / 8;
        }
        Holder::Helper => {
            if polling.sleeping_until.take().is_some() {
                around.ring(Bell::Helper);
            }
        }
    }
    polling.holder = Holder::Thread;
    true
}

/// Sleeps until woken, or until `deadline`.
fn park<'a, S: Surroundings>(
    around: &'a S,
    mut state: S::Guard<'a>,
    now: Instant,
    deadline: Option<Instant>,
    (interest, follows): (Interest, Follows),
) -> S::Guard<'a> {
    let polling = state.polling();
    let id = polling.next_follower;
    polling.next_follower += 1;
    let thread = around.this_thread();
    polling.parked(follows).push((id, thread.clone()));
    state.add_parked(interest, id, thread);
    drop(state);
    around.park(deadline.map(|deadline| deadline.saturating_since(now)));
    let mut state = around.lock();
    let parked = state.polling().parked(follows);
    parked.retain(|(other, _)| *other != id);
    state.remove_parked(interest, id);
    state
}

impl<T: Wake> Polling<T> {
    /// Packets came without asking the kernel.
    fn count_round(&mut self, now: Instant) {
        if self.rounds == 0 {
            self.rounds_since = now;
        }
        self.rounds += 1;
    }

    /// Whether other links can wait: what comes over them only the kernel knows.
    fn may_do_without_kernel(&self, now: Instant) -> bool {
        let lately = now.saturating_since(self.rounds_since) < ROUNDS_FOR;
        self.rounds == 0 || (self.rounds < ROUNDS_MAX && lately)
    }

    /// Whether the alarm has to be set for a sleeper to wake up at `until`, or earlier.
    fn needs_alarm(&self, now: Instant, until: Instant) -> bool {
        until != Instant::MAX && !self.alarm_at.is_some_and(|at| at > now && at <= until)
    }

    fn release(&mut self) {
        self.holder = Holder::Nobody;
        self.releases += 1;
        self.wake_helper();
        self.offer();
    }

    fn parked(&mut self, follows: Follows) -> &mut Vec<(u64, T)> {
        match follows {
            Follows::Yes => &mut self.followers,
            Follows::No => &mut self.bystanders,
        }
    }

    /// Has a follower take the role if nobody has it and threads usually stay away for long.
    fn offer(&self) {
        if self.holder == Holder::Nobody
            && Duration::from_nanos(self.absence) > HAND_OVER
            && let Some((_, follower)) = self.followers.last()
        {
            follower.wake();
        }
    }
}

/// Events of one look at the kernel: links by their index, lifelines, and what follows.
pub(crate) type Events = [u64; EVENTS];
/// Event of the kick.
pub(crate) const KICK: u64 = u64::MAX;
/// Event of the daemon socket.
pub(crate) const NODE: u64 = u64::MAX - 1;
/// Event of the alarm.
pub(crate) const ALARM: u64 = u64::MAX - 2;
/// Events taken from the kernel at once.
pub(crate) const EVENTS: usize = 16;
/// Rounds of packets after which the kernel is asked even if more are there.
const ROUNDS_MAX: u32 = 64;
/// Time after which it is asked: on a busy machine each round may take as long as others keep the CPU, and a link that
/// is not looked at seems dead to its peer.
const ROUNDS_FOR: Duration = Duration::from_micros(500);
/// How long a caller polls for its own answer. A wake more is nothing beside it.
const LONG: Duration = Duration::from_millis(5);
/// How long nobody must have polled before the helper does.
const ABSENCE: Duration = Duration::from_micros(300);
/// Absences beyond this count as this, so that one long one is forgotten soon.
const ABSENCE_MAX: u64 = 10_000_000;
/// Usual absence from which on a follower is woken to take over at once. For a shorter one that costs more than it gives, and
/// the helper looks after a longer one that was not expected.
const HAND_OVER: Duration = ABSENCE;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Wakes(Rc<Cell<u32>>);

    impl Wake for Wakes {
        fn wake(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_follower_is_woken_at_once_only_where_threads_stay_away_for_long() {
        let (mut polling, follower) = (Polling::new(), Wakes::default());
        polling.followers.push((0, follower.clone()));
        for (absence, wakes) in [(100_000, 0), (301_000, 1)] {
            polling.absence = absence;
            polling.release();
            assert_eq!(follower.0.get(), wakes, "{absence} ns");
        }
    }
}
