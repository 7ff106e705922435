//! A machine that runs `slashnet up`, for tests of the command.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::panic, reason = "a test that cannot go on has failed")]

mod lab;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use lab::{Lab, open_directory};

/// What a loaded machine may take for what needs milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running `slashnet up`, stopped when dropped.
pub(crate) struct Up {
    pub(crate) process: Child,
    log: Receiver<String>,
}

impl Up {
    /// Starts it with the options given, without a mount, on an address of its own.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_mounting(dir, &[arguments, &["--no-mount"]].concat())
    }

    /// Starts it with the options given, which say what is mounted, on an address of its own.
    pub(crate) fn start_mounting(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command(dir);
        command
            .args(["up", "--link", &own_address()])
            .args(arguments);
        Self::watch(command)
    }

    /// Starts it with a config file and nothing else.
    pub(crate) fn start_as_configured(config: &Path) -> Self {
        let mut command = bare_command();
        command.args(["up", "--config"]).arg(config);
        Self::watch(command)
    }

    fn watch(mut command: Command) -> Self {
        let mut process = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (sender, log) = channel();
        let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { process, log }
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no '{text}' ({error}) in the log: {seen:#?}"),
            }
        }
    }

    /// Sends the signal and gives the exit status.
    pub(crate) fn stop(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
        self.end()
    }

    /// Waits until it has ended, with all its parts, and gives the exit status.
    pub(crate) fn end(&mut self) -> Option<i32> {
        if let Err(seen) = self.log_ends() {
            panic!("it has not ended: {seen:#?}");
        }
        self.process.wait().expect("it ends").code()
    }

    /// The log ends with the last process that may write it. What was written if that takes too long.
    fn log_ends(&self) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => return Err(seen),
            }
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.process.try_wait() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        if self.log_ends().is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// `slashnet --dir DIR`, independent of this machine's environment.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = bare_command();
    command.arg("--dir").arg(dir);
    command
}

fn bare_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slashnet"));
    command
        .env_remove("SLASHNET_DIR")
        .env_remove("SLASHNET_LOG")
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Runs `slashnet` to its end.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    command(dir)
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// What a command printed; it must have succeeded.
pub(crate) fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A loopback address that no other node of the tests uses.
pub(crate) fn own_address() -> String {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    let number = 1 + LAST.fetch_add(1, Ordering::Relaxed);
    format!(
        "127.{}.{}.{number}",
        79 + process / 250 % 100,
        process % 250
    )
}
