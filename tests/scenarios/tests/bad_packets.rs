//! A wire that changes, doubles and replays packets, between real processes.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;

use abi::{ChannelId, Nd, Pid};
use ipc::direct::{self, Introduction};
use ipc::{Connection, Endpoint};
use slashnet_scenarios::actor::{Actor, tally};
use slashnet_scenarios::attacker::{Attacker, in_own_network};
use slashnet_scenarios::relay::Ends;
use slashnet_scenarios::{PATIENCE, until};
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");

/// Sends numbered messages of many lengths and checks that each is answered with its complement.
fn converse(connection: &Connection, numbers: std::ops::Range<u64>) {
    let mut reply = vec![0; 20_000];
    for number in numbers {
        let len = 8 + (number as usize * 331) % if number % 8 == 0 { 19_000 } else { 500 };
        let mut request = vec![number as u8; len];
        request[..8].copy_from_slice(&number.to_le_bytes());
        let answer = connection.send(&request, &mut reply).unwrap();
        assert_eq!(answer.len, len, "message {number}");
        let same = request
            .iter()
            .zip(&reply)
            .all(|(asked, got)| *got == !*asked);
        assert!(same, "the answer to message {number} is changed");
    }
}

#[test]
fn a_wire_that_flips_cuts_doubles_and_replays_changes_and_repeats_nothing() {
    let ends = Ends::bind();
    let server = Actor::start(
        Path::new(ACTOR),
        &["count-behind", &ends.right().to_string()],
    );
    let there = ([127, 0, 0, 1], server.numbers("at ")[0] as u16).into();
    let endpoint = direct::endpoint(Pid(1001)).unwrap();
    let introduction = Introduction {
        nd: Nd(1),
        ..Introduction::new(1)
    };
    let driver = direct::bind().unwrap();
    let here = drivers::PacketDriver::local_address(&driver);
    let peer = drivers::udp::link_address(ends.left());
    let relay = ends.carry(here.socket_address().unwrap(), there, 0x5eed);
    direct::client_over_udp(&endpoint, &introduction, driver, peer).unwrap();
    let connection = Connection::attach(&endpoint, Nd(1), Pid(2), ChannelId(1)).unwrap();
    thread::scope(|scope| {
        for part in 0..4 {
            let connection = &connection;
            scope.spawn(move || converse(connection, part * 100..part * 100 + 100));
        }
    });
    assert_eq!(tally(&connection), (400, 0));
    for harm in [
        &relay.harm().flipped,
        &relay.harm().truncated,
        &relay.harm().replayed,
    ] {
        assert!(harm.load(Ordering::Relaxed) > 10, "{:?}", relay.harm());
    }
}

/// Checks that copies of a packet, changed and unchanged, seem to come from its sender.
fn assert_reaches_everybody() {
    let [sender, receiver] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    sender
        .send_to(b"packet", receiver.local_addr().unwrap())
        .unwrap();
    let mut whole = 0;
    for _ in 0..4 {
        let mut space = [0; 16];
        let (len, from) = receiver.recv_from(&mut space).unwrap();
        assert_eq!(from, sender.local_addr().unwrap());
        whole += usize::from(&space[..len] == b"packet");
    }
    assert_eq!(
        whole, 2,
        "the packet, its flipped, its cut, and its unchanged copy"
    );
}

/// A connection from a program on lab1 to the actor on lab2.
fn connect(endpoint: &Endpoint, lab: &Cluster, (pid, channel): (Pid, ChannelId)) -> Connection {
    Connection::attach(endpoint, lab["lab1"].nd_of("lab2"), pid, channel).unwrap()
}

// qnx: Q11
#[test]
fn an_attacker_on_the_wire_disturbs_neither_nodes_nor_programs() {
    in_own_network(
        "an_attacker_on_the_wire_disturbs_neither_nodes_nor_programs",
        || {
            let attacker = Attacker::start();
            assert_reaches_everybody();
            // Already joining, handshakes and introductions are watched, altered and repeated.
            let mut lab = Cluster::start_processes(Path::new(ACTOR), ["lab1", "lab2"]);
            let server = Actor::on(&lab["lab2"], ACTOR, "count", &["/dev/count"]);
            let place = server.place();
            let endpoint = lab["lab1"].endpoint();
            let connection = connect(&endpoint, &lab, place);
            converse(&connection, 0..200);
            attacker.replay();
            converse(&connection, 200..300);
            for name in ["lab1", "lab2"] {
                lab.get_mut(name).kill();
                lab.get_mut(name).restart();
            }
            // What an earlier life of a node has sent means nothing to the new one.
            attacker.replay();
            lab["lab1"].wait_for("lab2");
            converse(&connection, 300..400);
            until("a new program is introduced", || {
                let newcomer = lab["lab1"].endpoint();
                let nd = lab["lab1"].nd_of("lab2");
                Connection::attach(&newcomer, nd, place.0, place.1)
                    .is_ok_and(|connection| tally(&connection) == (400, 0))
            });
            // It misses some when it is slower than the nodes.
            assert!(attacker.seen() > 200, "{} packets", attacker.seen());
        },
    );
}
