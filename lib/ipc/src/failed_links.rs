//! Links whose drivers say that they are down, until somebody says that they are not.

use abi::{Duration, Instant};
use transport::LinkIndex;

/// Links that are tried again although nobody says that they work: a route may be missing for a moment only.
#[derive(Default)]
pub(crate) struct FailedLinks {
    links: Vec<LinkIndex>,
    retry_at: Option<Instant>,
    /// The last pause; none if no link has failed for long.
    pause: Option<(Instant, Duration)>,
}

impl FailedLinks {
    /// A link does not take packets.
    pub(crate) fn add(&mut self, now: Instant, link: LinkIndex) {
        if !self.links.contains(&link) {
            self.links.push(link);
        }
        if self.retry_at.is_some() {
            return;
        }
        let pause = match self.pause {
            Some((last, pause)) if now.saturating_since(last) <= pause * 2 => {
                (pause * 2).min(PAUSE_MAX)
            }
            _ => PAUSE_MIN,
        };
        self.pause = Some((now, pause));
        self.retry_at = Some(now + pause);
    }

    /// When to try again.
    pub(crate) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Something has changed: whatever has failed is tried at once, and soon again.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.pause = None;
        if !self.links.is_empty() {
            self.retry_at = Some(now);
        }
    }

    /// The links to try now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<LinkIndex> {
        if self.retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retry_at = None;
        std::mem::take(&mut self.links)
    }
}

/// First and longest pause between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_stays_down_is_tried_ever_more_rarely_and_never_given_up() {
        let mut failed = FailedLinks::default();
        let mut now = Instant::from_nanos(1);
        let mut tries = 0;
        let end = now + Duration::from_secs(20);
        while now < end {
            failed.add(now, LinkIndex(3));
            failed.add(now, LinkIndex(3));
            now = failed.retry_at().unwrap();
            assert_eq!(failed.take_due(now), [LinkIndex(3)]);
            tries += 1;
        }
        assert!((75..90).contains(&tries), "{tries} tries");
        // One that fails much later is tried again soon.
        now += Duration::from_secs(9);
        failed.add(now, LinkIndex(3));
        assert_eq!(failed.retry_at(), Some(now + PAUSE_MIN));
        assert!(failed.take_due(now).is_empty());
        failed.hurry(now);
        assert_eq!(failed.take_due(now), [LinkIndex(3)]);
        failed.hurry(now);
        assert_eq!(failed.retry_at(), None, "nothing has failed since");
    }
}
