//! One plain TCP stream, or one over several links, as a yardstick.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::Outcome;
use crate::timeline::Timeline;

/// Takes connections until it is killed, and says to each how far it has come.
pub(crate) fn sink(at: SocketAddr) -> Outcome<()> {
    let socket = socket(at, true)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut bytes = vec![0; CHUNK];
            // A sender that is killed ends its connection in one way or the other.
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
    }
    Ok(())
}

/// Sends; what counts is what the kernel has taken, which runs ahead by no more than its buffer.
pub(crate) fn source(to: SocketAddr, multipath: bool, seconds: u64) -> Outcome<()> {
    let socket = socket(to, multipath)?;
    rustix::net::connect(&socket, &to)?;
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    static ENDED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    let bytes = vec![0; CHUNK];
    let timeline = Timeline::new(seconds);
    println!("started {}", timeline.start());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && !ENDED.load(Ordering::Relaxed) {
        match stream.write(&bytes) {
            Ok(count) => timeline.progress(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    timeline.print();
    Ok(())
}

fn socket(address: SocketAddr, multipath: bool) -> Outcome<std::os::fd::OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let protocol = if multipath {
        ipproto::MPTCP
    } else {
        ipproto::TCP
    };
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )?)
}

const CHUNK: usize = 1 << 17;
const BACKLOG: i32 = 16;
