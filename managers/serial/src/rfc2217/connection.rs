//! One connection to a port: its stream, its threads and its end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abi::{Errno, OpenFlags, Result};
use client::{Interrupt, Namespace, SendOptions};

use super::session::Session;
use crate::keepalive;

/// How long the port may let a connection wait for its turn. Who has shown no sign of a port for so long has given up.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How long the other side may take none of our bytes before it is given up.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// A connection, from the moment it was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    stop: Interrupt,
    ended: AtomicBool,
    /// Held while something is sent.
    sending: Mutex<()>,
    suspended: Mutex<bool>,
    /// The end has come, or what was suspended goes on.
    changed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Connection {
    /// Serves the stream on threads of its own; opening the port may take long, and others are served meanwhile.
    pub(super) fn start(
        stream: TcpStream,
        namespace: &Namespace,
        port: &[u8],
    ) -> Result<Arc<Self>> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SEND_LIMIT))?;
        keepalive::set(&stream)?;
        let connection = Arc::new(Self {
            stream,
            stop: Interrupt::new(),
            ended: AtomicBool::new(false),
            sending: Mutex::new(()),
            suspended: Mutex::new(false),
            changed: Condvar::new(),
            threads: Mutex::default(),
        });
        let namespace = namespace
            .with_time_limit(OPEN_LIMIT)
            .interrupted_by(&connection.stop);
        let port = port.to_vec();
        connection.spawn("rfc2217 out", move |connection| {
            let port = namespace.open(&port, OpenFlags::READ_WRITE)?;
            Session::run(connection, port)
        })?;
        Ok(connection)
    }

    /// Works for the connection, which ends with the work.
    pub(super) fn spawn(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(&Arc<Self>) -> Result + Send + 'static,
    ) -> Result {
        let connection = Arc::clone(self);
        let body = move || {
            if let Err(errno) = work(&connection)
                && !connection.has_ended()
            {
                tracing::info!("connection ends: {}", errno.text());
            }
            connection.end();
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(body);
        let thread = thread
            .map_err(|_| Errno::EAGAIN)
            .inspect_err(|_| self.end())?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.stop.trigger();
        let _ = self.stream.shutdown(Shutdown::Both);
        // Under the lock, so that who is about to wait sees the end.
        let _suspended = self.suspended.lock();
        self.changed.notify_all();
    }

    pub(super) fn end_and_wait(&self) {
        self.end();
        // One by one, not under the lock: a thread may still start another.
        loop {
            let thread = {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.pop()
            };
            let Some(thread) = thread else { return };
            let _ = thread.join();
        }
    }

    /// Options of a call to the port: it ends with the connection, and after `limit`.
    pub(super) fn options(&self, limit: Option<Duration>) -> SendOptions<'_> {
        SendOptions {
            deadline: limit.map(|limit| Instant::now() + limit),
            interrupt: Some(&self.stop),
            priority: None,
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result {
        if bytes.is_empty() {
            return Ok(());
        }
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((&self.stream).write_all(bytes)?)
    }

    /// What the other side has sent; nothing is the end.
    pub(super) fn receive(&self, space: &mut [u8]) -> Result<usize> {
        loop {
            match (&self.stream).read(space) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => return Ok(result?),
            }
        }
    }

    /// The other side wants nothing from the port for a while, or again.
    pub(super) fn suspend(&self, on: bool) {
        *self
            .suspended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = on;
        self.changed.notify_all();
    }

    pub(super) fn wait_until_resumed(&self) {
        let mut suspended = self
            .suspended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *suspended && !self.has_ended() {
            suspended = self
                .changed
                .wait(suspended)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets some time pass, which the end or something else may cut short.
    pub(super) fn pass(&self, time: Duration) {
        let suspended = self
            .suspended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.has_ended() {
            let _ = self.changed.wait_timeout(suspended, time);
        }
    }
}
