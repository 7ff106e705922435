//! One run: processes, programs, networks and faults on one clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use abi::time::{Duration, Instant};
use transport::{Cause, SessionKey};

use crate::checkers::{self, Finding, Kind};
use crate::cipher::{NonceLog, SharedLog};
use crate::judge::Judge;
use crate::lane_faults::LaneFault;
use crate::lanes::{Networks, Packet};
use crate::plan::Plan;
use crate::process::Process;
use crate::programs::{Client, Later, Server};
use crate::random::{Random, mix};
use crate::reference::Reference;
use crate::strip::{Note, line};
use crate::victims::Victims;

/// After the faults, how long clients go on asking, how long everything may take to end, and how
/// long nothing may happen.
pub(crate) const ASK_AFTER: Duration = Duration::from_secs(3);
const END_AFTER: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(90);
/// More steps than any run needs.
const STEPS_MAX: u64 = 2_000_000;

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
    Lane(LaneFault),
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
    /// The client's id of the session; the server's is the next.
    pub(crate) base: u32,
    /// Lanes of the session.
    pub(crate) lanes: u8,
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
    pub(crate) judge: Judge,
    /// How often a process has got a new address on a network.
    pub(crate) addresses: BTreeMap<(u32, usize), u8>,
    pub(crate) victims: Victims,
    pub(crate) agenda: BTreeMap<(Instant, u64), Action>,
    pub(crate) serial: u64,
    pub(crate) strip: VecDeque<(Instant, Note)>,
    pub(crate) seen: BTreeSet<&'static str>,
    pub(crate) space: Vec<u8>,
    pub(crate) packets: u64,
    pub(crate) healed: bool,
    /// All sessions have been asked whether their peers live.
    pub(crate) verified: bool,
    /// Print every event.
    pub trace: bool,
    /// Print every packet.
    pub packets_too: bool,
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
            networks: Networks::new(plan.faults.clone(), plan.terrain.networks.clone()),
            processes,
            programs: (0..count).map(program).collect(),
            pairs: Vec::new(),
            reference: Reference::new(plan.reliable > 0 || plan.terrain.beside > 0),
            log: Arc::new(Mutex::new(NonceLog::tapping())),
            judge: Judge::default(),
            addresses: BTreeMap::new(),
            victims: Victims::default(),
            agenda: BTreeMap::new(),
            serial: 0,
            strip: VecDeque::new(),
            seen: BTreeSet::new(),
            space: vec![0; 65_536],
            packets: 0,
            healed: false,
            verified: false,
            trace: false,
            packets_too: false,
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
        self.set_clocks();
        self.begin();
        let heal = self.now + self.plan.faults_until;
        self.plan_faults();
        self.plan_lane_faults();
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
                    base: 0,
                    lanes: 0,
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

    /// Goes on to the next thing that happens before `end`; answers whether there was one.
    fn step(&mut self, end: Instant) -> Result<bool, Finding> {
        let action = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self
            .processes
            .iter()
            .enumerate()
            .filter(|(_, process)| process.is_running())
            .filter_map(|(n, process)| Some((process.timeout()?, n)))
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
            let now = self.local(process);
            self.processes[process].transport.handle_timeout(now);
            self.flush(process)?;
        }
        self.look_at_packets()?;
        Ok(true)
    }

    fn look_at_packets(&mut self) -> Checked {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeated) = log.repeated() {
            let text = format!("nonce used twice: {repeated}");
            return Err(Finding::new(Kind::Wrong, text));
        }
        let tapped = log.tapped.as_mut().map(std::mem::take).unwrap_or_default();
        drop(log);
        for packet in tapped {
            if self.packets_too {
                self.show(&packet);
            }
            self.judge.packet(&packet, &self.reference)?;
        }
        Ok(())
    }
}
