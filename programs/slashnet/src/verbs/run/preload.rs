//! The preload library for the program that `slashnet run` starts, and the broker that serves it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use preload_messages::{NAMES_VARIABLE, Token, VARIABLE};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serial_manager::terminal::Broker;

use super::{library_file, program};
use crate::command::{BrokerOptions, GlobalOptions, RunOptions};
use crate::failure::{During, Failure, Outcome};
use crate::signals::{readable, wait_for_any};
use crate::{daemon, logging, supervised};

/// Where the descriptor goes that tells the broker of the life of its programs: above those that programs count on.
const LIFE_FD: i32 = 200;
/// How often the broker looks whether the last terminal was closed, once its programs have ended.
const IDLE_LOOK: Duration = Duration::from_millis(50);

/// Lets `command` load the library, and starts its broker, which lives as long as this process or any of the command's.
/// Ports are those of the node whose directory is `node`.
pub(super) fn prepare(
    node: &Path,
    global: &GlobalOptions,
    options: &RunOptions,
    command: &mut Command,
) -> Outcome {
    program::check(&options.command[0])?;
    let names: Vec<&str> = options
        .names
        .iter()
        .map(|name| name.from.as_str())
        .collect();
    let (life, ours) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during("broker")?;
    let library = library_file::path()?;
    let place = start_broker(node, global, options, life)?;
    if place.is_empty() {
        return Err(Failure::new("broker", "it ended before it was ready"));
    }
    let mut libraries = OsString::from(library);
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        libraries.push(":");
        libraries.push(others);
    }
    command.env("LD_PRELOAD", libraries).env(VARIABLE, place);
    command.env(NAMES_VARIABLE, names.join(":"));
    keep_open(ours)
}

/// Leaves the descriptor open in the program: the broker ends when nobody has it any more.
fn keep_open(life: OwnedFd) -> Outcome {
    let kept = match rustix::io::fcntl_dupfd_cloexec(&life, LIFE_FD) {
        Ok(high) => high,
        // The limit of open files is lower than that.
        Err(_) => life,
    };
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).during("broker")?;
    // It belongs to the program from here on.
    std::mem::forget(kept);
    Ok(())
}

/// Starts it as nobody's child, because programs may wait for all of theirs. What it says when it is ready.
fn start_broker(
    node: &Path,
    global: &GlobalOptions,
    options: &RunOptions,
    life: OwnedFd,
) -> Outcome<String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--dir").arg(node);
    if let Some(filter) = &global.log {
        command.arg("--log").arg(filter);
    }
    command.args(["preload-broker", "--program"]);
    command.arg(std::process::id().to_string());
    for name in &options.names {
        command.arg("--map").arg(name.to_string());
    }
    let mut broker = command
        .stdin(Stdio::from(life))
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .during("broker")?;
    let mut said = String::new();
    if let Some(output) = broker.stdout.take() {
        BufReader::new(output)
            .read_line(&mut said)
            .during("broker")?;
    }
    if broker.wait().during("broker")?.success() {
        Ok(said.trim_end().to_owned())
    } else {
        // It has said why.
        Err(Failure::said())
    }
}

/// `slashnet preload-broker`: serves the programs of one `slashnet run` until the last one has ended.
pub(crate) fn broker(global: &GlobalOptions, options: &BrokerOptions) -> Outcome {
    if !options.serving {
        let mut again = Command::new("/proc/self/exe");
        again.args(std::env::args_os().skip(1)).arg("--serving");
        // Ends at once if it cannot serve, and says so.
        let mut child = again.stdout(Stdio::piped()).spawn().during("broker")?;
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut said)
                .during("broker")?;
        }
        if said.is_empty() {
            let _ = child.wait();
            return Err(Failure::said());
        }
        return crate::output::write(said.as_bytes());
    }
    supervised::call_it(c"slashnet-run");
    logging::begin(global.log.as_deref(), "warn")?;
    let program = Pid::from_raw(options.program)
        .ok_or_else(|| Failure::usage("--program", "expected a process id"))?;
    let program = pidfd_open(program, PidfdFlags::empty()).during("broker")?;
    let token = token()?;
    let name = format!(
        "slashnet-run-{}-{}",
        std::process::id(),
        hexadecimal(&token[..4])
    );
    let names = options
        .names
        .iter()
        .map(|name| (name.from.clone().into_bytes(), name.to.clone().into_bytes()));
    let broker = Broker::new(daemon::namespace(global)?, &name, token, names).during("broker")?;
    crate::output::line(format!("{name}:{}", hexadecimal(&token)))?;
    // Nobody reads it any more; a closed one could become another file.
    let null = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .during("/dev/null")?;
    rustix::stdio::dup2_stdout(&null).during("standard output")?;
    serve(&broker, &program);
    Ok(())
}

/// Serves while the program lives, or one of its children, or a terminal is open.
fn serve(broker: &Broker, program: &OwnedFd) {
    let life = std::io::stdin();
    let (mut alive, mut held) = (true, true);
    while alive || held || !broker.is_idle() {
        let mut fds = vec![PollFd::new(broker.socket(), PollFlags::IN)];
        // What has ended stays readable, so it is waited for only once.
        if alive {
            fds.push(PollFd::new(program, PollFlags::IN));
        }
        if held {
            fds.push(PollFd::from_borrowed_fd(life.as_fd(), PollFlags::IN));
        }
        wait_for_any(&mut fds, (!alive && !held).then_some(IDLE_LOOK));
        if readable(broker.socket().as_fd(), Duration::ZERO) {
            broker.serve_one();
        }
        alive = alive && !readable(program.as_fd(), Duration::ZERO);
        held = held && !has_ended(&life);
    }
}

/// Whether the pipe has no writer any more. Nothing is ever written into it.
fn has_ended(life: &std::io::Stdin) -> bool {
    readable(life.as_fd(), Duration::ZERO)
        && matches!(life.lock().read(&mut [0; 1]), Ok(0) | Err(_))
}

fn token() -> Outcome<Token> {
    let mut token = Token::default();
    let count = rustix::rand::getrandom(&mut token[..], rustix::rand::GetRandomFlags::empty())
        .during("random numbers")?;
    if count == token.len() {
        Ok(token)
    } else {
        Err(Failure::new("random numbers", "too few"))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
