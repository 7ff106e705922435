//! Network namespaces for tests, which end with the test: no rights are needed but that to make a user namespace.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Runs the test `name` of this program once more, as root of namespaces of its own; there runs `body`.
pub(crate) fn in_own_network(name: &str, body: impl FnOnce()) {
    alone(name, &["--user", "--map-root-user", "--net"], body);
}

/// The same with the namespaces that `unshare` is told to make.
pub(crate) fn alone(name: &str, namespaces: &[&str], body: impl FnOnce()) {
    testkit::rerun::inside(name, &[&["unshare"][..], namespaces].concat(), body);
}

/// A network namespace.
pub(crate) struct Network(OwnedFd);

impl Network {
    /// That of this thread.
    pub(crate) fn here() -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Self(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty()).unwrap())
    }

    /// A new one.
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe for descriptors")]
    pub(crate) fn new() -> Self {
        let make = || {
            // SAFETY: only the network namespace of this thread is unshared; no descriptor table is.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            Self::here()
        };
        std::thread::scope(|scope| scope.spawn(make).join().unwrap())
    }

    /// What `body` gives inside.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(self.0.as_fd(), kind).unwrap();
            body()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// `ip` with these arguments inside; what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let output = self.run(|| {
            Command::new("ip")
                .args(arguments.split_whitespace())
                .output()
                .unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Until frames go through: the kernel throws them away until it has noticed that the other end is up.
    pub(crate) fn await_carrier(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = self.ip(&format!("link show {name}"));
            if text.contains("state UP") && !text.contains("qdisc noop ") {
                return;
            }
            assert!(Instant::now() < deadline, "no carrier: {text}");
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Two networks with a cable between: `near0` in one, `far0` in the other.
pub(crate) struct Cable {
    pub(crate) near: Network,
    pub(crate) far: Network,
}

impl Cable {
    pub(crate) fn new() -> Self {
        let cable = Self {
            near: Network::new(),
            far: Network::new(),
        };
        cable.plug(50, 50);
        cable
    }

    /// Makes both ends anew, with these interface numbers.
    pub(crate) fn plug(&self, near: u32, far: u32) {
        let place = self.far.path();
        self.near.ip(&format!(
            "link add near0 index {near} type veth peer name far0 index {far} netns {place}"
        ));
        for (network, name, host) in [(&self.near, "near0", 1), (&self.far, "far0", 2)] {
            network.ip("link set lo up");
            // Addresses that are announced first are not usable for seconds.
            network.ip(&format!("link set {name} addrgenmode none"));
            network.ip(&format!("link set {name} up"));
            network.ip(&format!("addr add fe80::{host}/64 dev {name} nodad"));
            network.ip(&format!("addr add fd00::{host}/64 dev {name} nodad"));
            network.ip(&format!("addr add 10.9.8.{host}/24 dev {name}"));
        }
        self.near.await_carrier("near0");
        self.far.await_carrier("far0");
    }
}
