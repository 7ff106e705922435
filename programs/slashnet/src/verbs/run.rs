//! `slashnet run`: a program in a place of its own.
//!
//! With `--root` it sees only the part of the path space below a path, as after `chroot`: through a door of the node, which
//! the node guards for every connection. A namespace of its own, if the system lets ordinary users have one, hides the
//! node's other entrance and shows only the same part where the path space is mounted.

mod confined;
mod library_file;
mod preload;
mod program;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use abi::flags::mode::is_directory;
use abi::system::{Narrow, Reply, Request};
use client::Namespace;
use ipc::Endpoint;
use paths::Pathname;
use rustix::process::geteuid;

use crate::command::{GlobalOptions, RunOptions};
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;
use crate::{daemon, directory};

use confined::Confinement;

pub(crate) use confined::enter;
pub(crate) use preload::broker;

/// How often a door is looked after that a restarted node has not opened again.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// What the shell adds to the number of a signal that ended a program.
const SIGNALLED: i32 = 128;
/// Exit statuses of shells for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs the command and ends as it does.
pub(crate) fn run(global: &GlobalOptions, options: &RunOptions) -> Outcome {
    let (mut command, node) = match &options.root {
        Some(root) => rooted(global, options, root.as_bytes())?,
        None => (
            command(&options.command),
            directory::of(global.dir.as_deref()),
        ),
    };
    let name = printable(options.command[0].as_bytes());
    // In a user namespace the broker's terminals cannot be opened.
    let hides_processes =
        options.root.is_some() && !options.without_namespace && !geteuid().is_root();
    if !options.no_preload && !hides_processes {
        preload::prepare(&node, global, options, &mut command)?;
    }
    if options.root.is_none() {
        // The command in place of this process: signals, job control and its end are its own.
        return Err(not_started(&options.command[0], command.exec()));
    }
    // The terminal sends Ctrl-C to the command too, and that is whose end counts.
    let ignored = std::sync::Arc::default();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::QUIT] {
        signal_hook::flag::register(signal.as_raw(), std::sync::Arc::clone(&ignored))
            .during(&name)?;
    }
    let status = command.status();
    ended_like(status.map_err(|error| not_started(&options.command[0], error))?)
}

/// A command that did not run: 127 if there is none, 126 if it cannot be run, as shells say it.
fn not_started(command: impl AsRef<OsStr>, error: io::Error) -> Failure {
    let status = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    Failure::new(printable(command.as_ref().as_bytes()), error).with_status(status)
}

fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

fn ended_like(status: ExitStatus) -> Outcome {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    match code {
        Some(0) => Ok(()),
        code => Err(Failure::said_with(code.unwrap_or(1))),
    }
}

/// The command behind a door that shows only what is below `root`.
fn rooted(
    global: &GlobalOptions,
    options: &RunOptions,
    root: &[u8],
) -> Outcome<(Command, PathBuf)> {
    let node = directory::of(global.dir.as_deref());
    let shown = printable(root);
    let endpoint = daemon::endpoint(&node)?;
    let namespace = Namespace::of(&endpoint);
    let root = Pathname::parse(root).during(&shown)?;
    let stat = namespace.stat(root.as_bytes()).during(&shown)?;
    if !is_directory(stat.mode) {
        return Err(Failure::new(shown, abi::Errno::ENOTDIR));
    }
    let (door, is_nested) = open_door(&endpoint, &node, &shown, root.as_bytes())?;
    let command = if options.without_namespace {
        let mut command = command(&options.command);
        command.env("SLASHNET_DIR", &door);
        command
    } else {
        let shown_at = match is_nested {
            true => Path::new(OsStr::from_bytes(relative(root.as_bytes()))).to_owned(),
            false => below_node(&namespace, &root)?,
        };
        let confinement = Confinement {
            node: &node,
            door: &door,
            root: &shown_at,
            is_nested,
        };
        confinement.command(&options.command)?
    };
    keep_open(endpoint, root.into_bytes());
    Ok((command, door))
}

/// The door's directory as this process sees it, and whether the node's directory is a door's itself.
fn open_door(
    endpoint: &Endpoint,
    node: &Path,
    shown: &str,
    root: &[u8],
) -> Outcome<(PathBuf, bool)> {
    let narrow = Request::Narrow(Narrow {
        root: root.to_vec(),
    });
    let Reply::Door(door) = daemon::ask(endpoint, shown, &narrow)? else {
        return Err(daemon::unexpected(shown));
    };
    let directory = PathBuf::from(OsString::from_vec(door.directory));
    // The node does not know what lies over its directory here. Doors are two names below where their owner came in.
    let mut names = directory.iter().rev();
    let (Some(process), Some(doors)) = (names.next(), names.next()) else {
        return Err(daemon::unexpected(shown));
    };
    let is_nested = names.nth(1) == Some(doors);
    Ok((node.join(doors).join(process), is_nested))
}

/// A node that is restarted has no doors: it is asked again until this process ends.
fn keep_open(endpoint: Endpoint, root: Vec<u8>) {
    std::thread::spawn(move || {
        let narrow = Request::Narrow(Narrow { root });
        loop {
            std::thread::sleep(LOOK_AFTER);
            // A door that is open is refused a second time; a node that is down is asked again.
            let _ = endpoint.ask(&narrow);
        }
    });
}

/// Where a mount of the path space, which begins with the nodes, shows a path.
fn below_node(namespace: &Namespace, path: &Pathname) -> Outcome<PathBuf> {
    let bytes = match path.as_bytes().strip_prefix(b"/net") {
        Some(rest @ ([] | [b'/', ..])) => rest.to_vec(),
        _ => {
            let nodes = namespace.nodes().during("nodes")?;
            let own = nodes.first().map(|row| row.name.to_string());
            [b"/", own.unwrap_or_default().as_bytes(), path.as_bytes()].concat()
        }
    };
    Ok(Path::new(OsStr::from_bytes(relative(&bytes))).to_owned())
}

fn relative(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}
