//! Child processes: started, watched, restarted, stopped, each by its own process descriptor.
//!
//! A node and its managers are separate processes so that any of them can die alone: sessions
//! between programs outlive a killed node daemon, and a manager that falls over takes nothing
//! else along. Children stand in process groups of their own, so that Ctrl-C at the terminal
//! reaches the supervisor only, which then stops them in the right order.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::failure::{During, Explain, Failure, Outcome};
use crate::signals::{Signals, readable, wait_for_any};
use crate::supervised::READY;

/// How long a part may take to begin its work. A daemon needs milliseconds; a loaded machine
/// gets a hundred times that and more.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How soon an interruption is seen while a part is waited for.
const INTERRUPTED_LOOK: Duration = Duration::from_millis(50);
/// How long a part may take to end after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before a part that ended by itself is started again; doubled up to
/// [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A part that ran this long is healthy: its earlier ends are forgotten.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// A part that ended this often without being healthy in between will not come back by being
/// started once more.
const RESTARTS_MAX: u32 = 10;

/// What to run, and as what it is known in messages.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Such as `node` or `serial /dev/ser1`.
    pub(crate) title: String,
    /// Arguments to this same program.
    pub(crate) arguments: Vec<OsString>,
}

/// A running part. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    /// None only once it was released.
    process: Option<Child>,
    pidfd: OwnedFd,
    /// None once somebody listens to them.
    announcements: Option<Announcements>,
    begun: Instant,
}

impl Running {
    /// Starts this program again with the part's arguments, as a child that dies with this
    /// process and that only this process signals; logs go to `log`.
    pub(crate) fn start(part: &Part, log: Stdio) -> Outcome<Self> {
        let own_pid = std::process::id().to_string();
        let mut command = own_program().during(&part.title)?;
        command
            .args(["--supervised", &own_pid])
            .args(&part.arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        Self::watch(&part.title, &mut command)
    }

    /// Starts a command whose standard output is a pipe.
    pub(crate) fn watch(title: &str, command: &mut Command) -> Outcome<Self> {
        let mut process = command.spawn().during(title)?;
        let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty());
        match (pidfd, process.stdout.take()) {
            (Ok(pidfd), Some(announcements)) => {
                let begun = Instant::now();
                let announcements = Announcements {
                    title: title.to_owned(),
                    pipe: announcements,
                };
                Ok(Self {
                    process: Some(process),
                    pidfd,
                    announcements: Some(announcements),
                    begun,
                })
            }
            (pidfd, _) => {
                let _ = process.kill();
                let _ = process.wait();
                let why = pidfd
                    .err()
                    .map_or_else(|| "no pipe".to_owned(), |error| error.explain());
                Err(Failure::new(title, why))
            }
        }
    }

    /// Leaves the process running on its own. Gives its id.
    pub(crate) fn release(mut self) -> u32 {
        let pid = self.pid();
        self.process = None;
        pid
    }

    /// What the part says of itself, for whoever waits for it to be ready.
    pub(crate) fn announcements(&mut self) -> Option<Announcements> {
        self.announcements.take()
    }

    /// Blocks until the part announces that it does its work; at most [`READY_PATIENCE`].
    pub(crate) fn wait_until_ready(&mut self, interrupted: impl Fn() -> bool) -> Outcome {
        let Some(mut announcements) = self.announcements() else {
            return Ok(());
        };
        announcements.wait_until_ready(interrupted, || self.wait())
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    /// Readable once the process has ended.
    pub(crate) fn ended_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How the process ended, if it has. Never blocks.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_wait().ok().flatten()
    }

    /// Ends the process at once by SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.wait().ok()
    }

    /// Asks the process to end, waits, and kills it if it does not. False if it had to be killed.
    pub(crate) fn stop(&mut self) -> bool {
        if self.ended().is_some() {
            return true;
        }
        let asked = pidfd_send_signal(&self.pidfd, Signal::TERM).is_ok();
        if asked && readable(self.ended_fd(), STOP_PATIENCE) {
            return self.wait().is_some();
        }
        self.kill();
        false
    }
}

/// What a part says of itself on its standard output.
#[derive(Debug)]
pub(crate) struct Announcements {
    title: String,
    pipe: ChildStdout,
}

