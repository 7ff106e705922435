//! One way, as fast as it goes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
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
