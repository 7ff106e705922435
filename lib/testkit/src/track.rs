//! A test track: one client, one server, shaped lanes between them, and nothing by chance but what
//! the shapes say. For figures; the chaos is in [`crate::World`].

mod load;
mod memory;
mod sending;

pub use load::{Load, Sample, Tally};

use std::collections::BTreeMap;
use std::sync::PoisonError;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};
use transport::keys::Secret;
use transport::{
    Config, Event, IncomingKey, LaneParams, LaneReport, LaneWord, LinkIndex, Role, SessionKey,
    SessionParams, SessionSummary, TransferKey, Transport,
};

use crate::cipher::{SharedLog, WorldCipher};
use crate::random::Random;
use crate::wire::{Shape, Wire};
use load::Running;
use memory::Pattern;

/// When a track begins.
pub const START: Instant = Instant::from_nanos(1_000_000_000);
/// More steps than any figure needs.
const STEPS_MAX: u64 = 50_000_000;

/// Index of the client and of the server among the ends.
pub const CLIENT: usize = 0;
/// See [`CLIENT`].
pub const SERVER: usize = 1;

/// One lane of the track.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Both directions.
    pub shape: Shape,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// The ends are told this rate, in bytes per second, and the true round-trip time when the session opens.
    pub told: Option<u64>,
}

impl Way {
    /// A way of which the ends know nothing, with packets of 1472 bytes.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        Self {
            shape,
            mtu: 1472,
            told: None,
        }
    }

    /// A way of so many megabits per second and microseconds one way, with a queue of 256 KiB.
    #[must_use]
    pub const fn of(megabits: u64, micros: u64) -> Self {
        Self::new(Shape::megabits(megabits, Duration::from_micros(micros)))
    }

    /// The same, known to the ends as a link monitor would have measured it.
    #[must_use]
    pub const fn known(self) -> Self {
        self.told(self.shape.rate)
    }

    /// The same, known as one whose interface says another rate than the network behind it has.
    #[must_use]
    pub const fn told(self, rate: u64) -> Self {
        let told = Some(rate);
        Self { told, ..self }
    }

    /// Round-trip time of a full packet and a small one, with empty queues.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let ways = self.shape.delay * 2;
        ways + self.shape.serialization(self.mtu as usize) + self.shape.serialization(60)
    }
}

/// Ways as people write them: megabits per second, a colon, microseconds one way.
#[must_use]
pub fn names(ways: &[Way]) -> String {
    let one = |way: &Way| {
        let micros = way.shape.delay.as_micros();
        format!("{}:{micros}", way.shape.rate / 125_000)
    };
    ways.iter().map(one).collect::<Vec<_>>().join(" + ")
}

/// What happens at a planned time.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Happening {
    /// Both directions of a way carry nothing from here on; nobody is told.
    Cut(usize),
    Mend(usize),
    /// Only packets to this end vanish from here on.
    CutTo {
        way: usize,
        end: usize,
    },
    /// A way gets another shape.
    Become(usize, Shape),
    /// Both ends' drivers report the link up or down.
    Driver {
        way: usize,
        up: bool,
    },
    /// One end's driver reports the link up or down.
    DriverOf {
        way: usize,
        end: usize,
        up: bool,
    },
    /// Both ends' monitors say that probes pass on a way, or do not.
    Monitor {
        way: usize,
        up: bool,
    },
    /// Both ends' monitors say how large packets of a way may be, in bytes.
    Size(usize, u32),
    /// An end's timers and packets wait so long.
    Stall {
        end: usize,
        time: Duration,
    },
    #[doc(hidden)]
    Arrive {
        way: usize,
        end: usize,
        bytes: Vec<u8>,
    },
    #[doc(hidden)]
    Ask(usize),
    #[doc(hidden)]
    Wake(usize),
    #[doc(hidden)]
    Send(usize),
}

struct End {
    transport: Transport,
    session: SessionKey,
    memory: Pattern,
    stalled_until: Instant,
    inbox: Vec<(usize, Vec<u8>)>,
    /// What it has to send is kept back.
    held: bool,
    /// The timer that is armed, and when it will fire.
    alarm: Option<(Instant, Instant)>,
}

