//! How often a way is probed, and after which silence it is given up.

use core::time::Duration;

use abi::system::Detect;

/// Why a peer is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It is not: nobody needs it.
    #[default]
    Off,
    /// It was used lately.
    Idle,
    /// Programs have sessions with it, or it was used a moment ago.
    Busy,
}

/// The times of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between probes of a way that is up.
    pub(crate) interval: Duration,
    /// Silence after which it is down.
    pub(crate) detect: Duration,
    /// Answers in a row before it is up again.
    pub(crate) answers: u32,
}

/// After use without sessions, how long a peer is watched as if it had some.
pub(crate) const BUSY_AFTER_USE: Duration = Duration::from_secs(5);
/// And how long at leisure.
pub(crate) const IDLE_AFTER_USE: Duration = Duration::from_secs(60);
/// After a handshake, so that the first session finds its lanes measured.
pub(crate) const BUSY_AFTER_HANDSHAKE: Duration = Duration::from_secs(1);
/// How long a peer's wish to watch is good for.
pub(crate) const WISH_LIFE: Duration = Duration::from_secs(1);

/// Between probes that programs ask for on one way, whatever they say.
pub(crate) const SUSPECT_EVERY: Duration = Duration::from_millis(5);

const fn pace(interval: u64, times: u64, answers: u32) -> Pace {
    Pace {
        interval: Duration::from_millis(interval),
        detect: Duration::from_millis(interval * times),
        answers,
    }
}

impl Pace {
    pub(crate) const fn of(detect: Detect, level: Level) -> Self {
        match (level, detect) {
            (Level::Busy, Detect::Default) => pace(25, 4, 3),
            (Level::Busy, Detect::Fast) => pace(10, 3, 3),
            (Level::Busy, Detect::Relaxed) => pace(100, 5, 5),
            (_, Detect::Default | Detect::Fast) => pace(250, 4, 3),
            (_, Detect::Relaxed) => pace(1000, 4, 5),
        }
    }
}

/// The faster one of what two nodes want.
pub(crate) const fn faster(a: Detect, b: Detect) -> Detect {
    match (a, b) {
        (Detect::Fast, _) | (_, Detect::Fast) => Detect::Fast,
        (Detect::Relaxed, Detect::Relaxed) => Detect::Relaxed,
        _ => Detect::Default,
    }
}

/// Between probes of a way that is down, by how long it has been. A way that has carried packets is tried four times
/// a second for as long as anybody may wait for it to come back.
pub(crate) fn while_down(down_for: Duration, was_up: bool) -> Duration {
    let ms = Duration::from_millis;
    match down_for.as_secs() {
        0..2 => ms(100),
        2..10 => ms(250),
        10..60 if was_up => ms(250),
        60..600 if was_up => ms(350),
        10..60 => ms(1000),
        _ if was_up => ms(1000),
        _ => ms(5000),
    }
}

/// Ways that fail often have to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damping {
    flaps: u32,
}

const HOLD: Duration = Duration::from_millis(200);
const HOLD_MAX: Duration = Duration::from_secs(30);
/// A way that fails sooner after it came up is flapping.
const FLAP: Duration = Duration::from_secs(2);
/// A way that stayed up for so long is forgiven.
const FORGIVEN: Duration = Duration::from_secs(15);

impl Damping {
    /// A way has failed after being up for so long: how long it has to wait at least.
    pub(crate) fn failed(&mut self, up_for: Duration) -> Duration {
        if up_for < FLAP {
            self.flaps = (self.flaps + 1).min(16);
        } else if up_for >= FORGIVEN {
            self.flaps = 0;
        } else {
            self.flaps = self.flaps.saturating_sub(1);
        }
        HOLD.saturating_mul(1 << self.flaps).min(HOLD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ways_that_fail_soon_wait_longer_and_longer() {
        let mut damping = Damping::default();
        let ms = Duration::from_millis;
        assert_eq!(damping.failed(ms(5000)), ms(200));
        let waits: [u64; 3] = core::array::from_fn(|_| damping.failed(ms(500)).as_millis() as u64);
        assert_eq!(waits, [400, 800, 1600]);
        assert_eq!(damping.failed(ms(3000)), ms(800), "it gets better");
        assert_eq!(damping.failed(ms(20_000)), ms(200), "and is forgiven");
        for _ in 0..100 {
            damping.failed(ms(1));
        }
        assert_eq!(damping.failed(ms(1)), ms(30_000));
    }

    #[test]
    fn the_faster_node_sets_the_pace() {
        use Detect::{Default, Fast, Relaxed};
        assert_eq!(faster(Fast, Relaxed), Fast);
        assert_eq!(faster(Relaxed, Default), Default);
        assert_eq!(faster(Relaxed, Relaxed), Relaxed);
        assert_eq!(
            Pace::of(Fast, Level::Busy).detect,
            Duration::from_millis(30)
        );
    }
}
