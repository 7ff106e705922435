//! `slashnet up`: a node, its managers and its mount as children of one process.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::command::{GlobalOptions, UpOptions};
use crate::config::Mount;
use crate::failure::{During, Explain, Failure, Outcome};
use crate::machine::{Machine, detection_word};
use crate::running::Alone;
use crate::signals::Signals;
use crate::supervisor::{Part, Running, Supervisor, own_program};
use crate::{directory, logging, output, supervised};

/// Runs until a signal ends it, or goes to the background.
pub(crate) fn run(global: &GlobalOptions, options: &UpOptions) -> Outcome {
    let machine = Machine::of(global, options)?;
    let dir = directory::own(machine.dir.as_deref());
    if machine.detach && !options.detached {
        return detach(&dir);
    }
    if options.detached {
        rustix::process::setsid().during("--detach")?;
    }
    supervised::call_it(c"slashnet-up");
    logging::begin(machine.log.as_deref(), "info")?;
    make_directory(&dir, 0o755)?;
    let _alone = Alone::in_directory(&dir)?;
    let signals = Signals::catch().during("signals")?;
    let mut supervisor = Supervisor::new(&signals);
    let point = MountPoint::prepare(&machine)?;
    let result = start(&mut supervisor, &machine, &dir, point.as_ref())
        .and_then(|()| announce(&machine, options, point.as_ref()))
        .and_then(|()| supervisor.watch());
    tracing::info!("stopping");
    supervisor.stop();
    result
}

fn start(
    supervisor: &mut Supervisor<'_>,
    machine: &Machine,
    dir: &Path,
    point: Option<&MountPoint>,
) -> Outcome {
    for part in parts(machine, dir) {
        supervisor.start(part)?;
    }
    let Some(point) = point else { return Ok(()) };
    let arguments = vec!["mount".into(), point.path.clone().into_os_string()];
    supervisor.start(part(
        format!("mount {}", point.path.display()),
        machine,
        dir,
        arguments,
    ))
}

/// The daemon first, since managers attach their paths to it.
fn parts(machine: &Machine, dir: &Path) -> Vec<Part> {
    let mut node: Vec<OsString> =
        vec!["node".into(), "--name".into(), machine.name.as_str().into()];
    for link in &machine.links {
        node.extend(["--link".into(), link.into()]);
    }
    if let Some(port) = machine.port {
        node.extend(["--port".into(), port.to_string().into()]);
    }
    if let Some(detect) = machine.detect {
        node.extend(["--detect".into(), detection_word(detect).into()]);
    }
    if machine.one_port {
        node.push("--one-port".into());
    }
    for right in &machine.rights {
        node.extend(["--right".into(), right.into()]);
    }
    let mut parts = vec![part(format!("node {}", machine.name), machine, dir, node)];
    let serials: Vec<String> = machine.serials.iter().map(ToString::to_string).collect();
    let exports: Vec<String> = machine.exports.iter().map(ToString::to_string).collect();
    for (kind, offers) in [("serial", serials), ("export", exports)] {
        if !offers.is_empty() {
            let mut arguments: Vec<OsString> = vec!["serve".into(), kind.into(), "--".into()];
            arguments.extend(offers.into_iter().map(OsString::from));
            parts.push(part(kind.to_owned(), machine, dir, arguments));
        }
    }
    parts
}

fn part(title: String, machine: &Machine, dir: &Path, verb: Vec<OsString>) -> Part {
    let mut arguments: Vec<OsString> = vec!["--dir".into(), dir.into()];
    if let Some(filter) = &machine.log {
        arguments.extend(["--log".into(), filter.into()]);
    }
    arguments.extend(verb);
    Part { title, arguments }
}

fn announce(machine: &Machine, options: &UpOptions, point: Option<&MountPoint>) -> Outcome {
    let place = point.map_or_else(
        || "not mounted".to_owned(),
        |point| format!("mounted at {}", point.path.display()),
    );
    tracing::info!("node {} is up, {place}", machine.name);
    if options.detached {
        supervised::announce_ready()
    } else {
        Ok(())
    }
}

/// Starts the same command once more without a terminal, and waits until it runs.
fn detach(dir: &Path) -> Outcome {
    make_directory(dir, 0o755)?;
    let log_path = dir.join("up.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .during(log_path.display())?;
    let earlier = log.metadata().during(log_path.display())?.len();
    let mut command = own_program().during("--detach")?;
    command.args(std::env::args_os().skip(1)).arg("--detached");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut running = Running::watch("up", &mut command)?;
    running.wait_until_ready(|| false).map_err(|failure| {
        let why = reason_in(&log_path, earlier).unwrap_or_else(|| failure.to_string());
        Failure::whole(format!("{why} (log in {})", log_path.display()))
    })?;
    let pid = running.release();
    output::line(format!(
        "slashnet runs as process {pid}, log in {}; 'slashnet down' stops it",
        log_path.display()
    ))
}

/// The first complaint in the log behind its first `earlier` bytes.
fn reason_in(log: &Path, earlier: u64) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(earlier).ok()?..)?);
    let mut complaints = text
        .lines()
        .filter_map(|line| line.strip_prefix("slashnet: "));
    complaints.next().map(str::to_owned)
}

/// Where the mount goes; made if it did not exist, and then removed again.
#[derive(Debug)]
struct MountPoint {
    path: PathBuf,
    made: bool,
}

impl MountPoint {
    /// None if nothing is to be mounted, or nothing can be and nobody asked for it by name.
    fn prepare(machine: &Machine) -> Outcome<Option<Self>> {
        let Mount::At(path) = &machine.mount else {
            return Ok(None);
        };
        if let Err(why) = mount_usable() {
            if machine.mount_is_asked_for {
                return Err(Failure::new(path.display(), why));
            }
            tracing::warn!("nothing is mounted: {why}");
            return Ok(None);
        }
        // Not so if it is a dead mount, which the new one clears away.
        let made = fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if made {
            make_directory(path, 0o755)?;
        }
        Ok(Some(Self {
            path: path.clone(),
            made,
        }))
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Why FUSE cannot be used here, in words for the user.
pub(crate) fn mount_usable() -> Result<(), String> {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    if let Err(error) = device {
        let why = error.explain();
        return Err(format!(
            "/dev/fuse: {why} (the fuse module is missing, or its permissions)"
        ));
    }
    let root = rustix::process::geteuid().is_root();
    if !root && find_program("fusermount3").is_none() {
        return Err("fusermount3 is not installed (Debian package fuse3)".to_owned());
    }
    Ok(())
}

/// Where a program of this machine is.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn make_directory(path: &Path, mode: u32) -> Outcome {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| {
            Failure::new(
                path.display(),
                format!("cannot be made: {}", error.explain()),
            )
        })
}
