//! The two processes of one measurement.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::cpu::Meter;
use crate::figures::Figures;
use crate::{Outcome, datagram, echo, files, namespaces, peers, place, sealed, slashnet, stream};

/// What one child does.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChildOptions {
    #[arg(long)]
    pub(crate) side: Side,
    #[arg(long)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) cpu: usize,
    #[arg(long)]
    pub(crate) size: usize,
    #[arg(long)]
    pub(crate) milliseconds: u64,
    /// Operations under way at a time.
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,
    /// The server's process, whose processor time the client reads.
    #[arg(long)]
    pub(crate) peer: Option<u32>,
    /// Process whose network namespace to enter.
    #[arg(long)]
    pub(crate) network: Option<i32>,
    /// Own address, or the directory of the own node.
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// The peer's address, or the name of its node.
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// Processes that the client stops once it is connected, and continues at the end.
    #[arg(long)]
    pub(crate) stop: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Server,
    Client,
}

/// What carries the bytes, and in which pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    SeqpacketEcho,
    MemoryEcho,
    MemorySpinEcho,
    UdpEcho,
    GsoEcho,
    /// As above, each packet sealed.
    SealedEcho,
    TcpEcho,
    TcpStream,
    MptcpStream,
    QuinnStream,
    QuinnEcho,
    ZenohEcho,
    TonicEcho,
    TarpcEcho,
    FileWrite,
    FileRead,
    SlashnetEcho,
    /// As above, with a thread for each call under way.
    SlashnetThreads,
    SlashnetBulk,
    SlashnetSessions,
    SlashnetOpen,
    /// As echo and bulk, but without daemons.
    DirectEcho,
    DirectBulk,
}

/// A client and a server, still to be started.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) depth: usize,
    /// CPUs of client and server.
    pub(crate) cpus: (usize, usize),
    pub(crate) client: Place,
    pub(crate) server: Place,
}

/// Where one side is on the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) network: Option<i32>,
    pub(crate) at: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) stop: Vec<u32>,
}

impl Pair {
    pub(crate) fn run(&self, time: Duration) -> Outcome<Figures> {
        let (first, second) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (client_cpu, server_cpu) = self.cpus;
        let server = self.start(
            Side::Server,
            &self.server,
            (server_cpu, None),
            first.into(),
            time,
        )?;
        let peer = Some(server.0.id());
        let mut client = self.start(
            Side::Client,
            &self.client,
            (client_cpu, peer),
            second.into(),
            time,
        )?;
        let text = client.output(time + PATIENCE)?;
        Figures::parse(&text)
    }

    fn start(
        &self,
        side: Side,
        place: &Place,
        (cpu, peer): (usize, Option<u32>),
        stdin: Stdio,
        time: Duration,
    ) -> Outcome<Guarded> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child");
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default()
        };
        command.args(["--side", &name(&|| side.to_possible_value())]);
        command.args(["--kind", &name(&|| self.kind.to_possible_value())]);
        command.args(["--cpu", &cpu.to_string(), "--size", &self.size.to_string()]);
        command.args(["--milliseconds", &time.as_millis().to_string()]);
        command.args(["--depth", &self.depth.to_string()]);
        if let Some(peer) = peer {
            command.args(["--peer", &peer.to_string()]);
        }
        if let Some(network) = place.network {
            command.args(["--network", &network.to_string()]);
        }
        if let Some(at) = &place.at {
            command.args(["--at", at]);
        }
        if let Some(to) = &place.to {
            command.args(["--to", to]);
        }
        for pid in &place.stop {
            command.args(["--stop", &pid.to_string()]);
        }
        // A server learns by an error that its client has ended; the client tells what matters.
        if side == Side::Server {
            command.stderr(Stdio::null());
        }
        command.stdin(stdin);
        command.stdout(if side == Side::Client {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        Ok(Guarded(command.spawn()?))
    }
}

/// A measurement that needs one process only.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) cpu: usize,
    pub(crate) at: String,
    pub(crate) to: Option<String>,
    pub(crate) network: Option<i32>,
}

impl Task {
    pub(crate) fn run(&self, time: Duration) -> Outcome<Figures> {
        let place = Place {
            at: Some(self.at.clone()),
            to: self.to.clone(),
            network: self.network,
            ..Place::default()
        };
        let pair = Pair {
            kind: self.kind,
            size: self.size,
            depth: 1,
            cpus: (self.cpu, self.cpu),
            client: Place::default(),
            server: Place::default(),
        };
        let none = Stdio::null();
        let mut child = pair.start(Side::Client, &place, (self.cpu, None), none, time)?;
        Figures::parse(&child.output(LONG_PATIENCE)?)
    }
}

