//! Node daemons that are killed and restarted, as processes, while programs talk.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use abi::system::{QueryKind, Rows};
use abi::{ChannelId, Nd, OpenFlags, Pid};
use client::Namespace;
use ipc::Connection;
use slashnet_scenarios::actor::{Actor, tally};
use slashnet_scenarios::{Ended, until};
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");

/// A counting server on lab2 and a connection to it from a program on lab1.
struct Lab {
    server: Actor,
    place: (Pid, ChannelId),
    cluster: Cluster,
}

fn lab() -> Lab {
    let cluster = Cluster::start_processes(Path::new(ACTOR), ["lab1", "lab2"]);
    let server = Actor::on(&cluster["lab2"], ACTOR, "count", &["/dev/count"]);
    let place = server.place();
    assert_eq!(server.line(), "attached");
    Lab {
        server,
        place,
        cluster,
    }
}

impl Lab {
    fn connect(&self) -> Result<Connection, abi::Errno> {
        let nd = self.cluster["lab1"].nd_of("lab2");
        let (pid, channel) = self.place;
        Connection::attach(&self.cluster["lab1"].endpoint(), nd, pid, channel)
    }
}

#[test]
fn daemons_killed_and_restarted_under_traffic_cost_no_message_and_serve_again() {
    let mut lab = lab();
    let connections = [lab.connect().unwrap(), lab.connect().unwrap()];
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let flows_on = || {
        let now = next.load(Ordering::Relaxed);
        until("the traffic goes on", || {
            next.load(Ordering::Relaxed) > now + 50
        });
    };
    let talk = |connection: &Connection| {
        let (mut request, mut reply) = ([0; 300], [0; 300]);
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            request[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(connection.send(&request, &mut reply).unwrap().len, 300);
            assert!(
                request
                    .iter()
                    .zip(&reply)
                    .all(|(asked, got)| *got == !*asked)
            );
        }
    };
    thread::scope(|scope| {
        let ended = Ended(&stop);
        let talk = &talk;
        let talkers: Vec<_> = connections
            .iter()
            .map(|connection| scope.spawn(move || talk(connection)))
            .collect();
        flows_on();
        for _ in 0..2 {
            for name in ["lab1", "lab2"] {
                lab.cluster.get_mut(name).kill();
                flows_on();
            }
            for name in ["lab2", "lab1"] {
                lab.cluster.get_mut(name).restart();
                flows_on();
            }
        }
        drop(ended);
        for talker in talkers {
            talker.join().unwrap();
        }
    });
    let sent = next.load(Ordering::Relaxed) as i64;
    assert_eq!(tally(&connections[0]), (sent, 0));
    lab.cluster["lab1"].wait_for("lab2");
    until("a new program is introduced", || {
        lab.connect()
            .is_ok_and(|connection| tally(&connection) == (sent, 0))
    });
    let namespace = Namespace::of(&lab.cluster["lab1"].endpoint());
    until("the server's name is known again", || {
        let steps = namespace
            .trace("/net/lab2/dev/count", OpenFlags::READ)
            .unwrap();
        steps.len() == 4
    });
}

fn has_sessions(namespace: &Namespace) -> bool {
    let tables = namespace.table(QueryKind::Sessions, Nd::LOCAL).unwrap();
    let is_empty = |rows: &Rows| matches!(rows, Rows::Sessions(rows) if rows.is_empty());
    !tables.iter().all(is_empty)
}

// qnx: I10
#[test]
fn a_death_that_no_daemon_saw_is_told_when_the_daemons_are_back() {
    let mut lab = lab();
    let connection = lab.connect().unwrap();
    assert_eq!(tally(&connection), (0, 0));
    let both = ["lab1", "lab2"];
    // Once with the server alive: its session is known to the second life of the daemons and is to be known to the third.
    both.iter()
        .for_each(|name| lab.cluster.get_mut(name).kill());
    both.iter()
        .for_each(|name| lab.cluster.get_mut(name).restart());
    for name in both {
        let namespace = Namespace::of(&lab.cluster[name].endpoint());
        until("the programs are back", || has_sessions(&namespace));
    }
    both.iter()
        .for_each(|name| lab.cluster.get_mut(name).kill());
    lab.server.kill();
    both.iter()
        .for_each(|name| lab.cluster.get_mut(name).restart());
    until("the client is told", || connection.is_dead());
    let failure = connection.send(b"x", &mut []).unwrap_err();
    assert_eq!(failure.delivery, ipc::Delivery::NotDone);
}
