//! Processes that die or stand still while a large message is on its way.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::IoSlice;
use std::thread;
use std::time::{Duration, Instant};

use abi::{ChannelFlags, Errno};
use ipc::{Cause, Channel, Connection, Delivery, Endpoint, Interrupt, Received, SendOptions};
use rustix::process::{Signal, kill_process};
use slashnet_scenarios::actor::{Actor, tally};
use slashnet_scenarios::{soon, until};
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");
/// Within this time after a process's end everybody concerned is told.
const TOLD: Duration = Duration::from_secs(1);
/// Enough that it is under way for long, and far above all windows and buffers.
const MUCH: usize = 64 << 20;

/// A connection from a program on `node` to a serving actor on lab2.
fn connect(lab: &Cluster, endpoint: &Endpoint, node: &str, server: &Actor) -> Connection {
    let (pid, channel) = server.place();
    Connection::attach(endpoint, lab[node].nd_of("lab2"), pid, channel).unwrap()
}

// qnx: I27
#[test]
fn a_server_that_reads_from_a_client_is_freed_when_the_client_is_killed() {
    for client in ["lab1", "lab2"] {
        let lab = Cluster::start(["lab1", "lab2"]);
        let endpoint = lab["lab2"].endpoint();
        let channel = Channel::create(&endpoint, ChannelFlags::empty()).unwrap();
        let (pid, id) = (endpoint.pid().0.to_string(), channel.id().0.to_string());
        let len = MUCH.to_string();
        let mut sender = Actor::on(&lab[client], ACTOR, "send", &["lab2", &pid, &id, &len]);
        let mut buffer = vec![0; 4 << 20];
        let Received::Message(message) = channel.receive_until(&mut buffer, soon()).unwrap() else {
            panic!("no message")
        };
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut at = 0;
                loop {
                    match message.read_at(at, &mut buffer) {
                        Ok(read) => at = (at + read as u64) % MUCH as u64,
                        Err(errno) => return (errno, Instant::now()),
                    }
                }
            });
            let killed = Instant::now();
            sender.kill();
            let (errno, freed) = reader.join().unwrap();
            assert_eq!(errno, Errno::ESRCH);
            let after = freed.saturating_duration_since(killed);
            assert!(after < TOLD, "freed after {after:?}");
        });
    }
}

/// The server on lab2 is killed while it moves the bytes of a large message.
fn killed_in_the_middle(role: &str, client: &str, request: &[u8], reply: &mut [u8]) {
    let lab = Cluster::start(["lab1", "lab2"]);
    let mut server = Actor::on(&lab["lab2"], ACTOR, role, &[]);
    let connection = connect(&lab, &lab[client].endpoint(), client, &server);
    thread::scope(|scope| {
        let sender = scope.spawn(|| connection.send(request, reply).unwrap_err());
        assert_eq!(server.line(), "busy");
        let killed = Instant::now();
        server.kill();
        let failure = sender.join().unwrap();
        assert_eq!(
            (failure.errno, failure.cause),
            (Errno::ESRCH, Cause::Server)
        );
        assert_eq!(failure.delivery, Delivery::Unknown);
        assert!(killed.elapsed() < TOLD, "told after {:?}", killed.elapsed());
    });
}

// qnx: I22
#[test]
fn a_client_whose_message_is_being_read_is_freed_when_the_server_is_killed() {
    for client in ["lab1", "lab2"] {
        killed_in_the_middle("swallow", client, &vec![1; MUCH], &mut []);
    }
}

// qnx: I22
#[test]
fn a_client_whose_buffer_is_being_written_is_freed_when_the_server_is_killed() {
    for client in ["lab1", "lab2"] {
        killed_in_the_middle("pour", client, b"give", &mut vec![0; MUCH]);
    }
}

