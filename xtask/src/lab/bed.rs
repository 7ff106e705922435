//! Two hosts with a node each, and the two ends of a load.

use super::host::{Host, Lab};
use super::record::Record;
use crate::Outcome;
use crate::command::root;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// `lab1` asks, `lab2` answers.
pub(crate) struct Bed {
    server: Option<Server>,
    lab: Lab,
}

struct Server {
    _process: Process,
    address: String,
}

/// Which messages a client sends.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) echo: bool,
    /// How long one message may take.
    pub(crate) patience: Duration,
    /// Between two messages.
    pub(crate) rest: Duration,
}

impl Load {
    /// One small message after the other.
    pub(crate) const PING_PONG: Self = Self {
        size: 64,
        depth: 1,
        echo: true,
        patience: Duration::from_secs(20),
        rest: Duration::ZERO,
    };
    /// Enough messages under way to fill every lane, each short enough to show when it is delayed.
    pub(crate) const BULK: Self = Self {
        size: 64 << 10,
        depth: 8,
        echo: false,
        ..Self::PING_PONG
    };

    pub(crate) const fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) const fn with_rest(self, rest: Duration) -> Self {
        Self { rest, ..self }
    }
}

impl Bed {
    /// A lab of two hosts with `cables` cables, without nodes.
    pub(crate) fn new(cables: u8) -> Outcome<Self> {
        Ok(Self {
            lab: Lab::make(2, cables)?,
            server: None,
        })
    }

    /// The same with nodes on all cables that trust each other, and a server.
    pub(crate) fn ready(cables: u8) -> Outcome<Self> {
        let mut bed = Self::new(cables)?;
        let links: Vec<String> = (0..cables).map(|cable| format!("eth{cable}")).collect();
        bed.start(&links.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
        Ok(bed)
    }

    /// Starts both nodes on `links`, joins them and starts the server.
    pub(crate) fn start(&mut self, links: &[&str], more: &[&str]) -> Outcome {
        for host in self.lab.hosts() {
            start_node(host, links, more)?;
        }
        self.join()?;
        self.serve()
    }

    /// Trust by a code, as two people would do it.
    pub(crate) fn join(&self) -> Outcome {
        let said = self.client().output(&["slashnet", "invite"])?;
        let code = said.split_whitespace().last().ok_or("no code")?.to_owned();
        self.server().output(&["slashnet", "join", &code]).map(drop)
    }

    pub(crate) fn serve(&mut self) -> Outcome {
        let mut process = Process::start(self.server(), &["serve"])?;
        let line = process.line()?;
        let address = line
            .strip_prefix("ready ")
            .ok_or_else(|| format!("the server said {line:?}"))?
            .to_owned();
        self.server = Some(Server {
            _process: process,
            address,
        });
        Ok(())
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn client(&self) -> &Host {
        &self.lab.hosts()[0]
    }

    pub(crate) fn server(&self) -> &Host {
        &self.lab.hosts()[1]
    }

    /// Starts a load; `policy` is what follows the name of the node, such as `~exclusive:eth1`.
    pub(crate) fn call(&self, policy: &str, load: Load) -> Outcome<Running> {
        let server = self.server.as_ref().ok_or("no server was started")?;
        let (pid, channel) = server.address.split_once(' ').ok_or("pid and channel")?;
        let node = format!("{}{policy}", self.server().name());
        let (size, depth) = (load.size.to_string(), load.depth.to_string());
        let patience = load.patience.as_millis().to_string();
        let rest = load.rest.as_millis().to_string();
        let mut arguments = vec!["call", &node, pid, channel, "--size", &size];
        arguments.extend(["--depth", &depth, "--patience", &patience, "--rest", &rest]);
        arguments.extend(["--seconds", LOAD_MAX]);
        if load.echo {
            arguments.push("--echo");
        }
        Running::start(self.client(), &arguments)
    }

    /// Runs a load for a while.
    pub(crate) fn call_for(&self, policy: &str, load: Load, time: Duration) -> Outcome<Record> {
        let running = self.call(policy, load)?;
        std::thread::sleep(time);
        running.end()
    }

    /// A plain TCP stream from the client to the server over one cable, for `time`.
    pub(crate) fn tcp(&self, cable: u8, time: Duration) -> Outcome<Record> {
        let to = format!("10.77.{}.2:9", cable + 1);
        let mut sink = Process::start(self.server(), &["sink", &to])?;
        sink.line()?;
        let running = Running::start(self.client(), &["source", &to])?;
        std::thread::sleep(time);
        running.end()
    }
}

/// A node with these links and these options of `slashnet up`.
pub(crate) fn start_node(host: &Host, links: &[&str], more: &[&str]) -> Outcome {
    let mut command = vec![
        "slashnet",
        "up",
        "--name",
        host.name(),
        "--no-mount",
        "--detach",
    ];
    for link in links {
        command.extend(["--link", link]);
    }
    command.extend(more);
    host.output(&command).map(drop)
}

/// Waits until `holds`, for at most `patience`.
pub(crate) fn wait_until(
    what: &str,
    patience: Duration,
    mut holds: impl FnMut() -> Outcome<bool>,
) -> Outcome<Duration> {
    let start = Instant::now();
    loop {
        if holds()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > patience {
            return Err(format!("{what}: not within {patience:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A load that runs.
pub(crate) struct Running {
    process: Process,
    stdin: Option<ChildStdin>,
}

impl Running {
    /// Returns when the first message is about to be sent.
    fn start(host: &Host, arguments: &[&str]) -> Outcome<Self> {
        let mut process = Process::start(host, arguments)?;
        let stdin = process.child.stdin.take();
        let line = process.line()?;
        if !line.starts_with("started ") {
            return Err(format!("the load said {line:?}"));
        }
        Ok(Self { process, stdin })
    }

    /// Has it send no more, and reads its report.
    pub(crate) fn end(mut self) -> Outcome<Record> {
        drop(self.stdin.take());
        let mut text = String::new();
        self.process
            .output
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        Record::parse(&text)
    }
}

/// One end of a load; killed when dropped, and by itself after [`PROCESS_MAX`] seconds.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(host: &Host, arguments: &[&str]) -> Outcome<Self> {
        let program = root().join("target/release/load");
        let program = program.to_string_lossy();
        let mut words = vec!["timeout", "-s", "KILL", PROCESS_MAX, &program];
        words.extend(arguments);
        let mut command = host.command(&words).into_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `timeout` hands a TERM on to its child, which no KILL would reach.
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// In seconds.
const LOAD_MAX: &str = "280";
const PROCESS_MAX: &str = "300";
