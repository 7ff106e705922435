//! One run: processes, programs, networks and faults on one clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};
use transport::{Cause, LaneParams, LinkIndex, Role, SessionKey, SessionParams};

use crate::checkers::{self, Finding, Kind};
use crate::cipher::{NonceLog, SharedLog, WorldCipher};
use crate::lanes::{Networks, PERFECT, Packet};
use crate::plan::Plan;
use crate::process::Process;
use crate::programs::{Client, Later, Server};
use crate::random::{Random, mix};
use crate::reference::Reference;
use crate::strip::{Note, line};

/// After the faults, how long clients go on asking, how long everything may take to end, and how
/// long nothing may happen.
pub(crate) const ASK_AFTER: Duration = Duration::from_secs(3);
const END_AFTER: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(90);
/// More steps than any run needs.
const STEPS_MAX: u64 = 5_000_000;

/// What a run has shown.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong, if anything.
    pub finding: Option<Finding>,
    /// The last events, oldest first.
    pub strip: Vec<String>,
    /// Names of the kinds of events that programs have seen.
    pub seen: BTreeSet<&'static str>,
    /// Packets delivered.
    pub packets: u64,
    /// Operations asked for.
    pub operations: u64,
    /// Virtual time of the run.
    pub time: Duration,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Action {
    Arrive(Packet),
    Program(usize, Later),
    Cut {
        link: u32,
        from: usize,
        to: usize,
        reported: bool,
    },
    Mend {
        link: u32,
        from: usize,
        to: usize,
        reported: bool,
    },
    Stall {
        process: usize,
        time: Duration,
    },
    Wake {
        process: usize,
    },
    Kill {
        process: usize,
    },
    Tell {
        pair: usize,
        client: bool,
        serial: u64,
        cause: Cause,
    },
    Reopen {
        pair: usize,
    },
    Heal,
    VerifyAll,
}

/// A client, a server, and the session between them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) perfect: bool,
    /// Counts the sessions of the pair.
    pub(crate) serial: u64,
    pub(crate) client_key: Option<SessionKey>,
    pub(crate) server_key: Option<SessionKey>,
}

#[derive(Debug)]
pub(crate) enum Program {
    Client(Client),
    Server(Server),
}

/// The world of one seed.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) networks: Networks,
    pub(crate) processes: Vec<Process>,
    pub(crate) programs: Vec<Program>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) reference: Reference,
    pub(crate) log: SharedLog,
    pub(crate) agenda: BTreeMap<(Instant, u64), Action>,
    pub(crate) serial: u64,
    pub(crate) strip: VecDeque<(Instant, Note)>,
    pub(crate) seen: BTreeSet<&'static str>,
    pub(crate) space: Vec<u8>,
    pub(crate) packets: u64,
    pub(crate) healed: bool,
    /// Print every event.
    pub trace: bool,
}

pub(crate) type Checked = Result<(), Finding>;