/// One run.
pub struct Track {
    now: Instant,
    random: Random,
    agenda: BTreeMap<(Instant, u64), Happening>,
    serial: u64,
    ends: [End; 2],
    /// Of each way, the direction to the client and the one to the server: indexed by the end that
    /// receives.
    wires: Vec<[Wire; 2]>,
    loads: Vec<Running>,
    pulls: BTreeMap<TransferKey, (IncomingKey, u64)>,
    space: Vec<u8>,
    log: SharedLog,
    /// Events that tell of lanes, as text, with the end that saw them.
    pub lane_events: Vec<(Instant, usize, Event)>,
    /// Bytes that arrived for the first time, in the order of time, and the way they came.
    pub arrivals: Vec<(Instant, usize, u64)>,
    /// Timers of both ends are late by up to so much, as a kernel's are.
    pub lateness: Duration,
    /// What an end has to send it keeps back for up to so long, to send it with what comes next.
    pub kept_back: Duration,
    /// Longest time a packet was under way on each way, since the last [`Track::forget`].
    pub longest: Vec<Duration>,
}

impl Track {
    /// Opens a session over these ways.
    ///
    /// # Panics
    /// If the transport refuses the session.
    #[must_use]
    pub fn new(ways: &[Way]) -> Self {
        Self::with(ways, 65_536)
    }

    /// The same, with so many bytes of a request that come without being pulled.
    ///
    /// # Panics
    /// If the transport refuses the session.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a figure without a session is none")]
    pub fn with(ways: &[Way], unscheduled: u32) -> Self {
        let log = SharedLog::default();
        let end = |role| {
            let ids = match role {
                Role::Client => (SessionId(1), SessionId(2)),
                Role::Server => (SessionId(2), SessionId(1)),
            };
            let mut params = SessionParams::new(ids.0, ids.1, role);
            for (n, way) in ways.iter().enumerate() {
                let address = LinkAddress::from_raw(&[n as u8 + 1]).unwrap_or_default();
                let mut lane = LaneParams::new(n as u8, LinkIndex(n as u32), address, way.mtu);
                if let Some(rate) = way.told {
                    lane.rtt = Some(way.round_trip());
                    lane.rate = Some(rate).filter(|rate| *rate > 0);
                }
                params.lanes.push(lane);
            }
            params.unscheduled = unscheduled;
            params.credit = u64::from(unscheduled) * 64;
            let cipher = WorldCipher::new(7, role, 1 << 22, log.clone());
            params.cipher = Some(Box::new(cipher));
            params.challenge = Some(Secret([role as u8; 32]));
            let mut transport = Transport::new(Config::default());
            let session = transport.open(START, params).expect("the session opens");
            End {
                transport,
                session,
                memory: Pattern::default(),
                stalled_until: START,
                inbox: Vec::new(),
                held: false,
                alarm: None,
            }
        };
        Self {
            now: START,
            random: Random::new(1),
            agenda: BTreeMap::new(),
            serial: 0,
            ends: [end(Role::Client), end(Role::Server)],
            wires: ways
                .iter()
                .map(|way| [0, 1].map(|_| Wire::new(way.shape)))
                .collect(),
            loads: Vec::new(),
            pulls: BTreeMap::new(),
            space: vec![0; 65_536],
            log,
            lane_events: Vec::new(),
            arrivals: Vec::new(),
            lateness: Duration::ZERO,
            kept_back: Duration::ZERO,
            longest: vec![Duration::ZERO; ways.len()],
        }
    }

    /// The time now.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Another stream of chance; before the first run.
    pub const fn seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Plans something.
    pub fn at(&mut self, at: Instant, happening: Happening) {
        self.serial += 1;
        self.agenda
            .insert((at.max(self.now), self.serial), happening);
    }

    /// The client begins this load at `at`; answers its number.
    pub fn load(&mut self, at: Instant, load: Load) -> usize {
        let number = self.loads.len();
        self.loads.push(Running::new(load));
        for _ in 0..load.at_once {
            self.at(at, Happening::Ask(number));
        }
        number
    }

    /// What a load has done so far.
    #[must_use]
    pub fn tally(&self, load: usize) -> &Tally {
        &self.loads[load].tally
    }

    /// Begins measuring anew.
    pub fn forget(&mut self) {
        self.arrivals.clear();
        self.longest.fill(Duration::ZERO);
        self.lane_events.clear();
        for running in &mut self.loads {
            running.tally = Tally::default();
        }
    }

    /// One direction of a way.
    #[must_use]
    pub fn wire(&self, way: usize, to: usize) -> &Wire {
        &self.wires[way][to]
    }

    /// What an end's transport says of the session.
    #[must_use]
    pub fn summary(&self, end: usize) -> Option<SessionSummary> {
        self.ends[end].transport.sessions().next()
    }

