//! `slashnet status`: the node of this machine on one screen.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use abi::Nd;
use abi::system::{LaneState, NodeState, PrefixRow, ProcessRow, QueryKind, Rows, SOCKET_NAME};
use client::Namespace;
use serde_json::{Value, json};

use super::{links, tables};
use crate::command::GlobalOptions;
use crate::daemon::{self, Daemon};
use crate::failure::Outcome;
use crate::notation::{self, exact, printable, time};
use crate::running::Running;
use crate::table::TableOptions;
use crate::{directory, mounted, output};

/// The exit status when no node runs.
const NONE_RUNS: u8 = 3;

/// Prints it.
pub(crate) fn run(global: &GlobalOptions, options: TableOptions) -> Outcome {
    let dir = directory::of(global.dir.as_deref());
    let running = Running::in_directory(&dir).ok().flatten();
    let daemon = match Daemon::of(global) {
        Ok(daemon) => daemon,
        // Its supervisor is starting it again.
        Err(failure) if running.is_some() => return Err(failure),
        Err(failure) => {
            if options.json {
                print(&json!({ "node": null, "directory": exact(bytes(&dir)) }))?;
            }
            return Err(failure.with_status(NONE_RUNS));
        }
    };
    let status = Status::of(global, &daemon, &dir, running.as_ref())?;
    if options.json {
        print(&status.as_json(&dir))
    } else {
        output::write(status.in_words(&dir).as_bytes())
    }
}

fn print(value: &Value) -> Outcome {
    output::line(notation::json(value))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// What is told of a node.
struct Status {
    node: String,
    /// Seconds since 1970.
    since: i64,
    /// The process of `slashnet up`, if that runs the node.
    up: Option<u32>,
    mounts: Vec<mounted::Mounted>,
    /// Names and states.
    links: Vec<(Vec<u8>, LaneState)>,
    peers: Vec<(String, NodeState)>,
    managers: Vec<Manager>,
}

struct Manager {
    process: ProcessRow,
    paths: Vec<Vec<u8>>,
}

impl Status {
    fn of(
        global: &GlobalOptions,
        daemon: &Daemon,
        dir: &Path,
        running: Option<&Running>,
    ) -> Outcome<Self> {
        // A daemon makes its socket when it starts.
        let socket = || fs::metadata(dir.join(SOCKET_NAME)).and_then(|about| about.modified());
        let since = running.map_or_else(socket, |running| Ok(running.since));
        let mut status = Self {
            node: daemon.node_name().to_string(),
            since: seconds(since.unwrap_or(UNIX_EPOCH)),
            up: running.map(|running| running.pid),
            mounts: mounted::of(dir).unwrap_or_default(),
            links: Vec::new(),
            peers: Vec::new(),
            managers: Vec::new(),
        };
        let prefixes = prefixes(&daemon::namespace(global)?);
        for kind in [QueryKind::Links, QueryKind::Nodes, QueryKind::Processes] {
            daemon.rows(kind, Nd::LOCAL, |rows| status.take(rows, &prefixes))?;
        }
        Ok(status)
    }

    fn take(&mut self, rows: Rows, prefixes: &[PrefixRow]) {
        match rows {
            Rows::Links(rows) => {
                let own = rows.into_iter().filter(|row| row.peer.is_none());
                self.links.extend(own.map(|row| (row.name, row.state)));
            }
            Rows::Nodes(rows) => {
                let peers = rows.iter().filter(|row| row.state != NodeState::Local);
                self.peers
                    .extend(peers.map(|row| (row.name.to_string(), row.state)));
            }
            Rows::Processes(rows) => {
                let managers = rows.into_iter().filter(|row| row.prefixes > 0);
                self.managers.extend(managers.map(|process| {
                    let own = prefixes.iter().filter(|row| row.pid == process.pid);
                    let paths = own.map(|row| row.path.clone()).collect();
                    Manager { process, paths }
                }));
            }
            _ => {}
        }
    }

    fn in_words(&self, dir: &Path) -> String {
        let by = self
            .up
            .map_or_else(String::new, |pid| format!(", process {pid}"));
        let mut text = format!(
            "node     {}, up since {} UTC{by}, in {}\n",
            self.node,
            time(self.since),
            dir.display()
        );
        let mut line = |what: &str, about: String| {
            text.push_str(&format!("{what:<8} {about}\n"));
        };
        for mount in &self.mounts {
            line("mount", printable(bytes(&mount.point)));
        }
        for (name, state) in &self.links {
            line(
                "link",
                format!("{}, {}", printable(name), links::state(*state)),
            );
        }
        for (name, state) in &self.peers {
            line("peer", format!("{name}, {}", tables::node_state(*state)));
        }
        for manager in &self.managers {
            let name = printable(&manager.process.name);
            let paths: Vec<String> = manager.paths.iter().map(|path| printable(path)).collect();
            let pid = manager.process.pid;
            line("manager", format!("{name}, pid {pid}: {}", paths.join(" ")));
        }
        text
    }

    fn as_json(&self, dir: &Path) -> Value {
        let mounts = self.mounts.iter().map(|mount| exact(bytes(&mount.point)));
        let links = self.links.iter();
        let links = links
            .map(|(name, state)| json!({ "name": exact(name), "state": links::state(*state) }));
        let peers = self.peers.iter();
        let peers =
            peers.map(|(name, state)| json!({ "name": name, "state": tables::node_state(*state) }));
        let managers = self.managers.iter().map(|manager| {
            let paths: Vec<Value> = manager.paths.iter().map(|path| exact(path)).collect();
            let process = &manager.process;
            json!({ "name": exact(&process.name), "pid": process.pid.0, "paths": paths })
        });
        json!({
            "node": self.node,
            "directory": exact(bytes(dir)),
            "started": self.since,
            "process": self.up,
            "mounts": mounts.collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>(),
            "peers": peers.collect::<Vec<_>>(),
            "managers": managers.collect::<Vec<_>>(),
        })
    }
}

fn seconds(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Who owns what here; nothing if this user may not ask.
fn prefixes(namespace: &Namespace) -> Vec<PrefixRow> {
    namespace.prefixes(Nd::LOCAL).unwrap_or_default()
}
