//! What the children do when Slashnet is measured.

mod direct;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abi::OpenFlags;
use abi::system::{Network, Reply, Request};
use abi::{ChannelFlags, ChannelId, Nd, Pid};
use client::Namespace;
use ipc::{Channel, Connection, Endpoint, Message, Received, SendOptions};

use rustix::process::Signal;

use crate::Outcome;
use crate::cpu::Meter;
use crate::echo::whole;
use crate::figures::Figures;
use crate::pair::{ChildOptions, Kind, Side, pipeline, repeat};
use crate::wire::{hear, tell};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    if options.kind == Kind::SlashnetOpen {
        return open(options).map(Some);
    }
    if options.side == Side::Server {
        return serve(options, socket).map(|()| None);
    }
    let direct = direct::client(options, socket)?;
    let (text, _) = hear(socket)?;
    let server = Server::parse(&text, direct)?;
    match options.kind {
        Kind::SlashnetEcho | Kind::SlashnetThreads | Kind::DirectEcho => echo(options, &server),
        Kind::SlashnetBulk | Kind::DirectBulk => bulk(options, &server),
        Kind::SlashnetSessions => sessions(options, &server, socket),
        other => Err(format!("{other:?} is not for Slashnet").into()),
    }
    .map(Some)
}

/// Where the server receives, as it told.
struct Server {
    pid: Pid,
    channel: ChannelId,
    /// The way to it that no daemon has made.
    direct: Option<(Endpoint, Nd)>,
}

impl Server {
    fn parse(text: &str, direct: Option<(Endpoint, Nd)>) -> Outcome<Self> {
        let (pid, channel) = text.split_once(' ').ok_or("pid and channel")?;
        Ok(Self {
            pid: Pid(pid.parse()?),
            channel: ChannelId(channel.parse()?),
            direct,
        })
    }

    fn attach(&self, options: &ChildOptions) -> Outcome<Connection> {
        if let Some((endpoint, nd)) = &self.direct {
            return Ok(Connection::attach(endpoint, *nd, self.pid, self.channel)?);
        }
        let directory = options.at.as_deref().ok_or("the directory of a node")?;
        let endpoint = Endpoint::connect(Path::new(directory))?;
        let nd = match &options.to {
            Some(name) => node(&endpoint, name)?,
            None => Nd::LOCAL,
        };
        Ok(Connection::attach(&endpoint, nd, self.pid, self.channel)?)
    }
}

/// The descriptor of the node called `name`.
fn node(endpoint: &Endpoint, name: &str) -> Outcome<Nd> {
    let question = Network {
        nd: Nd::LOCAL,
        path: name.as_bytes().to_vec(),
    };
    match endpoint.request(&Request::Network(question))? {
        Reply::Redirect(redirect) => Ok(redirect.nd),
        other => Err(format!("no redirect for {name}: {other:?}").into()),
    }
}

fn serve(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<()> {
    let endpoint = match direct::server(options, socket)? {
        Some(endpoint) => endpoint,
        None => {
            let directory = options.at.as_deref().ok_or("the directory of a node")?;
            Endpoint::connect(Path::new(directory))?
        }
    };
    let channel = Channel::create(&endpoint, ChannelFlags::empty())?;
    tell(
        socket,
        &format!("{} {}", endpoint.pid().0, channel.id().0),
        &[],
    )?;
    if options.kind == Kind::SlashnetSessions {
        return serve_sessions(&channel, socket);
    }
    let bulk = matches!(options.kind, Kind::SlashnetBulk | Kind::DirectBulk);
    let threads = if bulk { BULK_DEPTH } else { 1 };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| answer_all(&channel, options.size, !bulk)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_panic| "a server thread ended")??;
        }
        Ok(())
    })
}

/// Answers each message when it is here whole: with itself, or with nothing for bulk.
fn answer_all(channel: &Channel, size: usize, echo: bool) -> Outcome<()> {
    let mut bytes = vec![0; size];
    loop {
        let Received::Message(message) = channel.receive(&mut bytes)? else {
            continue;
        };
        let len = take_rest(&message, &mut bytes)?;
        let reply = if echo { &bytes[..len] } else { &[] };
        message.reply(i64::try_from(len)?, reply)?;
    }
}

fn take_rest(message: &Message, bytes: &mut [u8]) -> Outcome<usize> {
    let mut len = message.info().received;
    let whole = usize::try_from(message.info().len)?.min(bytes.len());
    while len < whole {
        match message.read_at(len as u64, &mut bytes[len..whole])? {
            0 => return Err("the message is shorter than announced".into()),
            count => len += count,
        }
    }
    Ok(len)
}

fn echo(options: &ChildOptions, server: &Server) -> Outcome<Figures> {
    let connection = server.attach(options)?;
    let request = vec![1; options.size];
    let mut reply = vec![0; options.size];
    connection.send(&request, &mut reply)?;
    let _stopped = Stopped::new(&options.stop)?;
    if options.kind == Kind::SlashnetThreads {
        return many(options, options.depth, &connection, options.size);
    }
    if options.depth > 1 {
        return submit(options, &connection, options.size);
    }
    repeat(options, || {
        let answer = connection.send(&request, &mut reply)?;
        if answer.len == options.size {
            Ok(())
        } else {
            Err("a short reply".into())
        }
    })
}

