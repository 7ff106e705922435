//! Programs killed by SIGKILL in the middle of their work, seen from the other side.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::IoSlice;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use abi::system::{ProcessRow, QueryKind, Rows, SessionRow};
use abi::{ChannelFlags, Errno, Nd, Pulse};
use client::Namespace;
use ipc::{Cause, Channel, Connection, Delivery, Endpoint, Message, Received, SendOptions};
use slashnet_scenarios::actor::Actor;
use slashnet_scenarios::{soon, until};
use testkit::Cluster;

const ACTOR: &str = env!("CARGO_BIN_EXE_slashnet-actor");
/// Within this time after a process's end everybody concerned is told.
const TOLD: Duration = Duration::from_secs(1);
/// Enough that it is under way for long, and far above all windows and buffers.
const MUCH: u32 = 64 << 20;
/// Operations that a session carries at once.
const OPERATIONS: usize = 1024;
/// Messages beyond them.
const WAITING: usize = 8;

fn message(received: Received) -> Message {
    match received {
        Received::Message(message) => message,
        Received::Pulse(pulse) => panic!("a pulse instead of a message: {pulse:?}"),
    }
}

/// What a node's tables say of its programs and their sessions.
fn tables(endpoint: &Endpoint) -> (Vec<ProcessRow>, Vec<SessionRow>) {
    let namespace = Namespace::of(endpoint);
    let (mut processes, mut sessions) = (Vec::new(), Vec::new());
    for what in [QueryKind::Processes, QueryKind::Sessions] {
        for rows in namespace.table(what, Nd::LOCAL).unwrap() {
            match rows {
                Rows::Processes(rows) => processes.extend(rows),
                Rows::Sessions(rows) => sessions.extend(rows),
                other => panic!("{other:?}"),
            }
        }
    }
    (processes, sessions)
}

/// A client on `client` is killed while its large message goes to a server on lab2.
fn killed_client(client: &str) {
    let lab = Cluster::start(["lab1", "lab2"]);
    let endpoint = lab["lab2"].endpoint();
    let channel = Channel::create(&endpoint, ChannelFlags::DISCONNECT).unwrap();
    let (pid, id) = (endpoint.pid().0.to_string(), channel.id().0.to_string());
    let len = MUCH.to_string();
    for _ in 0..3 {
        let mut sender = Actor::on(&lab[client], ACTOR, "send", &["lab2", &pid, &id, &len]);
        let mut head = [0; 1000];
        let held = message(channel.receive_until(&mut head, soon()).unwrap());
        assert_eq!((held.info().len, head), (MUCH.into(), [7; 1000]));
        let killed = Instant::now();
        sender.kill();
        let gone = channel.receive_pulse(soon()).unwrap();
        assert!(killed.elapsed() < TOLD, "told after {:?}", killed.elapsed());
        assert_eq!(
            (gone.code, gone.sender),
            (Pulse::DISCONNECT, held.info().sender)
        );
        let mut rest = vec![0; 1 << 20];
        assert_eq!(
            held.read_at(u64::from(MUCH / 2), &mut rest),
            Err(Errno::ESRCH)
        );
        assert_eq!(held.reply(0, &[]), Err(Errno::ESRCH));
    }
    until("the server has forgotten its clients", || {
        endpoint.session_stats().is_empty()
    });
    for node in ["lab1", "lab2"] {
        let asker = lab[node].endpoint();
        until("the nodes have forgotten them, too", || {
            let (processes, sessions) = tables(&asker);
            let left = usize::from(node == "lab2") + 1;
            processes.len() == left && sessions.is_empty()
        });
    }
}

// qnx: I10, I27
#[test]
fn a_client_killed_in_mid_send_is_announced_and_leaves_nothing_behind() {
    killed_client("lab2");
}

// qnx: I10, I27
#[test]
fn a_remote_client_killed_in_mid_send_is_announced_and_leaves_nothing_behind() {
    killed_client("lab1");
}

