//! How long a server thread waits for a client to take or give bytes.

use abi::{Duration, Instant};

/// Watches the bytes of one wait: they must move at a pace, not only now and then, or a client that lets one packet
/// through from time to time would hold a thread for as long as it likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Instant,
    moved: u64,
}

impl Patience {
    /// From now on, with so many bytes moved already.
    pub(crate) fn new(now: Instant, moved: u64) -> Self {
        Self {
            until: now + STALL,
            moved,
        }
    }

    /// When to look again.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Whether it is worth waiting on; false once the time is over in which too little has moved.
    pub(crate) fn lasts(&mut self, now: Instant, moved: u64) -> bool {
        if now < self.until {
            return true;
        }
        let is_enough = moved.saturating_sub(self.moved) >= STALL_BYTES;
        *self = Self::new(now, moved);
        is_enough
    }
}

/// As long as a session without signs of life lasts.
const STALL: Duration = Duration::from_secs(15);
/// What must move in that time, if it is not all: 1 KiB per second, a tenth of a serial line of 115 200 baud.
const STALL_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// How long somebody waits for 1 MiB of which `bytes` move every `pause`.
    fn held_for(pause: Duration, bytes: u64) -> Duration {
        let start = Instant::from_nanos(7_000_000_000);
        let (mut now, mut moved) = (start, 0);
        let mut patience = Patience::new(now, moved);
        while moved < 1 << 20 {
            now += pause;
            // The waiting thread wakes at its own time, whatever has come by then.
            while patience.until() <= now {
                let at = patience.until();
                if !patience.lasts(at, moved) {
                    return at.saturating_since(start);
                }
            }
            moved += bytes;
        }
        now.saturating_since(start)
    }

    #[test]
    fn a_client_that_lets_a_packet_through_now_and_then_holds_no_thread() {
        assert_eq!(held_for(Duration::from_secs(14), 1400), STALL);
        assert_eq!(held_for(Duration::from_secs(1), 1000), STALL);
        assert_eq!(held_for(Duration::from_secs(16), 1 << 20), STALL);
    }

    #[test]
    fn a_slow_line_is_waited_for_to_the_end() {
        let took = held_for(Duration::from_millis(100), 150);
        assert!(took > Duration::from_secs(600), "{took:?}");
    }
}
