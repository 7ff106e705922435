//! The clock of one process: another origin and another pace than the world's.

use abi::time::Instant;

/// Turns the world's time into a process's and back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Nanoseconds that it is ahead at the world's origin.
    pub ahead: u64,
    /// Millionths by which it runs fast, at most a tenth.
    pub ppm: u32,
}

impl Clock {
    /// What the clock shows at `world`.
    #[must_use]
    pub const fn show(&self, world: Instant) -> Instant {
        let nanos = world.as_nanos();
        let gained = (nanos as u128 * self.ppm as u128 / 1_000_000) as u64;
        Instant::from_nanos(nanos + self.ahead + gained)
    }

    /// The first time of the world at which the clock shows `local` or later.
    #[must_use]
    pub const fn when(&self, local: Instant) -> Instant {
        let nanos = local.as_nanos().saturating_sub(self.ahead) as u128;
        let parts = 1_000_000 + self.ppm as u128;
        let mut world = (nanos * 1_000_000 / parts) as u64;
        while self.show(Instant::from_nanos(world)).as_nanos() < local.as_nanos() {
            world += 1;
        }
        Instant::from_nanos(world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_time_that_is_due_is_due_when_the_world_gets_there_and_not_before() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let clock = Clock {
                ahead: random.below(1 << 40),
                ppm: random.below(100_000) as u32,
            };
            let world = Instant::from_nanos(1_000_000_000 + random.below(1 << 40));
            let due = clock.when(clock.show(world));
            assert!(clock.show(due) >= clock.show(world));
            assert!(clock.show(Instant::from_nanos(due.as_nanos() - 1)) < clock.show(world));
        }
    }
}
