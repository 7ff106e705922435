//! Ports for programs that speak RFC 2217: Telnet with COM port control.
//!
//! Each port has a TCP port of its own. The protocol has no authentication and no encryption: whoever reaches the TCP
//! port has the serial port, with the rights of the process that serves. Therefore it belongs on loopback, or on a network
//! whose every user may have it.

mod connection;
mod session;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use abi::devctl::CHR_TCGETATTR;
use abi::flags::mode;
use abi::{Errno, OpenFlags};
use client::Namespace;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use self::connection::Connection;
use crate::accepting::{ACCEPT_REST, is_lasting};
use crate::device::errno;

/// Connections at once to one port. Who opens more is refused: a port has few users, a broken program many connections.
const CONNECTIONS_MAX: usize = 32;

/// A port to serve.
#[derive(Clone, Debug)]
pub struct Place {
    /// The port, such as `/net/lab2/dev/ser1`.
    pub port: Vec<u8>,
    /// Where to listen.
    pub address: SocketAddr,
}

/// Why a port is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceError {
    /// The port or the address.
    pub what: String,
    /// The reason.
    pub errno: Errno,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Errno::ENOTTY => write!(f, "{}: not a serial port", self.what),
            errno => write!(f, "{}: {}", self.what, errno.text()),
        }
    }
}

impl std::error::Error for PlaceError {}

/// Ports that are served. Dropping it ends all connections.
#[derive(Debug)]
pub struct Serving {
    listening: Vec<Arc<Listening>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    wake: OwnedFd,
    stopping: AtomicBool,
}

/// Serves these ports until the returned value is dropped.
///
/// # Errors
/// ENOTTY for a path that is no serial port, what the port answers when it is looked at, EADDRINUSE or the like for an
/// address.
pub fn serve(namespace: &Namespace, places: &[Place]) -> Result<Serving, PlaceError> {
    let mut serving = Serving {
        listening: Vec::new(),
        threads: Vec::new(),
    };
    for place in places {
        let at_port = |errno| PlaceError {
            what: String::from_utf8_lossy(&place.port).into_owned(),
            errno,
        };
        let at_address = |errno| PlaceError {
            what: place.address.to_string(),
            errno,
        };
        look_at(namespace, &place.port).map_err(at_port)?;
        let listener =
            TcpListener::bind(place.address).map_err(|error| at_address(error.into()))?;
        listener
            .set_nonblocking(true)
            .map_err(|error| at_address(error.into()))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let listening = Arc::new(Listening {
            listener,
            wake: eventfd(0, flags).map_err(|error| at_address(errno(error)))?,
            stopping: AtomicBool::new(false),
        });
        serving.listening.push(Arc::clone(&listening));
        let (namespace, port) = (namespace.clone(), place.port.clone());
        let thread = std::thread::Builder::new()
            .name("rfc2217".into())
            .spawn(move || listening.run(&namespace, &port))
            .map_err(|_| at_address(Errno::EAGAIN))?;
        serving.threads.push(thread);
    }
    Ok(serving)
}

/// Whether somebody offers a serial port there.
fn look_at(namespace: &Namespace, path: &[u8]) -> abi::Result<()> {
    if namespace.stat(path)?.mode & mode::S_IFMT != mode::S_IFCHR {
        return Err(Errno::ENOTTY);
    }
    let port = namespace.open(path, OpenFlags::READ | OpenFlags::NONBLOCK);
    match port.and_then(|port| port.devctl(CHR_TCGETATTR, ())) {
        Err(Errno::ENOTTY) => Err(Errno::ENOTTY),
        // Somebody may have it, or its device be away, until a client comes.
        _ => Ok(()),
    }
}

impl Serving {
    /// Where it listens, in the order of the places; with the port that was chosen for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self
            .listening
            .iter()
            .map(|listening| listening.listener.local_addr());
        addresses.filter_map(Result::ok).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for listening in &self.listening {
            listening.stopping.store(true, Ordering::SeqCst);
            let _ = rustix::io::write(&listening.wake, &[1; 8]);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Listening {
    fn run(&self, namespace: &Namespace, port: &[u8]) {
        let mut connections: Vec<Arc<Connection>> = Vec::new();
        while !self.stopping.load(Ordering::SeqCst) {
            let mut fds = [
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            let _ = poll(&mut fds, None);
            let (stream, from) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    if is_lasting(&error) {
                        tracing::warn!("no connection can be accepted: {error}");
                        self.rest();
                    }
                    continue;
                }
            };
            connections.retain(|connection| !connection.has_ended());
            if connections.len() >= CONNECTIONS_MAX {
                tracing::warn!(%from, "refused: too many connections");
                continue;
            }
            match Connection::start(stream, namespace, port) {
                Ok(connection) => connections.push(connection),
                Err(errno) => tracing::warn!(%from, "refused: {}", errno.text()),
            }
        }
        for connection in connections {
            connection.end_and_wait();
        }
    }

    /// Lets some time pass, unless the end comes.
    fn rest(&self) {
        let mut fds = [PollFd::new(&self.wake, PollFlags::IN)];
        let _ = poll(&mut fds, Timespec::try_from(ACCEPT_REST).ok().as_ref());
    }
}
