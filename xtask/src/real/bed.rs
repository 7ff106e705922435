//! Three machines: two with the path space mounted, and one between them that exports a directory.

use crate::Outcome;
use crate::command::root;
use crate::lab::{Host, Lab, wait_until};
use std::path::PathBuf;
use std::time::Duration;

/// lab2 serves, lab1 and lab3 use it.
pub(crate) struct Bed {
    lab: Lab,
}

/// Where lab1 and lab3 find what lab2 has in [`TREE`].
pub(crate) const FAR: &str = "/net/lab2/srv";
/// The exported directory on lab2.
pub(crate) const TREE: &str = "/srv/tree";
/// How long a mount believes what it was told: the default of `--cache-ms`.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

impl Bed {
    pub(crate) fn new() -> Outcome<Self> {
        let bed = Self {
            lab: Lab::make(3, 1)?,
        };
        bed.server()
            .output(&["sh", "-c", "mkdir -m 777 /srv/tree /srv/small"])?;
        for host in bed.lab.hosts() {
            bed.up(host)?;
        }
        for client in [bed.client(), bed.other()] {
            bed.join(client)?;
        }
        bed.trust_roots()?;
        for client in [bed.client(), bed.other()] {
            wait_until("the way to the export", PATIENCE, || {
                Ok(client.output(&["ls", FAR]).is_ok())
            })?;
        }
        Ok(bed)
    }

    pub(crate) fn up(&self, host: &Host) -> Outcome {
        let mut command = vec![
            "slashnet",
            "up",
            "--name",
            host.name(),
            "--link",
            "eth0",
            "--detach",
        ];
        if host.name() == self.server().name() {
            command.extend(["--export", "/srv/tree=/srv"]);
        }
        host.output(&command).map(drop)
    }

    fn join(&self, client: &Host) -> Outcome {
        let said = self.server().output(&["slashnet", "invite"])?;
        let code = said.split_whitespace().last().ok_or("no code")?.to_owned();
        client.output(&["slashnet", "join", &code]).map(drop)
    }

    /// Makes root of the clients root on the server, as many of the programs must own what they make.
    fn trust_roots(&self) -> Outcome {
        let server = self.server();
        server.output(&["sh", "-euc", TRUST_ROOTS])?;
        self.up(server)
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        self.lab.hosts()
    }

    /// The one that programs run on.
    pub(crate) fn client(&self) -> &Host {
        &self.lab.hosts()[0]
    }

    pub(crate) fn server(&self) -> &Host {
        &self.lab.hosts()[1]
    }

    /// A second one that programs run on.
    pub(crate) fn other(&self) -> &Host {
        &self.lab.hosts()[2]
    }

    /// An empty directory for a program.
    pub(crate) fn fresh_directory(&self, name: &str) -> Outcome {
        let script = "rm -rf \"$1\" && mkdir -m 777 \"$1\"";
        let directory = format!("{TREE}/{name}");
        self.server()
            .output(&["sh", "-c", script, "sh", &directory])?;
        // The mounts may believe for a moment that there is nothing of that name.
        let far = format!("{FAR}/{name}");
        for client in [self.client(), self.other()] {
            wait_until(&far, PATIENCE, || {
                Ok(client.output(&["test", "-d", &far]).is_ok())
            })?;
        }
        Ok(())
    }

    /// Runs a script on lab1 in the directory of the program `name`, as the mount shows it; returns what it printed.
    pub(crate) fn script(&self, name: &str, limit: Duration, script: &str) -> Outcome<String> {
        self.script_on(self.client(), name, limit, script)
    }

    /// The same on another host.
    pub(crate) fn script_on(
        &self,
        host: &Host,
        name: &str,
        limit: Duration,
        script: &str,
    ) -> Outcome<String> {
        let directory = match host.name() == self.server().name() {
            true => format!("{TREE}/{name}"),
            false => format!("{FAR}/{name}"),
        };
        self.run(host, limit, &format!("cd {directory}\n{script}"))
    }

    /// Runs a script on lab1 in any directory.
    pub(crate) fn script_in(
        &self,
        directory: &str,
        limit: Duration,
        script: &str,
    ) -> Outcome<String> {
        let script = format!("cd {directory}\n{script}");
        self.run(self.client(), limit, &script)
    }

    fn run(&self, host: &Host, limit: Duration, script: &str) -> Outcome<String> {
        host.command(&["timeout", &limit.as_secs().to_string()])
            .args(["bash", "-euo", "pipefail", "-c", script])
            .env("LC_ALL", "C")
            .env("REPOSITORY", root())
            .env("REAL", real_programs())
            .env("XTASK", std::env::current_exe().unwrap_or_default())
            .input_from_nowhere()
            .output()
            .map_err(|error| short(host, &error))
    }
}

/// Where suites that cargo installs are kept.
pub(crate) fn real_programs() -> PathBuf {
    root().join("target/real")
}

/// What went wrong, without the script.
fn short(host: &Host, error: &str) -> String {
    let said = error
        .rsplit_once("exit status: ")
        .map_or(error, |(_, said)| said);
    let lines: Vec<&str> = said.lines().rev().take(LINES_MAX).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("on {}: exit status {}", host.name(), lines.join("\n"))
}

const TRUST_ROOTS: &str = "kill $(cat /run/slashnet/up.pid); \
    while test -e /run/slashnet/node.sock; do sleep 0.05; done; \
    sed -i 's/^root = .*/root = \"root\"/' /var/lib/slashnet/trust.toml";

/// Lines of a complaint that are shown.
const LINES_MAX: usize = 12;
/// Longer than nodes take to find each other.
const PATIENCE: Duration = Duration::from_secs(20);
