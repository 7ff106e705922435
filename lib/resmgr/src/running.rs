//! A server at work: its threads, and what can be changed while it serves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use abi::{ChannelId, Errno, Handle, Result};
use ipc::{Channel, Endpoint, Received, Registration};

use crate::attributes::Attributes;
use crate::dispatch::Dispatch;
use crate::envelope::Carrier;
use crate::pool::{self, Pool, ThreadPool};
use crate::resource::Resource;
use crate::server::Prefix;
use crate::wait_queue::lock;

/// A server at work. Dropping it ends it: its paths vanish, waiting clients get ESRCH.
#[derive(Debug)]
pub struct Running {
    crew: Arc<Crew>,
    endpoint: Endpoint,
    registrations: Mutex<HashMap<Handle, Registration>>,
}

/// What becomes of open files when their path goes (`R16`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// They stay open.
    #[doc(alias = "_RESMGR_DETACH_PATHNAME")]
    Path,
    /// They are closed; their clients get EBADF from now on.
    #[doc(alias = "_RESMGR_DETACH_ALL")]
    #[doc(alias = "_RESMGR_DETACH_CLOSE")]
    All,
}

/// Sends pulses to the handlers of a server, from any thread of its process.
#[derive(Clone, Debug)]
pub struct Poster {
    channel: Arc<Channel>,
}

impl Poster {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Self { channel }
    }

    /// Sends a pulse of ordinary priority to the handler of `code`. Never blocks.
    ///
    /// # Errors
    /// EAGAIN too many pulses wait, ESRCH the server has ended.
    #[doc(alias = "MsgSendPulse")]
    pub fn post(&self, code: i8, value: u64) -> Result {
        self.channel.post(PULSE_PRIORITY, code, value)
    }
}

impl Running {
    pub(crate) fn new(
        (channel, endpoint): (Arc<Channel>, Endpoint),
        dispatch: Dispatch,
        threads: ThreadPool,
        registrations: HashMap<Handle, Registration>,
    ) -> Result<Self> {
        let crew = Arc::new(Crew {
            channel,
            dispatch,
            pool: Arc::new(Pool::new(threads)),
            threads: Mutex::new(Vec::new()),
        });
        crew.add_thread()?;
        Ok(Self {
            crew,
            endpoint,
            registrations: Mutex::new(registrations),
        })
    }

    /// Waits until the channel is destroyed.
    pub(crate) fn wait(&self) {
        while let Some(thread) = { lock(&self.crew.threads).pop() } {
            let _ = thread.join();
        }
    }

    /// The channel on which the server receives.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.crew.channel.id()
    }

    /// Owns one more path, as [`Server::attach`](crate::Server::attach) does.
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "resmgr_attach")]
    pub fn attach(
        &self,
        path: &str,
        attributes: Attributes,
        resource: impl Resource,
    ) -> Result<Handle> {
        let prefix = Prefix::of(path, &attributes);
        let attachments = &self.crew.dispatch.attachments;
        let handle = attachments.add(&prefix.seen()?, attributes, resource);
        match prefix.register(&self.endpoint, self.channel(), handle) {
            Ok(registration) => {
                lock(&self.registrations).insert(handle, registration);
                Ok(handle)
            }
            Err(errno) => {
                attachments.remove(handle);
                Err(errno)
            }
        }
    }

    /// Gives a path up.
    ///
    /// # Errors
    /// ENOENT no path of this server has the handle.
    #[doc(alias = "resmgr_detach")]
    pub fn detach(&self, handle: Handle, what: Detach) -> Result {
        let dispatch = &self.crew.dispatch;
        let attachment = dispatch.attachments.remove(handle).ok_or(Errno::ENOENT)?;
        // First the name, so that nobody is sent here who would find nothing.
        drop(lock(&self.registrations).remove(&handle));
        if what == Detach::All {
            for place in dispatch.hub.bindings.places_of(attachment.handle) {
                dispatch.hub.parked.close(place);
                drop(dispatch.hub.bindings.unbind(place));
            }
        }
        Ok(())
    }

    /// Changes the water marks of the threads. Threads that are too many end when they next come by.
    #[doc(alias = "thread_pool_control")]
    #[doc(alias = "thread_pool_limits")]
    pub fn set_thread_pool(&self, threads: ThreadPool) {
        self.crew.pool.set_limits(threads);
    }

    /// Sends pulses to the handlers of this server.
    #[must_use]
    pub fn poster(&self) -> Poster {
        Poster::new(Arc::clone(&self.crew.channel))
    }

    /// How many connections are open to the server's resources.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.crew.dispatch.hub.bindings.len()
    }

    /// How many ranges are locked by way of [`posix::lock`](crate::posix::lock).
    #[must_use]
    pub fn held_locks(&self) -> usize {
        self.crew.dispatch.hub.locks.held()
    }

    /// How many requests wait in wait queues.
    #[must_use]
    pub fn waiting_requests(&self) -> usize {
        self.crew.dispatch.hub.parked.len()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.registrations).clear();
        self.crew.pool.stop();
        self.crew.channel.destroy();
        self.wait();
        self.crew.dispatch.hub.parked.forget(|_| true);
        self.crew.dispatch.hub.bindings.unbind_all();
    }
}

/// The threads of a server and what they share.
struct Crew {
    channel: Arc<Channel>,
    dispatch: Dispatch,
    pool: Arc<Pool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// Adds a thread unless there are enough.
    fn add_thread(self: &Arc<Self>) -> Result {
        if self.pool.is_stopping() || !self.pool.enter() {
            return Ok(());
        }
        let crew = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("resmgr".into())
            .spawn(move || crew.work());
        let Ok(thread) = thread else {
            self.pool.leave();
            return Err(Errno::EAGAIN);
        };
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// The life of one thread.
    fn work(self: Arc<Self>) {
        let adder = Arc::clone(&self);
        let start = move || {
            let _ = adder.add_thread();
        };
        pool::adopt(Arc::clone(&self.pool), Arc::new(start));
        while self.pool.wait() {
            let mut buffer = self.dispatch.hub.buffers.take();
            let received = self.channel.receive(buffer.bytes_mut());
            for _ in 0..self.pool.work() {
                // Without another thread this one serves alone, slower but rightly.
                let _ = self.add_thread();
            }
            match received {
                Ok(Received::Message(message)) => {
                    let bytes = message.bytes();
                    self.dispatch.message(Carrier::Ipc(message), buffer, bytes);
                }
                Ok(Received::Pulse(pulse)) => self.dispatch.pulse(&pulse),
                Err(errno) => {
                    if !self.pool.is_stopping() {
                        tracing::warn!(errno = errno.name(), "receiving ended");
                    }
                    self.pool.stop();
                }
            }
        }
        self.pool.leave();
    }
}

/// Priority of pulses that a server sends to itself.
const PULSE_PRIORITY: u8 = 10;