impl Announcements {
    /// Blocks until the part announces that it does its work; at most [`READY_PATIENCE`]. `status`
    /// is asked how the part ended if it did.
    pub(crate) fn wait_until_ready(
        &mut self,
        interrupted: impl Fn() -> bool,
        status: impl FnOnce() -> Option<ExitStatus>,
    ) -> Outcome {
        let failed = |why: String| Err(Failure::new(&self.title, why));
        let deadline = Instant::now() + READY_PATIENCE;
        let mut announced = Vec::new();
        while !announced.ends_with(b"\n") {
            if interrupted() {
                return failed("interrupted before it was ready".to_owned());
            }
            if Instant::now() >= deadline {
                return failed(format!("not ready after {} s", READY_PATIENCE.as_secs()));
            }
            // Short looks, so that an interruption that came in between is seen soon.
            if !readable(self.pipe.as_fd(), INTERRUPTED_LOOK) {
                continue;
            }
            let mut byte = [0];
            match self.pipe.read(&mut byte) {
                Ok(0) => return failed(status().map_or_else(|| "ended".to_owned(), describe)),
                Ok(_) => announced.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return failed(error.explain()),
            }
        }
        if announced.strip_suffix(b"\n") == Some(READY.as_bytes()) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&announced);
        failed(format!("said '{}' instead of '{READY}'", said.trim_end()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps a list of parts running until a signal asks for the end.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    signals: &'a Signals,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    part: Part,
    running: Option<Running>,
    restarts: u32,
    start_again_at: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of nothing yet.
    pub(crate) const fn new(signals: &'a Signals) -> Self {
        Self {
            signals,
            places: Vec::new(),
        }
    }

    /// Starts one more part and waits until it is ready. Parts are stopped in reverse order.
    pub(crate) fn start(&mut self, part: Part) -> Outcome {
        let mut running = Running::start(&part, Stdio::inherit())?;
        if let Err(failure) = running.wait_until_ready(|| self.signals.arrived()) {
            // It may have begun something that it has to undo.
            running.stop();
            return Err(failure);
        }
        tracing::info!(part = %part.title, pid = running.pid(), "started");
        let place = Place {
            part,
            running: Some(running),
            restarts: 0,
            start_again_at: None,
        };
        self.places.push(place);
        Ok(())
    }

    /// Blocks until a signal arrives (`Ok`) or a part cannot be kept running.
    pub(crate) fn watch(&mut self) -> Outcome {
        loop {
            let next_start = self
                .places
                .iter()
                .filter_map(|place| place.start_again_at)
                .min();
            let patience = next_start.map(|at| at.saturating_duration_since(Instant::now()));
            let mut interests = vec![PollFd::from_borrowed_fd(self.signals.fd(), PollFlags::IN)];
            let running = self
                .places
                .iter()
                .filter_map(|place| place.running.as_ref());
            interests.extend(
                running.map(|running| PollFd::from_borrowed_fd(running.ended_fd(), PollFlags::IN)),
            );
            wait_for_any(&mut interests, patience);
            if self.signals.arrived() {
                return Ok(());
            }
            for place in &mut self.places {
                place.look_after()?;
            }
        }
    }

    /// Stops all parts, last started first.
    pub(crate) fn stop(mut self) {
        while let Some(place) = self.places.pop() {
            let Some(mut running) = place.running else {
                continue;
            };
            if running.stop() {
                tracing::info!(part = %place.part.title, "stopped");
            } else {
                tracing::warn!(part = %place.part.title, "did not end in time and was killed");
            }
        }
    }
}

impl Place {
    fn look_after(&mut self) -> Outcome {
        if let Some(running) = &mut self.running {
            let Some(status) = running.ended() else {
                return Ok(());
            };
            let healthy = running.begun.elapsed() >= HEALTHY_AFTER;
            self.restarts = if healthy { 0 } else { self.restarts };
            self.running = None;
            tracing::warn!(part = %self.part.title, "{}", describe(status));
            self.plan_restart()?;
        }
        if self.start_again_at.is_some_and(|at| at <= Instant::now()) {
            self.start_again_at = None;
            match Running::start(&self.part, Stdio::inherit()) {
                Ok(running) => {
                    tracing::info!(part = %self.part.title, pid = running.pid(), "restarted");
                    self.running = Some(running);
                }
                Err(failure) => {
                    tracing::warn!("{failure}");
                    self.plan_restart()?;
                }
            }
        }
        Ok(())
    }

    fn plan_restart(&mut self) -> Outcome {
        if self.restarts >= RESTARTS_MAX {
            let why = format!("ended {RESTARTS_MAX} times in a row; giving up");
            return Err(Failure::new(&self.part.title, why));
        }
        let pause = RESTART_PAUSE
            .saturating_mul(1 << self.restarts)
            .min(RESTART_PAUSE_MAX);
        self.restarts += 1;
        self.start_again_at = Some(Instant::now() + pause);
        Ok(())
    }
}

/// This same program, even if its file was replaced since.
pub(crate) fn own_program() -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(std::env::current_exe()?);
    Ok(command)
}

/// `ended with status 1`, `was killed by signal 9`.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Running::watch("part", &mut command).unwrap()
    }

    #[test]
    fn a_part_is_ready_when_it_says_so_and_ends_when_told_to() {
        let mut part = shell("echo ready; read forever");
        part.wait_until_ready(|| false).unwrap();
        assert!(part.ended().is_none());
        assert!(part.stop());
        assert!(part.ended().is_some());
    }

    #[test]
    fn a_part_that_ends_before_it_is_ready_is_reported_with_its_status() {
        let failure = shell("exit 3").wait_until_ready(|| false).unwrap_err();
        assert_eq!(failure.to_string(), "part: ended with status 3");
        let failure = shell("kill -9 $$").wait_until_ready(|| false).unwrap_err();
        assert_eq!(failure.to_string(), "part: was killed by signal 9");
    }

    #[test]
    fn a_part_that_says_something_else_is_not_ready() {
        let failure = shell("echo hello; read forever")
            .wait_until_ready(|| false)
            .unwrap_err();
        assert_eq!(failure.to_string(), "part: said 'hello' instead of 'ready'");
    }

    #[test]
    fn waiting_for_a_part_can_be_interrupted() {
        let failure = shell("read forever").wait_until_ready(|| true).unwrap_err();
        assert_eq!(failure.to_string(), "part: interrupted before it was ready");
    }

    #[test]
    fn a_part_that_keeps_falling_is_given_up() {
        let part = Part {
            title: "part".to_owned(),
            arguments: Vec::new(),
        };
        let mut place = Place {
            part,
            running: None,
            restarts: 0,
            start_again_at: None,
        };
        for _ in 0..RESTARTS_MAX {
            place.plan_restart().unwrap();
        }
        let failure = place.plan_restart().unwrap_err();
        assert_eq!(
            failure.to_string(),
            "part: ended 10 times in a row; giving up"
        );
    }
}
