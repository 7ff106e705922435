use super::*;

use std::net::UdpSocket;
use std::os::fd::AsFd;

use drivers::relay::Relay;
use drivers::{Doorbell, NeighbourDriver, PacketDriver, ReceiveBatch, RelayDriver, Silent};
use rustix::event::epoll::CreateFlags;

use crate::link_place::Own;
use crate::netlink::Netlink;

const OWN: Own = Own {
    port: 0,
    name: [7; 8],
};

/// A node with one link, and its programs.
struct Node {
    relays: Relays,
    links: Links,
    epoll: OwnedFd,
}

impl Node {
    fn new(address: &str) -> Self {
        let (_, interfaces) = Netlink::open().unwrap();
        let wanted = vec![address.parse().unwrap()];
        Self {
            relays: Relays::default(),
            links: Links::open(wanted, OWN, &interfaces).unwrap(),
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
        }
    }

    fn address(&self) -> LinkAddress {
        self.links.configs()[0].address
    }

    fn program(&mut self, number: u64) -> RelayDriver {
        let (silent, memfd) = Silent::create(MemoryDriver::RING).unwrap();
        let (near, far) = (Doorbell::create().unwrap(), Doorbell::create().unwrap());
        let parts = vec![memfd, near.rings, far.hears];
        self.relays
            .open(ProgramKey(number), parts, self.epoll.as_fd(), number)
            .unwrap();
        let memory = silent.with_doorbells(far.rings, near.hears).unwrap();
        Relay::new(memory).link(0, self.address(), 1472).unwrap()
    }

    fn serve(&mut self) {
        self.relays.serve(&self.links, |_, _| {});
    }
}

fn packet(session: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![7; len];
    packet[0] = SESSION_PACKET;
    packet[4..8].copy_from_slice(&session.to_le_bytes());
    packet
}

fn peer(address: &str) -> (UdpSocket, LinkAddress) {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = LinkAddress::from(socket.local_addr().unwrap());
    (socket, address)
}

fn arrived(socket: &UdpSocket) -> usize {
    let mut space = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut space).ok()).count()
}

#[test]
fn session_packets_pass_both_ways_and_nothing_else_does() {
    let mut node = Node::new("127.0.78.1");
    let program = node.program(1);
    let (friend, friend_address) = peer("127.0.78.2:0");
    let (stranger, stranger_address) = peer("127.0.78.3:0");
    // The port of a target does not matter, its host does.
    let target = (0, friend_address.with_port(9));
    node.relays.route(SessionId(5), ProgramKey(1), vec![target]);
    let session = packet(0x99, 100);
    let mut handshake = session.clone();
    handshake[0] = 1 << 5 | 1;
    program.send(&friend_address, &session, 100).unwrap();
    program.send(&friend_address, &handshake, 100).unwrap();
    program.send(&stranger_address, &session, 100).unwrap();
    let hidden = [session.clone(), handshake].concat();
    program.send(&friend_address, &hidden, 100).unwrap();
    node.serve();
    assert_eq!(arrived(&friend), 1);
    assert_eq!(arrived(&stranger), 0);

    assert!(node.relays.give(0, &friend_address, &packet(5, 64)));
    assert!(
        !node.relays.give(0, &friend_address, &packet(6, 64)),
        "of no session"
    );
    assert!(
        !node.relays.give(0, &friend_address, &[1 << 5 | 1; 64]),
        "no session packet"
    );
    assert!(!node.relays.give(0, &friend_address, &[SESSION_PACKET]));
    node.relays.wake();
    let mut batch = ReceiveBatch::new();
    assert_eq!(program.receive(&mut batch), Ok(1));
    let (from, bytes) = batch.packet(0).unwrap();
    assert_eq!((*from, &*bytes), (friend_address, &packet(5, 64)[..]));

    node.relays.route(SessionId(5), ProgramKey(1), Vec::new());
    assert!(
        !node.relays.give(0, &friend_address, &packet(5, 64)),
        "it has ended"
    );
    program.send(&friend_address, &session, 100).unwrap();
    node.serve();
    assert_eq!(arrived(&friend), 0);
}

