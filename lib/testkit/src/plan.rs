//! What a seed chooses: who takes part, and which faults exist in this run.

use abi::time::Duration;

use crate::random::Random;
use crate::terrain::Terrain;

/// The parameters of one run.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Plan {
    pub seed: u64,
    pub clients: usize,
    pub servers: usize,
    /// Networks that connect all processes.
    pub networks: u32,
    /// Sessions over a perfect link instead, out of a thousand.
    pub reliable: u64,
    pub operations: usize,
    pub concurrency: usize,
    pub slots: u16,
    pub unscheduled: u32,
    pub credit: u64,
    pub mtu: u32,
    pub op_dead: Duration,
    /// When all faults end.
    pub faults_until: Duration,
    pub faults: Faults,
    /// Largest request and reply in bytes.
    pub message_max: u64,
    pub terrain: Terrain,
}

/// The faults of one run; zero is none. Chances are out of a thousand packets.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Faults {
    pub loss: u64,
    pub double: u64,
    pub corrupt: u64,
    pub replay: u64,
    pub jitter: Duration,
    pub delay: Duration,
    /// Bytes per second of each direction of each network; 0 is without limit.
    pub rate: u64,
    /// Packets above this size vanish; 0 is without limit.
    pub hole: usize,
    pub cuts: usize,
    pub stalls: usize,
    pub deaths: usize,
    /// Cuts are reported by the drivers.
    pub reported: bool,
    /// Chance that nobody tells of a death.
    pub silent_deaths: u64,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut r = Random::new(seed);
        let faults = Faults::choose(&mut r);
        let small = r.chance(300);
        let mut plan = Self {
            seed,
            clients: r.between(1, 3) as usize,
            servers: r.between(1, 2) as usize,
            networks: r.between(1, 3) as u32,
            reliable: if r.chance(300) { 400 } else { 0 },
            operations: r.between(20, 120) as usize,
            concurrency: r.between(1, 12) as usize,
            slots: [1, 4, 64, 300][r.below(4) as usize],
            unscheduled: [0, 2_000, 16_384, 65_536][r.below(4) as usize],
            credit: [0, 70_000, 1 << 20][r.below(3) as usize],
            mtu: [256, 600, 1472, 9000][r.below(4) as usize],
            op_dead: Duration::from_secs(5),
            faults_until: Duration::from_millis(r.between(50, 12_000)),
            faults,
            message_max: if small { 2_000 } else { 200_000 },
            terrain: Terrain::new(seed),
        };
        if !plan.terrain.networks.is_empty() {
            plan.networks = plan.terrain.networks.len() as u32;
        }
        plan
    }

    /// Largest packet of a network.
    #[must_use]
    pub fn mtu_of(&self, network: u32) -> u32 {
        let ground = self.terrain.networks.get(network as usize);
        ground.map_or(self.mtu, |ground| ground.mtu)
    }
}

impl Faults {
    /// Swarm: each run has only some kinds of faults, so that none hides the others.
    fn choose(r: &mut Random) -> Self {
        let some = |r: &mut Random, from, to| {
            if r.chance(400) {
                r.between(from, to)
            } else {
                0
            }
        };
        Self {
            loss: some(r, 1, 300),
            double: some(r, 1, 200),
            corrupt: some(r, 1, 100),
            replay: some(r, 1, 100),
            jitter: Duration::from_micros(some(r, 1, 20_000)),
            delay: Duration::from_micros(r.between(1, 100) * r.between(1, 100)),
            rate: some(r, 200_000, 50_000_000),
            hole: if r.chance(100) { 1_250 } else { 0 },
            cuts: some(r, 1, 8) as usize,
            stalls: some(r, 1, 6) as usize,
            deaths: some(r, 1, 2) as usize,
            reported: r.chance(500),
            silent_deaths: if r.chance(300) { 500 } else { 0 },
        }
    }
}
