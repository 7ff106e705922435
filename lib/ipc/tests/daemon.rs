//! What an endpoint does with a node daemon that dies, comes back, or talks nonsense. The daemon is this test.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

extern crate slashnet_ipc as ipc;

mod node;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use abi::system::{self, Attached, Death, DeathCause, Notice, Offer, Refusal, Reply, Request};
use abi::{
    AttachFlags, ChannelFlags, Credentials, Errno, FileType, Gid, Handle, Incarnation, Nd, Pid,
    SessionId, Uid,
};
use drivers::{MemoryDriver, MemoryParts};
use ipc::{Channel, Endpoint, Received};
use node::Daemon;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::accept;
use testkit::until;

fn offer(local: u32) -> Offer {
    Offer {
        local: SessionId(local),
        peer: SessionId(5000 + local),
        credentials: Credentials::new(Nd::LOCAL, Pid(77), Uid(0), Gid(0)),
        user: Uid(0),
        rights: vec![0, 0],
        incarnation: Incarnation(1),
        secret: None,
        lanes: Vec::new(),
        proof: [0; 16],
    }
}

fn start() -> (tempfile::TempDir, Daemon, Endpoint) {
    let directory = tempfile::tempdir().unwrap();
    let listener = Daemon::listen(directory.path());
    let daemon = thread::spawn(|| Daemon::welcome(listener, 7).0);
    let endpoint = Endpoint::connect(directory.path()).unwrap();
    (directory, daemon.join().unwrap(), endpoint)
}

#[test]
fn without_a_daemon_connecting_fails_at_once() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        Endpoint::connect(directory.path()).unwrap_err(),
        Errno::ENOENT
    );
    drop(Daemon::listen(directory.path()));
    assert_eq!(
        Endpoint::connect(directory.path()).unwrap_err(),
        Errno::ECONNREFUSED
    );
    assert_eq!(
        Endpoint::connect(Path::new(&"x".repeat(200))).unwrap_err(),
        Errno::ENAMETOOLONG
    );
}

#[test]
fn a_daemon_of_another_version_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let listener = Daemon::listen(directory.path());
    let daemon = thread::spawn(move || {
        let program = accept(&listener).unwrap();
        let daemon = Daemon { listener, program };
        let (serial, _) = daemon.next();
        daemon.say(
            serial,
            &Reply::Error(Refusal::new(Errno::ENOTSUP, "version 2 only")),
            &[],
        );
        daemon
    });
    assert_eq!(
        Endpoint::connect(directory.path()).unwrap_err(),
        Errno::ENOTSUP
    );
    drop(daemon.join().unwrap());
}

#[test]
fn requests_are_answered_by_serial_in_any_order() {
    let (_directory, daemon, endpoint) = start();
    assert_eq!(endpoint.pid(), Pid(321));
    assert_eq!(endpoint.node_name().as_str(), "lab1");
    assert_eq!(endpoint.namespace_generation(), 7);
    thread::scope(|scope| {
        let ask = |path: &'static [u8]| {
            let request = Request::Unlink(system::Unlink {
                path: path.to_vec(),
            });
            let endpoint = &endpoint;
            scope.spawn(move || endpoint.request(&request))
        };
        let asked = [ask(b"/a"), ask(b"/b"), ask(b"/c")];
        let mut requests: Vec<_> = (0..3).map(|_| daemon.next()).collect();
        requests.reverse();
        for (serial, request) in requests {
            let Request::Unlink(unlink) = request else {
                panic!("{request:?}")
            };
            match unlink.path.as_slice() {
                b"/b" => daemon.say(serial, &Reply::Error(Refusal::new(Errno::EPERM, "no")), &[]),
                _ => daemon.say(serial, &Reply::Done, &[]),
            }
        }
        let answers = asked.map(|thread| thread.join().unwrap());
        assert_eq!(
            answers,
            [Ok(Reply::Done), Err(Errno::EPERM), Ok(Reply::Done)]
        );
    });
}