    /// Goes on for `time`, or until all loads with an end have ended.
    ///
    /// # Panics
    /// If something is wrong: other bytes, a nonce used twice, the session closed.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while !self.is_finished() && self.step(end) {
            steps += 1;
            assert!(steps < STEPS_MAX, "the track does not rest");
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(log.repeated(), None, "a nonce was used twice");
    }

    fn is_finished(&self) -> bool {
        !self.loads.is_empty() && self.loads.iter().all(Running::is_finished)
    }

    /// Goes on for `time` whatever the loads do.
    ///
    /// # Panics
    /// As [`Track::run`].
    pub fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    fn step(&mut self, end: Instant) -> bool {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timers = [CLIENT, SERVER].map(|n| Some((self.alarm(n)?, n)));
        let timer = timers.into_iter().flatten().min();
        let next = planned.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if planned.is_some_and(|at| at <= next) {
            if let Some((_, happening)) = self.agenda.pop_first() {
                self.happen(happening);
            }
        } else if let Some((_, n)) = timer {
            self.ends[n].transport.handle_timeout(self.now);
            self.settle(n);
        }
        true
    }

    /// When an end's timer fires.
    fn alarm(&mut self, n: usize) -> Option<Instant> {
        let late = self.lateness.as_nanos() as u64;
        let End {
            transport,
            alarm,
            stalled_until,
            ..
        } = &mut self.ends[n];
        let due = transport.timeout()?;
        if alarm.is_none_or(|(armed, _)| armed != due) {
            let late = Duration::from_nanos(self.random.below(late + 1));
            *alarm = Some((due, due.max(self.now) + late));
        }
        alarm.map(|(_, fires)| fires.max(*stalled_until))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Cut(way) => self.wires[way].iter_mut().for_each(|wire| wire.cuts += 1),
            Happening::Mend(way) => self.wires[way].iter_mut().for_each(|wire| wire.cuts -= 1),
            Happening::CutTo { way, end } => self.wires[way][end].cuts += 1,
            Happening::Become(way, shape) => {
                self.wires[way]
                    .iter_mut()
                    .for_each(|wire| wire.shape = shape);
            }
            Happening::Driver { way, up } => {
                self.driver(way, CLIENT, up);
                self.driver(way, SERVER, up);
            }
            Happening::DriverOf { way, end, up } => self.driver(way, end, up),
            Happening::Monitor { way, up } => self.monitor(way, up, None),
            Happening::Size(way, mtu) => self.monitor(way, true, Some(mtu)),
            Happening::Stall { end, time } => {
                let until = self.now + time;
                self.ends[end].stalled_until = self.ends[end].stalled_until.max(until);
                self.at(until, Happening::Wake(end));
            }
            Happening::Arrive { way, end, bytes } => self.arrive(way, end, bytes),
            Happening::Ask(load) => self.ask(load),
            Happening::Send(end) => self.send_kept(end),
            Happening::Wake(end) => {
                for (way, bytes) in std::mem::take(&mut self.ends[end].inbox) {
                    self.arrive(way, end, bytes);
                }
                self.ends[end].transport.handle_timeout(self.now);
                self.settle(end);
            }
        }
    }

    fn driver(&mut self, way: usize, n: usize, up: bool) {
        let (transport, link) = (&mut self.ends[n].transport, LinkIndex(way as u32));
        if up {
            transport.link_up(self.now, link);
        } else {
            transport.link_down(self.now, link);
        }
        self.settle(n);
    }

    fn monitor(&mut self, way: usize, up: bool, mtu: Option<u32>) {
        let report = LaneReport {
            word: if up { LaneWord::Up } else { LaneWord::Down },
            rtt: None,
            rate: None,
            mtu,
        };
        for n in [CLIENT, SERVER] {
            let End {
                transport, session, ..
            } = &mut self.ends[n];
            transport.report_lane(self.now, *session, way as u8, report);
            self.settle(n);
        }
    }

    fn is_stalled(&self, end: usize) -> bool {
        self.ends[end].stalled_until > self.now
    }

    fn arrive(&mut self, way: usize, n: usize, mut bytes: Vec<u8>) {
        if self.is_stalled(n) {
            self.ends[n].inbox.push((way, bytes));
            return;
        }
        let from = LinkAddress::from_raw(&[way as u8 + 1]).unwrap_or_default();
        let End {
            transport, memory, ..
        } = &mut self.ends[n];
        let link = LinkIndex(way as u32);
        transport.receive(self.now, link, &from, &mut bytes, memory);
        let fresh = memory.take_fresh();
        if fresh > 0 {
            self.arrivals.push((self.now, way, fresh));
        }
        self.settle(n);
    }
}

impl std::fmt::Debug for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Track")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
