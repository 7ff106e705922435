//! One way, as fast as it goes.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::pair::{ChildOptions, Figures, Side};
use crate::wire::{hear, tell};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let mut bytes = vec![0; options.size];
    if options.side == Side::Server {
        let listener = TcpListener::bind(options.at.as_deref().ok_or("an own address")?)?;
        tell(socket, "listening", &[])?;
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut bytes)? > 0 {}
        // The client stops its clock when everything has been taken here.
        stream.write_all(&[1])?;
        return Ok(None);
    }
    hear(socket)?;
    let mut stream = TcpStream::connect(options.to.as_deref().ok_or("a peer address")?)?;
    let start = Instant::now();
    let end = start + Duration::from_millis(options.milliseconds);
    let mut sent = 0;
    while Instant::now() < end {
        stream.write_all(&bytes)?;
        sent += bytes.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(Some(rate(sent, start.elapsed())?))
}

pub(crate) fn rate(bytes: usize, time: Duration) -> Outcome<Figures> {
    let nanoseconds = time.as_nanos().max(1);
    let rate = u64::try_from(bytes as u128 * 1_000_000_000 / nanoseconds)?;
    Ok(Figures {
        median: 0,
        p99: 0,
        rate,
    })
}

/// Goes on as the program of the other workspace. Returns only if that fails.
pub(crate) fn become_quinn(options: &ChildOptions) -> Outcome<Box<dyn Error + Send + Sync>> {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers/target/release/quinn-stream");
    if !program.exists() {
        let build = "cargo build --release --manifest-path tests/peers/Cargo.toml";
        return Err(format!("quinn is not built: {build}").into());
    }
    let side = match options.side {
        Side::Server => "server",
        Side::Client => "client",
    };
    let error = Command::new(program)
        .arg(side)
        .arg(options.at.as_deref().ok_or("an own address")?)
        .arg(options.to.as_deref().ok_or("a peer address")?)
        .arg(options.size.to_string())
        .arg(options.milliseconds.to_string())
        .exec();
    Ok(error.into())
}
