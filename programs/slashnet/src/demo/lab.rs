//! Everything the demo makes on this machine, and its removal, whatever happens.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::mounting::is_mounted;
use super::report::Report;
use crate::failure::{During, Failure, Outcome};
use crate::notation::sentence;
use crate::signals::{Signals, readable};
use crate::supervisor::{Part, Running};

/// What one program of this machine may take; a hang is a failure of the demo, not of patience.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(30);
/// Files that the story can still begin once everything else has ended, and more.
const REMOVALS_MAX: u32 = 100;
/// Lines of each log that a failure shows.
const LOG_LINES: usize = 40;

/// One of the two nodes, or the one that stays a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Lab1,
    Lab2,
    Stranger,
}

impl Node {
    pub(crate) const BOTH: [Self; 2] = [Self::Lab1, Self::Lab2];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lab1 => "lab1",
            Self::Lab2 => "lab2",
            Self::Stranger => "stranger",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Lab1 => 1,
            Self::Lab2 => 2,
            Self::Stranger => 3,
        }
    }
}

/// The directory, the processes and the addresses of one demo. Shared with the thread that waits
/// for signals.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    root: PathBuf,
    /// Made of the process id, so that two demos on one machine do not meet: the third part of all
    /// addresses, and what is added to the fourth.
    network: (u8, u8),
    belongings: Arc<Mutex<Belongings>>,
}

#[derive(Debug, Default)]
struct Belongings {
    parts: Vec<(String, Running)>,
    programs: Vec<OwnedFd>,
    interrupted: bool,
    ended: bool,
    kept: bool,
}

