//! What the state machine itself costs: `cargo run --release -p slashnet-transport --example cost`.
//! With a number of calls only these are made, as `valgrind --tool=callgrind` wants it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::excessive_nesting
)]

use std::time::Instant as Clock;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::Instant;
use slashnet_transport::{
    Arrivals, Buffer, Config, Event, Forged, LaneParams, LinkIndex, Memory, Meta, PacketCipher,
    Request, Role, SessionKey, SessionParams, Transport,
};

struct Plain;

impl PacketCipher for Plain {
    fn overhead(&self) -> usize {
        16
    }
    fn key_life(&self) -> u64 {
        u64::MAX
    }
    fn next_key(&mut self) {}
    fn seal(&mut self, _: u8, _: u64, _: &[u8; 16], _: &mut [u8]) {}
    fn open<'a>(
        &mut self,
        _: u8,
        _: u64,
        _: &[u8; 16],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let len = body.len() - 16;
        Ok(&mut body[..len])
    }
}

/// One block that all buffers share.
struct Block(Vec<u8>);

impl Memory for Block {
    fn load(&mut self, _: Buffer, offset: u64, into: &mut [u8]) {
        let at = offset as usize % (1 << 20);
        into.copy_from_slice(&self.0[at..at + into.len()]);
    }
    fn store(&mut self, _: Buffer, offset: u64, bytes: &[u8]) {
        let at = offset as usize % (1 << 20);
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Packets as they were sent.
struct Train<'a>(std::slice::ChunksMut<'a, u8>);

impl Arrivals for Train<'_> {
    fn next(&mut self) -> Option<(&LinkAddress, &mut [u8])> {
        self.0.next().map(|packet| (&LinkAddress::NONE, packet))
    }
}

struct World {
    now: u64,
    client: (Transport, SessionKey, Block),
    server: (Transport, SessionKey, Block),
    space: Vec<u8>,
    packets: usize,
}

fn world(lane: &LaneParams) -> World {
    let side = |role, local, peer| {
        let mut params = SessionParams::new(SessionId(local), SessionId(peer), role);
        params.lanes.push(lane.clone());
        params.cipher = (!lane.reliable).then(|| Box::new(Plain) as _);
        let mut transport = Transport::new(Config::default());
        let key = transport.open(Instant::from_nanos(0), params).unwrap();
        (transport, key, Block(vec![7; (1 << 20) + 65_536]))
    };
    let (client, server) = (side(Role::Client, 1, 2), side(Role::Server, 2, 1));
    World {
        now: 0,
        client,
        server,
        space: vec![0; 70_000],
        packets: 0,
    }
}