impl World {
    /// The world of `seed`, at its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plan = Plan::new(seed);
        let count = plan.clients + plan.servers;
        let incoming_max = u64::from(plan.unscheduled).max(1024);
        let processes = (0..count).map(|_| Process::new(incoming_max)).collect();
        let program = |n| {
            if n < plan.clients {
                Program::Client(Client::default())
            } else {
                Program::Server(Server::default())
            }
        };
        Self {
            now: Instant::from_nanos(1_000_000_000),
            random: Random::new(mix(seed)),
            networks: Networks::new(plan.faults.clone()),
            processes,
            programs: (0..count).map(program).collect(),
            pairs: Vec::new(),
            reference: Reference::new(plan.reliable > 0),
            log: Arc::new(Mutex::new(NonceLog::default())),
            agenda: BTreeMap::new(),
            serial: 0,
            strip: VecDeque::new(),
            seen: BTreeSet::new(),
            space: vec![0; 65_536],
            packets: 0,
            healed: false,
            trace: false,
            plan,
        }
    }

    /// Plays the run to its end.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let start = self.now;
        let finding = self.play().err();
        Outcome {
            finding,
            strip: self
                .strip
                .iter()
                .map(|(at, note)| line(*at, note))
                .collect(),
            seen: self.seen,
            packets: self.packets,
            operations: self.reference.next_id() - 1,
            time: self.now.saturating_since(start),
        }
    }

    fn play(&mut self) -> Checked {
        self.begin();
        let heal = self.now + self.plan.faults_until;
        self.plan_faults();
        self.at(heal, Action::Heal);
        self.at(heal + Duration::from_secs(1), Action::VerifyAll);
        let last = heal + END_AFTER;
        let mut steps = 0;
        while self.now < last && !self.is_finished(heal) {
            if !self.step(last)? {
                break;
            }
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Finding::new(
                    Kind::Liveness,
                    "the world does not rest".into(),
                ));
            }
        }
        if self.reference.open() > 0 {
            let open: Vec<u64> = self.reference.open_ids().take(5).collect();
            return Err(Finding::new(
                Kind::Liveness,
                format!("operations {open:?} do not end"),
            ));
        }
        self.rest()
    }

    fn is_finished(&self, heal: Instant) -> bool {
        self.healed && self.now >= heal + ASK_AFTER && self.reference.open() == 0
    }

    /// Nothing is to be done: after a while nothing must happen, and nothing must be left.
    fn rest(&mut self) -> Checked {
        let quiet_from = self.now + (REST - Duration::from_secs(30));
        let end = self.now + REST;
        while self.now < quiet_from && self.step(quiet_from)? {}
        let sent: Vec<u64> = self.processes.iter().map(|process| process.sent).collect();
        while self.now < end && self.step(end)? {}
        for (n, process) in self.processes.iter().enumerate().filter(|(_, p)| p.alive) {
            let name = format!("process {n}");
            checkers::at_rest(process, &name)?;
            if process.sent != sent[n] {
                return Err(Finding::new(
                    Kind::Leak,
                    format!("{name} sends although idle"),
                ));
            }
            if let Program::Server(server) = &self.programs[n]
                && server.busy() > 0
            {
                return Err(Finding::new(Kind::Leak, format!("{name} still works")));
            }
        }
        if self.processes.iter().all(|process| process.alive) {
            self.reference.all_there()?;
        }
        for pair in &self.pairs {
            let widowed =
                |dead: usize, key: Option<SessionKey>| !self.processes[dead].alive && key.is_some();
            if widowed(pair.server, pair.client_key) && self.processes[pair.client].alive
                || widowed(pair.client, pair.server_key) && self.processes[pair.server].alive
            {
                return Err(Finding::new(
                    Kind::Liveness,
                    format!("{pair:?} outlives its peer"),
                ));
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        for client in 0..self.plan.clients {
            for server in self.plan.clients..self.processes.len() {
                let perfect = self.random.chance(self.plan.reliable);
                let (client_key, server_key) = (None, None);
                let pair = Pair {
                    client,
                    server,
                    perfect,
                    serial: 0,
                    client_key,
                    server_key,
                };
                self.pairs.push(pair);
                self.open(self.pairs.len() - 1);
            }
            self.at(self.now, Action::Program(client, Later::Tick));
        }
    }

    pub(crate) fn at(&mut self, at: Instant, action: Action) {
        self.serial += 1;
        self.agenda.insert((at.max(self.now), self.serial), action);
    }

    /// Opens the next session of a pair, as the nodes' daemons would.
    pub(crate) fn open(&mut self, index: usize) {
        let pair = &mut self.pairs[index];
        pair.serial += 1;
        let base = 2 + (index as u32) * 100_000 + pair.serial as u32 * 2;
        let secret = mix(self.plan.seed ^ u64::from(base));
        let ends = [
            (pair.client, pair.server, Role::Client),
            (pair.server, pair.client, Role::Server),
        ];
        let perfect = pair
            .perfect
            .then(|| PERFECT + (index as u32 * 1000) + pair.serial as u32);
        let update_after = self.random.between(20, 3000);
        let mut keys = [None, None];
        for (n, (own, peer, role)) in ends.into_iter().enumerate() {
            let (local, remote) = if n == 0 {
                (base, base + 1)
            } else {
                (base + 1, base)
            };
            let mut params = SessionParams::new(SessionId(local), SessionId(remote), role);
            let address = LinkAddress::from_raw(&[peer as u8]).unwrap_or_default();
            match perfect {
                Some(link) => {
                    params
                        .lanes
                        .push(LaneParams::reliable(0, LinkIndex(link), address, 65_000));
                }
                None => {
                    for id in 0..self.plan.networks {
                        let link = LinkIndex(id);
                        params
                            .lanes
                            .push(LaneParams::new(id as u8, link, address, self.plan.mtu));
                    }
                    let log = self.log.clone();
                    params.cipher =
                        Some(Box::new(WorldCipher::new(secret, role, update_after, log)));
                }
            }
            params.slots = self.plan.slots;
            params.unscheduled = self.plan.unscheduled;
            params.credit = self.plan.credit;
            params.op_dead = self.plan.op_dead;
            keys[n] = self.processes[own].transport.open(self.now, params).ok();
        }
        let pair = &mut self.pairs[index];
        [pair.client_key, pair.server_key] = keys;
    }

    /// Goes on to the next thing that happens before `end`; answers whether there was one.
    fn step(&mut self, end: Instant) -> Result<bool, Finding> {
        let action = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self
            .processes
            .iter()
            .enumerate()
            .filter(|(_, process)| process.is_running())
            .filter_map(|(n, process)| Some((process.transport.timeout()?, n)))
            .min();
        let next = action.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return Ok(false);
        };
        self.now = self.now.max(next);
        if action.is_some_and(|at| at <= next) {
            if let Some((_, action)) = self.agenda.pop_first() {
                self.act(action)?;
            }
        } else if let Some((_, process)) = timer {
            self.processes[process].transport.handle_timeout(self.now);
            self.flush(process)?;
        }
        if let Some(repeated) = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .repeated()
        {
            return Err(Finding::new(
                Kind::Wrong,
                format!("nonce used twice: {repeated}"),
            ));
        }
        Ok(true)
    }
}
