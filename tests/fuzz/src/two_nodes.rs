//! Two nodes that trust each other, on a wire without losses: lab1 is honest, lab2 is the fuzzer's.

use std::collections::VecDeque;
use std::time::Duration;

use abi::system::{
    self, Attach, Detect, Hello, LinkKind, Lookup, Network, Query, QueryKind, Request, Resolve,
};
use abi::{
    AttachFlags, ChannelId, FileType, Gid, Handle, Incarnation, Instant, LinkAddress, Nd, NodeName,
    Pid, Uid,
};
use slashnet_node::limits::PROGRAMS_MAX;
use slashnet_node::{
    Caller, Config, IdentityMap, Input, Kept, LinkConfig, Node, Output, ProgramKey, TrustRecord,
};

use crate::meddler::{Change, Meddler, Shared};
use crate::tape::Tape;
use crate::toy::Toy;

/// What of lab2's words is changed before it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// What handshakes carry.
    Handshake,
    /// Frames of the sessions between nodes.
    Channel,
    /// Probes of links.
    Probe,
}

/// Plays the input: each step changes something, says something, or lets time pass.
pub fn play(sealed: Sealed, data: &[u8]) {
    let mut tape = Tape::new(data);
    let mut lab = Lab::new(sealed);
    if sealed != Sealed::Handshake {
        // What is of interest begins behind the handshake.
        lab.ask(LAB1, 0);
        lab.run(Duration::from_millis(5));
    }
    for _ in 0..STEPS_MAX {
        if tape.is_empty() {
            break;
        }
        lab.step(&mut tape);
    }
    lab.run(Duration::from_millis(100));
}

const LAB1: usize = 0;
const LAB2: usize = 1;
const LINKS: usize = 2;
const STEPS_MAX: usize = 40;
/// More than a node has to say at once: one that goes round in circles is a finding.
const OUTPUTS_MAX: usize = 20_000;
const EVENTS_MAX: usize = 4_000;

struct Lab {
    now: Instant,
    sealed: Sealed,
    shared: Shared,
    toy: Toy,
    nodes: Vec<Place>,
    wire: VecDeque<Datagram>,
    /// What lab1 has been sent, to be sent again.
    past: VecDeque<Datagram>,
    probes: VecDeque<Change>,
    serial: u32,
}

struct Place {
    node: Node,
    deadline: Option<Instant>,
}

#[derive(Clone)]
struct Datagram {
    arrives: Instant,
    from: LinkAddress,
    to: LinkAddress,
    bytes: Vec<u8>,
}

