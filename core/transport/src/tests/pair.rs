//! A client and a server, the programs' memory, and the network between them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};

use crate::cipher::{Forged, HEADER_LEN, PacketCipher};
use crate::keys::Secret;
use crate::{
    Arrivals, Buffer, Cause, Config, Delivery, Event, Failure, IncomingKey, LaneParams, LinkIndex,
    Memory, OpKey, Request, Role, SessionKey, SessionParams, TransferKey, Transport,
};

/// A cipher that only detects change: sixteen bytes of checksum.
pub(crate) struct Checksum;

fn sum(lane: u8, pn: u64, header: &[u8], body: &[u8]) -> [u8; 16] {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ pn ^ u64::from(lane) << 56;
    for byte in header.iter().chain(body) {
        state = (state ^ u64::from(*byte))
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(5);
    }
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&state.to_le_bytes());
    tag
}

impl PacketCipher for Checksum {
    fn overhead(&self) -> usize {
        16
    }

    fn key_life(&self) -> u64 {
        u64::MAX
    }

    fn next_key(&mut self) {}

    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; HEADER_LEN], body: &mut [u8]) {
        let (text, tag) = body.split_at_mut(body.len() - 16);
        tag.copy_from_slice(&sum(lane, pn, header, text));
    }

    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let split = body.len().checked_sub(16).ok_or(Forged)?;
        let (text, tag) = body.split_at_mut(split);
        if *tag == sum(lane, pn, header, text) {
            Ok(text)
        } else {
            Err(Forged)
        }
    }
}

#[derive(Default)]
pub(crate) struct Buffers(pub(crate) BTreeMap<Buffer, Vec<u8>>);

impl Memory for Buffers {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        let at = offset as usize;
        into.copy_from_slice(&self.0[&from][at..at + into.len()]);
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        let buffer = self.0.entry(to).or_default();
        let end = offset as usize + bytes.len();
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        buffer[offset as usize..end].copy_from_slice(bytes);
    }
}

pub(crate) struct Side {
    pub(crate) transport: Transport,
    pub(crate) session: SessionKey,
    pub(crate) memory: Buffers,
    pub(crate) events: VecDeque<Event>,
    pub(crate) sent: usize,
    pub(crate) suspects: usize,
    /// Where the last packet went, and how many bytes went where.
    pub(crate) sent_to: Option<LinkAddress>,
    pub(crate) bytes_to: BTreeMap<LinkAddress, usize>,
}

/// Packets that have come together.
pub(crate) struct Train {
    pub(crate) from: LinkAddress,
    pub(crate) packets: VecDeque<Vec<u8>>,
    /// The one that was handed out.
    taken: Vec<u8>,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            from: LinkAddress::NONE,
            packets: VecDeque::new(),
            taken: Vec::new(),
        }
    }
}

impl Arrivals for Train {
    fn next(&mut self) -> Option<(&LinkAddress, &mut [u8])> {
        self.taken = self.packets.pop_front()?;
        Some((&self.from, &mut self.taken))
    }
}

pub(crate) struct Packet {
    pub(crate) at: Instant,
    pub(crate) to_server: bool,
    pub(crate) link: LinkIndex,
    pub(crate) bytes: Vec<u8>,
}

/// What the network does with a packet: number of the packet in its direction, whether it goes to
/// the server, its link, its length. Answers whether it arrives.
pub(crate) type Fate = Box<dyn FnMut(usize, bool, LinkIndex, usize) -> bool>;

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) wire: VecDeque<Packet>,
    pub(crate) delay: Duration,
    pub(crate) fate: Fate,
    /// Added to the client's addresses: it has moved.
    pub(crate) moved: u8,
}

pub(crate) fn address(n: u8) -> LinkAddress {
    LinkAddress::from_raw(&[n]).unwrap()
}

pub(crate) fn lossy(lanes: u8) -> Vec<LaneParams> {
    let lane = |id| LaneParams::new(id, LinkIndex(u32::from(id)), address(id), 1472);
    (0..lanes).map(lane).collect()
}

