//! Plain TCP, over one path or over all (MPTCP): calls, and one way as fast as it goes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::Outcome;
use crate::cpu::Meter;
use crate::figures::Figures;
use crate::pair::{ChildOptions, Kind, Side, pipeline, repeat};
use crate::wire::{hear, tell};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let mut bytes = vec![0; options.size];
    let echo = options.kind == Kind::TcpEcho;
    let multipath = options.kind == Kind::MptcpStream;
    if options.side == Side::Server {
        let mut at: SocketAddr = options.at.as_deref().ok_or("an own address")?.parse()?;
        if multipath {
            // The second path comes to another address.
            at.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let listening = made(multipath)?;
        rustix::net::sockopt::set_socket_reuseaddr(&listening, true)?;
        rustix::net::bind(&listening, &at)?;
        rustix::net::listen(&listening, 1)?;
        tell(socket, "listening", &[])?;
        // Kept: a second path is one more connection to it.
        let listener = TcpListener::from(listening);
        let (mut stream, _) = listener.accept()?;
        if echo {
            prepare(&stream, options)?;
            while stream.read_exact(&mut bytes).is_ok() {
                stream.write_all(&bytes)?;
            }
            return Ok(None);
        }
        while stream.read(&mut bytes)? > 0 {}
        // The client stops its clock when everything has been taken here.
        stream.write_all(&[1])?;
        return Ok(None);
    }
    hear(socket)?;
    let to: SocketAddr = options.to.as_deref().ok_or("a peer address")?.parse()?;
    let connecting = made(multipath)?;
    rustix::net::connect(&connecting, &to)?;
    let stream = TcpStream::from(connecting);
    if echo {
        prepare(&stream, options)?;
        return call(options, &stream).map(Some);
    }
    pour(options, stream, &bytes).map(Some)
}

fn call(options: &ChildOptions, stream: &TcpStream) -> Outcome<Figures> {
    let content = vec![1; options.size];
    let mut bytes = vec![0; options.size];
    let send = || Ok((&*stream).write_all(&content)?);
    let mut receive = || Ok((&*stream).read_exact(&mut bytes)?);
    if options.depth > 1 {
        return pipeline(options, send, receive);
    }
    repeat(options, || {
        send()?;
        receive()
    })
}

fn pour(options: &ChildOptions, mut stream: TcpStream, bytes: &[u8]) -> Outcome<Figures> {
    let time = std::time::Duration::from_millis(options.milliseconds);
    // The window opens and a second path joins before anything is counted.
    let warm = Meter::start(None)?;
    while warm.elapsed() < time / 4 {
        stream.write_all(bytes)?;
    }
    let meter = Meter::start(options.peer)?;
    let mut sent = 0;
    while meter.elapsed() < time {
        stream.write_all(bytes)?;
        sent += bytes.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Figures::of_stream(sent, meter.elapsed(), meter.used()?)
}

/// Small messages leave at once, and all that are under way fit into one direction's buffers.
fn prepare(stream: &TcpStream, options: &ChildOptions) -> Outcome<()> {
    stream.set_nodelay(true)?;
    if options.depth > 1 {
        let buffer = (4 << 20).max(2 * options.size * options.depth);
        rustix::net::sockopt::set_socket_send_buffer_size_force(stream, buffer)?;
    }
    Ok(())
}

fn made(multipath: bool) -> Outcome<OwnedFd> {
    let protocol = if multipath {
        ipproto::MPTCP
    } else {
        ipproto::TCP
    };
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    Ok(rustix::net::socket_with(
        family,
        kind,
        flags,
        Some(protocol),
    )?)
}
