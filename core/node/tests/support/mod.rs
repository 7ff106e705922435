//! Nodes joined by a wire made of vectors, in virtual time, with toy cryptography.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

pub mod alone;
pub mod cables;
pub mod crypto;
pub mod note;
pub mod programs;
pub mod talk;
pub mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use abi::system::{self, Detect, FromNode, LaneRow, LinkKind, Notice};
use abi::{Incarnation, Instant, LinkAddress, NodeName, SessionId, Uid};
use crypto::Toy;
use slashnet_node::limits::PROGRAMS_MAX;
use slashnet_node::{
    Attached, Config, Descriptors, IdentityMap, Input, Kept, LinkConfig, Node, Output, ProgramKey,
    PublicKey, TrustRecord,
};

/// More steps than any test needs: a node that goes round in circles fails instead of hanging.
const STEPS_MAX: usize = 20_000_000;

/// One datagram under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub arrives: Instant,
    pub from: LinkAddress,
    pub to: LinkAddress,
    pub bytes: Vec<u8>,
}

/// What happens to a datagram: arrivals after now. None is loss, two is doubling.
pub type Fate = Box<dyn FnMut(&Datagram) -> Vec<Duration>>;

pub struct Lab {
    pub now: Instant,
    nodes: Vec<Place>,
    wire: Vec<Datagram>,
    fate: Fate,
    sent: u64,
    sent_by_kind: [u64; 32],
    serial: u32,
    runs: u64,
    /// What nodes started from now on take for the date, if not the time of the lab.
    pub calendar: Option<Instant>,
}

struct Place {
    name: &'static str,
    node: Option<Node>,
    deadline: Option<Instant>,
    links: Vec<LinkConfig>,
    detect: Detect,
    one_port: bool,
    /// It does not run until then.
    stalled: Instant,
    kept: Kept,
    /// How often that was written down.
    times_kept: u64,
    boot: u64,
    inbox: BTreeMap<ProgramKey, Vec<(u32, FromNode, Attached)>>,
    closed: Vec<ProgramKey>,
    discarded: Vec<Descriptors>,
    names_changed: u64,
    log: Vec<String>,
    /// `Notice::Lanes`, which come at any time and are not in the inboxes.
    lane_notices: u64,
    /// The node page.
    rows: BTreeMap<u16, LaneRow>,
    links_changed: u64,
    routes: BTreeMap<SessionId, Vec<(u8, LinkAddress)>>,
    relays: Vec<ProgramKey>,
    /// Doors that are to be opened.
    doors: Vec<(ProgramKey, u32)>,
    programs: u64,
}

