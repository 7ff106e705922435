//! What a seed chooses about single lanes: what each network is like, what programs demand of
//! lanes, and what goes wrong with one of them and not with the others.

use abi::time::Duration;
use transport::Protection;

use crate::random::{Random, mix};
use crate::wire::{Loss, Shape};

/// Separates these choices from the older ones of a seed.
const STREAM: u64 = 0x7e44_a1b2_0c5d_9f31;
/// Most networks of a world.
pub const NETWORKS_MAX: u32 = 4;

/// The lanes of one run. By default: all networks alike, and nobody demands anything.
#[derive(Clone, Debug, Default)]
pub struct Terrain {
    /// Each network by itself; empty if all are alike.
    pub networks: Vec<Ground>,
    /// Out of a thousand operations, so many have a policy.
    pub policies: u64,
    /// Times a monitor speaks of a lane.
    pub reports: usize,
    /// Out of a thousand such words, so many are wrong.
    pub wrong: u64,
    /// Networks that come and go quickly for a while.
    pub flaps: usize,
    /// Changes of the address of a process on a network.
    pub roams: usize,
    /// It is servers whose addresses change, not clients.
    pub servers_roam: bool,
    /// Out of a thousand packets, so many are overtaken by a copy from a victim's address.
    pub races: u64,
    /// Clocks have other origins and paces.
    pub clocks: bool,
    /// Out of a thousand sessions, so many have a perfect lane beside the others.
    pub beside: u64,
    /// Out of a thousand sessions, so many get their last lane only later, each end at its time.
    pub later: u64,
    /// Lanes are opened with a round-trip time and a rate; out of a thousand so many are wrong.
    pub hints: Option<u64>,
}

/// One network.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Ground {
    /// From processes of lower number to those of higher.
    pub there: Shape,
    pub back: Shape,
    pub mtu: u32,
    pub protection: Protection,
}

impl Terrain {
    /// What `seed` chooses. A quarter of the seeds keep to the older choices alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let r = &mut Random::new(mix(seed ^ STREAM));
        if r.chance(250) {
            return Self::default();
        }
        let some = |r: &mut Random, chance, to| {
            if r.chance(chance) {
                r.between(1, to)
            } else {
                0
            }
        };
        let count = r.between(1, u64::from(NETWORKS_MAX));
        let alike = r.chance(200);
        Self {
            networks: if alike {
                Vec::new()
            } else {
                (0..count).map(|_| Ground::choose(r)).collect()
            },
            policies: some(r, 700, 1000),
            reports: some(r, 400, 12) as usize,
            wrong: [0, 200, 700][r.below(3) as usize],
            flaps: some(r, 300, 3) as usize,
            roams: some(r, 300, 4) as usize,
            servers_roam: r.chance(500),
            clocks: r.chance(500),
            beside: some(r, 200, 1000),
            later: some(r, 300, 1000),
            hints: r.chance(500).then(|| [0, 500][r.below(2) as usize]),
            races: some(r, 300, 100),
        }
    }
}

impl Ground {
    fn choose(r: &mut Random) -> Self {
        let mtu = [256, 600, 1232, 1472, 1472, 9000][r.below(6) as usize];
        let there = shape(r, mtu);
        // Mostly alike in both directions.
        let back = if r.chance(300) { shape(r, mtu) } else { there };
        Self {
            there,
            back,
            mtu,
            protection: match r.below(8) {
                0 => Protection::Checksum,
                1 => Protection::Plain,
                _ => Protection::Sealed,
            },
        }
    }
}

fn shape(r: &mut Random, mtu: u32) -> Shape {
    let rate = magnitude(r, 500_000, 1_250_000_000);
    let packet = u64::from(mtu) + 66;
    let loss = match r.below(5) {
        0 => Loss::Each(magnitude(r, 100, 200_000)),
        1 => Loss::Bursts {
            begin: magnitude(r, 100, 20_000),
            end: magnitude(r, 20_000, 500_000),
            within: r.between(500_000, 1_000_000),
        },
        _ => Loss::None,
    };
    let jitter = r
        .chance(300)
        .then(|| Duration::from_nanos(magnitude(r, 1_000, 5_000_000)));
    Shape {
        rate,
        delay: Duration::from_nanos(magnitude(r, 5_000, 50_000_000)),
        jitter: jitter.unwrap_or_default(),
        ordered: r.chance(500),
        queue: magnitude(r, 8 * packet, 2_000_000),
        bucket: 0,
        loss,
        late: if r.chance(200) {
            magnitude(r, 100, 100_000)
        } else {
            0
        },
        late_by: Duration::from_nanos(magnitude(r, 10_000, 30_000_000)),
        hole: if mtu > 1300 && r.chance(150) {
            r.between(1240, u64::from(mtu)) as usize
        } else {
            0
        },
        overhead: 66,
    }
}

/// A number between the two whose magnitude, not whose value, is even.
fn magnitude(r: &mut Random, from: u64, to: u64) -> u64 {
    let (low, high) = (from.ilog2(), to.ilog2());
    let bits = r.between(u64::from(low), u64::from(high));
    let floor = 1_u64 << bits;
    (floor + r.below(floor)).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_choose_all_kinds_of_terrain() {
        let all: Vec<Terrain> = (0..1000).map(Terrain::new).collect();
        let plain = all.iter().filter(|t| t.networks.is_empty()).count();
        assert!((300..500).contains(&plain), "{plain}");
        for count in 1..=NETWORKS_MAX as usize {
            assert!(all.iter().any(|t| t.networks.len() == count));
        }
        let grounds: Vec<&Ground> = all.iter().flat_map(|t| &t.networks).collect();
        assert!(grounds.iter().any(|g| g.there.hole > 0));
        assert!(grounds.iter().any(|g| g.there != g.back));
        assert!(grounds.iter().all(|g| g.there.rate > 0));
    }
}
