//! The node: its two managers, and what goes on between them.

mod claims;
mod denials;
mod extend;
mod introduce;
mod introduce_far;
mod keeping;
mod links;
mod managing;
mod name_requests;
mod notices;
mod offers;
mod peer_answers;
mod peer_requests;
mod relays;
mod requests;
mod rights;
mod tables;
mod views;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::system::{self, Refusal, Reply};
use abi::{Encode, Errno, Instant, SessionId};

use crate::allowance::Allowance;
use crate::crypto::Crypto;
use crate::interface::{Attached, Config, Descriptors, Input, Level, Output, ProgramKey};
use crate::limits::RETURN_GRACE;
use crate::network_manager::{NetworkEvent, NetworkManager, OWN_SESSION};
use crate::process_manager::ProcessManager;
use crate::process_manager::programs::mix;

use offers::Offers;
use peer_answers::Asks;
use rights::RightsKeeper;

/// One node. See the crate's description for how to drive it.
pub struct Node {
    config: Config,
    processes: ProcessManager,
    network: NetworkManager,
    outputs: VecDeque<Output>,
    offers: Offers,
    asks: Asks,
    rights: RightsKeeper,
    random: u64,
    /// Sessions of programs without sockets, and where their packets may go.
    routed: BTreeMap<SessionId, relays::Targets>,
    /// When sessions whose other end has not come back are given up.
    grace_ends: Option<Instant>,
    /// Until when this node does not know which sessions are lost; programs that come later do not move it.
    knows_at: Instant,
    /// Nodes that have asked for names here and are to be told when names change.
    watchers: BTreeSet<u16>,
    /// Watchers that have not been told yet.
    news: BTreeSet<u16>,
    /// How often other nodes may say that names have changed, and when those are told that were too many.
    far_news: Allowance,
    far_news_at: Option<Instant>,
    /// When to ask which nodes for lost sessions.
    checks: BTreeMap<u16, Instant>,
    extensions: extend::Extensions,
    /// Programs, and nodes with which they had sessions that are over: what went over those is told a moment later.
    talked: BTreeSet<(ProgramKey, u16)>,
    /// When what is worth keeping has changed and is kept, and when that was done last.
    keep_at: Option<Instant>,
    kept_at: Option<Instant>,
    /// What the host was told to wait for.
    next_due: Option<Instant>,
    stopping: Option<Instant>,
    stopped: bool,
}

impl Node {
    /// A node without programs. Handshakes begin when somebody needs them.
    #[must_use]
    pub fn new(now: Instant, mut config: Config, crypto: Box<dyn Crypto>) -> Self {
        config.links.truncate(crate::limits::LINKS_MAX);
        let network = NetworkManager::new(now, &config, crypto);
        Self {
            processes: ProcessManager::new(config.owner, config.programs_max),
            network,
            outputs: VecDeque::new(),
            offers: Offers::default(),
            asks: Asks::default(),
            rights: RightsKeeper::new(
                config.kept.rights.clone(),
                core::mem::take(&mut config.rights),
            ),
            random: mix(config.seed),
            routed: BTreeMap::new(),
            grace_ends: now.checked_add(RETURN_GRACE),
            knows_at: now.checked_add(RETURN_GRACE).unwrap_or(now),
            watchers: BTreeSet::new(),
            news: BTreeSet::new(),
            far_news: Allowance::default(),
            far_news_at: None,
            checks: BTreeMap::new(),
            extensions: extend::Extensions::default(),
            talked: BTreeSet::new(),
            keep_at: None,
            kept_at: None,
            next_due: Some(now),
            stopping: None,
            stopped: false,
            config,
        }
    }