/// A program on one of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub node: usize,
    pub key: ProgramKey,
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn name(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

/// Node `number`'s address on a link.
pub fn address(number: usize, link: usize) -> LinkAddress {
    LinkAddress::ipv4([10, 0, link as u8, number as u8 + 1], 41_000)
}

/// A link as node `number` has it unless told otherwise.
pub fn link_config(number: usize, link: usize) -> LinkConfig {
    LinkConfig::new(
        format!("en{link}"),
        LinkKind::Udp,
        address(number, link),
        1472,
    )
}

impl Lab {
    /// Nodes lab1, lab2, ... with two links each, which trust each other.
    pub fn new(count: usize) -> Self {
        let mut lab = Self::strangers(count);
        for at in 0..count {
            lab.nodes[at].kept.trust = (0..count)
                .filter(|other| *other != at)
                .map(record)
                .collect();
        }
        lab.start_all();
        lab
    }

    /// The same, but they do not know each other.
    pub fn strangers(count: usize) -> Self {
        let names = ["lab1", "lab2", "lab3", "lab4"];
        let place = |at: usize| Place {
            name: names[at],
            node: None,
            deadline: None,
            links: (0..2).map(|link| link_config(at, link)).collect(),
            detect: Detect::Default,
            one_port: false,
            stalled: Instant::from_nanos(0),
            kept: Kept::default(),
            times_kept: 0,
            boot: 100 + at as u64,
            inbox: BTreeMap::new(),
            closed: vec![],
            discarded: vec![],
            names_changed: 0,
            log: Vec::new(),
            lane_notices: 0,
            rows: BTreeMap::new(),
            links_changed: 0,
            routes: BTreeMap::new(),
            relays: vec![],
            doors: vec![],
            programs: 0,
        };
        Self {
            now: Instant::from_nanos(1_000_000_000),
            nodes: (0..count).map(place).collect(),
            wire: vec![],
            fate: Box::new(|_| vec![ms(1)]),
            sent: 0,
            sent_by_kind: [0; 32],
            serial: 0,
            runs: 0,
            calendar: None,
        }
    }

    pub fn start_all(&mut self) {
        for at in 0..self.nodes.len() {
            self.start(at);
        }
    }

    pub fn start(&mut self, at: usize) {
        self.runs += 1;
        let place = &mut self.nodes[at];
        let config = Config {
            name: name(place.name),
            owner: Uid(1000),
            incarnation: Incarnation(self.runs),
            boot: place.boot,
            links: place.links.clone(),
            detect: place.detect,
            one_port: place.one_port,
            kept: place.kept.clone(),
            rights: Default::default(),
            programs_max: PROGRAMS_MAX,
            seed: self.runs * 7919,
        };
        let calendar = self.calendar.unwrap_or(self.now);
        let crypto = Box::new(Toy::new(at as u8, self.runs, calendar));
        place.node = Some(Node::new(self.now, config, crypto));
        self.drain(at);
    }

    /// What a node is to be like when it is started next.
    pub fn configure(&mut self, at: usize, detect: Detect, one_port: bool, links: Vec<LinkConfig>) {
        let place = &mut self.nodes[at];
        (place.detect, place.one_port, place.links) = (detect, one_port, links);
    }

    /// A node's links.
    pub fn links(&self, at: usize) -> &[LinkConfig] {
        &self.nodes[at].links
    }

    /// The host of a node notices that a link has changed.
    pub fn change_link(&mut self, at: usize, link: usize, change: impl FnOnce(&mut LinkConfig)) {
        change(&mut self.nodes[at].links[link]);
        let links = self.nodes[at].links.clone();
        self.input(at, Input::Links(links));
    }

    /// The host of a node finds another link.
    pub fn add_link(&mut self, at: usize, link: LinkConfig) {
        self.nodes[at].links.push(link);
        let links = self.nodes[at].links.clone();
        self.input(at, Input::Links(links));
    }

    /// A node's process does not run for a while; what arrives waits for it.
    pub fn stall(&mut self, at: usize, time: Duration) {
        self.nodes[at].stalled = self.now.checked_add(time).unwrap();
    }

    /// As SIGKILL of a daemon: programs lose their connections, nobody is told.
    pub fn kill(&mut self, at: usize) {
        let place = &mut self.nodes[at];
        (place.node, place.deadline) = (None, None);
        place.inbox.clear();
        place.rows.clear();
    }

    /// The machine is started anew.
    pub fn reboot(&mut self, at: usize) {
        self.kill(at);
        self.nodes[at].boot += 1000;
        self.start(at);
    }

    /// Decides what happens to every datagram from now on.
    pub fn wire(&mut self, fate: impl FnMut(&Datagram) -> Vec<Duration> + 'static) {
        self.fate = Box::new(fate);
    }

    /// Puts a datagram on the wire by hand.
    pub fn throw(&mut self, from: LinkAddress, to: LinkAddress, bytes: Vec<u8>) {
        self.wire.push(Datagram {
            arrives: self.now,
            from,
            to,
            bytes,
        });
    }

    /// How many datagrams the nodes have sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them were packets of sessions between the nodes.
    pub fn sent_in_sessions(&self) -> u64 {
        self.sent_by_kind[5]
    }

    pub fn input(&mut self, at: usize, input: Input) {
        if let Some(node) = &mut self.nodes[at].node {
            node.handle(self.now, input);
            self.drain(at);
        }
    }

    fn drain(&mut self, at: usize) {
        for _ in 0..STEPS_MAX {
            let place = &mut self.nodes[at];
            let Some(node) = &mut place.node else { return };
            match node.poll(self.now) {
                Output::Wait(deadline) => {
                    place.deadline = deadline;
                    return;
                }
                Output::Packet {
                    program,
                    bytes,
                    descriptors,
                } => {
                    let (serial, message) = system::unpack::<FromNode>(&bytes).unwrap();
                    if message == Ok(FromNode::Notice(Notice::Lanes)) {
                        place.lane_notices += 1;
                        continue;
                    }
                    place.inbox.entry(program).or_default().push((
                        serial,
                        message.unwrap(),
                        descriptors,
                    ));
                }
                Output::Datagram {
                    link,
                    to,
                    bytes,
                    segment,
                } => {
                    let sender = &place.links[usize::from(link)];
                    let (from, mtu) = (sender.address, usize::from(sender.mtu));
                    for packet in bytes.chunks(segment) {
                        assert!(packet.len() <= mtu, "larger than the link carries");
                        self.sent += 1;
                        self.sent_by_kind[usize::from(packet[0] & 31)] += 1;
                        let datagram = Datagram {
                            arrives: self.now,
                            from,
                            to,
                            bytes: packet.to_vec(),
                        };
                        self.carry(datagram);
                    }
                }
                Output::Disconnect(program) => place.closed.push(program),
                Output::Discard(descriptors) => place.discarded.push(descriptors),
                Output::NamesChanged => place.names_changed += 1,
                Output::Keep { kept, .. } => {
                    place.kept = kept;
                    place.times_kept += 1;
                }
                Output::Log(_, text) => place.log.push(text),
                Output::Stopped => {
                    place.node = None;
                    place.deadline = None;
                    return;
                }
                other => place.note(other),
            }
        }
        panic!("{} never comes to rest", self.nodes[at].name);
    }

    fn carry(&mut self, datagram: Datagram) {
        for delay in (self.fate)(&datagram) {
            let arrives = self.now.checked_add(delay).unwrap();
            self.wire.push(Datagram {
                arrives,
                ..datagram.clone()
            });
        }
    }

    /// One event: the next datagram or deadline. `false` if nothing will ever happen, or not before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let packet = self
            .wire
            .iter()
            .enumerate()
            .min_by_key(|(_, d)| d.arrives)
            .map(|(at, d)| (d.arrives, at));
        let deadlines = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(at, place)| Some((place.deadline?.max(place.stalled), at)));
        let timer = deadlines.min();
        let next = packet
            .map(|(at, _)| at)
            .into_iter()
            .chain(timer.map(|(at, _)| at))
            .min();
        let Some(next) = next.filter(|next| *next <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        if let Some((_, at)) = packet.filter(|(arrives, _)| *arrives <= next) {
            let datagram = self.wire.remove(at);
            for at in 0..self.nodes.len() {
                let link = self.nodes[at]
                    .links
                    .iter()
                    .position(|own| own.address == datagram.to && own.up);
                if link.is_some() && self.nodes[at].stalled > self.now {
                    let arrives = self.nodes[at].stalled;
                    self.wire.push(Datagram {
                        arrives,
                        ..datagram.clone()
                    });
                    continue;
                }
                if let Some(link) = link {
                    let (from, bytes) = (datagram.from, datagram.bytes.clone());
                    self.input(
                        at,
                        Input::Datagram {
                            link: link as u8,
                            from,
                            bytes,
                        },
                    );
                }
            }
        } else if let Some((_, at)) = timer {
            self.input(at, Input::Timeout);
        }
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now.checked_add(time).unwrap();
        for _ in 0..STEPS_MAX {
            if !self.step(until) {
                self.now = until;
                return;
            }
        }
        panic!("the nodes go round in circles");
    }

    pub fn is_closed(&self, program: Program) -> bool {
        self.nodes[program.node].closed.contains(&program.key)
    }

    pub fn discarded(&self, node: usize) -> &[Descriptors] {
        &self.nodes[node].discarded
    }

    /// The lane rows of a node's page.
    pub fn rows(&self, node: usize) -> Vec<LaneRow> {
        self.nodes[node].rows.values().copied().collect()
    }

    /// How often programs of a node were told to look at the lane rows.
    pub fn lane_notices(&self, node: usize) -> u64 {
        self.nodes[node].lane_notices
    }

    /// Where the host of a node lets the packets of a session go.
    pub fn route(&self, node: usize, session: SessionId) -> Option<&[(u8, LinkAddress)]> {
        self.nodes[node].routes.get(&session).map(Vec::as_slice)
    }

    pub fn relays(&self, node: usize) -> &[ProgramKey] {
        &self.nodes[node].relays
    }

    /// What a node has logged since this was last asked.
    pub fn log(&mut self, node: usize) -> Vec<String> {
        std::mem::take(&mut self.nodes[node].log)
    }

    pub fn names_changed(&self, node: usize) -> u64 {
        self.nodes[node].names_changed
    }

    pub fn trust(&mut self, node: usize) -> &mut Vec<TrustRecord> {
        &mut self.nodes[node].kept.trust
    }

    /// How often a node has had its list of trusted nodes written down.
    pub fn times_kept(&self, node: usize) -> u64 {
        self.nodes[node].times_kept
    }

    pub fn key(at: usize) -> PublicKey {
        Toy::key(at as u8)
    }
}

/// What every node knows of node `other`.
pub fn record(other: usize) -> TrustRecord {
    TrustRecord {
        name: name(["lab1", "lab2", "lab3", "lab4"][other]),
        // Numbers differ from node to node, as they do in life.
        number: 10 + other as u16,
        key: Lab::key(other),
        secret: None,
        addresses: vec![address(other, 0), address(other, 1)],
        identities: IdentityMap::default(),
    }
}