/// A child that does not outlive the measurement.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    /// Everything that the child prints until it ends, for at most `patience`.
    pub(crate) fn output(&mut self, patience: Duration) -> Outcome<String> {
        let mut stdout = self
            .0
            .stdout
            .take()
            .ok_or("the child's output is not piped")?;
        let deadline = Instant::now() + patience;
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left)?;
            let mut polled = [PollFd::new(&stdout, PollFlags::IN)];
            if rustix::event::poll(&mut polled, Some(&left))? == 0 {
                return Err(format!("the client did not end within {patience:?}").into());
            }
            match stdout.read(&mut chunk)? {
                0 => return Ok(String::from_utf8(text)?),
                count => text.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole life of one child.
pub(crate) fn run_child(options: &ChildOptions) -> Outcome<()> {
    let outcome = child_work(options);
    match (options.side, outcome) {
        (Side::Client, Ok(Some(figures))) => {
            println!("{}", figures.line());
            Ok(())
        }
        (Side::Client, Err(error)) => {
            println!("error: {error}");
            Ok(())
        }
        (_, outcome) => outcome.map(|_figures| ()),
    }
}

fn child_work(options: &ChildOptions) -> Outcome<Option<Figures>> {
    // Not outliving a parent that was killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if let Some(pid) = options.network {
        namespaces::enter(pid)?;
    }
    place::pin(options.cpu)?;
    let stdin = std::io::stdin();
    match options.kind {
        Kind::TcpStream | Kind::MptcpStream | Kind::TcpEcho => stream::run(options, stdin.as_fd()),
        Kind::UdpEcho | Kind::GsoEcho => datagram::run(options, stdin.as_fd()),
        Kind::SealedEcho => sealed::run(options, stdin.as_fd()),
        Kind::FileWrite | Kind::FileRead => files::run(options).map(Some),
        Kind::QuinnStream
        | Kind::QuinnEcho
        | Kind::ZenohEcho
        | Kind::TonicEcho
        | Kind::TarpcEcho => Err(peers::become_peer(options)?),
        Kind::SlashnetEcho
        | Kind::SlashnetThreads
        | Kind::SlashnetBulk
        | Kind::SlashnetSessions
        | Kind::SlashnetOpen
        | Kind::DirectEcho
        | Kind::DirectBulk => slashnet::run(options, stdin.as_fd()),
        _ => echo::run(options, stdin.as_fd()),
    }
}

/// Repeats `operation` for the time asked for, after a short warm-up, and times each.
pub(crate) fn repeat(
    options: &ChildOptions,
    mut operation: impl FnMut() -> Outcome<()>,
) -> Outcome<Figures> {
    let time = Duration::from_millis(options.milliseconds);
    let warm = Instant::now() + time / 10;
    while Instant::now() < warm {
        operation()?;
    }
    let mut samples = Vec::with_capacity(1 << 20);
    let meter = Meter::start(options.peer)?;
    let end = Instant::now() + time;
    let mut before = Instant::now();
    while before < end && samples.len() < samples.capacity() {
        operation()?;
        let after = Instant::now();
        samples.push(u64::try_from((after - before).as_nanos())?);
        before = after;
    }
    let (elapsed, cpu) = (u64::try_from(meter.elapsed().as_nanos())?, meter.used()?);
    samples.sort_unstable();
    Ok(Figures {
        elapsed,
        cpu,
        ..Figures::from_sorted(&samples)
    })
}

/// Keeps as many operations under way as asked for, and counts those that end in the time asked for.
pub(crate) fn pipeline(
    options: &ChildOptions,
    mut ask: impl FnMut() -> Outcome<()>,
    mut take: impl FnMut() -> Outcome<()>,
) -> Outcome<Figures> {
    let time = Duration::from_millis(options.milliseconds);
    for _ in 0..options.depth {
        ask()?;
    }
    let warm = Instant::now() + time / 4;
    while Instant::now() < warm {
        take()?;
        ask()?;
    }
    let meter = Meter::start(options.peer)?;
    let mut count = 0;
    while meter.elapsed() < time {
        take()?;
        ask()?;
        count += 1;
    }
    Figures::of_calls(count, meter.elapsed(), meter.used()?)
}

/// What starting and ending may take besides the measurement.
const PATIENCE: Duration = Duration::from_secs(20);
/// For 256 MiB through something slow.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
