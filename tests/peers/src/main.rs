//! Others who offer calls and streams between machines, each with the fastest settings that its documents name.
//!
//! The bench starts this program as it starts its own children: pinned, in a network namespace, with a socket
//! to the other side as standard input. `peer KIND SIDE AT TO SIZE DEPTH MILLISECONDS PEER-PID`

mod measure;
mod quic;
mod tarpc_calls;
mod tonic_calls;
mod zenoh_calls;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One side of one measurement.
struct Task {
    kind: String,
    server: bool,
    at: SocketAddr,
    to: SocketAddr,
    size: usize,
    depth: usize,
    time: Duration,
    /// The server's process.
    peer: libc::pid_t,
    /// To the other side.
    control: UnixDatagram,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, side, at, to, size, depth, milliseconds, peer] = arguments.as_slice() else {
        return Err("usage: peer KIND SIDE AT TO SIZE DEPTH MILLISECONDS PEER-PID".into());
    };
    let task = Task {
        kind: kind.clone(),
        server: side == "server",
        at: at.parse()?,
        to: to.parse()?,
        size: size.parse()?,
        depth: depth.parse()?,
        time: Duration::from_millis(milliseconds.parse()?),
        peer: peer.parse()?,
        control: UnixDatagram::from(OwnedFd::from(
            std::io::stdin().as_fd().try_clone_to_owned()?,
        )),
    };
    match run(&task) {
        Err(error) if !task.server => println!("error: {error}"),
        outcome => outcome?,
    }
    Ok(())
}

fn run(task: &Task) -> Outcome<()> {
    // zenoh refuses a runtime of one thread; the others are fastest on one.
    let mut builder = match task.kind.as_str() {
        "zenoh-echo" => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        match task.kind.as_str() {
            "quinn-stream" | "quinn-echo" => quic::run(task).await,
            "tarpc-echo" => tarpc_calls::run(task).await,
            "tonic-echo" => tonic_calls::run(task).await,
            "zenoh-echo" => zenoh_calls::run(task).await,
            other => Err(format!("no peer {other}").into()),
        }
    })
}
