//! Nodes that do not trust each other, not any more, or not by this code.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use abi::system::{Forget, Invite, Join, Reply, Request};
use abi::{Errno, NodeName, OpenFlags};
use client::Namespace;
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server};
use slashnet_scenarios::until;
use testkit::{Cluster, Member};

/// Whatever has no answer is given up within this time.
const GIVEN_UP: Duration = Duration::from_secs(8);

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(b"hello")
    }
}

fn hello(node: &Member) -> Running {
    let server = Server::new(&node.endpoint()).unwrap();
    let server = server.attach("/dev/hello", Attributes::device(0o666), Hello);
    server.unwrap().start().unwrap()
}

/// Opens a path and reads from it.
fn read(node: &Member, path: &str) -> Result<usize, Errno> {
    let namespace = Namespace::of(&node.endpoint());
    namespace.open(path, OpenFlags::READ)?.read(&mut [0; 16])
}

fn invite(node: &Member, ttl: Duration) -> Vec<u8> {
    match node.endpoint().request(&Request::Invite(Invite { ttl })) {
        Ok(Reply::Code(code)) => code.code,
        other => panic!("{other:?}"),
    }
}

/// What the user of `slashnet join` gets.
fn join(node: &Member, code: &[u8]) -> Result<NodeName, (Errno, String)> {
    let join = Join {
        code: code.to_vec(),
    };
    match node.endpoint().ask(&Request::Join(join)).unwrap() {
        Reply::Joined(joined) => Ok(joined.node),
        Reply::Error(refusal) => Err((refusal.errno, String::from_utf8(refusal.text).unwrap())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_without_trust_gives_and_gets_nothing() {
    let lab = Cluster::strangers(["lab1", "lab2", "lab3"]);
    let _serving = ["lab1", "lab2", "lab3"].map(|name| hello(&lab[name]));
    for (here, there) in [("lab1", "lab2"), ("lab2", "lab1")] {
        let path = format!("/net/{there}/dev/hello");
        assert_eq!(read(&lab[here], &path), Err(Errno::ENOENT));
    }
    lab["lab1"].introduce(&lab["lab2"]);
    lab["lab1"].introduce(&lab["lab3"]);
    for (here, there) in [("lab1", "lab2"), ("lab2", "lab1"), ("lab1", "lab3")] {
        let path = format!("/net/{there}/dev/hello");
        assert_eq!(read(&lab[here], &path), Ok(5));
    }
    // Who trusts somebody does not trust everybody whom that one trusts.
    assert_eq!(
        read(&lab["lab3"], "/net/lab2/dev/hello"),
        Err(Errno::ENOENT)
    );
    let around = read(&lab["lab3"], "/net/lab1/net/lab2/dev/hello");
    assert!(around.is_err(), "{around:?}");
}

#[test]
fn a_node_that_was_forgotten_gets_nothing_any_more() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let _serving = ["lab1", "lab2"].map(|name| hello(&lab[name]));
    assert_eq!(read(&lab["lab1"], "/net/lab2/dev/hello"), Ok(5));
    let node = NodeName::parse("lab1").unwrap();
    let forget = Request::Forget(Forget { node });
    lab["lab2"].endpoint().request(&forget).unwrap();
    assert_eq!(
        read(&lab["lab2"], "/net/lab1/dev/hello"),
        Err(Errno::ENOENT)
    );
    let began = Instant::now();
    let refused = read(&lab["lab1"], "/net/lab2/dev/hello");
    // A stranger gets silence, so lab1 cannot know more than that nobody answers.
    assert_eq!(refused, Err(Errno::EHOSTDOWN));
    assert!(began.elapsed() < GIVEN_UP, "after {:?}", began.elapsed());
}

#[test]
fn only_the_right_code_only_once_and_only_in_time_makes_trust() {
    let mut lab = Cluster::strangers(["lab1", "lab2", "lab3"]);
    let _serving = hello(&lab["lab1"]);
    let minute = Duration::from_secs(60);
    let right = invite(&lab["lab1"], minute);
    assert_eq!(join(&lab["lab2"], &right).unwrap().as_str(), "lab1");
    let (errno, text) = join(&lab["lab3"], &right).unwrap_err();
    assert_eq!(errno, Errno::EALREADY);
    assert!(
        text.contains("used already") && text.contains("lab1"),
        "{text}"
    );
    let short = Duration::from_millis(1);
    let (expired, made) = (invite(&lab["lab1"], short), Instant::now());
    until("the code expires", || made.elapsed() > 2 * short);
    let (errno, text) = join(&lab["lab3"], &expired).unwrap_err();
    assert!(errno == Errno::ETIME && text.contains("expired"), "{text}");
    let mut mistyped = right;
    mistyped[20] = if mistyped[20] == b'A' { b'B' } else { b'A' };
    let (errno, text) = join(&lab["lab3"], &mistyped).unwrap_err();
    assert!(
        errno == Errno::EINVAL && text.contains("mistyped"),
        "{text}"
    );
    // Well made, but of no invitation that lab1 knows: silence.
    let unknown = invite(&lab["lab1"], minute);
    let lab1 = lab.get_mut("lab1");
    lab1.kill();
    std::fs::remove_file(lab1.directory().join("state/invites.toml")).unwrap();
    lab1.restart();
    let began = Instant::now();
    let (errno, text) = join(&lab["lab3"], &unknown).unwrap_err();
    assert_eq!(errno, Errno::ETIMEDOUT, "{text}");
    assert!(began.elapsed() < GIVEN_UP, "after {:?}", began.elapsed());
    assert_eq!(
        read(&lab["lab3"], "/net/lab1/dev/hello"),
        Err(Errno::ENOENT)
    );
    until("the one with the right code gets in", || {
        read(&lab["lab2"], "/net/lab1/dev/hello") == Ok(5)
    });
}
