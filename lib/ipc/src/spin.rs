//! Whether to look at shared memory for a while before sleeping.
//!
//! Spinning saves a wake across CPUs, which costs more than anything else in a round trip, but only if the
//! peer runs meanwhile. On one CPU it costs its whole duration. So it is tried, kept up while it pays, and
//! tried ever more rarely when it does not.
#![allow(unsafe_code)]

use std::sync::Arc;

use abi::Instant;
use drivers::PacketDriver;

use crate::clock;

/// Learns whether spinning pays.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// Waits to go without trying.
    skip: u32,
    /// Waits skipped after the last failure.
    penalty: u32,
}

impl Spin {
    /// Whether to spin before the coming sleep on `drivers`.
    pub(crate) fn is_due(&mut self, drivers: &[Option<Arc<dyn PacketDriver>>]) -> bool {
        if !self.is_worth_it() {
            return false;
        }
        let here = this_cpu();
        drivers
            .iter()
            .flatten()
            .any(|driver| driver.peer_cpu().is_none_or(|peer| Some(peer) != here))
    }

    /// Whether the last tries make another one worth while.
    pub(crate) fn is_worth_it(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// Learns how the last spin went.
    pub(crate) fn learn(&mut self, found: bool) {
        if found {
            self.penalty = 0;
        } else {
            self.penalty = (self.penalty * 2).clamp(1, PENALTY_MAX);
            self.skip = self.penalty;
        }
    }
}

/// Looks at `drivers` until one has a packet. False when the time is up.
pub(crate) fn spin(now: Instant, drivers: &[Option<Arc<dyn PacketDriver>>]) -> bool {
    let end = now + SPIN_MAX;
    loop {
        for _ in 0..LOOKS {
            if drivers
                .iter()
                .flatten()
                .any(|driver| driver.has_data() == Some(true))
            {
                return true;
            }
            std::hint::spin_loop();
        }
        if clock::now() >= end {
            return false;
        }
    }
}

fn this_cpu() -> Option<u32> {
    // SAFETY: `sched_getcpu` has no arguments and no memory effects.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Longest spin: about what waking a halted CPU costs twice, so that a peer that sleeps is caught, too.
const SPIN_MAX: abi::Duration = abi::Duration::from_micros(50);
/// Waits between two tries where spinning never pays: 50 us in 2048 waits is nothing.
const PENALTY_MAX: u32 = 2048;
/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_that_never_pays_is_tried_ever_more_rarely() {
        let (driver, _parts) = drivers::MemoryDriver::create().unwrap();
        let drivers: [Option<Arc<dyn PacketDriver>>; 1] = [Some(Arc::new(driver))];
        let mut spin = Spin::default();
        let mut tries = 0;
        for _ in 0..10_000 {
            if spin.is_due(&drivers) {
                tries += 1;
                spin.learn(false);
            }
        }
        assert!(tries < 20, "{tries} tries");
        while !spin.is_due(&drivers) {}
        spin.learn(true);
        assert!(
            spin.is_due(&drivers),
            "success must make it worth while at once"
        );
    }
}
