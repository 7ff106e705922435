//! Programs that accept connections while the process has no descriptor left. The limit is that of the whole process, so
//! this is one test in a file of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs::File;
use std::io::{Read, Seek};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use client::Namespace;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serial_manager::rfc2217::{self, Place};
use serial_manager::terminal::Broker;
use slashnet_scenarios::line::plug_in;
use slashnet_scenarios::{PATIENCE, until};
use testkit::Cluster;

/// How long the lack lasts.
const LACK: Duration = Duration::from_millis(500);
const BROKER: &str = "slashnet-test-no-descriptors";

/// Every descriptor that the process may have, until it is dropped.
fn all_descriptors() -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(256);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn socket(family: AddressFamily, kind: SocketType) -> OwnedFd {
    socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// What says how long this thread of the process has run.
fn schedule_of(name: &str) -> File {
    let mut found = None;
    until("the thread has its name", || {
        let mut tasks = std::fs::read_dir("/proc/self/task").unwrap();
        found = tasks.find_map(|task| {
            let task = task.unwrap().path();
            let comm = std::fs::read_to_string(task.join("comm")).ok()?;
            (comm.trim() == name).then_some(task)
        });
        found.is_some()
    });
    File::open(found.unwrap().join("schedstat")).unwrap()
}

fn processor_time(schedule: &mut File) -> Duration {
    let mut text = String::new();
    schedule.rewind().unwrap();
    schedule.read_to_string(&mut text).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn who_cannot_accept_rests_and_goes_on_when_descriptors_are_back() {
    let cluster = Cluster::start(["lab1"]);
    let place = tempfile::tempdir().unwrap();
    let _device = plug_in(&place.path().join("tty"));
    let port = format!("{}=/dev/ser1,mode=666", place.path().join("tty").display());
    let endpoint = cluster["lab1"].endpoint();
    let _serving = serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap();
    let namespace = Namespace::of(&cluster["lab1"].endpoint());
    let (port, address) = (b"/dev/ser1".to_vec(), "127.0.0.1:0".parse().unwrap());
    let shared = rfc2217::serve(&namespace, &[Place { port, address }]).unwrap();
    let SocketAddr::V4(address) = shared.addresses()[0] else {
        panic!("an address of IPv4");
    };
    let broker = Broker::new(namespace, BROKER, [1; 16], []).unwrap();
    let client = socket(AddressFamily::INET, SocketType::STREAM);
    let asker = socket(AddressFamily::UNIX, SocketType::SEQPACKET);
    let mut schedule = schedule_of("rfc2217");

    let all = all_descriptors();
    rustix::net::connect(&client, &address).unwrap();
    let mut client = TcpStream::from(client);
    client.set_read_timeout(Some(LACK)).unwrap();
    let before = processor_time(&mut schedule);
    assert!(client.read(&mut [0]).is_err(), "nobody can serve it");
    let spent = processor_time(&mut schedule) - before;
    assert!(
        spent < LACK / 5,
        "the thread that accepts has run for {spent:?}"
    );

    let name = SocketAddrUnix::new_abstract_name(BROKER.as_bytes()).unwrap();
    rustix::net::connect(&asker, &name).unwrap();
    let (begun, mut attempts) = (Instant::now(), 0);
    while begun.elapsed() < LACK {
        broker.serve_one();
        attempts += 1;
    }
    assert!(attempts < 10, "the broker has tried {attempts} times");

    drop(all);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(client.read(&mut [0]).unwrap() > 0, "it is served");
}