impl Lab {
    fn new(sealed: Sealed) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let shared = Shared::default();
        let mut lab = Self {
            now,
            sealed,
            toy: Toy::new(LAB2 as u8, 99, now),
            nodes: vec![place(now, LAB1, 1, &shared), place(now, LAB2, 2, &shared)],
            shared,
            wire: VecDeque::new(),
            past: VecDeque::new(),
            probes: VecDeque::new(),
            serial: 0,
        };
        for at in [LAB1, LAB2] {
            lab.drain(at);
            lab.connect(at);
        }
        lab
    }

    fn connect(&mut self, at: usize) {
        let program = ProgramKey(1);
        let caller = Caller {
            pid: Pid(500),
            started: 1,
            uid: Uid(1000),
            gid: Gid(1000),
            groups: vec![],
        };
        self.input(at, Input::Connected { program, caller });
        let hello = Hello {
            version: system::VERSION,
            program: b"fuzz".to_vec(),
            previous: Pid(0),
            sessions: vec![],
        };
        self.request(at, &Request::Hello(hello));
        let attach = Attach {
            path: b"/dev/ser1".to_vec(),
            flags: AttachFlags::empty(),
            file_type: FileType::ANY,
            channel: ChannelId(3),
            handle: Handle(9),
        };
        self.request(at, &Request::Attach(attach));
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        match tape.below(8) {
            0 => {
                let link = tape.below(LINKS);
                let len = tape.u16() % 1500;
                let bytes = tape.bytes(len.into()).to_vec();
                self.throw(address(LAB2, link), address(LAB1, link), bytes);
            }
            1 | 2 => {
                let change = Change::read(tape);
                match self.sealed {
                    Sealed::Handshake => self.shared.plan().handshake.push_back(change),
                    Sealed::Channel => self.shared.plan().channel.push_back(change),
                    Sealed::Probe => self.probes.push_back(change),
                }
            }
            3 => {
                let who = tape.below(2);
                self.ask(who, tape.u8());
            }
            4 => self.again(tape),
            5 => self.restart(tape.u8()),
            6 => self.run(Duration::from_millis(tape.u8().into())),
            _ => self.run(Duration::from_millis(u64::from(tape.u8()) * 8)),
        }
    }

    /// A program asks something that takes its node to the other one.
    fn ask(&mut self, at: usize, what: u8) {
        let other = if at == LAB1 { "lab2" } else { "lab1" };
        let Ok(node) = NodeName::parse(other) else {
            return;
        };
        let resolve = |path: &[u8]| {
            let nd = Nd(10 + u32::from(at == LAB1));
            Request::Resolve(Resolve::any(nd, path))
        };
        let request = match what % 6 {
            0 => resolve(b"/dev/ser1"),
            1 => resolve(b"/"),
            2 => Request::Lookup(Lookup { node }),
            3 => Request::Network(Network {
                nd: Nd(0),
                path: format!("{other}/dev").into_bytes(),
            }),
            4 => Request::Query(Query {
                what: QueryKind::Prefixes,
                nd: Nd(10 + u32::from(at == LAB1)),
                from: 0,
            }),
            _ => Request::Query(Query {
                what: QueryKind::Links,
                nd: Nd::LOCAL,
                from: 0,
            }),
        };
        self.request(at, &request);
    }

    /// Something that was sent before comes again, perhaps changed on the way.
    fn again(&mut self, tape: &mut Tape<'_>) {
        let which = tape.below(self.past.len());
        let change = Change::read(tape);
        if let Some(mut datagram) = self.past.get(which).cloned() {
            change.apply_to(&mut datagram.bytes);
            self.throw(datagram.from, datagram.to, datagram.bytes);
        }
    }

    fn restart(&mut self, run: u8) {
        self.nodes[LAB2] = place(self.now, LAB2, 3 + u64::from(run), &self.shared);
        self.drain(LAB2);
        self.connect(LAB2);
    }

    fn throw(&mut self, from: LinkAddress, to: LinkAddress, bytes: Vec<u8>) {
        let arrives = self.now + Duration::from_micros(100);
        self.wire.push_back(Datagram {
            arrives,
            from,
            to,
            bytes,
        });
    }

    fn request(&mut self, at: usize, request: &Request) {
        self.serial += 1;
        if let Ok(bytes) = system::packet(self.serial, request) {
            let packet = Input::Packet {
                program: ProgramKey(1),
                bytes,
                descriptors: None,
            };
            self.input(at, packet);
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        self.nodes[at].node.handle(self.now, input);
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        for _ in 0..OUTPUTS_MAX {
            match self.nodes[at].node.poll(self.now) {
                Output::Wait(deadline) => {
                    self.nodes[at].deadline = deadline;
                    return;
                }
                Output::Datagram {
                    link,
                    to,
                    bytes,
                    segment,
                } => {
                    for packet in bytes.chunks(segment) {
                        self.carry(at, usize::from(link), to, packet.to_vec());
                    }
                }
                Output::Packet { bytes, .. } => {
                    let known = system::unpack::<system::FromNode>(&bytes);
                    assert!(known.is_ok_and(|(_, message)| message.is_ok()));
                }
                _ => {}
            }
        }
        panic!("node {at} never comes to rest");
    }

    fn carry(&mut self, at: usize, link: usize, to: LinkAddress, mut bytes: Vec<u8>) {
        let signed = bytes.first() == Some(&PROBE);
        if at == LAB2
            && signed
            && self.sealed == Sealed::Probe
            && let Some(change) = self.probes.pop_front()
        {
            self.shared.change_signed(&self.toy, &mut bytes, &change);
        }
        let from = address(at, link);
        self.throw(from, to, bytes);
        if at == LAB2 {
            self.past.truncate(PAST_MAX - 1);
            self.past.extend(self.wire.back().cloned());
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..EVENTS_MAX {
            let packet = self.wire.front().map(|datagram| datagram.arrives);
            let timer = (0..2)
                .filter_map(|at| Some((self.nodes[at].deadline?, at)))
                .min();
            let next = packet.into_iter().chain(timer.map(|(due, _)| due)).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            if packet.is_some_and(|arrives| arrives <= next) {
                self.arrive();
            } else if let Some((_, at)) = timer {
                self.input(at, Input::Timeout);
            }
        }
        // Busy for longer than worth looking at, for example by a flood that the script began.
        self.wire.clear();
        self.now = until;
    }

    fn arrive(&mut self) {
        let Some(datagram) = self.wire.pop_front() else {
            return;
        };
        for at in [LAB1, LAB2] {
            let link = (0..LINKS).find(|link| address(at, *link) == datagram.to);
            if let Some(link) = link {
                let input = Input::Datagram {
                    link: link as u8,
                    from: datagram.from,
                    bytes: datagram.bytes.clone(),
                };
                self.input(at, input);
            }
        }
    }
}

fn place(now: Instant, at: usize, run: u64, shared: &Shared) -> Place {
    let links = (0..LINKS)
        .map(|link| LinkConfig::new(format!("en{link}"), LinkKind::Udp, address(at, link), 1472));
    let other = 1 - at;
    let trust = TrustRecord {
        name: name(other),
        number: 10 + other as u16,
        key: Toy::key(other as u8),
        secret: None,
        addresses: (0..LINKS).map(|link| address(other, link)).collect(),
        identities: IdentityMap::default(),
    };
    let config = Config {
        name: name(at),
        owner: Uid(1000),
        incarnation: Incarnation(run),
        boot: 100 + at as u64,
        links: links.collect(),
        detect: Detect::Default,
        one_port: false,
        kept: Kept {
            trust: vec![trust],
            invites: vec![],
            rights: Default::default(),
        },
        rights: Default::default(),
        programs_max: PROGRAMS_MAX,
        seed: run * 7919,
    };
    let toy = Toy::new(at as u8, run, now);
    let crypto: Box<dyn slashnet_node::Crypto> = if at == LAB1 {
        Box::new(toy)
    } else {
        Box::new(Meddler::new(toy, shared.clone()))
    };
    Place {
        node: Node::new(now, config, crypto),
        deadline: None,
    }
}

fn name(at: usize) -> NodeName {
    NodeName::parse(["lab1", "lab2"][at]).expect("a good name")
}

fn address(at: usize, link: usize) -> LinkAddress {
    LinkAddress::ipv4([10, 0, link as u8, at as u8 + 1], 41_000)
}

/// The first byte of a probe.
const PROBE: u8 = 1 << 5 | 6;
const PAST_MAX: usize = 32;
