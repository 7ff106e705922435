//! `slashnet down`: the end of what `slashnet up` runs.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::AsFd;

use crate::command::GlobalOptions;
use crate::failure::{During, Failure, Outcome};
use crate::running::Running;
use crate::signals::readable;
use crate::{directory, mounted, output};

/// Longer than the supervisor gives each of its parts before it kills it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks it to end, and waits until it has.
pub(crate) fn run(global: &GlobalOptions) -> Outcome {
    let dir = directory::of(global.dir.as_deref());
    let running = Running::in_directory(&dir)?.ok_or_else(|| {
        let alone = dir.join(abi::system::SOCKET_NAME).exists();
        let why = match alone {
            true => {
                "no 'slashnet up' runs here; what 'slashnet node' runs ends where it was started"
            }
            false => "no 'slashnet up' runs here; '--dir' names another node",
        };
        Failure::new(dir.display(), why)
    })?;
    let points = mounted::of(&dir).unwrap_or_default();
    match pidfd_send_signal(&running.process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(Errno::PERM) => {
            let why = "only root and the user who started this node may stop it";
            return Err(Failure::new(dir.display(), why));
        }
        Err(errno) => return Err(errno).during(dir.display()),
    }
    if !readable(running.process.as_fd(), PATIENCE) {
        let why = format!(
            "process {} did not end within {} s",
            running.pid,
            PATIENCE.as_secs()
        );
        return Err(Failure::new(dir.display(), why));
    }
    let left = mounted::of(&dir).unwrap_or_default();
    let gone = points.iter().filter(|point| !left.contains(point));
    let gone: String = gone
        .map(|mount| format!(", {} is unmounted", mount.point.display()))
        .collect();
    output::line(format!(
        "stopped: process {} in {}{gone}",
        running.pid,
        dir.display()
    ))
}
