//! Several real nodes on this machine, each with its own directory and its own addresses of the loopback.
//!
//! ```no_run
//! use slashnet_testkit::Cluster;
//!
//! let mut lab = Cluster::start(["lab1", "lab2"]);
//! let endpoint = lab["lab1"].endpoint();      // a program on lab1
//! lab.get_mut("lab2").kill();                 // as SIGKILL would
//! lab.get_mut("lab2").restart();
//! ```
#![allow(
    clippy::panic,
    reason = "everything here is for tests, which fail by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use abi::system::{Code, Invite, Join, Lookup, Query, QueryKind, Reply, Request, Rows};
use abi::system::{NodeState, SOCKET_NAME};
use abi::{Nd, NodeName};
use host::{Builder, Host};
use ipc::Endpoint;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; what is not there by then never comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nodes in one cluster: their numbers are the low three bits of their addresses.
const NODES_MAX: usize = 7;
/// Links of each node.
const LINKS: u8 = 2;

/// Nodes that trust each other. Dropping it stops them and removes their directories.
///
/// Everything here panics when it fails: it is for tests.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    _directory: TempDir,
}

/// One node of a [`Cluster`].
#[derive(Debug)]
pub struct Member {
    name: String,
    directory: PathBuf,
    links: Vec<Ipv4Addr>,
    port: u16,
    runner: Runner,
    life: Life,
}

#[derive(Clone, Debug)]
enum Runner {
    /// A thread of this process.
    Thread,
    /// A child process that runs this program.
    Program(PathBuf),
}

#[derive(Debug)]
enum Life {
    Dead,
    Thread(Host),
    Process(Child),
}

impl Cluster {
    /// Starts nodes in threads of this process and makes all of them trust each other.
    #[must_use]
    pub fn start<const N: usize>(names: [&str; N]) -> Self {
        let cluster = Self::strangers(names);
        cluster.introduce_all();
        cluster
    }

    /// Starts nodes that do not trust each other.
    #[must_use]
    pub fn strangers<const N: usize>(names: [&str; N]) -> Self {
        Self::run(&names, &Runner::Thread)
    }

    /// Starts nodes as child processes: `program node --name .. --dir .. --link .. --port ..`, and makes all of them
    /// trust each other.
    #[must_use]
    pub fn start_processes<const N: usize>(program: &Path, names: [&str; N]) -> Self {
        let cluster = Self::run(&names, &Runner::Program(program.to_owned()));
        cluster.introduce_all();
        cluster
    }

    fn run(names: &[&str], runner: &Runner) -> Self {
        assert!(
            names.len() <= NODES_MAX,
            "a cluster has at most {NODES_MAX} nodes"
        );
        let directory = tempfile::Builder::new()
            .prefix("slashnet-")
            .tempdir()
            .expect("a temporary directory");
        let (network, port) = free_network(names.len());
        let member = |(name, number): (&&str, u8)| Member {
            name: (*name).to_owned(),
            directory: directory.path().join(name),
            links: (0..LINKS)
                .map(|link| address(network, link, number))
                .collect(),
            port,
            runner: runner.clone(),
            life: Life::Dead,
        };
        let mut members: Vec<Member> = names.iter().zip(1..).map(member).collect();
        for member in &mut members {
            member.restart();
        }
        Self {
            members,
            _directory: directory,
        }
    }

    /// Makes every node trust every other one, as `slashnet invite` and `slashnet join` do.
    pub fn introduce_all(&self) {
        for (at, first) in self.members.iter().enumerate() {
            for second in &self.members[at + 1..] {
                first.introduce(second);
            }
        }
    }

    /// A node by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> &Member {
        self.members
            .iter()
            .find(|member| member.name == name)
            .expect("a node of this name")
    }

    /// A node by its name, to kill it or to restart it.
    pub fn get_mut(&mut self, name: &str) -> &mut Member {
        self.members
            .iter_mut()
            .find(|member| member.name == name)
            .expect("a node of this name")
    }

    /// All nodes.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Index<&str> for Cluster {
    type Output = Member;

    fn index(&self, name: &str) -> &Member {
        self.get(name)
    }
}

impl Member {
    /// What the node is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory: what `--dir` and `SLASHNET_DIR` take.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The addresses of its links.
    #[must_use]
    pub fn links(&self) -> &[Ipv4Addr] {
        &self.links
    }

