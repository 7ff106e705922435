//! Chapter (d): both node daemons die while bytes flow, and nobody who is connected notices.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use abi::OpenFlags;
use client::{File, Namespace};

use super::lab::{Lab, Node};
use super::opening::PORT;
use super::report::Report;
use super::{digest, start_node};
use crate::failure::{During, Failure, Outcome};
use crate::notation::bytes;

const FILE: &str = "/net/lab2/srv/flow";
/// What each write to the file carries.
const FILE_PIECE: usize = 64 << 10;
/// What each exchange with the echoing device carries.
const PORT_PIECE: usize = 256;
/// Exchanges that must have happened before the daemons die, and again afterwards.
const FILE_EXCHANGES: u64 = 128;
const PORT_EXCHANGES: u64 = 128;
/// How long the flows may take for that. They need a second; more than this is a stall.
const FLOW_PATIENCE: Duration = Duration::from_secs(20);
/// How long managers may take to be found again after the restart of their daemon.
const RETURN_PATIENCE: Duration = Duration::from_secs(10);

/// Kills both daemons while data flows to a file and to a device of lab2, and restarts them.
pub(crate) fn run(lab: &Lab, report: &Report) -> Outcome {
    let namespace = Namespace::at(&lab.dir(Node::Lab1)).during("lab1")?;
    let flags = OpenFlags::READ | OpenFlags::WRITE;
    let port = namespace.open(PORT, flags).during(PORT)?;
    let file = namespace
        .open(FILE, flags | OpenFlags::CREATE | OpenFlags::TRUNCATE)
        .during(FILE)?;
    let flow = Flow::default();
    let (file_flow, port_flow) = std::thread::scope(|threads| -> Outcome<_> {
        let to_file = threads.spawn(|| flow.guard(|| fill(file, &flow)));
        let to_port = threads.spawn(|| flow.guard(|| exchange(port, &flow)));
        let steered = steer(lab, report, &flow);
        flow.stop();
        let joined = (to_file.join(), to_port.join());
        steered?;
        match joined {
            (Ok(file), Ok(port)) => Ok((file?, port?)),
            _ => Err(Failure::new("flow", "a thread panicked")),
        }
    })?;
    check_file(lab, report, file_flow)?;
    let text = format!(
        "{} through {PORT} and back, every byte compared",
        bytes(port_flow * PORT_PIECE as u64)
    );
    report.ok("d.port", text);
    restart(lab, report)
}

/// Lets the flows run, kills the daemons, and lets the flows run as far again.
fn steer(lab: &Lab, report: &Report, flow: &Flow) -> Outcome {
    flow.wait_for(FILE_EXCHANGES, PORT_EXCHANGES)?;
    for node in Node::BOTH {
        lab.kill(&super::node_title(node))?;
    }
    let (files, ports) = flow.counts();
    report.ok(
        "d.kill",
        "both node daemons killed by SIGKILL while data flows",
    );
    flow.wait_for(files + FILE_EXCHANGES, ports + PORT_EXCHANGES)
}

fn fill(mut file: File, flow: &Flow) -> Outcome<u64> {
    let mut written = 0;
    while !flow.is_stopped() {
        file.write_all(&digest::noise(written, FILE_PIECE))
            .during(FILE)?;
        written += 1;
        flow.advance(&flow.file);
    }
    file.sync_all().during(FILE)?;
    Ok(written)
}

fn exchange(mut port: File, flow: &Flow) -> Outcome<u64> {
    let mut exchanged = 0;
    let mut echo = [0; PORT_PIECE];
    while !flow.is_stopped() {
        let piece = digest::noise(exchanged, PORT_PIECE);
        port.write_all(&piece).during(PORT)?;
        port.read_exact(&mut echo).during(PORT)?;
        if echo != piece[..] {
            return Err(Failure::new(
                PORT,
                format!("exchange {exchanged} came back changed"),
            ));
        }
        exchanged += 1;
        flow.advance(&flow.port);
    }
    Ok(exchanged)
}

fn check_file(lab: &Lab, report: &Report, pieces: u64) -> Outcome {
    let mut expected = Vec::new();
    for piece in 0..pieces {
        expected.extend(digest::noise(piece, FILE_PIECE));
    }
    let expected_sum = digest::of(&expected);
    let found = digest::of_file(&lab.file("srv").join("flow"))?;
    if found != expected_sum {
        return Err(Failure::new(FILE, "what arrived is not what was sent"));
    }
    let sum = digest::short(&found);
    let length = bytes(expected.len() as u64);
    report.ok(
        "d.file",
        format!("{length} into {FILE}, sha256 {sum} on both sides"),
    );
    Ok(())
}

/// Starts both daemons again and opens anew.
fn restart(lab: &Lab, report: &Report) -> Outcome {
    for node in Node::BOTH {
        start_node(lab, node)?;
    }
    let deadline = Instant::now() + RETURN_PATIENCE;
    let mut port = loop {
        let opened = Namespace::at(&lab.dir(Node::Lab1))
            .and_then(|namespace| namespace.open(PORT, OpenFlags::READ | OpenFlags::WRITE));
        match opened {
            Ok(port) => break port,
            Err(errno) if Instant::now() >= deadline => return Err(Failure::new(PORT, errno)),
            // Managers come back by themselves; nothing here could wait for that.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    port.write_all(b"again").during(PORT)?;
    let mut echo = [0; 5];
    port.read_exact(&mut echo).during(PORT)?;
    if &echo != b"again" {
        return Err(Failure::new(PORT, "what came back is not what was sent"));
    }
    report.ok("d.restart", "daemons restarted; new opens work");
    Ok(())
}

/// Two flows and their steering.
#[derive(Debug, Default)]
struct Flow {
    file: AtomicU64,
    port: AtomicU64,
    stopped: AtomicBool,
    failed: AtomicBool,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Flow {
    fn advance(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Release);
        self.tell();
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.file.load(Ordering::Acquire),
            self.port.load(Ordering::Acquire),
        )
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn tell(&self) {
        let _order = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.moved.notify_all();
    }

    /// Runs a flow; its failure wakes whoever waits for its progress.
    fn guard(&self, flow: impl FnOnce() -> Outcome<u64>) -> Outcome<u64> {
        let outcome = flow();
        if outcome.is_err() {
            self.failed.store(true, Ordering::Release);
            self.tell();
        }
        outcome
    }

    /// Waits until both flows have come so far, or one has failed.
    fn wait_for(&self, file: u64, port: u64) -> Outcome {
        let begun = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = |_: &mut ()| {
            let (files, ports) = self.counts();
            !self.failed.load(Ordering::Acquire) && (files < file || ports < port)
        };
        let waited = self.moved.wait_timeout_while(begun, FLOW_PATIENCE, behind);
        let (_order, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            let (files, ports) = self.counts();
            let why = format!(
                "stalled at {files} of {file} pieces to the file, {ports} of {port} exchanges with \
                 the port, within {} s",
                FLOW_PATIENCE.as_secs()
            );
            return Err(Failure::new("flow", why));
        }
        Ok(())
    }
}
