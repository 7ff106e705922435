//! One round of whoever has the role: a look, some patience, a sleep in the kernel.

use abi::{Duration, Instant};

use super::{ALARM, Bell, EVENTS, Holder, KICK, Sleeper, Surroundings, Work as _};

/// One round of polling: takes in what is there, or sleeps until something comes, a timer runs out, or
/// `deadline`.
///
/// Inlined with all that lies between a caller and the system call for a packet: behind a switch to another process the
/// CPU guesses where each function returns to, and is wrong.
#[inline(always)]
pub(super) fn poll<'a, S: Surroundings>(
    around: &'a S,
    mut state: S::Guard<'a>,
    now: Instant,
    deadline: Option<Instant>,
    sleeper: Sleeper,
) -> S::Guard<'a> {
    state.polling().released_at = now;
    if let Some(link) = state.ready()
        && state.polling().may_do_without_kernel(now)
    {
        state.polling().count_round(now);
        state.take_in(now, link);
        return state;
    }
    if state.timeout().is_some_and(|timeout| timeout <= now) {
        state.run_timers(now);
        return state;
    }
    let may_spin = sleeper == Sleeper::Thread && state.polling().may_do_without_kernel(now);
    if may_spin && deadline.is_none_or(|deadline| deadline > now) {
        let (spun, found) = around.spin(state, now);
        state = spun;
        if found || state.polling().nudge {
            return state;
        }
        let (waited, found) = give_way(around, state, now);
        state = waited;
        if found || state.polling().nudge {
            return state;
        }
    }
    if !state.arm() {
        let polling = state.polling();
        polling.count_round(now);
        if polling.may_do_without_kernel(now) {
            state.take_in_ready(now);
            return state;
        }
    }
    sleep(around, state, now, deadline, sleeper)
}

/// Lets others run, in case that one of them is the peer, and looks for its packets in between: that costs less than
/// to sleep and to be woken. True if packets were taken in.
#[inline(always)]
fn give_way<'a, S: Surroundings>(
    around: &'a S,
    mut state: S::Guard<'a>,
    now: Instant,
) -> (S::Guard<'a>, bool) {
    if !state.may_give_way() {
        return (state, false);
    }
    let (mut before, mut found) = (now, false);
    // Somebody who wants the role's holder to look again does not ring: it is awake.
    while !found && !state.polling().nudge {
        drop(state);
        around.give_way();
        let now = around.now();
        state = around.lock();
        found = state.look(now);
        // Another one has run who was not the peer, or nobody has.
        if now.saturating_since(before) >= AWAY_MAX
            || now.saturating_since(state.polling().released_at) >= GIVE_WAY_MAX
        {
            break;
        }
        before = now;
    }
    if found {
        state.polling().count_round(now);
    }
    state.has_given_way(found);
    (state, found)
}

fn sleep<'a, S: Surroundings>(
    around: &'a S,
    mut state: S::Guard<'a>,
    now: Instant,
    deadline: Option<Instant>,
    sleeper: Sleeper,
) -> S::Guard<'a> {
    let mut until = state.timeout().unwrap_or(Instant::MAX);
    until = until.min(deadline.unwrap_or(Instant::MAX));
    let polling = state.polling();
    // Links that keep a thread busy must not starve those that only the kernel knows of.
    if !polling.may_do_without_kernel(now) {
        until = now;
    }
    polling.rounds = 0;
    let waits = until > now;
    polling.sleeping_until = waits.then_some(until);
    // A timeout of each wait would cost more than the wait, and most are never reached.
    if waits && polling.needs_alarm(now, until) {
        polling.alarm_at = Some(until);
        around.set_alarm(until);
    }
    drop(state);

    let mut events = [0; EVENTS];
    let mut n = 0;
    match sleeper {
        Sleeper::Thread | Sleeper::Watcher => n = around.events(&mut events, waits),
        Sleeper::Helper => {
            // Only for now: each packet would ring at the outer one, too, while a thread waits for it.
            around.nest(true);
            let woken = around.events_or_bell(waits);
            around.nest(false);
            around.silence(Bell::Helper);
            if woken {
                n = around.events(&mut events, false);
            }
        }
    }

    let mut state = around.lock();
    let polling = state.polling();
    if sleeper != Sleeper::Helper || polling.holder == Holder::Helper {
        polling.sleeping_until = None;
    }
    if n > 0 {
        let now = around.now();
        for event in &events[..n] {
            match *event {
                ALARM => state.polling().alarm_at = None,
                KICK => around.silence(Bell::Kick),
                event => around.happened(&mut state, now, event),
            }
        }
        // A thread that took the role meanwhile may sleep for what was taken in here.
        let polling = state.polling();
        if sleeper == Sleeper::Helper && polling.holder == Holder::Thread {
            polling.nudge = true;
            polling.sleeping_until = None;
            // Even if it was kicked already: that kick may be among what was taken here.
            around.ring(Bell::Kick);
        }
    }
    state
}

/// How long to give way to others before sleeping: less than sleeping and being woken on another CPU costs.
const GIVE_WAY_MAX: Duration = Duration::from_micros(50);
/// A turn of others that lasts longer was not the peer's: whoever sleeps gets the CPU back earlier.
const AWAY_MAX: Duration = Duration::from_micros(40);
