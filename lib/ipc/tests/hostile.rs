//! Peers that speak the transport correctly and do with it what the library never would.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate slashnet_ipc as ipc;

mod pair;

use std::sync::Arc;
use std::time::Duration;

use abi::{ChannelFlags, ChannelId, Errno, Nd, Pid};
use drivers::{MemoryDriver, PacketDriver, ReceiveBatch};
use ipc::direct::{Introduction, client_over_memory, server_over_memory};
use ipc::{Channel, Connection, Endpoint, Received};
use pair::{Pair, message, soon};
use testkit::until;
use transport::{
    Buffer, Config, Event, LaneParams, LinkIndex, Memory, Meta, Request, Role, SessionKey,
    SessionParams, Transport,
};

/// A client with a transport of its own on shared memory.
struct Attacker {
    driver: MemoryDriver,
    transport: Transport,
    session: SessionKey,
    closed: bool,
}

struct Zeros;

impl Memory for Zeros {
    fn load(&mut self, _from: Buffer, _offset: u64, into: &mut [u8]) {
        into.fill(0);
    }

    fn store(&mut self, _to: Buffer, _offset: u64, _bytes: &[u8]) {}
}

/// Kinds of operations, as the library writes them into the head of each.
const MESSAGE: u8 = 0;
const DETACH: u8 = 3;

fn head(kind: u8, attachment: u32, channel: ChannelId, pulses_before: u32) -> Meta {
    let mut bytes = [0; 24];
    (bytes[0], bytes[1]) = (kind, 10);
    bytes[12..16].copy_from_slice(&attachment.to_le_bytes());
    bytes[16..20].copy_from_slice(&channel.0.to_le_bytes());
    bytes[20..24].copy_from_slice(&pulses_before.to_le_bytes());
    Meta::new(&bytes).unwrap()
}

fn now() -> abi::Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    abi::Instant::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

impl Attacker {
    fn new(server: &Endpoint, ring: usize) -> Self {
        let (driver, parts) = MemoryDriver::create_with(ring).unwrap();
        let introduction = Introduction::new(77);
        let far = MemoryDriver::attach(parts).unwrap();
        server_over_memory(server, &introduction, far, None).unwrap();
        let mut transport = Transport::new(Config::default());
        let mut params = SessionParams::new(introduction.client, introduction.server, Role::Client);
        let mtu = driver.properties().max_frame as u32;
        let mtu = mtu.min(transport::config::MTU_MAX);
        let lane = LaneParams::reliable(0, LinkIndex(0), driver.peer_address(), mtu);
        params.lanes = vec![lane];
        params.slots = 1024;
        let session = transport.open(now(), params).unwrap();
        Self {
            driver,
            transport,
            session,
            closed: false,
        }
    }

    /// Asks for an operation; false if the session does not take it.
    fn ask(&mut self, meta: Meta, one_way: bool) -> bool {
        if self.closed {
            return false;
        }
        let request = Request {
            one_way,
            ..Request::new(meta, 0, 0)
        };
        let asked = self.transport.send(now(), self.session, request).is_ok();
        self.flush();
        asked
    }

    fn flush(&mut self) {
        let mut space = vec![0; 65_536];
        while let Some(link) = self.transport.next_link(now()) {
            let Some(sent) = self.transport.transmit(now(), link, &mut space, &mut Zeros) else {
                continue;
            };
            let bytes = &space[..sent.len];
            // A server that lives makes room within microseconds.
            let end = std::time::Instant::now() + Duration::from_secs(3);
            while self.driver.send(&sent.to, bytes, sent.segment).unwrap() == 0 {
                self.closed |= std::time::Instant::now() > end;
                if !self.listen() {
                    return;
                }
                std::thread::yield_now();
            }
        }
    }

    /// Takes what has come; whether the session still lives.
    fn listen(&mut self) -> bool {
        let mut batch = ReceiveBatch::new();
        while self.driver.receive(&mut batch).unwrap() > 0 {
            for at in 0..batch.len() {
                let (from, packet) = batch.packet(at).unwrap();
                self.transport
                    .receive(now(), LinkIndex(0), from, packet, &mut Zeros);
            }
        }
        while let Some(event) = self.transport.event() {
            self.closed |= matches!(event, Event::Closed { .. });
        }
        !self.closed
    }
}

/// What is in the channel once the server's helper or this thread has taken everything in.
fn drain(channel: &Channel) -> Vec<Received> {
    let wait = || Some(std::time::Instant::now() + Duration::from_millis(50));
    std::iter::from_fn(|| channel.receive_until(&mut [0; 8], wait()).ok()).collect()
}

