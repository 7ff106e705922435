//! Hosts and cables: making, finding, removing them.

use super::guard::Guard;
use super::{directory, ip};
use crate::Outcome;
use crate::command::{Program, root};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// In seconds: longer than any step of a story, so that one that hangs is named.
const COMMAND_MAX: &str = "30";
/// How often threads are looked for that started while others were put on their CPUs.
const KEEPING_MAX: usize = 100;
/// The namespace that holds the bridges.
pub(super) const SWITCH: &str = "switch";
/// What a fresh machine has of its own. The last process lets go of the output, for whose end a caller may wait.
const PREPARE: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/lock && \
    mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /srv && hostname \"$1\" && \
    ip link set lo up && echo ready && exec sleep infinity 2>/dev/null";

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum CableState {
    /// Packets vanish, the carrier stays
    Cut,
    /// As made
    Whole,
}

/// All hosts; dropped, it takes them away again.
pub(crate) struct Lab {
    hosts: Vec<Host>,
    guard: Option<Guard>,
}

impl Lab {
    /// Makes `hosts` hosts with `cables` cables each.
    pub(crate) fn make(hosts: u8, cables: u8) -> Outcome<Self> {
        let directory = directory();
        fs::create_dir(&directory).map_err(|error| {
            let place = directory.display();
            format!("{place}: {error} (a lab is up already? `cargo xtask lab down`)")
        })?;
        let mut lab = Self {
            hosts: Vec::new(),
            guard: Some(Guard::start()?),
        };
        let switch = Host::start(SWITCH)?;
        for cable in 0..cables {
            switch.ip(&["link", "add", &format!("br{cable}"), "type", "bridge"])?;
            switch.ip(&["link", "set", &format!("br{cable}"), "up"])?;
        }
        for number in 1..=hosts {
            let host = Host::start(&format!("lab{number}"))?;
            for cable in 0..cables {
                host.plug(cable)?;
                host.ip(&[
                    "address",
                    "add",
                    &host.address(cable),
                    "dev",
                    &interface(cable),
                ])?;
            }
            lab.hosts.push(host);
        }
        Ok(lab)
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Leaves the hosts running when this value goes.
    pub(crate) fn keep(mut self) {
        self.guard = None;
    }

    /// Ends every program of every host; with the last one the namespaces and cables vanish.
    pub(crate) fn remove() -> Outcome {
        let directory = directory();
        let complain = |error| format!("{}: {error}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(complain(error)),
        };
        for entry in entries.filter_map(Result::ok) {
            if let Ok(host) = Host::find(&entry.file_name().to_string_lossy()) {
                host.stop()?;
            }
        }
        fs::remove_dir_all(&directory).map_err(complain)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A lab that is kept has no guard.
        let Some(_until_removed) = self.guard.take() else {
            return;
        };
        if let Err(error) = Self::remove() {
            eprintln!("xtask: {error}");
        }
    }
}

/// One machine of the lab: a process that holds its namespaces.
pub(crate) struct Host {
    name: String,
    pid: u32,
}

impl Host {
    fn start(name: &str) -> Outcome<Self> {
        let mut command = Program::new("unshare")
            .args([
                "--net",
                "--mount",
                "--uts",
                "--propagation",
                "private",
                "--",
            ])
            .args(["sh", "-c", PREPARE, "sh", name])
            .into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // A Ctrl-C must not end it: by its namespaces the guard finds all programs of the host.
        command.process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let host = Self {
            name: name.into(),
            pid: child.id(),
        };
        let record = host.record();
        fs::write(&record, host.pid.to_string())
            .map_err(|error| format!("{}: {error}", record.display()))?;
        let mut said = [0; 5];
        let ready = child
            .stdout
            .take()
            .ok_or("unshare: no output")
            .map(|mut output| std::io::Read::read_exact(&mut output, &mut said));
        match ready {
            Ok(Ok(())) if said == *b"ready" => Ok(host),
            _ => Err(format!("host {name} did not start (is this root?)")),
        }
    }

    /// The host of that name in the lab that is up.
    pub(crate) fn find(name: &str) -> Outcome<Self> {
        let record = directory().join(name);
        let text = fs::read_to_string(&record)
            .map_err(|_| format!("no host '{name}': `cargo xtask lab up` makes lab1, lab2"))?;
        let pid = text
            .trim()
            .parse()
            .map_err(|_| format!("{}: no pid", record.display()))?;
        Ok(Self {
            name: name.into(),
            pid,
        })
    }

