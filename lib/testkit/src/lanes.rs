//! The networks between the processes, and what they do to packets.

use std::collections::BTreeMap;

use abi::time::{Duration, Instant};

use crate::plan::Faults;
use crate::random::Random;

/// Perfect links are numbered from here; networks from 0.
pub const PERFECT: u32 = 1000;
/// Packets that a perfect link holds before its driver refuses more.
pub const RING: usize = 16;
/// Longest time a packet waits for a slow network before it is dropped.
const QUEUE_MAX: Duration = Duration::from_millis(30);
/// Old packets kept for replays.
const CAPTURED: usize = 64;

/// A packet under way.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Packet {
    pub link: u32,
    pub from: usize,
    pub to: usize,
    pub bytes: Vec<u8>,
}

/// All networks.
#[derive(Debug)]
pub struct Networks {
    faults: Faults,
    /// One direction of a network that is cut, and how many cuts overlap.
    cut: BTreeMap<(u32, usize, usize), u32>,
    busy_until: BTreeMap<(u32, usize, usize), Instant>,
    captured: Vec<Packet>,
    /// Packets in a ring that the receiver has not taken.
    ring: BTreeMap<(u32, usize), usize>,
}

impl Networks {
    /// Networks with these faults.
    #[must_use]
    pub const fn new(faults: Faults) -> Self {
        Self {
            faults,
            cut: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            captured: Vec::new(),
            ring: BTreeMap::new(),
        }
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.faults = Faults {
            delay: self.faults.delay,
            ..Faults::default()
        };
        self.cut.clear();
        self.captured.clear();
    }

    /// Cuts one direction.
    pub fn cut(&mut self, link: u32, from: usize, to: usize) {
        *self.cut.entry((link, from, to)).or_default() += 1;
    }

    /// Mends one direction, unless another cut holds.
    pub fn mend(&mut self, link: u32, from: usize, to: usize) {
        if let Some(cuts) = self.cut.get_mut(&(link, from, to)) {
            *cuts -= 1;
            if *cuts == 0 {
                self.cut.remove(&(link, from, to));
            }
        }
    }

    /// Whether the ring of a perfect link is full.
    #[must_use]
    pub fn is_full(&self, link: u32, from: usize) -> bool {
        self.ring
            .get(&(link, from))
            .is_some_and(|packets| *packets >= RING)
    }

    /// The receiver has taken a packet from a ring.
    pub fn taken(&mut self, link: u32, from: usize) {
        if let Some(packets) = self.ring.get_mut(&(link, from)) {
            *packets -= 1;
        }
    }

    /// Sends a packet; answers when which packets arrive.
    pub fn send(
        &mut self,
        now: Instant,
        packet: Packet,
        random: &mut Random,
    ) -> Vec<(Instant, Packet)> {
        if packet.link >= PERFECT {
            *self.ring.entry((packet.link, packet.from)).or_default() += 1;
            return vec![(now + Duration::from_micros(2), packet)];
        }
        let mut arrivals = Vec::new();
        let faults = self.faults.clone();
        if faults.replay > 0 {
            self.capture(&packet, random);
        }
        let direction = (packet.link, packet.from, packet.to);
        let hole = faults.hole > 0 && packet.bytes.len() > faults.hole;
        if random.chance(faults.loss) || self.cut.contains_key(&direction) || hole {
            return arrivals;
        }
        let Some(leaves) = self.leaves(now, direction, packet.bytes.len()) else {
            return arrivals;
        };
        let copies = if random.chance(faults.double) { 2 } else { 1 };
        for _ in 0..copies {
            let mut copy = packet.clone();
            if random.chance(faults.corrupt) {
                corrupt(&mut copy.bytes, random);
            }
            arrivals.push((leaves + self.way(random), copy));
        }
        if random.chance(faults.replay) && !self.captured.is_empty() {
            let old = &self.captured[random.below(self.captured.len() as u64) as usize];
            arrivals.push((now + self.way(random), old.clone()));
        }
        arrivals
    }

    fn way(&self, random: &mut Random) -> Duration {
        let jitter = self.faults.jitter.as_nanos() as u64;
        self.faults.delay + Duration::from_nanos(random.below(jitter + 1))
    }

    /// When a packet has left through a network of limited rate; `None` if its queue is full.
    fn leaves(
        &mut self,
        now: Instant,
        direction: (u32, usize, usize),
        bytes: usize,
    ) -> Option<Instant> {
        if self.faults.rate == 0 {
            return Some(now);
        }
        let busy = self
            .busy_until
            .get(&direction)
            .copied()
            .unwrap_or(now)
            .max(now);
        if busy.saturating_since(now) > QUEUE_MAX {
            return None;
        }
        let leaves = busy + Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.faults.rate);
        self.busy_until.insert(direction, leaves);
        Some(leaves)
    }

    fn capture(&mut self, packet: &Packet, random: &mut Random) {
        if self.captured.len() < CAPTURED {
            self.captured.push(packet.clone());
        } else if random.chance(50) {
            let at = random.below(CAPTURED as u64) as usize;
            self.captured[at] = packet.clone();
        }
    }
}

fn corrupt(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.push(0),
        _ => bytes[at] ^= 1 << random.below(8),
    }
}
