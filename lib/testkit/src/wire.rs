//! One direction of a network: how fast, how long, how full, how lossy.

use abi::time::{Duration, Instant};

use crate::random::Random;

/// Bytes that Ethernet, IPv4 and UDP add to a packet on the wire: preamble 8, header 14, check 4,
/// gap 12, IP 20, UDP 8.
pub const WIRE_OVERHEAD: u64 = 66;

/// Bytes per second at which a token bucket lets its burst go: the bare link under it.
const BUCKET_LINE: u64 = 1_250_000_000;

/// Which packets vanish by chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each for itself, so many out of a million.
    Each(u64),
    /// In bursts (Gilbert): out of a million packets so many begin a burst, so many end one, and so
    /// many vanish within one.
    Bursts {
        /// Begin a burst.
        begin: u64,
        /// End one.
        end: u64,
        /// Vanish within one.
        within: u64,
    },
}

/// What one direction of a network is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes per second, `overhead` included; 0 is without limit.
    pub rate: u64,
    /// Time from the end of a packet at the sender to its end at the receiver.
    pub delay: Duration,
    /// Longest time that is added by chance.
    pub jitter: Duration,
    /// Packets keep their order although there is jitter.
    pub ordered: bool,
    /// Bytes that wait at most; more are dropped (drop-tail). Only with a rate.
    pub queue: u64,
    /// Bytes that leave at once after a pause, at 10 Gbit/s, before the rate holds (a token bucket's
    /// burst). Only with a rate.
    pub bucket: u64,
    /// What vanishes.
    pub loss: Loss,
    /// Out of a million packets, so many come late by `late_by`.
    pub late: u64,
    /// How late.
    pub late_by: Duration,
    /// Longer packets vanish; 0 is without limit.
    pub hole: usize,
    /// Bytes that the medium adds to each packet.
    pub overhead: u64,
}

impl Shape {
    /// A link of so many megabits per second, with a queue of 256 KiB, that loses nothing else.
    #[must_use]
    pub const fn megabits(rate: u64, delay: Duration) -> Self {
        Self {
            rate: rate * 125_000,
            delay,
            jitter: Duration::ZERO,
            ordered: true,
            queue: 256 << 10,
            bucket: 0,
            loss: Loss::None,
            late: 0,
            late_by: Duration::ZERO,
            hole: 0,
            overhead: WIRE_OVERHEAD,
        }
    }

    /// The same with this loss.
    #[must_use]
    pub const fn with_loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same with a queue of so many bytes.
    #[must_use]
    pub const fn with_queue(self, queue: u64) -> Self {
        Self { queue, ..self }
    }

    /// The same with a token bucket of so many bytes.
    #[must_use]
    pub const fn with_bucket(self, bucket: u64) -> Self {
        Self { bucket, ..self }
    }

    /// The same with jitter that keeps the order.
    #[must_use]
    pub const fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Time to send one packet.
    #[must_use]
    pub fn serialization(&self, bytes: usize) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let bytes = bytes as u64 + self.overhead;
        Duration::from_nanos((bytes * 1_000_000_000).div_ceil(self.rate))
    }
}

/// One direction of a network at work.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// What it is like now; may change at any time.
    pub shape: Shape,
    /// Cuts that hold; they may overlap.
    pub cuts: u32,
    /// When all tokens that were taken have come again.
    busy_until: Instant,
    line_until: Instant,
    last_arrival: Instant,
    bursting: bool,
    /// Packets that went in.
    pub offered: u64,
    /// Bytes that went in.
    pub offered_bytes: u64,
    /// Length of the longest packet that went in.
    pub longest: usize,
    /// Packets dropped by a full queue.
    pub overflowed: u64,
}