#[test]
fn no_sender_gets_the_number_of_another_one() {
    let pair = Pair::memory();
    let channel = pair.channel(ChannelFlags::empty());
    let mut attacker = Attacker::new(&pair.server, 4096);
    // Refused, but not before the server has looked at the sender.
    attacker.ask(head(MESSAGE, 1, channel.id(), 1_000_000), false);
    assert!(drain(&channel).is_empty());
    let connection = pair.connect(&channel);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| connection.send(b"x", &mut []));
        let honest = message(channel.receive_until(&mut [0; 8], soon()).unwrap());
        attacker.ask(head(MESSAGE, 1, channel.id(), 0), false);
        let other = message(channel.receive_until(&mut [0; 8], soon()).unwrap());
        assert_ne!(honest.info().sender, other.info().sender);
        honest.reply(0, &[]).unwrap();
        other.fail(Errno::EPERM).unwrap();
        client.join().unwrap().unwrap();
    });
}

#[test]
fn a_message_that_wants_no_answer_is_not_let_in() {
    let pair = Pair::memory();
    let channel = pair.channel(ChannelFlags::empty());
    let mut attacker = Attacker::new(&pair.server, 64 * 1024);
    for _ in 0..3000 {
        attacker.ask(head(MESSAGE, 1, channel.id(), 0), true);
    }
    assert_eq!(drain(&channel).len(), 0);
    let (connection, _served) = pair.serve(8, |message, _| message.reply(7, &[]).unwrap());
    assert_eq!(connection.send(b"x", &mut []).unwrap().status, 7);
}

#[test]
fn who_says_farewell_without_end_is_cut_off() {
    let pair = Pair::memory();
    let channel: Arc<Channel> = pair.channel(ChannelFlags::DISCONNECT);
    let mut attacker = Attacker::new(&pair.server, 1 << 20);
    let mut said = 0;
    while said < 300_000 && attacker.listen() {
        for _ in 0..1000 {
            attacker.ask(head(DETACH, said, channel.id(), 0), true);
            said += 1;
        }
    }
    assert!(said < 300_000, "nobody minds");
}

#[test]
fn memory_that_was_full_when_its_peer_died_does_not_stop_its_successor() {
    let pair = Pair::memory();
    let client = ipc::direct::endpoint(Pid(1002)).unwrap();
    let (near, _parts) = MemoryDriver::create_with(4096).unwrap();
    let (life, end) = std::os::unix::net::UnixStream::pair().unwrap();
    let silent = Introduction {
        pid: Pid(9),
        ..Introduction::new(5)
    };
    client_over_memory(&client, &silent, near, Some(life.into())).unwrap();
    // More questions than the memory holds, and nobody takes them out.
    let ask = |n| Connection::attach(&client, Nd::LOCAL, Pid(9), ChannelId(n)).err();
    let ask = &ask;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (1..=64).map(|n| scope.spawn(move || ask(n))).collect();
        until("all ask", || client.session_stats()[0].operations == 64);
        drop(end);
        for asked in asking {
            assert!(asked.join().unwrap().is_some());
        }
    });
    assert!(client.session_stats().is_empty());
    let (near, parts) = MemoryDriver::create_with(4096).unwrap();
    let introduction = Introduction::new(6);
    client_over_memory(&client, &introduction, near, None).unwrap();
    let far = MemoryDriver::attach(parts).unwrap();
    server_over_memory(&pair.server, &introduction, far, None).unwrap();
    let channel = pair.channel(ChannelFlags::empty());
    let (tell, told) = std::sync::mpsc::channel();
    let id = channel.id();
    std::thread::spawn(move || tell.send(Connection::attach(&client, Nd::LOCAL, Pid(2), id)));
    assert!(told.recv_timeout(Duration::from_secs(5)).unwrap().is_ok());
}

#[test]
fn a_client_that_takes_no_reply_holds_a_thread_no_longer_because_others_are_served() {
    let pair = Pair::memory();
    let channel = pair.channel(ChannelFlags::empty());
    let mut attacker = Attacker::new(&pair.server, 4096);
    let meta = head(MESSAGE, 1, channel.id(), 0);
    let request = Request::new(meta, 0, 1 << 20);
    attacker
        .transport
        .send(now(), attacker.session, request)
        .unwrap();
    attacker.flush();
    let message = message(channel.receive_until(&mut [0; 8], soon()).unwrap());
    let (connection, _served) = pair.serve(8, |message, _| message.reply(7, &[]).unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let stuck = std::thread::spawn(move || tell.send(message.reply(0, &[1; 1 << 20]).is_ok()));
    let end = std::time::Instant::now() + Duration::from_secs(40);
    while told.try_recv().is_err() {
        assert!(std::time::Instant::now() < end, "the thread is stuck");
        connection.send(b"x", &mut []).unwrap();
    }
    stuck.join().unwrap().unwrap();
}
