//! What is kept back for a moment, so that it shares a packet with what comes next.

use abi::{Duration, Instant};
use transport::SessionKey;

use crate::shared::State;
use crate::spin::Spin;

/// Requests and replies that the transport has, and that have not been sent.
#[derive(Debug, Default)]
pub(crate) struct Held {
    since: Option<Instant>,
    count: u32,
    /// Whether looking for more paid where there was only one.
    lone: Spin,
}

impl Held {
    /// One more; true if all have to leave now.
    fn add(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.count += 1;
        self.count >= HELD_MAX || now.saturating_since(since) >= HELD_FOR
    }

    /// Whether it pays to look for more before they leave. A single one is most probably all there is, unless there
    /// was more of late.
    pub(crate) fn is_worth_more(&mut self, now: Instant) -> bool {
        let fresh = |since| now.saturating_since(since) < HELD_FOR;
        let many = self.count > 1 || (self.count == 1 && self.lone.is_worth_it());
        many && self.since.is_some_and(fresh)
    }

    /// Learns whether there was more.
    pub(crate) fn learn_more(&mut self, found: bool) {
        if self.count == 1 {
            self.lone.learn(found);
        }
    }

    /// Whether there is any.
    #[inline]
    pub(crate) const fn any(&self) -> bool {
        self.count > 0
    }

    /// When they leave even if no thread waits.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.since.map(|since| since + HELD_FOR)
    }

    /// Since when something was kept back, if anything was.
    pub(crate) fn clear(&mut self) -> Option<Instant> {
        self.count = 0;
        self.since.take()
    }
}

/// Callers whose calls have ended and who will ask again at once, as far as the past tells. What one of them asks then
/// waits for what the others ask, and the last one sends it: none of them relies on a thread that may get no processor
/// for long while it runs itself.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    count: u32,
    /// When the last call ended or the last caller came back.
    at: Instant,
    /// Whether they came back in time of late.
    pays: Spin,
}

impl Returning {
    /// A call has ended.
    #[inline]
    pub(crate) fn ended(&mut self, now: Instant) {
        if !self.is_awaited(now) {
            self.count = 0;
        }
        self.count += 1;
        self.at = now;
    }

    /// A caller asks; true if others will soon.
    #[inline]
    fn asks(&mut self, now: Instant) -> bool {
        let others = self.count > 1 && self.is_awaited(now);
        self.count = self.count.saturating_sub(1);
        self.at = now;
        others
    }

    /// Whether some are about to ask.
    #[inline]
    pub(crate) fn is_awaited(&self, now: Instant) -> bool {
        self.count > 0 && now.saturating_since(self.at) < RETURN_WITHIN
    }

    /// What was kept back since `since` leaves.
    pub(crate) fn sent(&mut self, now: Instant, since: Instant) {
        if self.count == 0 {
            self.pays.learn(true);
        } else if now.saturating_since(since) >= RETURN_WITHIN {
            self.count = 0;
            self.pays.learn(false);
        }
    }
}

impl State {
    /// Sends what a caller asks of a session: at once, or with what others are about to ask. Nothing waits where there
    /// are several lanes: acknowledgements wait with it, and a peer that has another lane leaves one at its first timeout.
    pub(crate) fn pump_call(&mut self, now: Instant, session: SessionKey) {
        let others = self.returning.asks(now);
        let session = self.sessions.get(session);
        let one_lane = session.is_some_and(|session| session.lanes.len() == 1);
        let waits = others && one_lane && (self.held.any() || self.returning.pays.is_worth_it());
        if !waits || self.held.add(now) {
            self.pump(now);
        }
    }

    /// Sends soon what was given to the transport: with more of its kind, when a thread begins to wait, or after
    /// [`HELD_FOR`].
    pub(crate) fn pump_soon(&mut self, now: Instant) {
        if self.held.add(now) {
            self.pump(now);
        } else {
            self.polling.look_again();
        }
    }
}

/// How long a channel's messages are worked on: the longest time of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(Duration);

impl Pace {
    pub(crate) fn learn(&mut self, took: Duration) {
        self.0 = took.max(self.0 / 8 * 7);
    }

    /// Whether a reply may wait until the next message has been answered, too.
    pub(crate) fn is_quick(self) -> bool {
        self.0 < QUICK
    }
}

/// A caller who has not asked again this long after others did is not waited for.
const RETURN_WITHIN: Duration = Duration::from_micros(40);
/// What is kept back leaves after so many.
const HELD_MAX: u32 = 64;
/// What is kept back leaves after this time.
const HELD_FOR: Duration = Duration::from_micros(100);
/// A message that takes longer keeps no reply back: it costs more than what is saved.
const QUICK: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_leaves_when_it_is_many_or_old() {
        let start = Instant::default();
        let mut held = Held::default();
        for _ in 1..HELD_MAX {
            assert!(!held.add(start));
        }
        assert!(held.add(start), "many");
        assert_eq!(held.clear(), Some(start));
        assert_eq!(held.clear(), None);
        assert!(!held.add(start));
        assert_eq!(held.until(), Some(start + HELD_FOR));
        assert!(held.add(start + HELD_FOR), "old");
    }

    #[test]
    fn more_is_looked_for_behind_a_single_one_while_there_was_more_of_late() {
        let now = Instant::default();
        let mut held = Held::default();
        let mut looks = 0;
        for _ in 0..1000 {
            held.add(now);
            if held.is_worth_more(now) {
                looks += 1;
                held.learn_more(false);
            }
            held.clear();
        }
        assert!((1..20).contains(&looks), "{looks}");
        held.add(now);
        while !held.is_worth_more(now) {}
        held.learn_more(true);
        assert!(held.is_worth_more(now));
        assert!(!held.is_worth_more(now + HELD_FOR), "it has to leave");
    }

    #[test]
    fn a_caller_waits_for_those_whose_calls_ended_with_its_own_and_for_nobody_else() {
        let now = Instant::default();
        let mut returning = Returning::default();
        assert!(!returning.asks(now), "nobody else calls");
        for _ in 0..3 {
            returning.ended(now);
        }
        assert!(returning.asks(now));
        assert!(returning.asks(now));
        assert!(!returning.asks(now), "the last one sends");
        assert!(!returning.is_awaited(now));
        returning.ended(now);
        returning.ended(now);
        assert!(returning.is_awaited(now));
        let late = now + RETURN_WITHIN;
        assert!(!returning.is_awaited(late), "the other one stays away");
        assert!(!returning.asks(late));
    }

    #[test]
    fn callers_who_stay_away_are_soon_not_waited_for() {
        let mut now = Instant::default();
        let mut returning = Returning::default();
        let mut waited = 0;
        for _ in 0..1000 {
            returning.ended(now);
            returning.ended(now);
            if returning.asks(now) && returning.pays.is_worth_it() {
                waited += 1;
                let since = now;
                now += RETURN_WITHIN;
                returning.sent(now, since);
            }
            now += RETURN_WITHIN;
        }
        assert!((1..20).contains(&waited), "{waited}");
    }

    #[test]
    fn one_slow_message_is_remembered_for_a_while_only() {
        let mut pace = Pace::default();
        assert!(pace.is_quick());
        pace.learn(Duration::from_millis(1));
        let mut quick = 0;
        while !pace.is_quick() {
            pace.learn(Duration::from_micros(1));
            quick += 1;
        }
        assert!((10..100).contains(&quick), "{quick}");
    }
}
