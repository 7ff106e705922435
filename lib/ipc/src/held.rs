//! What is kept back for a moment, so that it shares a packet with what comes next.

use abi::{Duration, Instant};

use crate::shared::State;

/// Requests and replies that the transport has, and that have not been sent.
#[derive(Debug, Default)]
pub(crate) struct Held {
    since: Option<Instant>,
    count: u32,
}

impl Held {
    /// One more; true if all have to leave now.
    fn add(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.count += 1;
        self.count >= HELD_MAX || now.saturating_since(since) >= HELD_FOR
    }

    /// Whether it pays to look for more before they leave: a single one is most probably all there is.
    pub(crate) fn is_worth_more(&self, now: Instant) -> bool {
        let fresh = |since| now.saturating_since(since) < HELD_FOR;
        self.count > 1 && self.since.is_some_and(fresh)
    }

    /// Whether there is any.
    pub(crate) const fn any(&self) -> bool {
        self.count > 0
    }

    /// When they leave even if no thread waits.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.since.map(|since| since + HELD_FOR)
    }

    /// True if there were any.
    pub(crate) fn clear(&mut self) -> bool {
        self.count = 0;
        self.since.take().is_some()
    }
}

impl State {
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
        assert!(held.clear());
        assert!(!held.clear());
        assert!(!held.add(start));
        assert_eq!(held.until(), Some(start + HELD_FOR));
        assert!(held.add(start + HELD_FOR), "old");
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