impl Lab {
    /// Makes the directory and begins to wait for signals, which end the demo with clean-up.
    pub(crate) fn build(keep: Option<&Path>) -> Outcome<Self> {
        let root = match keep {
            Some(root) => fs::create_dir(root)
                .and_then(|()| root.canonicalize())
                .during(root.display())?,
            None => tempfile::Builder::new()
                .prefix("slashnet-demo-")
                .tempdir()
                .during("temporary directory")?
                .keep(),
        };
        let process = std::process::id();
        let network = ((1 + process % 250) as u8, (process / 250 % 62 * 4) as u8);
        let kept = keep.is_some();
        let belongings = Arc::new(Mutex::new(Belongings {
            kept,
            ..Belongings::default()
        }));
        let lab = Self {
            root,
            network,
            belongings,
        };
        for node in Node::BOTH {
            fs::create_dir(lab.dir(node)).during(lab.dir(node).display())?;
        }
        let signals = Signals::catch().during("signals")?;
        let interrupted = lab.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if signals.wait().is_ok() {
                    interrupted.belongings().interrupted = true;
                    interrupted.end();
                    let _ = writeln!(
                        io::stderr(),
                        "slashnet: demo: interrupted; everything is cleaned up"
                    );
                    std::process::exit(130);
                }
            })
            .during("signals")?;
        Ok(lab)
    }

    /// State and sockets of a node.
    pub(crate) fn dir(&self, node: Node) -> PathBuf {
        self.root.join(node.name())
    }

    /// A file or directory of the demo.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The address of a node on each of its two links: two networks of the loopback interface.
    pub(crate) fn addresses(&self, node: Node) -> [Ipv4Addr; 2] {
        let (third, fourth) = self.network;
        [77, 78].map(|link| Ipv4Addr::new(127, link, third, fourth + node.number()))
    }

    /// Starts a part of a node under `title` and waits until it is ready.
    pub(crate) fn start(&self, node: Node, title: &str, verb: &[&OsStr]) -> Outcome {
        let mut arguments: Vec<OsString> = vec!["--dir".into(), self.dir(node).into()];
        arguments.extend(verb.iter().map(OsString::from));
        let part = Part {
            title: title.to_owned(),
            arguments,
        };
        let log_path = self.log(node);
        let log = File::options().create(true).append(true).open(&log_path);
        let announcements = {
            let mut belongings = self.belongings();
            if belongings.ended {
                return Err(Failure::new(title, "the demo was interrupted"));
            }
            let mut running = Running::start(&part, Stdio::from(log.during(log_path.display())?))?;
            let announcements = running.announcements();
            belongings.parts.push((title.to_owned(), running));
            announcements
        };
        let Some(mut announcements) = announcements else {
            return Ok(());
        };
        announcements.wait_until_ready(
            || self.belongings().ended,
            || {
                let mut belongings = self.belongings();
                let mut parts = belongings.parts.iter_mut();
                parts
                    .find(|(name, _)| name == title)
                    .and_then(|(_, running)| running.wait())
            },
        )
    }

    /// Kills a part by SIGKILL.
    pub(crate) fn kill(&self, title: &str) -> Outcome {
        let mut belongings = self.belongings();
        let place = belongings.parts.iter().position(|(name, _)| name == title);
        let Some(place) = place else {
            return Err(Failure::new(title, "is not running"));
        };
        let (_, mut running) = belongings.parts.remove(place);
        running.kill();
        Ok(())
    }

    /// Asks a part to end. False if it had to be killed.
    pub(crate) fn stop(&self, title: &str) -> bool {
        let mut belongings = self.belongings();
        let place = belongings.parts.iter().position(|(name, _)| name == title);
        place.is_some_and(|place| belongings.parts.remove(place).1.stop())
    }

    /// The parts that have ended although nobody asked them to.
    pub(crate) fn fallen(&self) -> Vec<String> {
        let mut belongings = self.belongings();
        let ended = belongings.parts.iter_mut().filter_map(|(title, running)| {
            let status = running.ended()?;
            Some(format!("{title} {}", crate::supervisor::describe(status)))
        });
        ended.collect()
    }

    /// Runs a program of this machine to its end, for [`PROGRAM_PATIENCE`] at most. Its output
    /// passes through files, so that no amount of it blocks.
    pub(crate) fn run(&self, program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Outcome<Output> {
        let path = program.as_ref();
        let program = Path::new(path).file_name().unwrap_or(path).display();
        let shown = || format!("{program} {}", arguments.join(OsStr::new(" ")).display());
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.root.join(name));
        let file = |path: &Path| File::create(path).during(path.display());
        let mut process = {
            let mut belongings = self.belongings();
            if belongings.ended {
                return Err(Failure::new(shown(), "the demo was interrupted"));
            }
            let mut process = Command::new(path)
                .args(arguments)
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .stdout(file(&stdout)?)
                .stderr(file(&stderr)?)
                .spawn()
                .during(&program)?;
            match pidfd_open(Pid::from_child(&process), PidfdFlags::empty()) {
                Ok(pidfd) => belongings.programs.push(pidfd),
                Err(error) => {
                    let _ = process.kill().and_then(|()| process.wait());
                    return Err(Failure::new(&program, error));
                }
            }
            process
        };
        let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).during(&program)?;
        let in_time = readable(pidfd.as_fd(), PROGRAM_PATIENCE);
        if !in_time {
            let _ = process.kill();
        }
        // A program that hangs inside the kernel cannot be killed; it is left to the mount's end.
        if !in_time && !readable(pidfd.as_fd(), Duration::from_secs(1)) {
            return Err(Failure::new(shown(), "hangs and cannot be killed"));
        }
        let status = process.wait().during(&program)?;
        self.belongings().programs.clear();
        let read = |path: &Path| fs::read(path).during(path.display());
        let output = Output {
            status,
            stdout: read(&stdout)?,
            stderr: read(&stderr)?,
        };
        if !in_time {
            let why = format!("did not end within {} s", PROGRAM_PATIENCE.as_secs());
            return Err(Failure::new(shown(), why));
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned();
            // On a full disk nothing of what it said could be kept.
            let why = if said.is_empty() {
                crate::supervisor::describe(status)
            } else {
                said
            };
            return Err(Failure::new(shown(), why));
        }
        Ok(output)
    }

    /// Does not return once a signal has come: the thread that waits for signals ends the process.
    pub(crate) fn yield_to_signal(&self) {
        while self.belongings().interrupted {
            std::thread::park();
        }
    }

    /// Where the log lines of a node's parts go.
    pub(crate) fn log(&self, node: Node) -> PathBuf {
        self.root.join(format!("{}.log", node.name()))
    }

    /// Ends everything, last begun first, and removes the directory. Safe to call twice and from
    /// two threads: the second waits for the first.
    pub(crate) fn end(&self) {
        let mut belongings = self.belongings();
        if belongings.ended {
            return;
        }
        belongings.ended = true;
        for program in belongings.programs.drain(..) {
            let _ = pidfd_send_signal(&program, Signal::KILL);
        }
        while let Some((_, mut running)) = belongings.parts.pop() {
            running.stop();
        }
        let point = self.root.join("net");
        if is_mounted(&point).unwrap_or(true) {
            // Removing the directory would remove what is mounted there.
            let _ = writeln!(
                io::stderr(),
                "slashnet: {}: still mounted and therefore not removed",
                point.display()
            );
        } else if !belongings.kept {
            self.remove();
        }
    }

    /// Removes the directory. The story may just be making another file in it.
    fn remove(&self) {
        for _ in 1..REMOVALS_MAX {
            if fs::remove_dir_all(&self.root).is_ok() {
                return;
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            let _ = writeln!(io::stderr(), "slashnet: {}: {error}", self.root.display());
        }
    }

    /// Shows the last lines that the parts logged, for whoever has to find out why.
    pub(crate) fn show_logs(&self, report: &Report) {
        for node in Node::BOTH {
            let Ok(log) = fs::read(self.log(node)) else {
                continue;
            };
            let log = sentence(&log).replace("\\n", "\n");
            let lines: Vec<&str> = log.lines().collect();
            report.chapter(format!("log of {}", node.name()));
            report.show(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }

    fn belongings(&self) -> std::sync::MutexGuard<'_, Belongings> {
        self.belongings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