pub(crate) fn reliable() -> Vec<LaneParams> {
    vec![LaneParams::reliable(0, LinkIndex(0), address(0), 65_000)]
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 251) as u8 ^ i as u8 ^ salt).collect()
}

impl Pair {
    pub(crate) fn new(lanes: Vec<LaneParams>) -> Self {
        Self::with(lanes, |_| {})
    }

    pub(crate) fn with(lanes: Vec<LaneParams>, adjust: impl Fn(&mut SessionParams)) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let side = |role, local, peer| {
            let mut params = SessionParams::new(SessionId(local), SessionId(peer), role);
            params.lanes = lanes.clone();
            params.cipher = lanes
                .iter()
                .any(|lane| !lane.reliable)
                .then(|| Box::new(Checksum) as _);
            params.challenge = Some(Secret([local as u8; 32]));
            adjust(&mut params);
            let mut transport = Transport::new(Config::default());
            let session = transport.open(now, params).unwrap();
            let (memory, events) = (Buffers::default(), VecDeque::new());
            Side {
                transport,
                session,
                memory,
                events,
                sent: 0,
                suspects: 0,
                sent_to: None,
                bytes_to: BTreeMap::new(),
            }
        };
        Self {
            now,
            client: side(Role::Client, 11, 22),
            server: side(Role::Server, 22, 11),
            wire: VecDeque::new(),
            delay: Duration::from_micros(50),
            fate: Box::new(|_, _, _, _| true),
            moved: 0,
        }
    }

    pub(crate) fn send(&mut self, request: Request, bytes: &[u8]) -> OpKey {
        let op = self
            .client
            .transport
            .send(self.now, self.client.session, request)
            .unwrap();
        self.client
            .memory
            .0
            .insert(Buffer::Request(op), bytes.to_vec());
        self.client.memory.0.insert(Buffer::Reply(op), Vec::new());
        op
    }

    /// Puts what both sides have to send on the wire, and collects their events.
    pub(crate) fn flush(&mut self) {
        self.flush_side(true);
        self.flush_side(false);
    }

    fn flush_side(&mut self, to_server: bool) {
        let side = if to_server {
            &mut self.client
        } else {
            &mut self.server
        };
        let mut space = vec![0; 70_000];
        while let Some(link) = side.transport.next_link(self.now) {
            let sent = side
                .transport
                .transmit(self.now, link, &mut space, &mut side.memory);
            let Some(transmit) = sent else {
                continue;
            };
            side.sent_to = Some(transmit.to);
            *side.bytes_to.entry(transmit.to).or_default() += transmit.len;
            // Where nobody is, nothing arrives.
            let moved = if to_server { 0 } else { self.moved };
            let there = transmit.to == address(link.0 as u8 + moved);
            for packet in space[..transmit.len].chunks(transmit.segment) {
                side.sent += 1;
                if there && (self.fate)(side.sent, to_server, link, packet.len()) {
                    let at = self.now + self.delay;
                    let bytes = packet.to_vec();
                    self.wire.push_back(Packet {
                        at,
                        to_server,
                        link,
                        bytes,
                    });
                }
            }
        }
        while let Some(event) = side.transport.event() {
            if let Event::LaneChanged { .. } = event {
                side.suspects += 1;
            } else {
                side.events.push_back(event);
            }
        }
    }

    /// Goes on to the next thing that happens, but not beyond `end`. Answers whether there is one.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        self.flush();
        let arrival = self.wire.front().map(|packet| packet.at);
        let timers = [
            self.client.transport.timeout(),
            self.server.transport.timeout(),
        ];
        let Some(next) = arrival
            .into_iter()
            .chain(timers.into_iter().flatten())
            .min()
        else {
            return false;
        };
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        while self.deliver() {}
        self.client.transport.handle_timeout(self.now);
        self.server.transport.handle_timeout(self.now);
        self.flush();
        true
    }

    /// Hands over what has arrived for one side on one link, up to the first packet that is for another.
    fn deliver(&mut self) -> bool {
        let mut train = Train::default();
        let mut goes = None;
        while let Some(packet) = self.wire.front() {
            let way = (packet.to_server, packet.link);
            if packet.at > self.now || *goes.get_or_insert(way) != way {
                break;
            }
            train
                .packets
                .extend(self.wire.pop_front().map(|packet| packet.bytes));
        }
        let Some((to_server, link)) = goes else {
            return false;
        };
        let (side, moved) = if to_server {
            (&mut self.server, self.moved)
        } else {
            (&mut self.client, 0)
        };
        train.from = address(link.0 as u8 + moved);
        let Side {
            transport, memory, ..
        } = side;
        transport.receive_all(self.now, link, &mut train, memory);
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while self.step(end) {
            steps += 1;
            assert!(steps < 2_000_000, "the pair does not come to rest");
        }
        self.now = end;
    }

    /// Runs until the server has an event.
    pub(crate) fn at_server(&mut self) -> Event {
        let end = self.now + Duration::from_secs(60);
        while self.server.events.is_empty() && self.step(end) {}
        self.server
            .events
            .pop_front()
            .expect("the server hears of something")
    }

    /// Runs until the client has an event.
    pub(crate) fn at_client(&mut self) -> Event {
        let end = self.now + Duration::from_secs(60);
        while self.client.events.is_empty() && self.step(end) {}
        self.client
            .events
            .pop_front()
            .expect("the client hears of something")
    }

    /// Runs until the client hears of something, which must be this reply.
    #[track_caller]
    pub(crate) fn expect_reply(&mut self, op: OpKey, status: i64, len: u64) {
        assert_eq!(self.at_client(), Event::Replied { op, status, len });
    }

    /// Runs until the client hears of something, which must be this failure.
    #[track_caller]
    pub(crate) fn expect_failure(&mut self, op: OpKey, cause: Cause, delivery: Delivery) {
        let failure = Failure { cause, delivery };
        assert_eq!(self.at_client(), Event::Failed { op, failure });
    }

    /// Runs until the client hears of something, which must be the end of its session. Answers the peer's code.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, expected: Cause) -> Option<u16> {
        let event = self.at_client();
        let Event::Closed {
            session,
            cause,
            code,
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!((session, cause), (self.client.session, expected));
        code
    }

    /// Runs for long enough that whatever is repeated has come, and no request among it.
    #[track_caller]
    pub(crate) fn expect_no_request(&mut self) {
        self.run(millis(60_000));
        let requested = |event: &Event| matches!(event, Event::Request { .. });
        assert!(!self.server.events.iter().any(requested));
    }

    /// Runs until the server has a request; answers its key and the bytes that are there.
    pub(crate) fn request(&mut self) -> (IncomingKey, Vec<u8>) {
        loop {
            if let Event::Request { incoming, .. } = self.at_server() {
                let bytes = self.server.memory.0.remove(&Buffer::Incoming(incoming));
                return (incoming, bytes.unwrap_or_default());
            }
        }
    }

    pub(crate) fn reply(&mut self, incoming: IncomingKey, status: i64, bytes: &[u8]) {
        self.server
            .memory
            .0
            .insert(Buffer::Outgoing(incoming), bytes.to_vec());
        self.server
            .transport
            .reply(self.now, incoming, status, bytes.len() as u64)
            .unwrap();
    }

    /// The server pulls the first `len` bytes of a request.
    pub(crate) fn pull(&mut self, incoming: IncomingKey, len: usize) -> TransferKey {
        let server = &mut self.server;
        let pulled = server.transport.pull(self.now, incoming, 0, len as u64);
        let transfer = pulled.unwrap();
        let place = Buffer::Transfer(transfer);
        server.memory.0.insert(place, vec![0; len]);
        transfer
    }

    pub(crate) fn packets(&self) -> (usize, usize) {
        (self.client.sent, self.server.sent)
    }

    pub(crate) fn reply_bytes(&self, op: OpKey) -> &[u8] {
        &self.client.memory.0[&Buffer::Reply(op)]
    }
}