    /// Takes one input. Call [`Self::poll`] until it answers [`Output::Wait`] before the next one.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let is_due = self.next_due.is_some_and(|at| at <= now);
        if is_due {
            self.network.monitor.awake(now);
        }
        // Probes are most of what comes in, and change nothing but the monitor: looking at everything for each of them
        // would cost a node with a hundred busy peers most of a processor.
        let is_probe =
            matches!(&input, Input::Datagram { bytes, .. } if NetworkManager::is_probe(bytes));
        match input {
            Input::Connected { program, caller } => {
                if self.processes.connect(now, program, caller).is_err() {
                    self.log(
                        Level::Warn,
                        String::from("too many programs: one is turned away"),
                    );
                    self.outputs.push_back(Output::Disconnect(program));
                }
            }
            Input::ConnectedByDoor {
                program,
                caller,
                owner,
            } => self.connected_by_door(now, program, caller, owner),
            Input::DoorOpened {
                program,
                serial,
                outcome,
            } => self.door_opened(program, serial, outcome),
            Input::Packet {
                program,
                bytes,
                descriptors,
            } => self.packet(now, program, &bytes, descriptors),
            Input::Disconnected { program } => self.disconnected(now, program),
            Input::Datagram {
                link,
                from,
                mut bytes,
            } => self.network.receive(now, link, &from, &mut bytes),
            Input::Links(links) => self.links_changed(now, links),
            Input::Timeout => {}
            Input::Stop => self.stop(now),
        }
        if is_due || !is_probe {
            self.due(now);
        }
        self.network_events(now);
        if !self.routed.is_empty() {
            self.drop_routes();
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Instant) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if let Some(datagram) = self.network.transmit(now) {
                return datagram;
            }
            self.network_events(now);
            if self.outputs.is_empty() {
                break;
            }
        }
        if self
            .stopping
            .is_some_and(|at| now >= at || self.asks.none_left())
            && !self.stopped
        {
            self.stopped = true;
            return Output::Stopped;
        }
        self.next_due = self.deadline();
        Output::Wait(self.next_due)
    }

    /// What this node is called.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn deadline(&self) -> Option<Instant> {
        let check = self.checks.values().copied().min();
        let own = [
            self.offers.deadline(),
            self.extensions.deadline(),
            self.grace_ends,
            self.stopping,
            self.keep_at,
            self.far_news_at,
            check,
        ];
        own.into_iter()
            .chain([self.network.deadline()])
            .flatten()
            .min()
    }

    fn due(&mut self, now: Instant) {
        self.network.handle_timeout(now);
        self.expire_offers(now);
        self.drive_extensions(now);
        if self.keep_at.is_some_and(|at| now >= at) {
            self.keep(now, None);
        }
        if self.far_news_at.take_if(|at| now >= *at).is_some() {
            self.far_names_changed(now);
        }
        if self.grace_ends.is_some_and(|at| now >= at) {
            self.grace_ends = None;
            self.look_for_lost_sessions(now);
        }
        let due: Vec<u16> = self
            .checks
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(&peer, _)| peer)
            .collect();
        for peer in due {
            self.checks.remove(&peer);
            self.check_sessions(now, peer);
        }
        self.send_news(now);
        let demand = &self.processes.sessions;
        self.network
            .keep_up(now, |peer| demand.with_node(peer).next().is_some());
    }

    fn network_events(&mut self, now: Instant) {
        while let Some(event) = self.network.event() {
            match event {
                NetworkEvent::Asked {
                    peer,
                    incoming,
                    request,
                } => self.peer_asks(now, peer, incoming, *request),
                NetworkEvent::Answered {
                    peer,
                    tag,
                    session,
                    answer,
                } => {
                    self.peer_answered(now, peer, tag, session, answer);
                }
                NetworkEvent::Up { peer, life } => self.peer_up(now, peer, life),
                NetworkEvent::Silent { peer } => self.peer_silent(peer),
                NetworkEvent::Lanes { peer } => {
                    self.lanes_changed(peer);
                    self.extend_sessions(now, peer);
                }
                NetworkEvent::Trusted { peer, promised } => self.trusted(now, peer, promised),
                NetworkEvent::Moved => self.keep_soon(now),
                NetworkEvent::Joined {
                    program,
                    serial,
                    outcome,
                } => self.joined(program, serial, outcome),
                NetworkEvent::Log(level, text) => self.log(level, text),
            }
        }
    }

    /// Sends a program a packet; one that does not fit becomes an error, never nothing.
    fn send(
        &mut self,
        program: ProgramKey,
        serial: u32,
        message: &impl Encode,
        descriptors: Attached,
    ) {
        let too_big = || {
            Reply::Error(Refusal::new(
                Errno::EMSGSIZE,
                "the answer does not fit into a packet",
            ))
        };
        if let Ok(bytes) =
            system::packet(serial, message).or_else(|_| system::packet(serial, &too_big()))
        {
            self.outputs.push_back(Output::Packet {
                program,
                bytes,
                descriptors,
            });
        }
    }

    fn reply(&mut self, program: ProgramKey, serial: u32, reply: &Reply) {
        if !self.awaits(program, serial) {
            return;
        }
        let known = self.processes.programs.get_mut(program);
        match known.and_then(|known| known.view.as_mut()) {
            Some(view) => {
                let reply = view.answered(serial, reply.clone());
                self.send(program, serial, &reply, Attached::Nothing);
            }
            None => self.send(program, serial, reply, Attached::Nothing),
        }
    }

    /// Whether there is somebody to answer.
    fn awaits(&self, program: ProgramKey, serial: u32) -> bool {
        serial != system::UNSOLICITED && self.processes.programs.get(program).is_some()
    }

    fn refuse(&mut self, program: ProgramKey, serial: u32, errno: Errno, text: &str) {
        self.reply(program, serial, &Reply::Error(Refusal::new(errno, text)));
    }

    fn discard(&mut self, descriptors: Option<Descriptors>) {
        if let Some(descriptors) = descriptors {
            self.outputs.push_back(Output::Discard(descriptors));
        }
    }

    fn log(&mut self, level: Level, text: String) {
        self.outputs.push_back(Output::Log(level, text));
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// A session number that nothing on this node uses.
    fn fresh_session(&mut self) -> SessionId {
        loop {
            let id = SessionId((self.next_random() >> 32) as u32 & !OWN_SESSION);
            let taken = self.processes.sessions.get(id).is_some() || self.offers.uses(id);
            if id.0 != 0 && !taken {
                return id;
            }
        }
    }

    fn schedule_check(&mut self, now: Instant, peer: u16, patience: core::time::Duration) {
        if let Some(at) = now.checked_add(patience) {
            self.checks.insert(peer, at);
        }
    }

    fn stop(&mut self, now: Instant) {
        if self.stopping.is_none() {
            self.log(Level::Info, format!("{} stops", self.config.name));
            self.say_goodbye(now);
            if self.keep_at.is_some() {
                self.keep(now, None);
            }
            self.stopping = now.checked_add(core::time::Duration::from_millis(200));
        }
    }
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}
