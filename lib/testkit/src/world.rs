//! One run: processes, programs, networks and faults on one clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};
use transport::{
    Cause, Delivery, Event, Failure, LaneParams, LinkIndex, Role, SessionKey, SessionParams,
};

use crate::checkers::{self, Finding, Kind};
use crate::cipher::{NonceLog, SharedLog, WorldCipher};
use crate::lanes::{Networks, PERFECT, Packet};
use crate::plan::Plan;
use crate::process::Process;
use crate::programs::{Client, Later, Server, Wishes};
use crate::random::{Random, mix};
use crate::reference::Reference;

/// Lines of the strip that is shown with a finding.
const STRIP: usize = 10;
/// After the faults, how long clients go on asking, how long everything may take to end, and how
/// long nothing may happen.
const ASK_AFTER: Duration = Duration::from_secs(3);
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
enum Action {
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

/// What is shown of a moment.
#[derive(Clone, Debug)]
enum Note {
    Text(String),
    Event(usize, Event),
}

fn line(at: Instant, note: &Note) -> String {
    let seconds = at.as_nanos() as f64 / 1e9 - 1.0;
    match note {
        Note::Text(text) => format!("{seconds:10.6}s {text}"),
        Note::Event(process, event) => format!("{seconds:10.6}s {process}: {event:?}"),
    }
}

const fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Request { one_way: false, .. } => "request",
        Event::Request { one_way: true, .. } => "one-way request",
        Event::Replied { .. } => "reply",
        Event::Refused { .. } => "refusal",
        Event::Failed {
            failure:
                Failure {
                    delivery: Delivery::NotDone,
                    ..
                },
            ..
        } => "not done",
        Event::Failed { .. } => "unknown",
        Event::Transferred { .. } => "transfer",
        Event::TransferFailed { .. } => "failed transfer",
        Event::Unblock { .. } => "unblock",
        Event::Withdrawn { .. } => "withdrawal",
        Event::Released { .. } => "release",
        Event::Closed {
            cause: Cause::Server,
            ..
        } => "end by the peer",
        Event::Closed {
            cause: Cause::Link, ..
        } => "end by silence",
        Event::Closed { .. } => "end",
        Event::Suspect { .. } => "suspicion",
    }
}

/// A client, a server, and the session between them.
#[derive(Debug)]
struct Pair {
    client: usize,
    server: usize,
    perfect: bool,
    /// Counts the sessions of the pair.
    serial: u64,
    client_key: Option<SessionKey>,
    server_key: Option<SessionKey>,
}

#[derive(Debug)]
enum Program {
    Client(Client),
    Server(Server),
}

/// The world of one seed.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: Instant,
    random: Random,
    networks: Networks,
    processes: Vec<Process>,
    programs: Vec<Program>,
    pairs: Vec<Pair>,
    reference: Reference,
    log: SharedLog,
    agenda: BTreeMap<(Instant, u64), Action>,
    serial: u64,
    strip: VecDeque<(Instant, Note)>,
    seen: BTreeSet<&'static str>,
    space: Vec<u8>,
    packets: u64,
    healed: bool,
    /// Print every event.
    pub trace: bool,
}

type Checked = Result<(), Finding>;

impl World {
    /// The world of `seed`, at its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plan = Plan::new(seed);
        let count = plan.clients + plan.servers;
        let incoming_max = u64::from(plan.unscheduled).max(1024);
        let processes = (0..count)
            .map(|n| Process::new(n as u64, incoming_max))
            .collect();
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

