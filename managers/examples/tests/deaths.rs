//! Clients on two nodes that are killed at random while they open, lock, read and watch: nothing of them stays, neither in
//! the manager nor in the nodes. `cargo xtask deaths` has them open 100 000 files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use resmgr::abi::io::Events;
use resmgr::{
    Answer, Attributes, Notices, NotifyRequest, OpenFile, OpenRequest, Opening, ReadRequest,
    Resource, Server, WaitQueue,
};
use testkit::Cluster;

/// Paths `0` to `15`. Nothing ever arrives, so those who wait wait until they die.
#[derive(Clone, Default)]
struct Silent {
    readers: Arc<WaitQueue<ReadRequest>>,
    notices: Arc<Notices>,
    open: Arc<AtomicI64>,
    opened: Arc<AtomicI64>,
}

impl Resource for Silent {
    fn open(&self, open: OpenRequest) -> Answer {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.opened.fetch_add(1, Ordering::SeqCst);
        let inode = open
            .path()
            .iter()
            .fold(0, |sum, byte| sum * 256 + u64::from(*byte));
        let attributes = Arc::new(Attributes::device(0o666));
        open.accept_as(Opening::new().attributes(attributes).identity(1, inode))
    }

    fn close(&self, _file: &OpenFile) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        self.readers.park(read)
    }

    fn notify(&self, _file: &OpenFile, notify: NotifyRequest) -> Answer {
        self.notices.watch(notify, Events::empty())
    }
}

/// A client process; killed when dropped.
struct Crowd {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Crowd {
    fn start(nodes: &Cluster, node: &str) -> Self {
        let path = if node == "lab2" {
            "/silent"
        } else {
            "/net/lab2/silent"
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_slashnet-crowd"))
            .args([path, &CROWD.to_string()])
            .env("SLASHNET_DIR", nodes[node].directory())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// Waits until it has opened ten more files.
    fn go_on(&mut self) {
        let mut line = String::new();
        let count = self.says.read_line(&mut line).unwrap();
        assert!(count > 0, "the client ended by itself");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "did not happen: {what}");
        // Between two looks the processors are the crowd's.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap()
}

// qnx: R14
#[test]
fn clients_that_are_killed_leave_nothing_behind() {
    let opens = std::env::var("SLASHNET_DEATHS_OPENS");
    let opens: i64 = opens.map_or(OPENS, |text| text.parse().unwrap());
    let nodes = Cluster::start(["lab1", "lab2"]);
    let silent = Silent::default();
    let running = Server::new(&nodes["lab2"].endpoint())
        .and_then(|server| server.attach("/silent", Attributes::directory(0o777), silent.clone()))
        .and_then(Server::start)
        .unwrap();
    let is_clean = || {
        let left = (
            running.open_connections(),
            running.held_locks(),
            running.waiting_requests(),
        );
        let waiting = silent.readers.len() + silent.notices.len();
        left == (0, 0, 0) && waiting == 0 && silent.open.load(Ordering::SeqCst) == 0
    };
    // The first clients leave sessions of the nodes that stay.
    for node in ["lab1", "lab2"] {
        Crowd::start(&nodes, node).go_on();
    }
    until("the first are gone", is_clean);
    let (before, memory) = (descriptors(), resident_kilobytes());
    // Numbers that look random and are the same each time (xorshift).
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut deaths = 0;
    while silent.opened.load(Ordering::SeqCst) < opens {
        let mut crowd = ["lab1", "lab2", "lab1"].map(|node| Crowd::start(&nodes, node));
        for crowd in &mut crowd {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (0..=(dice >> 32) % (CROWD / 10)).for_each(|_| crowd.go_on());
            let _ = crowd.child.kill();
            deaths += 1;
        }
    }
    until("nothing is left in the manager", is_clean);
    until("all descriptors are closed", || descriptors() <= before);
    println!(
        "{deaths} clients killed after {} opens; descriptors {before} -> {}, memory {memory} -> {} KiB",
        silent.opened.load(Ordering::SeqCst),
        descriptors(),
        resident_kilobytes()
    );
}

/// Files that all clients open.
const OPENS: i64 = 1500;
/// Files that one client opens at most.
const CROWD: u64 = 200;