    fn record(&self) -> PathBuf {
        directory().join(&self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The process that holds the namespaces.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// A command to be run on this host; `slashnet` is the one built here.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, command: &[S]) -> Program {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut search = vec![root().join("target/release")];
        search.extend(std::env::split_paths(&path));
        let search = std::env::join_paths(search).unwrap_or(path);
        Program::new("nsenter")
            .args([
                "--net",
                "--mount",
                "--uts",
                "--target",
                &self.pid.to_string(),
                "--",
            ])
            .args(command)
            .env("PATH", search)
    }

    /// What a command printed on this host; it is ended after [`COMMAND_MAX`].
    pub(crate) fn output(&self, command: &[&str]) -> Outcome<String> {
        let bounded: Vec<&str> = ["timeout", COMMAND_MAX]
            .iter()
            .chain(command)
            .copied()
            .collect();
        self.command(&bounded)
            .input_from_nowhere()
            .output()
            .map_err(|error| format!("on {}: {error}", self.name))
    }

    pub(crate) fn ip(&self, arguments: &[&str]) -> Outcome {
        self.command(&["ip"]).args(arguments).output().map(drop)
    }

    /// The address and net of this host on a cable.
    pub(crate) fn address(&self, cable: u8) -> String {
        let number = self.name.trim_start_matches("lab");
        format!("10.77.{}.{number}/24", cable + 1)
    }

    /// Makes the interface of a cable, up but without an address.
    pub(crate) fn plug(&self, cable: u8) -> Outcome {
        let switch = Self::find(SWITCH)?;
        let (port, interface) = (self.port(cable), interface(cable));
        let (switch_pid, host_pid) = (switch.pid.to_string(), self.pid.to_string());
        let (inside, outside) = (
            ["name", &interface, "netns", &host_pid],
            ["netns", &switch_pid],
        );
        let words = [
            &["link", "add", &port],
            &outside[..],
            &["type", "veth", "peer"],
            &inside,
        ];
        ip(&words.concat())?;
        switch.ip(&["link", "set", &port, "master", &format!("br{cable}"), "up"])?;
        self.ip(&["link", "set", &interface, "up"])
    }

    pub(crate) fn cable(&self, cable: u8, state: CableState) -> Outcome {
        let switch = Self::find(SWITCH)?;
        let port = format!("{}-{cable}", self.name);
        let up = matches!(state, CableState::Whole);
        switch
            .command(&[
                "bridge",
                "link",
                "set",
                "dev",
                &port,
                "state",
                if up { "3" } else { "0" },
            ])
            .output()
            .map(drop)
    }

    /// Keeps all that runs on this host now, and what that starts, on these CPUs.
    pub(crate) fn keep_on(&self, cpus: &CpuSet) -> Outcome {
        let own = namespace_of(self.pid).map_err(|error| format!("{}: {error}", self.name))?;
        // A thread that has not been reached yet may start another one meanwhile.
        for _ in 0..KEEPING_MAX {
            let mut moved = 0;
            for thread in guests_of(&own).into_iter().flat_map(threads) {
                let Ok(before) = sched_getaffinity(Some(thread)) else {
                    continue;
                };
                if before != *cpus && sched_setaffinity(Some(thread), cpus).is_ok() {
                    moved += 1;
                }
            }
            if moved == 0 {
                return Ok(());
            }
        }
        Err(format!("host {}: threads leave their CPUs", self.name))
    }

    /// Ends all programs whose network is this host's, the holder last.
    fn stop(&self) -> Outcome {
        // Remembered: the holder may be the first to go.
        let Ok(own) = namespace_of(self.pid) else {
            return Ok(());
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let guests = guests_of(&own);
            if guests.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "host {}: processes {guests:?} do not end",
                    self.name
                ));
            }
            for pid in guests {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // A process that has gone in the meantime is what is wanted.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            std::thread::yield_now();
        }
    }
}

/// The network of a process.
fn namespace_of(pid: u32) -> std::io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net"))
}

/// All processes in that network.
fn guests_of(namespace: &Path) -> Vec<u32> {
    processes()
        .filter(|pid| namespace_of(*pid).is_ok_and(|other| other == namespace))
        .collect()
}

fn threads(pid: u32) -> impl Iterator<Item = Pid> {
    numbers_in(format!("/proc/{pid}/task"))
        .filter_map(|thread| Pid::from_raw(thread.try_into().ok()?))
}

fn processes() -> impl Iterator<Item = u32> {
    numbers_in("/proc")
}

fn numbers_in(directory: impl AsRef<Path>) -> impl Iterator<Item = u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn interface(cable: u8) -> String {
    format!("eth{cable}")
}