    fn plan_faults(&mut self) {
        let faults = self.plan.faults.clone();
        let span = self.plan.faults_until.as_nanos() as u64;
        let start = self.now;
        let count = self.processes.len() as u64;
        for _ in 0..faults.cuts {
            let from = self.random.below(count) as usize;
            let to = self.random.below(count) as usize;
            let link = self.random.below(u64::from(self.plan.networks)) as u32;
            let at = start + Duration::from_nanos(self.random.below(span));
            let end = at + Duration::from_micros(self.random.between(100, 3_000_000));
            let reported = faults.reported;
            self.at(
                at,
                Action::Cut {
                    link,
                    from,
                    to,
                    reported,
                },
            );
            self.at(
                end,
                Action::Mend {
                    link,
                    from,
                    to,
                    reported,
                },
            );
            if self.random.chance(500) {
                self.at(
                    at,
                    Action::Cut {
                        link,
                        from: to,
                        to: from,
                        reported,
                    },
                );
                self.at(
                    end,
                    Action::Mend {
                        link,
                        from: to,
                        to: from,
                        reported,
                    },
                );
            }
        }
        for _ in 0..faults.stalls {
            let process = self.random.below(count) as usize;
            let at = start + Duration::from_nanos(self.random.below(span));
            let time = Duration::from_micros(self.random.between(100, 3_000_000));
            self.at(at, Action::Stall { process, time });
        }
        for _ in 0..faults.deaths {
            let process = self.random.below(count) as usize;
            let at = start + Duration::from_nanos(self.random.below(span));
            self.at(at, Action::Kill { process });
        }
    }

    fn at(&mut self, at: Instant, action: Action) {
        self.serial += 1;
        self.agenda.insert((at.max(self.now), self.serial), action);
    }

