//! The networks between the processes, and what they do to packets.

use std::collections::BTreeMap;

use abi::time::{Duration, Instant};
use transport::Protection;

use crate::plan::Faults;
use crate::random::Random;
use crate::terrain::Ground;
use crate::wire::{Loss, Shape, Wire};

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
    /// Addresses, as generations: a process that has moved gets nothing under its old one.
    pub from_address: u8,
    pub to_address: u8,
}

/// All networks.
#[derive(Debug)]
pub struct Networks {
    faults: Faults,
    grounds: Vec<Ground>,
    wires: BTreeMap<(u32, usize, usize), Wire>,
    captured: Vec<Packet>,
    /// Packets in a ring that the receiver has not taken.
    ring: BTreeMap<(u32, usize), usize>,
}

impl Networks {
    /// Networks with these faults; each like its ground, or all as the faults say.
    #[must_use]
    pub const fn new(faults: Faults, grounds: Vec<Ground>) -> Self {
        Self {
            faults,
            grounds,
            wires: BTreeMap::new(),
            captured: Vec::new(),
            ring: BTreeMap::new(),
        }
    }

    /// How packets of a link are protected.
    #[must_use]
    pub fn protection(&self, link: u32) -> Protection {
        let ground = self.grounds.get(link as usize);
        match ground {
            Some(ground) => ground.protection,
            None if link >= PERFECT => Protection::Plain,
            None => Protection::Sealed,
        }
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.faults = Faults {
            delay: self.faults.delay,
            ..Faults::default()
        };
        for wire in self.wires.values_mut() {
            wire.cuts = 0;
            wire.shape = if self.grounds.is_empty() {
                Shape {
                    delay: self.faults.delay,
                    ..Shape::default()
                }
            } else {
                healed(wire.shape)
            };
        }
        for ground in &mut self.grounds {
            (ground.there, ground.back) = (healed(ground.there), healed(ground.back));
        }
        self.captured.clear();
    }

    /// One direction of a network.
    fn wire(&mut self, link: u32, from: usize, to: usize) -> &mut Wire {
        let (faults, grounds) = (&self.faults, &self.grounds);
        self.wires.entry((link, from, to)).or_insert_with(|| {
            let shape = match grounds.get(link as usize) {
                Some(ground) if from < to => ground.there,
                Some(ground) => ground.back,
                None => Shape {
                    rate: faults.rate,
                    delay: faults.delay,
                    jitter: faults.jitter,
                    queue: faults.rate * QUEUE_MAX.as_millis() as u64 / 1000,
                    hole: faults.hole,
                    ..Shape::default()
                },
            };
            Wire::new(shape)
        })
    }

    /// Cuts one direction.
    pub fn cut(&mut self, link: u32, from: usize, to: usize) {
        self.wire(link, from, to).cuts += 1;
    }

    /// Mends one direction, unless another cut holds.
    pub fn mend(&mut self, link: u32, from: usize, to: usize) {
        let wire = self.wire(link, from, to);
        wire.cuts = wire.cuts.saturating_sub(1);
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
        if random.chance(faults.loss) {
            return arrivals;
        }
        let (link, from, to) = (packet.link, packet.from, packet.to);
        let wire = self.wire(link, from, to);
        let Some(arrives) = wire.pass(now, packet.bytes.len(), random) else {
            return arrivals;
        };
        // Nothing looks for errors on a plain lane, so there must be none.
        let plain = self.protection(link) == Protection::Plain;
        let copies = if random.chance(faults.double) { 2 } else { 1 };
        for _ in 0..copies {
            let mut copy = packet.clone();
            if !plain && random.chance(faults.corrupt) {
                corrupt(&mut copy.bytes, random);
            }
            arrivals.push((arrives, copy));
        }
        if random.chance(faults.replay) && !self.captured.is_empty() {
            let old = &self.captured[random.below(self.captured.len() as u64) as usize];
            arrivals.push((now + self.faults.delay, old.clone()));
        }
        arrivals
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

/// The same without what goes wrong.
fn healed(shape: Shape) -> Shape {
    Shape {
        loss: Loss::None,
        late: 0,
        hole: 0,
        ..shape
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
