//! Names that lead nowhere: what the user gets, and how soon.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use abi::{AttachFlags, ChannelFlags, Errno, FileType, Handle, OpenFlags};
use client::Namespace;
use ipc::{Channel, Endpoint};
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server};
use slashnet_scenarios::until;
use testkit::Cluster;

const READ: OpenFlags = OpenFlags::READ;
/// A node that does not answer is given up within this time.
const GIVEN_UP: Duration = Duration::from_secs(5);

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(b"hello")
    }
}

fn hello(endpoint: &Endpoint, path: &str) -> Result<Running, Errno> {
    Server::new(endpoint)?
        .attach(path, Attributes::device(0o666), Hello)?
        .start()
}

fn open(namespace: &Namespace, path: &str) -> Result<(), Errno> {
    namespace.open(path, READ).map(drop)
}

// qnx: P36, Q13
#[test]
fn unknown_nodes_and_unknown_paths_are_enoent_at_once() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let _hello = hello(&lab["lab2"].endpoint(), "/dev/hello").unwrap();
    let namespace = Namespace::of(&lab["lab1"].endpoint());
    assert_eq!(open(&namespace, "/net/lab2/dev/hello"), Ok(()));
    let began = Instant::now();
    for path in [
        "/net/lab9",
        "/net/lab9/dev/hello",
        "/net/lab2/dev/other",
        "/net/lab2/nowhere/at/all",
        "/nowhere",
        "",
    ] {
        assert_eq!(open(&namespace, path), Err(Errno::ENOENT), "{path:?}");
        assert_eq!(
            namespace.stat(path).map(drop),
            Err(Errno::ENOENT),
            "{path:?}"
        );
    }
    // The server is a file, not a directory.
    assert_eq!(
        open(&namespace, "/net/lab2/dev/hello/below"),
        Err(Errno::ENOENT)
    );
    assert_eq!(open(&namespace, "/net/not a name/dev"), Err(Errno::ENOENT));
    assert_eq!(
        open(&namespace, "/net/lab2/dev\0/hello"),
        Err(Errno::EINVAL)
    );
    assert!(began.elapsed() < GIVEN_UP);
}

// qnx: P6
#[test]
fn names_up_to_255_bytes_and_paths_up_to_the_limit_pass_and_longer_ones_are_enametoolong() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let (far, near) = (lab["lab2"].endpoint(), lab["lab1"].endpoint());
    let namespace = Namespace::of(&near);
    let longest = format!("/dev/{}", "n".repeat(255));
    let _hello = hello(&far, &longest).unwrap();
    assert_eq!(open(&namespace, &format!("/net/lab2{longest}")), Ok(()));
    let too_long = |result: Result<(), Errno>, what: &str| {
        assert_eq!(result, Err(Errno::ENAMETOOLONG), "{what}");
    };
    let name = "n".repeat(256);
    too_long(hello(&far, &format!("/dev/{name}")).map(drop), "a prefix");
    for path in [
        format!("/{name}"),
        format!("/net/{name}"),
        format!("/net/lab2/dev/{name}"),
    ] {
        too_long(open(&namespace, &path), "a name in a path");
    }
    // The limit is that of the whole path, wherever in it the bytes are.
    let path = |len: usize| {
        let start = "/net/lab2/dev/";
        let mut path = start.to_owned() + &"d/".repeat((len - start.len()) / 2);
        path.extend((path.len()..len).map(|_| 'x'));
        assert_eq!(path.len(), len);
        path
    };
    let limit = abi::limits::PATH_MAX;
    assert_eq!(open(&namespace, &path(limit)), Err(Errno::ENOENT));
    too_long(open(&namespace, &path(limit + 1)), "one more");
    too_long(open(&namespace, &path(100_000)), "many more");
    let channel = Channel::create(&far, ChannelFlags::empty()).unwrap();
    let attach = |path: &str| {
        let flags = AttachFlags::empty();
        let path = path.as_bytes();
        far.attach_prefix(path, flags, FileType::ANY, channel.id(), Handle(0))
            .map(drop)
    };
    too_long(attach(&path(limit + 1)), "a prefix");
    assert_eq!(
        open(&namespace, &format!("/net/lab2{longest}")),
        Ok(()),
        "all goes on"
    );
}

#[test]
fn a_node_without_a_daemon_is_given_up_in_time_and_used_again_when_it_is_back() {
    let mut lab = Cluster::start(["lab1", "lab2"]);
    let hello = hello(&lab["lab2"].endpoint(), "/dev/hello").unwrap();
    let namespace = Namespace::of(&lab["lab1"].endpoint());
    lab["lab1"].wait_for("lab2");
    lab.get_mut("lab2").kill();
    for again in 0..2 {
        let began = Instant::now();
        let result = open(&namespace, "/net/lab2/dev/hello");
        assert_eq!(result, Err(Errno::EHOSTDOWN), "time {again}");
        assert!(began.elapsed() < GIVEN_UP, "after {:?}", began.elapsed());
    }
    let began = Instant::now();
    assert_eq!(open(&namespace, "/net/lab9/dev/hello"), Err(Errno::ENOENT));
    assert!(began.elapsed() < GIVEN_UP, "other names do not wait for it");
    lab.get_mut("lab2").restart();
    until("the node is used again", || {
        open(&namespace, "/net/lab2/dev/hello").is_ok()
    });
    drop(hello);
    until("the name ends with its owner", || {
        open(&namespace, "/net/lab2/dev/hello") == Err(Errno::ENOENT)
    });
}

#[test]
fn a_program_without_a_daemon_is_told_so_and_its_node_s_return_helps() {
    let mut lab = Cluster::start(["lab1"]);
    let directory = lab["lab1"].directory().to_owned();
    let _hello = hello(&lab["lab1"].endpoint(), "/dev/hello").unwrap();
    lab.get_mut("lab1").kill();
    let refused = Endpoint::connect(&directory).map(drop);
    assert!(
        matches!(refused, Err(Errno::ECONNREFUSED | Errno::ENOENT)),
        "{refused:?}"
    );
    let nowhere = Endpoint::connect(&directory.join("nowhere")).map(drop);
    assert_eq!(nowhere, Err(Errno::ENOENT));
    lab.get_mut("lab1").restart();
    let namespace = Namespace::of(&lab["lab1"].endpoint());
    until("the server has registered again", || {
        open(&namespace, "/dev/hello").is_ok()
    });
}