    /// Opens the next session of a pair, as the nodes' daemons would.
    fn open(&mut self, index: usize) {
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

    fn note(&mut self, text: String) {
        self.write_down(Note::Text(text));
    }

    fn write_down(&mut self, note: Note) {
        if self.trace {
            eprintln!("{}", line(self.now, &note));
        }
        if self.strip.len() == STRIP {
            self.strip.pop_front();
        }
        self.strip.push_back((self.now, note));
    }

    fn act(&mut self, action: Action) -> Checked {
        match action {
            Action::Arrive(packet) => return self.arrive(packet),
            Action::Program(process, later) => return self.program(process, later),
            Action::Cut {
                link,
                from,
                to,
                reported,
            } => {
                self.note(format!("network {link} cut from {from} to {to}"));
                self.networks.cut(link, from, to);
                if reported {
                    self.processes[from]
                        .transport
                        .link_down(self.now, LinkIndex(link));
                    return self.flush(from);
                }
            }
            Action::Mend {
                link,
                from,
                to,
                reported,
            } => {
                self.note(format!("network {link} mended from {from} to {to}"));
                if !self.healed {
                    self.networks.mend(link, from, to);
                }
                if reported {
                    self.processes[from]
                        .transport
                        .link_up(self.now, LinkIndex(link));
                    return self.flush(from);
                }
            }
            Action::Stall { process, time } => {
                if self.processes[process].is_running() {
                    self.note(format!("{process} stalls for {time:?}"));
                    self.processes[process].stalled_until = Some(self.now + time);
                    self.at(self.now + time, Action::Wake { process });
                }
            }
            Action::Wake { process } => return self.wake(process),
            Action::Kill { process } => self.kill(process),
            Action::Tell {
                pair,
                client,
                serial,
                cause,
            } => {
                return self.tell(pair, client, serial, cause);
            }
            Action::Reopen { pair } => return self.reopen(pair),
            Action::Heal => {
                self.note("all faults end".into());
                self.healed = true;
                self.networks.heal();
            }
            Action::VerifyAll => return self.verify_all(),
        }
        Ok(())
    }

    fn arrive(&mut self, mut packet: Packet) -> Checked {
        let process = &mut self.processes[packet.to];
        if !process.alive {
            return Ok(());
        }
        if process.stalled_until.is_some() {
            process.inbox.push_back(packet);
            return Ok(());
        }
        self.packets += 1;
        let from = LinkAddress::from_raw(&[packet.from as u8]).unwrap_or_default();
        let link = LinkIndex(packet.link);
        let Process {
            transport, memory, ..
        } = process;
        transport.receive(self.now, link, &from, &mut packet.bytes, memory);
        let to = packet.to;
        if packet.link >= PERFECT {
            self.networks.taken(packet.link, packet.from);
            if self.processes[packet.from].is_running() {
                self.processes[packet.from]
                    .transport
                    .link_ready(self.now, link);
                self.flush(packet.from)?;
            }
        }
        self.flush(to)
    }

    fn wake(&mut self, process: usize) -> Checked {
        self.processes[process].stalled_until = None;
        if !self.processes[process].alive {
            return Ok(());
        }
        self.note(format!("{process} goes on"));
        while let Some(packet) = self.processes[process].inbox.pop_front() {
            self.arrive(packet)?;
        }
        self.processes[process].transport.handle_timeout(self.now);
        // Rings may have been emptied in the meantime.
        for index in 0..self.pairs.len() {
            let link = PERFECT + index as u32 * 1000 + self.pairs[index].serial as u32;
            if !self.networks.is_full(link, process) {
                self.processes[process]
                    .transport
                    .link_ready(self.now, LinkIndex(link));
            }
        }
        self.flush(process)
    }

    fn kill(&mut self, process: usize) {
        if !self.processes[process].alive || self.healed {
            return;
        }
        self.note(format!("{process} dies"));
        self.processes[process].alive = false;
        self.processes[process].inbox.clear();
        self.reference.forget(process);
        for index in 0..self.pairs.len() {
            let Pair {
                client,
                server,
                serial,
                ..
            } = self.pairs[index];
            let told = client == process || server == process;
            if told && !self.random.chance(self.plan.faults.silent_deaths) {
                let after = Duration::from_micros(self.random.below(100_000));
                let cause = Cause::Server;
                let tell = Action::Tell {
                    pair: index,
                    client: server == process,
                    serial,
                    cause,
                };
                self.at(self.now + after, tell);
            }
        }
    }

    /// A daemon tells a process that a session is over.
    fn tell(&mut self, index: usize, client: bool, serial: u64, cause: Cause) -> Checked {
        let pair = &self.pairs[index];
        let (process, key) = if client {
            (pair.client, pair.client_key)
        } else {
            (pair.server, pair.server_key)
        };
        let Some(key) = key.filter(|_| pair.serial == serial) else {
            return Ok(());
        };
        if !self.processes[process].alive {
            return Ok(());
        }
        if self.processes[process].stalled_until.is_some() {
            let again = Action::Tell {
                pair: index,
                client,
                serial,
                cause,
            };
            self.at(self.now + Duration::from_millis(10), again);
            return Ok(());
        }
        self.note(format!(
            "{process} is told: session {index}.{serial} is over"
        ));
        self.processes[process]
            .transport
            .abandon(self.now, key, cause);
        self.flush(process)
    }

    fn reopen(&mut self, index: usize) -> Checked {
        let Pair {
            client,
            server,
            client_key,
            server_key,
            serial,
            ..
        } = self.pairs[index];
        let alive = self.processes[client].alive && self.processes[server].alive;
        if alive && client_key.is_none() && server_key.is_none() {
            self.note(format!("session {index}.{} opens", serial + 1));
            self.open(index);
            self.program(client, Later::Tick)?;
        }
        Ok(())
    }

    fn verify_all(&mut self) -> Checked {
        for index in 0..self.pairs.len() {
            let Pair {
                client,
                server,
                client_key,
                server_key,
                ..
            } = self.pairs[index];
            for (process, key) in [(client, client_key), (server, server_key)] {
                if let Some(key) = key.filter(|_| self.processes[process].alive) {
                    let bound = Duration::from_secs(4);
                    self.processes[process]
                        .transport
                        .verify(self.now, key, bound);
                    self.flush(process)?;
                }
            }
        }
        Ok(())
    }

    fn program(&mut self, process: usize, later: Later) -> Checked {
        if !self.processes[process].alive {
            return Ok(());
        }
        if self.processes[process].stalled_until.is_some() {
            let again = Action::Program(process, later);
            self.at(self.now + Duration::from_millis(1), again);
            return Ok(());
        }
        let own = &mut self.processes[process];
        let wishes = match (&mut self.programs[process], later) {
            (Program::Client(_), Later::Tick) => return self.tick(process),
            (Program::Client(_), Later::Cancel(op)) => {
                own.transport.cancel(self.now, op, 3);
                Vec::new()
            }
            (Program::Server(server), Later::Work(incoming)) => server.work(
                self.now,
                incoming,
                own,
                &mut self.reference,
                &mut self.random,
            )?,
            _ => Vec::new(),
        };
        self.wish(process, wishes);
        self.flush(process)
    }

    fn tick(&mut self, process: usize) -> Checked {
        let over = self.healed
            && self.now >= Instant::from_nanos(1_000_000_000) + self.plan.faults_until + ASK_AFTER;
        let Program::Client(client) = &mut self.programs[process] else {
            return Ok(());
        };
        if over {
            return Ok(());
        }
        let keys = self.pairs.iter().filter(|pair| pair.client == process);
        let keys: Vec<SessionKey> = keys.filter_map(|pair| pair.client_key).collect();
        let wishes = client.tick(
            (process, self.now),
            &mut self.processes[process],
            &keys,
            (&self.plan, &mut self.reference),
            &mut self.random,
        );
        self.wish(process, wishes);
        self.flush(process)
    }

    fn wish(&mut self, process: usize, wishes: Wishes) {
        for (after, later) in wishes {
            self.at(self.now + after, Action::Program(process, later));
        }
    }

    /// Sends what a process has to send, and hands its events to its program.
    fn flush(&mut self, n: usize) -> Checked {
        if !self.processes[n].is_running() {
            return Ok(());
        }
        loop {
            self.send(n);
            let Some(event) = self.processes[n].transport.event() else {
                break;
            };
            self.event(n, event)?;
        }
        let name = format!("process {n}");
        checkers::no_stray(&self.processes[n], &name)?;
        checkers::bounded(&self.processes[n], &name, self.plan.credit, self.plan.slots)
    }

    fn send(&mut self, n: usize) {
        let space = &mut self.space;
        let Process {
            transport,
            memory,
            sent,
            ..
        } = &mut self.processes[n];
        while let Some(link) = transport.next_link(self.now) {
            if link.0 >= PERFECT && self.networks.is_full(link.0, n) {
                transport.link_full(self.now, link);
                continue;
            }
            let Some(transmit) = transport.transmit(self.now, link, space, memory) else {
                continue;
            };
            let to = usize::from(transmit.to.as_bytes()[0]);
            for bytes in space[..transmit.len].chunks(transmit.segment) {
                *sent += 1;
                let packet = Packet {
                    link: link.0,
                    from: n,
                    to,
                    bytes: bytes.to_vec(),
                };
                for (at, packet) in self.networks.send(self.now, packet, &mut self.random) {
                    self.serial += 1;
                    self.agenda
                        .insert((at, self.serial), Action::Arrive(packet));
                }
            }
        }
    }

    fn event(&mut self, n: usize, event: Event) -> Checked {
        self.write_down(Note::Event(n, event));
        self.seen.insert(name_of(&event));
        if let Event::Closed { session, .. } = event {
            self.closed(n, session);
        }
        let own = &mut self.processes[n];
        match &mut self.programs[n] {
            Program::Client(client) => {
                client.event(event, own, &mut self.reference)?;
                if matches!(
                    event,
                    Event::Replied { .. } | Event::Refused { .. } | Event::Failed { .. }
                ) {
                    let after = Duration::from_micros(self.random.below(3000));
                    self.at(self.now + after, Action::Program(n, Later::Tick));
                }
            }
            Program::Server(server) => {
                let context = (&self.plan, &mut self.reference);
                let wishes = server.event(self.now, event, own, context, &mut self.random)?;
                self.wish(n, wishes);
            }
        }
        Ok(())
    }

    /// A session is over at one end: the daemons tell the other, and open the next one.
    fn closed(&mut self, n: usize, session: SessionKey) {
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            let at_client = pair.client == n && pair.client_key == Some(session);
            let at_server = pair.server == n && pair.server_key == Some(session);
            if at_client {
                pair.client_key = None;
            } else if at_server {
                pair.server_key = None;
            } else {
                continue;
            }
            let serial = pair.serial;
            let cause = Cause::Link;
            let tell = Action::Tell {
                pair: index,
                client: at_server,
                serial,
                cause,
            };
            self.at(self.now + Duration::from_millis(20), tell);
            self.at(
                self.now + Duration::from_millis(300),
                Action::Reopen { pair: index },
            );
        }
    }
}