impl World {
    /// Carries packets until nobody has any.
    fn flush(&mut self) {
        loop {
            let mut moved = false;
            self.now += 1_000;
            for from_client in [true, false] {
                let (from, to) = if from_client {
                    (&mut self.client, &mut self.server)
                } else {
                    (&mut self.server, &mut self.client)
                };
                let now = Instant::from_nanos(self.now);
                while let Some(link) = from.0.next_link(now) {
                    let sent = from
                        .0
                        .transmit(now, link, &mut self.space, &mut from.2)
                        .unwrap();
                    self.packets += sent.len.div_ceil(sent.segment);
                    let mut train = Train(self.space[..sent.len].chunks_mut(sent.segment));
                    to.0.receive_all(now, link, &mut train, &mut to.2);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
    }

    /// `count` calls of 16 bytes at once; sent, executed and answered.
    fn calls(&mut self, count: usize) {
        let now = Instant::from_nanos(self.now);
        for _ in 0..count {
            let request = Request::new(Meta::EMPTY, 16, 16);
            self.client.0.send(now, self.client.1, request).unwrap();
        }
        self.flush();
        while let Some(event) = self.server.0.event() {
            if let Event::Request { incoming, .. } = event {
                let now = Instant::from_nanos(self.now);
                self.server.0.reply(now, incoming, 0, 16).unwrap();
            }
        }
        self.flush();
        for _ in 0..count {
            assert!(matches!(self.client.0.event(), Some(Event::Replied { .. })));
        }
    }

    /// Many calls of 16 bytes, `count` at once: what one costs.
    fn measure(&mut self, name: &str, count: usize, calls: usize) {
        self.calls(count);
        let (packets, clock) = (self.packets, Clock::now());
        for _ in 0..calls / count {
            self.calls(count);
        }
        let each = clock.elapsed().as_nanos() / calls as u128;
        let packets = (self.packets - packets) as f64 / calls as f64;
        println!(
            "{name}: 16 B, {count} calls at once, both ends: {each} ns and {packets:.2} packets each"
        );
    }

    /// Calls of 64 KiB there and back, one at a time: what a packet costs both ends, its copies included.
    fn measure_long(&mut self, name: &str, calls: usize) {
        for _ in 0..calls / 10 {
            self.long_call();
        }
        let (packets, clock) = (self.packets, Clock::now());
        for _ in 0..calls {
            self.long_call();
        }
        let packets = self.packets - packets;
        let each = clock.elapsed().as_nanos() as f64 / packets as f64;
        let packets = packets as f64 / calls as f64;
        println!(
            "{name}: 64 KiB there and back, both ends: {each:.1} ns for each of {packets:.1} packets"
        );
    }

    fn long_call(&mut self) {
        let now = Instant::from_nanos(self.now);
        let request = Request::new(Meta::EMPTY, LONG, LONG);
        self.client.0.send(now, self.client.1, request).unwrap();
        loop {
            self.flush();
            let now = Instant::from_nanos(self.now);
            while let Some(event) = self.server.0.event() {
                if let Event::Request { incoming, .. } = event {
                    self.server.0.reply(now, incoming, 0, LONG).unwrap();
                }
            }
            self.flush();
            if self.client.0.event().is_some() {
                return;
            }
            self.wait();
        }
    }

    fn long_reply(&mut self, len: u64) {
        let now = Instant::from_nanos(self.now);
        self.client
            .0
            .send(now, self.client.1, Request::new(Meta::EMPTY, 64, len))
            .unwrap();
        self.flush();
        while let Some(event) = self.server.0.event() {
            if let Event::Request { incoming, .. } = event {
                self.server
                    .0
                    .reply(Instant::from_nanos(self.now), incoming, 0, len)
                    .unwrap();
            }
        }
        loop {
            self.flush();
            match self.client.0.event() {
                Some(Event::Replied { .. }) => return,
                Some(event) => panic!("{event:?}"),
                None => self.wait(),
            }
        }
    }

    /// Until somebody has something to do.
    fn wait(&mut self) {
        let (server, client) = (&mut self.server.0, &mut self.client.0);
        let next = server.timeout().into_iter().chain(client.timeout());
        self.now = self.now.max(next.min().unwrap().as_nanos());
        client.handle_timeout(Instant::from_nanos(self.now));
        server.handle_timeout(Instant::from_nanos(self.now));
    }
}

/// As much as comes without being pulled.
const LONG: u64 = 64 << 10;

fn main() {
    let calls = std::env::args().nth(1).map(|calls| calls.parse().unwrap());
    let (calls, bulk) = calls.map_or((1_000_000, true), |calls| (calls, false));
    let none = LinkAddress::NONE;
    let lanes = [
        (
            "reliable",
            LaneParams::reliable(0, LinkIndex(0), none, 65_000),
        ),
        ("udp-like", LaneParams::new(0, LinkIndex(0), none, 1472)),
    ];
    for (name, lane) in lanes {
        let mut world = world(&lane);
        for count in [1, 16, 64] {
            world.measure(name, count, calls);
        }
        if !bulk {
            continue;
        }
        world.measure_long(name, 50_000);
        world.long_reply(64 << 20);
        let clock = Clock::now();
        world.long_reply(1 << 30);
        let rate = f64::from(1 << 30) / clock.elapsed().as_secs_f64() / 1e9;
        println!("{name}: 1 GiB reply, both ends on one core: {rate:.2} GB/s");
    }
}