#[test]
fn a_target_is_allowed_until_its_last_session_ends() {
    let mut node = Node::new("127.0.78.4");
    let program = node.program(1);
    let (friend, address) = peer("127.0.78.5:0");
    let sends = |node: &mut Node| {
        program.send(&address, &packet(9, 50), 50).unwrap();
        node.relays.rang(ProgramKey(1));
        node.serve();
        arrived(&friend)
    };
    for session in [1, 2] {
        node.relays
            .route(SessionId(session), ProgramKey(1), vec![(0, address)]);
    }
    node.relays.route(SessionId(1), ProgramKey(1), Vec::new());
    assert_eq!(sends(&mut node), 1);
    // Told again with another target, as when lanes change.
    node.relays
        .route(SessionId(2), ProgramKey(1), vec![(1, address)]);
    assert_eq!(sends(&mut node), 0, "over another link only");
    node.relays
        .route(SessionId(2), ProgramKey(1), vec![(0, address)]);
    assert_eq!(sends(&mut node), 1);
    let epoll = node.epoll.try_clone().unwrap();
    node.relays.forget(ProgramKey(1), epoll.as_fd());
    assert!(!node.relays.give(0, &address, &packet(2, 50)));
}

#[test]
fn a_program_that_floods_its_relay_has_its_turn_like_everybody() {
    let mut node = Node::new("127.0.78.6");
    let (greedy, modest) = (node.program(1), node.program(2));
    let (_sink, sink_address) = peer("127.0.78.7:0");
    let (friend, friend_address) = peer("127.0.78.8:0");
    node.relays
        .route(SessionId(1), ProgramKey(1), vec![(0, sink_address)]);
    node.relays
        .route(SessionId(2), ProgramKey(2), vec![(0, friend_address)]);
    let train = packet(9, 1400);
    for _ in 0..100 * TRAINS {
        greedy.send(&sink_address, &train, 1400).unwrap();
    }
    modest.send(&friend_address, &train, 1400).unwrap();
    node.serve();
    assert_eq!(arrived(&friend), 1, "after one turn of the other");
    let mut turns = 1;
    while node.relays.has_work() {
        node.serve();
        turns += 1;
    }
    assert!(
        turns >= 100,
        "{turns} turns for 100 times as much as one takes"
    );
}

#[test]
fn many_programs_that_flood_their_relays_leave_the_loop_its_turn() {
    let mut node = Node::new("127.0.78.10");
    let (_sink, address) = peer("127.0.78.11:0");
    let train = packet(9, 1400).repeat(46);
    let programs: Vec<RelayDriver> = (1..=8).map(|number| node.program(number)).collect();
    for (program, number) in programs.iter().zip(1_u32..) {
        node.relays.route(
            SessionId(number),
            ProgramKey(number.into()),
            vec![(0, address)],
        );
        for _ in 0..TRAINS {
            assert_eq!(program.send(&address, &train, 1400), Ok(train.len()));
        }
    }
    let mut passes = Vec::new();
    while node.relays.has_work() {
        passes.push(node.relays.serve(&node.links, |_, _| {}));
    }
    let all = programs.len() * TRAINS * train.len();
    assert_eq!(passes.iter().sum::<usize>(), all);
    let bound = PASS_BYTES + TRAINS * train.len();
    assert!(passes.iter().all(|bytes| *bytes <= bound), "{passes:?}");
}

#[test]
fn who_waits_for_a_neighbour_goes_on_when_that_has_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(&format!("memory:{}", directory.path().display()));
    let program = node.program(1);
    let peer = NeighbourDriver::open(directory.path(), [8; 8], 1).unwrap();
    let to = peer.local_address();
    node.relays
        .route(SessionId(1), ProgramKey(1), vec![(0, to)]);
    let train = packet(9, 1400);
    let mut sent = 0;
    while node.relays.blocked.is_empty() {
        sent += program.send(&to, &train, 1400).unwrap() / 1400;
        node.relays.rang(ProgramKey(1));
        node.serve();
    }
    let (mut arrived, mut batch) = (0, ReceiveBatch::new());
    while arrived < sent {
        let count = peer.receive(&mut batch).unwrap();
        arrived += count;
        if count == 0 {
            let own = node.links.driver(0).unwrap();
            own.receive(&mut batch).unwrap();
            node.relays.happened(0, EventFlags::IN, &node.links);
            assert!(node.relays.has_work(), "{arrived} of {sent}");
            node.serve();
        }
    }
}

#[test]
fn who_breaks_the_rules_of_the_rings_is_not_served_any_more() {
    let mut node = Node::new("127.0.78.9");
    let (_, memfd) = Silent::create(MemoryDriver::RING).unwrap();
    let (near, far) = (Doorbell::create().unwrap(), Doorbell::create().unwrap());
    let wrong = vec![near.rings, memfd, far.hears];
    let refused = node
        .relays
        .open(ProgramKey(1), wrong, node.epoll.as_fd(), 1);
    assert!(refused.is_err());
    assert!(
        node.relays
            .open(ProgramKey(1), Vec::new(), node.epoll.as_fd(), 1)
            .is_err()
    );
    assert!(!node.relays.has_work());
}
