//! Two nodes with two links: policies of connections, a link that is cut, nodes that die meanwhile.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use abi::{ChannelId, Errno, Nd, Pid};
use client::Namespace;
use ipc::{Cause, Connection, Endpoint, Failure};
use slashnet_scenarios::actor::{Actor, tally};
use slashnet_scenarios::attacker::in_own_network;
use slashnet_scenarios::cuts::Cuts;
use slashnet_scenarios::{Ended, until};
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");

/// A counting server on lab2, and a program on lab1.
struct Lab {
    /// Locked only because its lines belong to one thread.
    _server: Mutex<Actor>,
    endpoint: Endpoint,
    names: Namespace,
    place: (Pid, ChannelId),
    cuts: Cuts,
    next: AtomicU64,
    cluster: Cluster,
}

impl Lab {
    fn start(program: &Path) -> Self {
        let cluster = Cluster::start_processes(program, ["lab1", "lab2"]);
        let server = Actor::on(&cluster["lab2"], ACTOR, "count", &[]);
        let place = server.place();
        let endpoint = cluster["lab1"].endpoint();
        let names = Namespace::of(&endpoint);
        Self {
            _server: Mutex::new(server),
            endpoint,
            names,
            place,
            cuts: Cuts::new(cluster["lab1"].links()),
            next: AtomicU64::new(0),
            cluster,
        }
    }

    /// What lab1 calls lab2 with this policy for one of its links.
    fn nd(&self, policy: &str, link: usize) -> Nd {
        let link = self.cluster["lab1"].links()[link];
        let name = format!("/net/lab2~{policy}:{link}/");
        let (nd, rest) = self.names.nd_of(&name).unwrap();
        assert_eq!(rest, b"/");
        nd
    }

    fn attach(&self, nd: Nd) -> Connection {
        self.try_attach(nd).unwrap()
    }

    fn try_attach(&self, nd: Nd) -> abi::Result<Connection> {
        let (pid, channel) = self.place;
        Connection::attach(&self.endpoint, nd, pid, channel)
    }

    /// One message with a number of its own; the server counts it.
    fn ask(&self, connection: &Connection) -> Result<(), Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut answer = [0; 8];
        connection.send(&number.to_le_bytes(), &mut answer)?;
        assert_eq!(u64::from_le_bytes(answer), !number);
        Ok(())
    }

    /// How many calls went well until `stop`; all must.
    fn ask_until(&self, connection: &Connection, stop: &AtomicBool) -> u64 {
        let mut calls = 0;
        while !stop.load(Ordering::Relaxed) {
            self.ask(connection).unwrap();
            calls += 1;
        }
        calls
    }

    fn until_answered(&self, connection: &Connection) {
        until("an answer over the mended link", || {
            self.ask(connection).is_ok()
        });
    }

    fn until_refused(&self, connection: &Connection) -> Failure {
        let mut failure = None;
        until("a refusal on the cut link", || {
            failure = self.ask(connection).err();
            failure.is_some()
        });
        failure.unwrap()
    }
}

// qnx: I8, Q2, Q3, Q7
#[test]
fn descriptors_of_one_server_keep_to_the_links_of_their_paths() {
    in_own_network(
        "descriptors_of_one_server_keep_to_the_links_of_their_paths",
        || {
            let lab = Lab::start(Path::new(ACTOR));
            let connections = [0, 1].map(|link| lab.attach(lab.nd("exclusive", link)));
            assert_eq!(
                lab.endpoint.session_stats().len(),
                1,
                "one session for both"
            );
            for connection in &connections {
                lab.until_answered(connection);
            }
            for (own, connection) in connections.iter().enumerate() {
                let before = [0, 1].map(|link| lab.cuts.packets(link));
                for _ in 0..100 {
                    lab.ask(connection).unwrap();
                }
                let after = [0, 1].map(|link| lab.cuts.packets(link));
                let moved = [0, 1].map(|link| after[link] - before[link]);
                assert!(moved[own] >= 200, "{moved:?}");
                assert!(moved[1 - own] < 20, "{moved:?}");
            }
        },
    );
}