/// A server on lab2 is killed with two messages in work and others in its queue; clients are on `client`.
fn killed_server(client: &str) {
    let lab = Cluster::start(["lab1", "lab2"]);
    let endpoint = lab[client].endpoint();
    let deaths = Channel::create(&endpoint, ChannelFlags::COID_DISCONNECT).unwrap();
    let mut server = Actor::on(&lab["lab2"], ACTOR, "hold", &["2"]);
    let (pid, channel) = server.place();
    let nd = lab[client].nd_of("lab2");
    let connection = Connection::attach(&endpoint, nd, pid, channel).unwrap();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..2 + 3)
            .map(|_| scope.spawn(|| connection.send(&[1; 100], &mut []).unwrap_err()))
            .collect();
        assert_eq!(
            (server.line(), server.line()),
            ("holding".into(), "holding".into())
        );
        until("all messages are under way", || {
            endpoint.session_stats()[0].operations == senders.len()
        });
        let killed = Instant::now();
        server.kill();
        for sender in senders {
            let failure = sender.join().unwrap();
            assert_eq!(
                (failure.errno, failure.cause),
                (Errno::ESRCH, Cause::Server)
            );
            // The dead cannot tell any more what they had received.
            assert_eq!(failure.delivery, Delivery::Unknown);
        }
        assert!(killed.elapsed() < TOLD, "told after {:?}", killed.elapsed());
    });
    let death = deaths.receive_pulse(soon()).unwrap();
    let id = u64::from(connection.id().0);
    assert_eq!((death.code, death.value), (Pulse::CONNECTION_DEATH, id));
    let later = connection.send(b"later", &mut []).unwrap_err();
    assert_eq!(
        (later.errno, later.delivery),
        (Errno::EBADF, Delivery::NotDone)
    );
    let again = Connection::attach(&endpoint, nd, pid, channel);
    assert_eq!(again.map(drop), Err(Errno::ESRCH));
}

// qnx: I22, I45, I69
#[test]
fn a_server_killed_with_messages_in_work_and_queued_fails_them_all_at_once() {
    killed_server("lab2");
}

// qnx: I22, I45, I69
#[test]
fn a_remote_server_killed_with_messages_in_work_and_queued_fails_them_all_at_once() {
    killed_server("lab1");
}

/// Whether a thread of this process is blocked in the kernel.
fn sleeps(thread: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('S')
}

// qnx: I22, I69
#[test]
fn messages_that_waited_for_their_turn_are_certainly_not_done_when_the_server_is_killed() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let endpoint = lab["lab1"].endpoint();
    let mut server = Actor::on(&lab["lab2"], ACTOR, "hold", &["1"]);
    let (pid, channel) = server.place();
    let nd = lab["lab1"].nd_of("lab2");
    let connection = Connection::attach(&endpoint, nd, pid, channel).unwrap();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let send = || {
            let tell = tell.clone();
            let connection = &connection;
            let thread = thread::Builder::new().stack_size(128 << 10);
            let body = move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32)
                    .unwrap();
                let options = SendOptions {
                    deadline: soon(),
                    ..SendOptions::default()
                };
                let message = [IoSlice::new(b"x")];
                connection
                    .send_vectored(&message, &mut [], &options)
                    .unwrap_err()
            };
            thread.spawn_scoped(scope, body).unwrap()
        };
        let mut senders = vec![send()];
        assert_eq!(server.line(), "holding");
        senders.extend((1..OPERATIONS + WAITING).map(|_| send()));
        until("all places are taken", || {
            endpoint.session_stats()[0].operations == OPERATIONS
        });
        for thread in told.iter().take(senders.len()) {
            until("everybody is blocked", || sleeps(thread));
        }
        let killed = Instant::now();
        server.kill();
        let failures: Vec<_> = senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect();
        assert!(killed.elapsed() < TOLD, "told after {:?}", killed.elapsed());
        for failure in &failures {
            assert_eq!(
                (failure.errno, failure.cause),
                (Errno::ESRCH, Cause::Server)
            );
        }
        assert_eq!(failures[0].delivery, Delivery::Unknown, "it was in work");
        let not_done = failures
            .iter()
            .filter(|failure| failure.delivery == Delivery::NotDone);
        let not_done = not_done.count();
        assert!(not_done >= WAITING, "{not_done} not done");
    });
}

// qnx: I3
#[test]
fn the_queue_of_a_closed_remote_channel_is_certainly_not_done() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let (near, far) = (lab["lab1"].endpoint(), lab["lab2"].endpoint());
    let channel = Channel::create(&far, ChannelFlags::empty()).unwrap();
    let nd = lab["lab1"].nd_of("lab2");
    let connection = Connection::attach(&near, nd, far.pid(), channel.id()).unwrap();
    thread::scope(|scope| {
        let received = scope.spawn(|| connection.send(b"1", &mut []).unwrap_err());
        let held = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
        let queued = scope.spawn(|| connection.send(b"2", &mut []).unwrap_err());
        until("the second message waits at the server", || {
            let passed = Some(Instant::now());
            assert_eq!(
                channel.receive_pulse(passed).map(drop),
                Err(Errno::ETIMEDOUT)
            );
            far.session_stats()[0].operations == 2
        });
        channel.destroy();
        let (received, queued) = (received.join().unwrap(), queued.join().unwrap());
        assert_eq!(
            (received.errno, received.delivery),
            (Errno::ESRCH, Delivery::Unknown)
        );
        assert_eq!(
            (queued.errno, queued.delivery),
            (Errno::ESRCH, Delivery::NotDone)
        );
        drop(held);
    });
}
