//! All links between two nodes are cut, and come back.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use abi::Errno;
use ipc::{Cause, Connection, Delivery, Endpoint};
use slashnet_scenarios::actor::{Actor, tally};
use slashnet_scenarios::attacker::in_own_network;
use slashnet_scenarios::until;
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");

/// Cuts or mends every link of this network namespace.
fn loopback(state: &str) {
    let ip = Command::new("ip")
        .args(["link", "set", "lo", state])
        .status();
    assert!(ip.unwrap().success());
}

#[test]
fn a_short_cut_costs_time_and_nothing_else() {
    in_own_network("a_short_cut_costs_time_and_nothing_else", || {
        let lab = Cluster::start_processes(Path::new(ACTOR), ["lab1", "lab2"]);
        let server = Actor::on(&lab["lab2"], ACTOR, "count", &[]);
        let (pid, channel) = server.place();
        let endpoint = lab["lab1"].endpoint();
        let nd = lab["lab1"].nd_of("lab2");
        let connection = Connection::attach(&endpoint, nd, pid, channel).unwrap();
        let ask = |number: u64| {
            connection
                .send(&number.to_le_bytes(), &mut [0; 8])
                .unwrap()
                .status
        };
        for round in 0..3 {
            loopback("down");
            thread::scope(|scope| {
                for number in 0..4 {
                    let ask = &ask;
                    scope.spawn(move || ask(round * 4 + number));
                }
                until("all are under way", || {
                    endpoint.session_stats()[0].operations == 4
                });
                loopback("up");
            });
        }
        assert_eq!(tally(&connection), (12, 0));
    });
}

// qnx: I60, I69, Q10, Q12
#[test]
fn a_long_cut_ends_every_send_in_time_and_mending_it_is_enough() {
    in_own_network(
        "a_long_cut_ends_every_send_in_time_and_mending_it_is_enough",
        || {
            let lab = Cluster::start_processes(Path::new(ACTOR), ["lab1", "lab2"]);
            let server = Actor::on(&lab["lab2"], ACTOR, "hold", &["1"]);
            let (pid, channel) = server.place();
            let endpoint = lab["lab1"].endpoint();
            let nd = lab["lab1"].nd_of("lab2");
            let connection = Connection::attach(&endpoint, nd, pid, channel).unwrap();
            thread::scope(|scope| {
                let in_work = scope.spawn(|| connection.send(b"in work", &mut []).unwrap_err());
                assert_eq!(server.line(), "holding");
                loopback("down");
                let cut = Instant::now();
                let failure = in_work.join().unwrap();
                assert_eq!(failure.delivery, Delivery::Unknown);
                assert_eq!(failure.errno, Errno::ESRCH);
                assert!(
                    matches!(failure.cause, Cause::Link | Cause::Node),
                    "{failure:?}"
                );
                assert!(
                    cut.elapsed() < Duration::from_secs(25),
                    "{:?}",
                    cut.elapsed()
                );
            });
            loopback("up");
            until("a new connection is made", || {
                Endpoint::connect(lab["lab1"].directory())
                    .and_then(|endpoint| Connection::attach(&endpoint, nd, pid, channel))
                    .is_ok()
            });
        },
    );
}