// qnx: Q1, Q7
#[test]
fn a_cut_fails_or_stops_those_who_insist_on_the_link_and_nobody_else() {
    in_own_network(
        "a_cut_fails_or_stops_those_who_insist_on_the_link_and_nobody_else",
        || {
            let lab = Lab::start(Path::new(ACTOR));
            let plain = lab.attach(lab.cluster["lab1"].nd_of("lab2"));
            let insists = lab.attach(lab.nd("exclusive", 1));
            let waits = lab.attach(lab.nd("exclusive-wait", 1));
            let prefers = lab.attach(lab.nd("preferred", 1));
            let others = [&plain, &prefers];
            for connection in others.into_iter().chain([&insists, &waits]) {
                lab.until_answered(connection);
            }
            lab.cuts.cut(1);
            let failure = lab.until_refused(&insists);
            assert_eq!(failure.errno, Errno::ENETDOWN, "{failure:?}");
            assert_eq!(failure.cause, Cause::Link);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| lab.ask(&waits).unwrap());
                for connection in others {
                    for _ in 0..200 {
                        lab.ask(connection).unwrap();
                    }
                }
                assert!(!waiting.is_finished());
                lab.cuts.mend();
            });
            lab.until_answered(&insists);
            assert_eq!(tally(&plain).1, 0);
        },
    );
}

#[test]
fn both_nodes_die_while_a_link_is_cut_and_it_is_used_again_without_them() {
    in_own_network(
        "both_nodes_die_while_a_link_is_cut_and_it_is_used_again_without_them",
        || {
            let mut lab = Lab::start(Path::new(ACTOR));
            let plain = lab.attach(lab.cluster["lab1"].nd_of("lab2"));
            let insists = lab.attach(lab.nd("exclusive", 0));
            lab.until_answered(&insists);
            lab.cuts.cut(0);
            lab.until_refused(&insists);
            lab.cluster.get_mut("lab1").kill();
            lab.cluster.get_mut("lab2").kill();
            for _ in 0..200 {
                lab.ask(&plain).unwrap();
            }
            lab.cuts.mend();
            lab.until_answered(&insists);
            for name in ["lab1", "lab2"] {
                lab.cluster.get_mut(name).restart();
            }
            lab.cluster["lab1"].wait_for("lab2");
            let nd = lab.nd("exclusive", 1);
            until("the server is known to its new node", || {
                lab.try_attach(nd).is_ok()
            });
            let later = lab.attach(nd);
            lab.until_answered(&later);
            lab.ask(&plain).unwrap();
            assert_eq!(tally(&plain).1, 0);
        },
    );
}

// qnx: Q9
#[test]
fn links_cut_in_turn_under_load_cost_no_message() {
    in_own_network("links_cut_in_turn_under_load_cost_no_message", || {
        let lab = Lab::start(Path::new(ACTOR));
        let plain = lab.attach(lab.cluster["lab1"].nd_of("lab2"));
        let guards = [0, 1].map(|link| lab.attach(lab.nd("exclusive", link)));
        guards.iter().for_each(|guard| lab.until_answered(guard));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let ended = Ended(&stop);
            let callers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| lab.ask_until(&plain, &stop)))
                .collect();
            for link in [0, 1, 0] {
                lab.cuts.cut(link);
                lab.until_refused(&guards[link]);
                lab.cuts.mend();
                lab.until_answered(&guards[link]);
            }
            drop(ended);
            for caller in callers {
                assert!(caller.join().unwrap() > 0);
            }
        });
        assert_eq!(tally(&plain).1, 0);
    });
}

/// The actor as a node with one port for everything.
fn one_port_actor(directory: &Path) -> PathBuf {
    let script = directory.join("one-port");
    let text = format!("#!/bin/sh\nexec {ACTOR} \"$@\" --one-port yes\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn one_port_is_enough_for_all_traffic_of_a_node() {
    in_own_network("one_port_is_enough_for_all_traffic_of_a_node", || {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(&one_port_actor(directory.path()));
        lab.cuts.close_ports_of_programs();
        let plain = lab.attach(lab.cluster["lab1"].nd_of("lab2"));
        let insists = lab.attach(lab.nd("exclusive", 1));
        for _ in 0..100 {
            lab.ask(&plain).unwrap();
            lab.ask(&insists).unwrap();
        }
        let (long, mut answer) = (vec![7; 60_000], vec![0; 60_000]);
        for connection in [&plain, &insists] {
            connection.send(&long, &mut answer).unwrap();
            assert!(answer.iter().all(|byte| *byte == !7));
        }
    });
}

#[test]
fn relayed_programs_follow_a_node_that_is_started_anew() {
    in_own_network(
        "relayed_programs_follow_a_node_that_is_started_anew",
        || {
            let directory = tempfile::tempdir().unwrap();
            let mut lab = Lab::start(&one_port_actor(directory.path()));
            lab.cuts.close_ports_of_programs();
            let plain = lab.attach(lab.cluster["lab1"].nd_of("lab2"));
            lab.ask(&plain).unwrap();
            for name in ["lab1", "lab2"] {
                lab.cluster.get_mut(name).restart();
                lab.ask(&plain).unwrap();
            }
            assert_eq!(tally(&plain).1, 0);
        },
    );
}