#[test]
fn a_restarted_daemon_is_told_everything_and_answers_what_the_last_one_did_not() {
    let (directory, daemon, endpoint) = start();
    let channel = Channel::create(&endpoint, ChannelFlags::empty()).unwrap();
    let attach = || {
        let flags = AttachFlags::empty();
        endpoint.attach_prefix(b"/dev/x", flags, FileType::ANY, channel.id(), Handle(4))
    };
    let registration = thread::scope(|scope| {
        let attached = scope.spawn(attach);
        let (serial, request) = daemon.next();
        assert!(matches!(request, Request::Attach(_)));
        daemon.say(serial, &Reply::Attached(Attached { id: 9 }), &[]);
        attached.join().unwrap().unwrap()
    });
    let (_client, parts) = MemoryDriver::create().unwrap();
    daemon.say(50, &Notice::Offer(offer(1)), &descriptors(&parts));
    assert!(matches!(daemon.next(), (50, Request::Accept(_))));
    thread::scope(|scope| {
        let request = Request::Unlink(system::Unlink {
            path: b"/late".to_vec(),
        });
        let endpoint = &endpoint;
        let asked = scope.spawn(move || endpoint.request(&request));
        assert!(matches!(daemon.next().1, Request::Unlink(_)));
        daemon.die();
        let (daemon, hello) = Daemon::welcome(Daemon::listen(directory.path()), 8);
        assert_eq!(hello.previous, Pid(321));
        assert_eq!(hello.sessions.len(), 1);
        assert_eq!(
            (hello.sessions[0].local, hello.sessions[0].peer),
            (SessionId(1), SessionId(5001))
        );
        let mut repeated = Vec::new();
        for _ in 0..2 {
            match daemon.next() {
                (serial, Request::Attach(attach)) => {
                    assert_eq!(
                        (attach.path.as_slice(), attach.handle),
                        (&b"/dev/x"[..], Handle(4))
                    );
                    daemon.say(serial, &Reply::Attached(Attached { id: 33 }), &[]);
                    repeated.push("attach");
                }
                (serial, Request::Unlink(unlink)) => {
                    assert_eq!(unlink.path, b"/late");
                    daemon.say(serial, &Reply::Done, &[]);
                    repeated.push("unlink");
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        repeated.sort_unstable();
        assert_eq!(repeated, ["attach", "unlink"]);
        assert_eq!(asked.join().unwrap(), Ok(Reply::Done));
        assert_eq!(endpoint.namespace_generation(), 8);
        let detached = scope.spawn(|| registration.detach());
        let (serial, request) = daemon.next();
        let Request::Detach(detach) = request else {
            panic!("{request:?}")
        };
        assert_eq!(detach.id, 33, "the new daemon's number");
        daemon.say(serial, &Reply::Done, &[]);
        assert_eq!(detached.join().unwrap(), Ok(()));
    });
}

fn descriptors(parts: &MemoryParts) -> [BorrowedFd<'_>; 3] {
    [
        parts.memfd.as_fd(),
        parts.rings.as_fd(),
        parts.hears.as_fd(),
    ]
}

#[test]
fn bad_offers_are_refused_and_good_ones_still_accepted() {
    let (_directory, daemon, endpoint) = start();
    let refused = |daemon: &Daemon, serial| match daemon.next() {
        (answered, Request::Refuse(_)) => assert_eq!(answered, serial),
        other => panic!("{other:?}"),
    };
    let (_near, parts) = MemoryDriver::create().unwrap();
    let [memory, a, b] = descriptors(&parts);
    daemon.say(1, &Notice::Offer(offer(1)), &[]);
    refused(&daemon, 1);
    daemon.say(2, &Notice::Offer(offer(2)), &[memory, a]);
    refused(&daemon, 2);
    daemon.say(3, &Notice::Offer(offer(3)), &[a, memory, b]);
    refused(&daemon, 3);
    let unsealed = memfd_create("unsealed", MemfdFlags::CLOEXEC).unwrap();
    daemon.say(4, &Notice::Offer(offer(4)), &[unsealed.as_fd(), a, b]);
    refused(&daemon, 4);
    let secret = Some(system::SessionSecret([1; 32]));
    daemon.say(5, &Notice::Offer(Offer { secret, ..offer(5) }), &[]);
    refused(&daemon, 5);
    daemon.say(6, &Notice::Offer(offer(0)), &[memory, a, b]);
    refused(&daemon, 6);
    assert!(endpoint.session_stats().is_empty());
    daemon.say(7, &Notice::Offer(offer(7)), &[memory, a, b]);
    assert!(matches!(daemon.next(), (7, Request::Accept(accept)) if accept.slots > 0));
    assert_eq!(endpoint.session_stats().len(), 1);
    daemon.say(8, &Notice::Offer(offer(7)), &[memory, a, b]);
    refused(&daemon, 8);
}

#[test]
fn nonsense_is_survived() {
    let (_directory, daemon, endpoint) = start();
    for bytes in [
        &[1][..],
        &[0; 4],
        &[0xff; 60],
        &[9, 0, 0, 0, 0, 2, 1],
        &[0x55; 60_000],
    ] {
        daemon.send(bytes, &[]);
    }
    let death = Death {
        sessions: vec![SessionId(4), SessionId(0)],
        cause: DeathCause::Node,
    };
    daemon.say(0, &Notice::Death(death), &[]);
    daemon.say(999, &Reply::Done, &[]);
    thread::scope(|scope| {
        let request = Request::Shutdown;
        let endpoint = &endpoint;
        let asked = scope.spawn(move || endpoint.request(&request));
        let (serial, _) = daemon.next();
        daemon.say(serial, &Reply::Done, &[]);
        assert_eq!(asked.join().unwrap(), Ok(Reply::Done));
    });
}

// qnx: I9, I10
#[test]
fn what_a_dead_client_has_sent_still_counts_and_then_it_is_gone() {
    let (_directory, daemon, endpoint) = start();
    let channel = Channel::create(&endpoint, ChannelFlags::DISCONNECT).unwrap();
    let (near, parts) = MemoryDriver::create().unwrap();
    daemon.say(1, &Notice::Offer(offer(1)), &descriptors(&parts));
    assert!(matches!(daemon.next(), (1, Request::Accept(_))));
    let client = ipc::direct::endpoint(Pid(77)).unwrap();
    let mut introduction = ipc::direct::Introduction::new(5001);
    introduction.server = SessionId(1);
    ipc::direct::client_over_memory(&client, &introduction, near, None).unwrap();
    let connection = ipc::Connection::attach(&client, Nd::LOCAL, Pid(2), channel.id()).unwrap();
    for value in 0..10 {
        connection.pulse(-1, 1, value).unwrap();
    }
    let death = Death {
        sessions: vec![SessionId(1)],
        cause: DeathCause::Process,
    };
    daemon.say(0, &Notice::Death(death), &[]);
    let mut values = Vec::new();
    let mut gone = false;
    while values.len() < 10 || !gone {
        let soon = Some(Instant::now() + Duration::from_secs(10));
        match channel.receive_until(&mut [], soon).unwrap() {
            Received::Pulse(pulse) if pulse.code == 1 => values.push(pulse.value),
            Received::Pulse(pulse) => gone = pulse.code == abi::Pulse::DISCONNECT,
            Received::Message(message) => panic!("{message:?}"),
        }
    }
    assert_eq!(values, (0..10).collect::<Vec<_>>());
    until("the session is gone", || {
        endpoint.session_stats().is_empty()
    });
}