impl Wire {
    /// A wire of this shape.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            ..Self::default()
        }
    }

    /// When a packet that is sent now arrives; `None` if it does not.
    pub fn pass(&mut self, now: Instant, bytes: usize, random: &mut Random) -> Option<Instant> {
        let shape = self.shape;
        self.offered += 1;
        self.offered_bytes += bytes as u64;
        self.longest = self.longest.max(bytes);
        if self.cuts > 0 || shape.hole > 0 && bytes > shape.hole {
            return None;
        }
        let left = self.leaves(now, bytes)?;
        // Lost on the way: it has used its time on the wire.
        if self.vanishes(random) {
            return None;
        }
        let mut arrival = left + shape.delay;
        if shape.jitter > Duration::ZERO {
            arrival += Duration::from_nanos(random.below(shape.jitter.as_nanos() as u64 + 1));
        }
        if shape.late > 0 && random.below(1_000_000) < shape.late {
            return Some(arrival + shape.late_by);
        }
        if shape.ordered {
            arrival = arrival.max(self.last_arrival);
            self.last_arrival = arrival;
        }
        Some(arrival)
    }

    /// How long a packet that comes now would wait for those before it.
    #[must_use]
    pub fn backlog(&self, now: Instant) -> Duration {
        self.busy_until
            .saturating_since(now)
            .saturating_sub(self.burst())
    }

    /// How long a full bucket lasts at the rate.
    fn burst(&self) -> Duration {
        let Shape { rate, bucket, .. } = self.shape;
        Duration::from_nanos((bucket * 1_000_000_000).checked_div(rate).unwrap_or(0))
    }

    fn leaves(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let shape = self.shape;
        if shape.rate == 0 {
            return Some(now);
        }
        let waiting = self.backlog(now).as_nanos() * u128::from(shape.rate) / 1_000_000_000;
        let wire_bytes = bytes as u64 + shape.overhead;
        if waiting as u64 + wire_bytes > shape.queue.max(wire_bytes) {
            self.overflowed += 1;
            return None;
        }
        self.busy_until = self.busy_until.max(now) + shape.serialization(bytes);
        if shape.bucket == 0 {
            return Some(self.busy_until);
        }
        let tokens = self.busy_until.checked_sub(self.burst()).unwrap_or(now);
        let line = Duration::from_nanos(wire_bytes * 1_000_000_000 / BUCKET_LINE);
        self.line_until = self.line_until.max(tokens).max(now) + line;
        Some(self.line_until)
    }

    fn vanishes(&mut self, random: &mut Random) -> bool {
        match self.shape.loss {
            Loss::None => false,
            Loss::Each(ppm) => random.below(1_000_000) < ppm,
            Loss::Bursts { begin, end, within } => {
                let turn = if self.bursting { end } else { begin };
                if random.below(1_000_000) < turn {
                    self.bursting = !self.bursting;
                }
                self.bursting && random.below(1_000_000) < within
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000_000_000);

    #[test]
    fn a_full_queue_drops_and_the_rest_leaves_at_the_rate() {
        let shape = Shape {
            overhead: 0,
            ..Shape::megabits(8, Duration::from_millis(1)).with_queue(10_000)
        };
        let mut wire = Wire::new(shape);
        let mut random = Random::new(1);
        let arrivals: Vec<_> = (0..20)
            .filter_map(|_| wire.pass(START, 1000, &mut random))
            .collect();
        assert_eq!(arrivals.len(), 10);
        assert_eq!(wire.overflowed, 10);
        assert_eq!(arrivals[0], START + Duration::from_millis(2));
        assert_eq!(arrivals[9], START + Duration::from_millis(11));
    }

    #[test]
    fn a_bucket_lets_its_burst_go_at_once_and_the_rest_at_the_rate() {
        let shape = Shape {
            overhead: 0,
            ..Shape::megabits(8, Duration::ZERO)
                .with_queue(5_000)
                .with_bucket(10_000)
        };
        let mut wire = Wire::new(shape);
        let mut random = Random::new(1);
        let mut send = |now| -> Vec<_> {
            let packets = (0..20).filter_map(|_| wire.pass(now, 1000, &mut random));
            packets.map(|at| (at - now).as_micros()).collect()
        };
        let first = send(START);
        assert_eq!(first.len(), 15);
        assert!(first[9] < 10 && (1_000..1_010).contains(&first[10]));
        assert!((5_000..5_010).contains(&first[14]));
        let later = send(START + Duration::from_millis(5));
        assert_eq!(later.len(), 5, "no tokens have gathered");
        let rested = send(START + Duration::from_millis(25));
        assert!(rested.len() == 15 && rested[9] < 10, "{rested:?}");
    }

    #[test]
    fn bursts_lose_more_in_a_row_than_single_losses() {
        let longest = |loss| {
            let mut wire = Wire::new(Shape {
                loss,
                ..Shape::default()
            });
            let mut random = Random::new(3);
            let (mut run, mut longest, mut lost) = (0, 0, 0);
            for _ in 0..100_000 {
                if wire.pass(START, 100, &mut random).is_none() {
                    (run, lost) = (run + 1, lost + 1);
                    longest = longest.max(run);
                } else {
                    run = 0;
                }
            }
            (longest, lost)
        };
        let (single, few) = longest(Loss::Each(20_000));
        let bursts = Loss::Bursts {
            begin: 2_000,
            end: 100_000,
            within: 1_000_000,
        };
        let (burst, many) = longest(bursts);
        assert!((1_500..2_500).contains(&few) && (1_500..2_500).contains(&many));
        assert!(single < 6 && burst > 20, "{single} {burst}");
    }

    #[test]
    fn jitter_keeps_the_order_and_lateness_does_not() {
        let mut random = Random::new(5);
        let jitter = Shape {
            delay: Duration::from_millis(1),
            ordered: true,
            ..Shape::default()
        }
        .with_jitter(Duration::from_millis(5));
        let mut inversions = [0, 0];
        for (n, late) in [0, 100_000].into_iter().enumerate() {
            let mut wire = Wire::new(Shape {
                late,
                late_by: Duration::from_millis(9),
                ..jitter
            });
            let mut last = START;
            for step in 0..1000 {
                let now = START + Duration::from_micros(step * 10);
                let at = wire.pass(now, 100, &mut random).unwrap();
                inversions[n] += u32::from(at < last);
                last = at;
            }
        }
        assert!(inversions[0] == 0 && inversions[1] > 20, "{inversions:?}");
    }
}