    /// The UDP port of the node on its links.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A program's place on the node; every call makes another one.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::connect(&self.directory).expect("the node takes programs")
    }

    /// The process id of the node, if it runs as a child process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        if let Life::Process(child) = &self.life {
            Some(child.id())
        } else {
            None
        }
    }

    /// Ends the node at once; it says goodbye to nobody. Programs go on.
    pub fn kill(&mut self) {
        match std::mem::replace(&mut self.life, Life::Dead) {
            Life::Dead => {}
            Life::Thread(host) => host.kill(),
            Life::Process(mut child) => {
                child.kill().expect("our own child can be killed");
                child.wait().expect("our own child can be waited for");
            }
        }
    }

    /// Starts the node where it was, after ending it if it still runs. When this returns, programs can connect.
    pub fn restart(&mut self) {
        self.kill();
        self.life = match &self.runner {
            Runner::Thread => {
                let builder = Builder::new(&self.name)
                    .directory(&self.directory)
                    .state(self.directory.join("state"))
                    .port(self.port);
                let links = self.links.iter().map(ToString::to_string);
                let host = links.fold(builder, Builder::link).start();
                Life::Thread(host.unwrap_or_else(|error| panic!("{}: {error}", self.name)))
            }
            Runner::Program(program) => Life::Process(self.spawn(program)),
        };
    }

    fn spawn(&self, program: &Path) -> Child {
        // A socket of an earlier life must not be taken for that of the new one.
        let socket = self.directory.join(SOCKET_NAME);
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(program);
        command
            .arg("node")
            .arg("--name")
            .arg(&self.name)
            .arg("--dir")
            .arg(&self.directory);
        command
            .arg("--port")
            .arg(self.port.to_string())
            .stdin(Stdio::null());
        for link in &self.links {
            command.arg("--link").arg(link.to_string());
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        // The socket is there a moment before it listens.
        wait_for("the node's socket", || {
            Endpoint::connect(&self.directory).ok().map(drop)
        });
        child
    }

    /// Makes this node and another one trust each other.
    pub fn introduce(&self, other: &Self) {
        let (here, there) = (self.endpoint(), other.endpoint());
        let invite = Request::Invite(Invite {
            ttl: Duration::from_secs(60),
        });
        let Ok(Reply::Code(Code { code })) = here.request(&invite) else {
            panic!("{} makes no code", self.name)
        };
        match there.request(&Request::Join(Join { code })) {
            Ok(Reply::Joined(joined)) => assert_eq!(joined.node.as_str(), self.name),
            other => panic!("joining {}: {other:?}", self.name),
        }
    }

    /// The node descriptor by which this node knows another one.
    #[must_use]
    pub fn nd_of(&self, name: &str) -> Nd {
        let node = NodeName::parse(name).expect("a name for a node");
        match self.endpoint().request(&Request::Lookup(Lookup { node })) {
            Ok(Reply::Redirect(redirect)) => redirect.nd,
            other => panic!("{} does not know {name}: {other:?}", self.name),
        }
    }

    /// Waits until this node has a channel to another one.
    pub fn wait_for(&self, name: &str) {
        let endpoint = self.endpoint();
        let query = Request::Query(Query {
            what: QueryKind::Nodes,
            nd: Nd::LOCAL,
            from: 0,
        });
        wait_for("a channel to the other node", || {
            let Ok(Reply::Table(table)) = endpoint.request(&query) else {
                return None;
            };
            let Rows::Nodes(rows) = table.rows else {
                return None;
            };
            rows.iter()
                .any(|row| row.name.as_str() == name && row.state == NodeState::Up)
                .then_some(())
        });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two bytes of loopback addresses and a port that no other cluster of this machine uses now.
fn free_network(nodes: usize) -> ((u8, u8, u8), u16) {
    static CLUSTERS: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    for _ in 0..u8::MAX {
        let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed) % 16;
        // 127.1.x.y to 127.100.x.y: far from the 127.0.0.0/16 that people and other tests use by hand.
        let network = (1 + (process >> 8) as u8 % 100, process as u8, cluster);
        let port = 20_000 + (process % 10_000) as u16;
        let numbers = 1..=u8::try_from(nodes).unwrap_or(u8::MAX);
        let free = |number| {
            let bind = |link| {
                UdpSocket::bind(SocketAddr::new(
                    IpAddr::V4(address(network, link, number)),
                    port,
                ))
            };
            (0..LINKS).all(|link| bind(link).is_ok())
        };
        if numbers.clone().all(free) {
            return (network, port);
        }
    }
    panic!("no free loopback addresses for a cluster")
}

/// Links of one number share the highest bit of the last byte, so that nodes pair them as on two real networks.
fn address(network: (u8, u8, u8), link: u8, number: u8) -> Ipv4Addr {
    let (high, low, cluster) = network;
    Ipv4Addr::new(127, high, low, link << 7 | cluster << 3 | number)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_cluster_know_each_other() {
        let lab = Cluster::start(["lab1", "lab2", "lab3"]);
        for (here, there) in [("lab1", "lab2"), ("lab2", "lab3"), ("lab3", "lab1")] {
            assert_ne!(lab[here].nd_of(there), Nd::LOCAL);
            lab[here].wait_for(there);
        }
        assert_eq!(lab["lab1"].nd_of("lab1"), Nd::LOCAL);
    }

    #[test]
    fn a_killed_node_comes_back_and_is_known() {
        let mut lab = Cluster::start(["lab1", "lab2"]);
        lab["lab1"].wait_for("lab2");
        let before = lab["lab1"].nd_of("lab2");
        lab.get_mut("lab1").kill();
        lab.get_mut("lab1").restart();
        lab["lab1"].wait_for("lab2");
        assert_eq!(
            lab["lab1"].nd_of("lab2"),
            before,
            "descriptors outlive the daemon"
        );
    }
}