#[test]
fn what_is_sent_to_a_server_that_stands_still_is_done_once_when_it_goes_on() {
    for client in ["lab1", "lab2"] {
        let lab = Cluster::start(["lab1", "lab2"]);
        let server = Actor::on(&lab["lab2"], ACTOR, "count", &[]);
        let endpoint = lab[client].endpoint();
        let connection = connect(&lab, &endpoint, client, &server);
        let process = rustix::process::Pid::from_raw(server.process() as i32).unwrap();
        let ask = |number: u64| {
            connection
                .send(&number.to_le_bytes(), &mut [0; 8])
                .unwrap()
                .status
        };
        assert_eq!(ask(0), 0);
        for round in 0..3 {
            kill_process(process, Signal::STOP).unwrap();
            thread::scope(|scope| {
                let ask = &ask;
                for number in 1..=4 {
                    scope.spawn(move || ask(round * 4 + number));
                }
                until("all are under way", || {
                    endpoint.session_stats()[0].operations == 4
                });
                kill_process(process, Signal::CONT).unwrap();
            });
        }
        assert_eq!(tally(&connection), (13, 0));
    }
}

/// Longer than a server may be silent before its clients leave without its word.
const LONG: Duration = Duration::from_millis(1500);

// qnx: I40, I43
#[test]
fn a_server_that_stands_still_does_not_keep_those_who_want_to_leave() {
    for client in ["lab1", "lab2"] {
        let lab = Cluster::start(["lab1", "lab2"]);
        let server = Actor::on(&lab["lab2"], ACTOR, "count", &[]);
        let connection = connect(&lab, &lab[client].endpoint(), client, &server);
        let process = rustix::process::Pid::from_raw(server.process() as i32).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        let began = Instant::now();
        let interrupt = Interrupt::new();
        let ask = |number: u64, deadline, interrupt| {
            let mut request = vec![0; 5000];
            request[..8].copy_from_slice(&number.to_le_bytes());
            let options = SendOptions {
                deadline,
                interrupt,
                ..SendOptions::default()
            };
            let failure = connection.send_vectored(&[IoSlice::new(&request)], &mut [], &options);
            failure.unwrap_err()
        };
        thread::scope(|scope| {
            let now = Some(began + Duration::from_millis(50));
            let late = scope.spawn(move || ask(1, now, None));
            let interrupted = scope.spawn(|| ask(2, None, Some(&interrupt)));
            interrupt.trigger();
            let (late, interrupted) = (late.join().unwrap(), interrupted.join().unwrap());
            assert_eq!(
                (late.errno, late.cause),
                (Errno::ETIMEDOUT, Cause::TimedOut)
            );
            let expected = (Errno::EINTR, Cause::Interrupted);
            assert_eq!((interrupted.errno, interrupted.cause), expected);
        });
        assert!(
            began.elapsed() < 4 * TOLD,
            "{client}: {:?}",
            began.elapsed()
        );
        kill_process(process, Signal::CONT).unwrap();
        let (executed, again) = tally(&connection);
        assert!(executed <= 2 && again == 0, "the session lives");
    }
}

// qnx: I40, I43
#[test]
fn a_server_that_lives_may_keep_those_who_want_to_leave() {
    for client in ["lab1", "lab2"] {
        let lab = Cluster::start(["lab1", "lab2"]);
        let (near, far) = (lab[client].endpoint(), lab["lab2"].endpoint());
        let channel = Channel::create(&far, ChannelFlags::UNBLOCK).unwrap();
        let nd = lab[client].nd_of("lab2");
        let connection = Connection::attach(&near, nd, far.pid(), channel.id()).unwrap();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                // The server has the message before, also on a busy machine.
                let options = SendOptions {
                    deadline: Some(Instant::now() + Duration::from_millis(500)),
                    ..SendOptions::default()
                };
                let request = [IoSlice::new(b"x")];
                connection
                    .send_vectored(&request, &mut [], &options)
                    .unwrap()
                    .status
            });
            let Received::Message(message) = channel.receive_until(&mut [0], soon()).unwrap()
            else {
                panic!("no message")
            };
            let unblock = channel.receive_pulse(soon()).unwrap();
            assert_eq!(unblock.code, abi::Pulse::UNBLOCK);
            let asked = Instant::now();
            until("much time passes", || {
                asked.elapsed() > LONG || sender.is_finished()
            });
            assert!(!sender.is_finished(), "{client}");
            message.reply(7, &[]).unwrap();
            assert_eq!(sender.join().unwrap(), 7);
        });
    }
}
