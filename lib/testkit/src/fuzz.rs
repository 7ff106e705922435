//! Entry points for fuzzers: any bytes, no panic, no memory without bound.

use abi::LinkAddress;
use abi::codec::{Decode, Reader};
use abi::ids::SessionId;
use abi::time::{Duration, Instant};
use transport::frame::Frame;
use transport::packet::Header;
use transport::{
    Buffer, Config, Event, IncomingKey, LaneParams, LinkIndex, Meta, OpKey, Request, Role,
    SessionKey, SessionParams, Transport,
};

use crate::process::Buffers;

/// Most inputs that one run of [`session`] takes.
const STEPS_MAX: usize = 200;

/// Decodes `data` as the body of a packet.
pub fn frames(data: &[u8]) {
    let mut reader = Reader::new(data);
    while reader.remaining() > 0 && Frame::decode(&mut reader).is_ok() {}
}

/// Takes `data` as a packet from a stranger, with a session open.
pub fn packet(data: &[u8]) {
    let mut end = End::new(Role::Server);
    let (link, from) = (LinkIndex(0), LinkAddress::NONE);
    end.transport
        .receive(end.now, link, &from, &mut data.to_vec(), &mut end.memory);
    end.settle();
}

/// Plays `data` against one end of a session, as a peer that holds the key and a program that does
/// as it likes: each step is a byte that says what, a length, and that many bytes. Answers how many
/// events the program saw, a measure of how far the input came.
pub fn session(data: &[u8]) -> usize {
    let mut reader = Reader::new(data);
    let role = if reader.u8().unwrap_or(0) & 1 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let mut end = End::new(role);
    for _ in 0..STEPS_MAX {
        let (Ok(what), Ok(len)) = (reader.u8(), reader.u8()) else {
            break;
        };
        let Ok(bytes) = reader.bytes(usize::from(len).min(reader.remaining())) else {
            break;
        };
        end.step(what, bytes);
        end.settle();
    }
    end.events
}

struct End {
    transport: Transport,
    session: SessionKey,
    memory: Buffers,
    now: Instant,
    pn: u64,
    ops: Vec<OpKey>,
    incoming: Vec<IncomingKey>,
    events: usize,
}

impl End {
    fn new(role: Role) -> Self {
        let now = Instant::from_nanos(1);
        let mut params = SessionParams::new(SessionId(1), SessionId(2), role);
        params.lanes.push(LaneParams::reliable(
            0,
            LinkIndex(0),
            LinkAddress::NONE,
            3000,
        ));
        params.unscheduled = 4096;
        params.credit = 16_384;
        let mut transport = Transport::new(Config::default());
        let session = transport
            .open(now, params)
            .expect("the parameters are valid");
        let memory = Buffers::new(4096);
        Self {
            transport,
            session,
            memory,
            now,
            pn: 0,
            ops: Vec::new(),
            incoming: Vec::new(),
            events: 0,
        }
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        let number = bytes
            .iter()
            .fold(0_u64, |n, byte| n << 3 ^ u64::from(*byte));
        match what % 8 {
            0 | 1 => self.receive(bytes),
            2 => {
                let request = Request::new(Meta::EMPTY, number % 10_000, number / 7 % 10_000);
                if let Ok(op) = self.transport.send(self.now, self.session, request) {
                    self.memory
                        .give(Buffer::Request(op), vec![1; request.len as usize]);
                    self.memory
                        .give(Buffer::Reply(op), vec![0; request.reply_max as usize]);
                    self.ops.push(op);
                }
            }
            3 => {
                if let Some(op) = self.ops.get(number as usize % self.ops.len().max(1)) {
                    self.transport.cancel(self.now, *op, 1);
                }
            }
            4 => self.now += Duration::from_millis(number),
            _ => self.serve(what, number),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let body_len = bytes.len() as u16;
        let header = Header {
            flags: 0,
            lane: 0,
            body_len,
            session: 1,
            pn: self.pn,
        };
        self.pn += 1;
        let mut packet = header.encode().to_vec();
        packet.extend(bytes);
        let (link, from) = (LinkIndex(0), LinkAddress::NONE);
        self.transport
            .receive(self.now, link, &from, &mut packet, &mut self.memory);
    }

    fn serve(&mut self, what: u8, number: u64) {
        let Some(&incoming) = self
            .incoming
            .get(number as usize % self.incoming.len().max(1))
        else {
            return;
        };
        let len = number % 5000;
        match what % 8 {
            5 => {
                self.memory
                    .give(Buffer::Outgoing(incoming), vec![2; len as usize]);
                let _ = self.transport.reply(self.now, incoming, 0, len);
            }
            6 => {
                if let Ok(transfer) = self.transport.pull(self.now, incoming, number / 5, len) {
                    self.memory
                        .give(Buffer::Transfer(transfer), vec![0; len as usize]);
                }
            }
            _ => {
                if let Ok(transfer) = self.transport.push(self.now, incoming, number / 5, len) {
                    self.memory
                        .give(Buffer::Transfer(transfer), vec![3; len as usize]);
                }
            }
        }
    }

    fn settle(&mut self) {
        self.transport.handle_timeout(self.now);
        let mut space = vec![0; 65_536];
        while let Some(link) = self.transport.next_link(self.now) {
            let sent = self
                .transport
                .transmit(self.now, link, &mut space, &mut self.memory);
            if sent.is_none() {
                break;
            }
        }
        while let Some(event) = self.transport.event() {
            self.events += 1;
            match event {
                Event::Request { incoming, .. } => self.incoming.push(incoming),
                Event::Withdrawn { incoming } | Event::Released { incoming } => {
                    self.incoming.retain(|known| *known != incoming);
                }
                Event::Replied { op, .. }
                | Event::Refused { op, .. }
                | Event::Failed { op, .. } => {
                    self.ops.retain(|known| *known != op);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Frames that parse, mixed with noise.
    fn input(random: &mut Random) -> Vec<u8> {
        let mut data = vec![random.next() as u8];
        for _ in 0..random.below(40) {
            let mut body = vec![];
            if random.chance(800) {
                let (slot, seq) = (random.below(3) as u8, random.between(1, 2) as u8);
                let kind = random.between(1, 12) as u8;
                let flags = random.below(16) as u8;
                body = match kind {
                    1 | 2 => vec![1, flags, slot, 0, seq, 0, 0, 0],
                    3 | 4 => vec![kind, flags & 1, slot, 0, seq, 0, 0, 0],
                    6 => vec![6, slot, 0, seq, 0, 0, 0, random.below(6) as u8],
                    _ => vec![kind, slot, 0, seq, 0, 0, 0],
                };
                // Small little-endian numbers.
                for _ in 0..random.below(14) {
                    body.extend([random.below(20) as u8, 0]);
                }
            }
            for _ in 0..random.below(30) {
                body.push(random.next() as u8);
            }
            data.extend([random.next() as u8, body.len() as u8]);
            data.extend(body);
        }
        data
    }

    #[test]
    fn nothing_a_peer_sends_makes_a_session_panic() {
        let mut random = Random::new(1);
        let mut events = 0;
        for _ in 0..20_000 {
            let data = input(&mut random);
            events += session(&data);
            frames(&data);
            packet(&data);
        }
        assert!(
            events > 20_000,
            "only {events} events: the inputs do not reach the machine"
        );
    }
}