fn bulk(options: &ChildOptions, server: &Server) -> Outcome<Figures> {
    let connection = server.attach(options)?;
    connection.send(&vec![1; options.size], &mut [])?;
    let calls = submit(
        &ChildOptions {
            depth: BULK_DEPTH,
            ..options.clone()
        },
        &connection,
        0,
    )?;
    let bytes = usize::try_from(calls.count)? * options.size;
    Figures::of_stream(bytes, Duration::from_nanos(calls.elapsed), calls.cpu)
}

/// One thread with `depth` calls under way; the oldest is waited for.
fn submit(options: &ChildOptions, connection: &Connection, answer: usize) -> Outcome<Figures> {
    let pending = RefCell::new(VecDeque::with_capacity(options.depth));
    let spare = RefCell::new(Vec::with_capacity(options.depth));
    let send = SendOptions::default();
    let ask = || {
        let fresh = || (vec![1; options.size], vec![0; answer]);
        let (request, reply) = spare.borrow_mut().pop().unwrap_or_else(fresh);
        let call = connection.submit(request, reply, &send)?;
        pending.borrow_mut().push_back(call);
        Ok(())
    };
    let take = || {
        let oldest = pending.borrow_mut().pop_front();
        let ended = oldest.ok_or("no call is under way")?.wait()?;
        whole(ended.answer.len, answer)?;
        spare.borrow_mut().push((ended.request, ended.reply));
        Ok(())
    };
    pipeline(options, ask, take)
}

/// Calls from `depth` threads, each of which gets `answer` bytes back. Counted are those that end in the time.
fn many(
    options: &ChildOptions,
    depth: usize,
    connection: &Connection,
    answer: usize,
) -> Outcome<Figures> {
    let time = Duration::from_millis(options.milliseconds);
    let (done, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || -> Outcome<()> {
        let request = vec![1; options.size];
        let mut reply = vec![0; answer];
        while !ended.load(Ordering::Relaxed) {
            if connection.send(&request, &mut reply)?.len != answer {
                return Err("a short reply".into());
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..depth).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(time / 4);
        let (meter, before) = (Meter::start(options.peer)?, done.load(Ordering::Relaxed));
        std::thread::sleep(time);
        let figures = Figures::of_calls(
            done.load(Ordering::Relaxed) - before,
            meter.elapsed(),
            meter.used()?,
        );
        ended.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_panic| "a client thread ended")??;
        }
        figures
    })
}

/// Opens a path again and again; the time of closing is not counted.
fn open(options: &ChildOptions) -> Outcome<Figures> {
    let directory = options.at.as_deref().ok_or("the directory of a node")?;
    let path = options.to.as_deref().ok_or("a path")?;
    let namespace = Namespace::at(Path::new(directory))?;
    let mut samples = Vec::with_capacity(1 << 16);
    let end = Instant::now() + Duration::from_millis(options.milliseconds);
    drop(namespace.open(path, OpenFlags::READ)?);
    while Instant::now() < end && samples.len() < samples.capacity() {
        let before = Instant::now();
        let file = namespace.open(path, OpenFlags::READ)?;
        samples.push(u64::try_from(before.elapsed().as_nanos())?);
        drop(file);
    }
    samples.sort_unstable();
    Ok(Figures::from_sorted(&samples))
}

/// Many sessions from one process; the figure is the server's growth in bytes for each, as a rate.
fn sessions(options: &ChildOptions, server: &Server, socket: BorrowedFd<'_>) -> Outcome<Figures> {
    let mut connections = Vec::new();
    for _ in 0..=options.size {
        let connection = server.attach(options)?;
        for _ in 0..MESSAGES {
            connection.send(&[1; 64], &mut [0; 64])?;
        }
        connections.push(connection);
        if connections.len() == 1 {
            tell(socket, "begin", &[])?;
            hear(socket)?;
        }
    }
    tell(socket, "end", &[])?;
    let (text, _) = hear(socket)?;
    let grown: u64 = text.parse()?;
    Ok(Figures {
        rate: grown / options.size as u64,
        ..Figures::default()
    })
}

fn serve_sessions(channel: &Channel, socket: BorrowedFd<'_>) -> Outcome<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| answer_all(channel, 64, true));
        hear(socket)?;
        let before = resident_bytes("self")?;
        tell(socket, "begun", &[])?;
        hear(socket)?;
        let grown = resident_bytes("self")?.saturating_sub(before);
        tell(socket, &grown.to_string(), &[])?;
        Ok(())
    })
}

/// Processes that do not run while this lives.
struct Stopped(Vec<rustix::process::Pid>);

impl Stopped {
    fn new(pids: &[u32]) -> Outcome<Self> {
        let mut stopped = Self(Vec::new());
        for pid in pids {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or("a pid")?;
            rustix::process::kill_process(pid, Signal::STOP)?;
            stopped.0.push(pid);
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // It is ours, and nothing more can be done if it has ended meanwhile.
            let _ = rustix::process::kill_process(*pid, Signal::CONT);
        }
    }
}

/// The resident memory of a process, shared pages included.
pub(crate) fn resident_bytes(pid: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib * 1024)
}

/// Messages under way at a time in bulk, and threads that take them: while one is answered the other one comes.
const BULK_DEPTH: usize = 2;
/// Messages in each of many sessions.
const MESSAGES: u32 = 16;
