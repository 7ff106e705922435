//! Packets of the daemon socket, in both directions.

use std::time::Duration;

use abi::codec::{Decode, Encode};
use abi::system::{self, Detect, FromNode, LinkKind, Request};
use abi::{Gid, Incarnation, Instant, LinkAddress, NodeName, Pid, Uid};
use slashnet_node::limits::PROGRAMS_MAX;
use slashnet_node::{
    Attached, Caller, Config, Descriptors, Input, Kept, LinkConfig, Node, Output, ProgramKey,
};

use crate::tape::Tape;
use crate::toy::Toy;

/// Takes the input as a packet to a program and as one to a node, and then as what three programs do one after the
/// other.
pub fn play(data: &[u8]) {
    both_ways::<FromNode>(data, |message| match message {
        FromNode::Reply(reply) => system::packet(7, reply),
        FromNode::Notice(notice) => system::packet(7, notice),
    });
    both_ways::<Request>(data, |request| system::packet(7, request));
    let mut tape = Tape::new(data);
    let mut daemon = Daemon::new();
    for _ in 0..STEPS_MAX {
        if tape.is_empty() {
            break;
        }
        daemon.step(&mut tape);
    }
}

/// What can be read can be written, and is read as the same again.
fn both_ways<'a, T>(data: &'a [u8], write: impl Fn(&T) -> Result<Vec<u8>, abi::codec::Overflow>)
where
    T: for<'b> Decode<'b> + PartialEq + core::fmt::Debug,
{
    let Ok((_, Ok(message))) = system::unpack::<T>(data) else {
        return;
    };
    let bytes = write(&message).expect("what came in a packet fits into one");
    let (serial, again) = system::unpack::<T>(&bytes).expect("a serial");
    assert_eq!((serial, again), (7, Ok(message)));
}

struct Daemon {
    node: Node,
    now: Instant,
    connected: [bool; PROGRAMS],
    connections: u64,
    keys: [ProgramKey; PROGRAMS],
    descriptors: u64,
}

impl Daemon {
    fn new() -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let address = LinkAddress::ipv4([10, 0, 0, 1], 41_000);
        let config = Config {
            name: NodeName::parse("lab1").expect("a good name"),
            owner: Uid(1000),
            incarnation: Incarnation(1),
            boot: 100,
            links: vec![LinkConfig::new("en0".into(), LinkKind::Udp, address, 1472)],
            detect: Detect::Default,
            one_port: false,
            kept: Kept::default(),
            rights: Default::default(),
            programs_max: PROGRAMS_MAX,
            seed: 7919,
        };
        let crypto = Box::new(Toy::new(0, 1, now));
        let mut daemon = Self {
            node: Node::new(now, config, crypto),
            now,
            connected: [false; PROGRAMS],
            connections: 0,
            keys: [ProgramKey(0); PROGRAMS],
            descriptors: 0,
        };
        daemon.drain();
        daemon
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        let what = tape.u8();
        let program = usize::from(what & 3) % PROGRAMS;
        match what >> 2 & 7 {
            0 => self.disconnect(program),
            1 => {
                self.now += Duration::from_millis(u64::from(tape.u8()) * 10);
                self.input(Input::Timeout);
            }
            _ => self.packet(program, tape),
        }
    }

    fn packet(&mut self, program: usize, tape: &mut Tape<'_>) {
        self.connect(program);
        let count = tape.u8() % 8;
        let len = usize::from(tape.u8());
        let mut bytes = vec![1 + tape.u8() % 4, 0, 0, 0];
        bytes.extend(tape.bytes(len));
        let descriptors = (count <= 3 && count > 0).then(|| {
            self.descriptors += 1;
            Descriptors {
                key: self.descriptors,
                count,
            }
        });
        self.input(Input::Packet {
            program: self.keys[program],
            bytes,
            descriptors,
        });
    }

    fn connect(&mut self, program: usize) {
        if self.connected[program] {
            return;
        }
        self.connected[program] = true;
        self.connections += 1;
        self.keys[program] = ProgramKey(self.connections);
        // The last one is another user's.
        let user = 1000 + u32::from(program == PROGRAMS - 1);
        let caller = Caller {
            pid: Pid(500 + program as u32),
            started: 1,
            uid: Uid(user),
            gid: Gid(user),
            groups: vec![],
        };
        self.input(Input::Connected {
            program: self.keys[program],
            caller,
        });
        let hello = system::Hello {
            version: system::VERSION,
            program: b"fuzz".to_vec(),
            previous: Pid(0),
            sessions: vec![],
        };
        self.send(program, &Request::Hello(hello));
    }

    fn send(&mut self, program: usize, request: &impl Encode) {
        let bytes = system::packet(1, request).expect("a short request");
        self.input(Input::Packet {
            program: self.keys[program],
            bytes,
            descriptors: None,
        });
    }

    fn disconnect(&mut self, program: usize) {
        if std::mem::take(&mut self.connected[program]) {
            self.input(Input::Disconnected {
                program: self.keys[program],
            });
        }
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.node.poll(self.now) {
                Output::Wait(_) => return,
                Output::Disconnect(key) => {
                    if let Some(at) = self.keys.iter().position(|known| *known == key) {
                        self.connected[at] = false;
                    }
                }
                Output::Packet {
                    bytes, descriptors, ..
                } => {
                    let known = system::unpack::<FromNode>(&bytes);
                    assert!(known.is_ok_and(|(_, message)| message.is_ok()));
                    if let Attached::Passed(passed) | Attached::WithDoorbells(passed) = descriptors
                    {
                        assert!(passed.key <= self.descriptors, "descriptors of nobody");
                    }
                }
                _ => {}
            }
        }
        panic!("the node never comes to rest");
    }
}

const PROGRAMS: usize = 3;
const STEPS_MAX: usize = 60;
const OUTPUTS_MAX: usize = 20_000;
