//! What names cost a node: `cargo run --release -p slashnet-node --example names`.
//!
//! Programs with a hundred prefixes each come to a node until there are a million prefixes, and ask who owns a path: the
//! whole way of a packet of the daemon socket, without the socket. One line for each number of prefixes: prefixes,
//! programs, nanoseconds for one question, nanoseconds for one registration, bytes for one prefix with its hundredth of a
//! program. Then one line `page`, names, nanoseconds for a page of a directory with so many names, names on the page.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::unreachable
)]

use abi::system::{self, Attach, Detect, FromNode, Hello, List, Reply, Request, Resolve};
use abi::{AttachFlags, ChannelId, FileType, Gid, Handle, Incarnation, Instant, Nd, NodeName};
use abi::{Pid, Uid};
use slashnet_node::limits::PROGRAMS_MAX;
use slashnet_node::{Caller, Config, Input, Kept, Node, Output, ProgramKey};

#[path = "../tests/support/crypto.rs"]
#[allow(dead_code, reason = "nothing is encrypted here")]
mod crypto;

/// Prefixes of each program.
const EACH: u32 = 100;
/// Questions for one measurement.
const QUESTIONS: u32 = 200_000;

/// A node that is asked in this thread.
struct Lab {
    node: Node,
    serial: u32,
}

impl Lab {
    fn new() -> Self {
        let config = Config {
            name: NodeName::parse("lab1").unwrap(),
            owner: Uid(0),
            incarnation: Incarnation(1),
            boot: 1,
            links: Vec::new(),
            detect: Detect::Default,
            one_port: false,
            kept: Kept::default(),
            rights: Default::default(),
            programs_max: PROGRAMS_MAX,
            seed: 1,
        };
        Self {
            node: Node::new(now(), config, Box::new(crypto::Toy::new(0, 1, now()))),
            serial: 0,
        }
    }

    fn program(&mut self, number: u32) -> ProgramKey {
        let program = ProgramKey(number.into());
        let caller = Caller {
            pid: Pid(number + 1),
            started: 1,
            uid: Uid(0),
            gid: Gid(0),
            groups: Vec::new(),
        };
        self.node
            .handle(now(), Input::Connected { program, caller });
        let hello = Hello {
            version: system::VERSION,
            program: b"names".to_vec(),
            previous: Pid(0),
            sessions: Vec::new(),
        };
        self.ask(program, &Request::Hello(hello));
        program
    }

    fn attach(&mut self, program: ProgramKey, path: String) {
        let attach = Request::Attach(Attach {
            path: path.into_bytes(),
            flags: AttachFlags::DIR,
            file_type: FileType::ANY,
            channel: ChannelId(1),
            handle: Handle(1),
        });
        match self.ask(program, &attach) {
            Reply::Attached(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, program: ProgramKey, request: &Request) -> Reply {
        self.serial += 1;
        let bytes = system::packet(self.serial, request).unwrap();
        let packet = Input::Packet {
            program,
            bytes,
            descriptors: None,
        };
        self.node.handle(now(), packet);
        let mut answer = None;
        loop {
            match self.node.poll(now()) {
                Output::Wait(_) => break,
                Output::Packet { bytes, .. } => answer = Some(bytes),
                _ => {}
            }
        }
        match system::unpack::<FromNode>(&answer.unwrap()) {
            Ok((_, Ok(FromNode::Reply(reply)))) => reply,
            other => panic!("{other:?}"),
        }
    }
}

fn main() {
    // What this process takes once is not the prefixes'.
    measure(100);
    for prefixes in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let [programs, lookup, attach, bytes] = measure(prefixes);
        println!("{prefixes} {programs} {lookup} {attach} {bytes}");
    }
    for names in [1_000, 100_000, 1_000_000] {
        let (page, on_it) = flat(names);
        println!("page {names} {page} {on_it}");
    }
}

/// Programs, nanoseconds for one question, nanoseconds for one registration, bytes for one prefix.
fn measure(prefixes: u32) -> [u128; 4] {
    let mut lab = Lab::new();
    let before = resident();
    let programs = prefixes / EACH;
    let mut attaching = 0_u128;
    for number in 0..programs {
        let program = lab.program(number);
        let begun = processor_time();
        for at in 0..EACH {
            lab.attach(program, format!("/dev/rack{number}/port{at}"));
        }
        attaching += processor_time() - begun;
    }
    let bytes = resident().saturating_sub(before) / u64::from(prefixes);
    let asker = ProgramKey(0);
    let mut random = 1_u32;
    let begun = processor_time();
    for _ in 0..QUESTIONS {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (rack, port) = ((random >> 8) % programs, (random >> 3) % EACH);
        let path = format!("/dev/rack{rack}/port{port}/x/y");
        let resolve = Request::Resolve(Resolve::any(Nd::LOCAL, path.as_bytes()));
        // Nobody finds itself, so rack 0 has nobody for its own program.
        match lab.ask(asker, &resolve) {
            Reply::Resolved(_) | Reply::Error(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let lookup = (processor_time() - begun) / u128::from(QUESTIONS);
    let attach = attaching / u128::from(prefixes);
    [u128::from(programs), lookup, attach, u128::from(bytes)]
}

/// Nanoseconds for a page of a directory with so many names, and how many are on it.
fn flat(names: u32) -> (u128, usize) {
    let mut lab = Lab::new();
    let mut attached = 0;
    // As many as one program may have.
    for number in 0..names.div_ceil(4_000) {
        let program = lab.program(number);
        for _ in 0..4_000.min(names - attached) {
            lab.attach(program, format!("/dev/port{attached}"));
            attached += 1;
        }
    }
    let (mut after, mut pages, mut seen) = (Vec::new(), 0, 0);
    let begun = processor_time();
    loop {
        let list = List {
            nd: Nd::LOCAL,
            path: b"/dev".to_vec(),
            after: std::mem::take(&mut after),
        };
        let Reply::Listing(listing) = lab.ask(ProgramKey(0), &Request::List(list)) else {
            unreachable!("a listing")
        };
        pages += 1;
        seen += listing.entries.len();
        if !listing.more {
            break;
        }
        after = listing.entries.last().unwrap().name.clone();
    }
    assert_eq!(seen, names as usize);
    ((processor_time() - begun) / pages, seen / pages as usize)
}

fn now() -> Instant {
    Instant::from_nanos(1)
}

/// Nanoseconds that this thread has had a processor: other programs of the machine do not count.
fn processor_time() -> u128 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
