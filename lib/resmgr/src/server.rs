//! Receiving: a channel, the prefixes that lead to it, and the threads that serve it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use abi::{AttachFlags, ChannelFlags, ChannelId, Errno, FileType, Handle, Pulse, Result};
use ipc::{Channel, Endpoint, Received, Registration};
use rustix::process;

use crate::attributes::Attributes;
use crate::envelope::{Buffer, Carrier, Envelope, Hub};
use crate::pool::{self, Limits, Pool};
use crate::resource::Resource;
use crate::wait_queue::lock;
use crate::{connect, io};

/// Owns `path` with one resource and serves it until the process ends.
///
/// Uses the node that `SLASHNET_DIR` names, or the machine's default node.
///
/// # Errors
/// Those of [`Server::new`] and [`Server::attach`].
pub fn serve(path: &str, attributes: Attributes, resource: impl Resource) -> Result {
    Server::new(Endpoint::global()?)?
        .attach(path, attributes, resource)?
        .run()
}

/// One channel with its resources and threads.
///
/// Not fork safe: a child of the process serves nothing.
#[doc(alias = "dispatch_create")]
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    registrations: Vec<Registration>,
    limits: Limits,
    message_bytes: usize,
    core: Core,
    next_handle: u32,
}

impl Server {
    /// Makes the channel, and raises the process's limit of open files to what the system allows. Nothing is served
    /// before [`run`](Self::run) or [`start`](Self::start).
    ///
    /// # Errors
    /// What [`Channel::create`] answers.
    pub fn new(endpoint: &Endpoint) -> Result<Self> {
        raise_open_files();
        // qnx: R1, and I40 for what UNBLOCK changes.
        let channel = Channel::create(endpoint, ChannelFlags::UNBLOCK | ChannelFlags::DISCONNECT)?;
        Ok(Self {
            shared: Arc::new(Shared { channel }),
            endpoint: endpoint.clone(),
            registrations: Vec::new(),
            limits: Limits::new(1..=8),
            message_bytes: MESSAGE_BYTES,
            core: Core::default(),
            next_handle: 1,
        })
    }

    /// How many threads serve: at least as many wait as the start of the range says, if there are
    /// not more than its end in all (`R6`). Threads in [`blocking`](crate::blocking) do not count.
    /// The default is `1..=8`.
    #[must_use]
    pub fn threads(mut self, threads: RangeInclusive<usize>) -> Self {
        self.limits = Limits::new(threads);
        self
    }

    /// How much of a message is received at once, in bytes; the rest is fetched when needed. The
    /// default is 80 KiB; managers of bulk data raise it to a little over 1 MiB. Each thread that
    /// works holds one such buffer.
    #[must_use]
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes.clamp(MESSAGE_BYTES, 16 << 20);
        self
    }

    /// Owns `path` with `resource`. Attributes of a directory make it own everything below, too.
    ///
    /// # Errors
    /// EPERM if this user may not own the path, EINVAL for a path that is none; see
    /// [`Endpoint::attach_prefix`].
    #[doc(alias = "resmgr_attach")]
    pub fn attach(
        self,
        path: &str,
        attributes: Attributes,
        resource: impl Resource,
    ) -> Result<Self> {
        let flags = if attributes.lock().is_directory() {
            AttachFlags::DIR
        } else {
            AttachFlags::empty()
        };
        self.attach_with(path, flags, FileType::ANY, attributes, resource)
    }

    /// Like [`attach`](Self::attach), with the flags and the file type of the prefix (`P10`-`P21`).
    ///
    /// # Errors
    /// As [`attach`](Self::attach); EINVAL for flags beyond [`AttachFlags::ATTACHABLE`].
    pub fn attach_with(
        self,
        path: &str,
        flags: AttachFlags,
        file_type: FileType,
        attributes: Attributes,
        resource: impl Resource,
    ) -> Result<Self> {
        if !AttachFlags::ATTACHABLE.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let (mut server, handle) = self.attach_local(attributes, resource);
        let (path, channel) = (path.as_bytes(), server.channel());
        if let Some(attachment) = server.core.attachments.get_mut(&handle) {
            // What is no path the node refuses.
            attachment.path = rights::path::join(b"/", path).ok_or(Errno::EINVAL)?.into();
        }
        let registration = server
            .endpoint
            .attach_prefix(path, flags, file_type, channel, handle)?;
        server.registrations.push(registration);
        Ok(server)
    }

    /// Serves `resource` without a pathname: for clients that are told channel and handle by other
    /// means (`R10`).
    #[doc(alias = "_RESMGR_FLAG_ATTACH_LOCAL")]
    #[must_use]
    pub fn attach_local(
        mut self,
        attributes: Attributes,
        resource: impl Resource,
    ) -> (Self, Handle) {
        let handle = Handle(self.next_handle);
        self.next_handle += 1;
        self.core
            .attachments
            .insert(handle, Attachment::new(b"/", attributes, resource));
        (self, handle)
    }

    /// The channel on which the server receives.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.shared.channel.id()
    }

    /// Serves on the calling thread and those it needs, until the channel is destroyed.
    ///
    /// # Errors
    /// EAGAIN if a thread cannot be started.
    pub fn run(self) -> Result {
        let running = self.start()?;
        running.wait();
        Ok(())
    }

    /// Serves on threads of its own until the returned value is dropped.
    ///
    /// # Errors
    /// EAGAIN if a thread cannot be started.
    pub fn start(mut self) -> Result<Running> {
        self.core.hub = Hub::new(self.message_bytes);
        let crew = Arc::new(Crew {
            shared: self.shared,
            core: self.core,
            pool: Arc::new(Pool::new(self.limits)),
            threads: Mutex::new(Vec::new()),
        });
        crew.add_thread()?;
        Ok(Running {
            crew,
            registrations: self.registrations,
        })
    }
}

/// A server at work. Dropping it ends it: its paths vanish, waiting clients get ESRCH.
#[derive(Debug)]
pub struct Running {
    crew: Arc<Crew>,
    registrations: Vec<Registration>,
}

impl Running {
    /// Waits until the channel is destroyed.
    fn wait(&self) {
        while let Some(thread) = { lock(&self.crew.threads).pop() } {
            let _ = thread.join();
        }
    }

    /// How many connections are open to the server's resources.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.crew.core.hub.bindings.len()
    }

    /// How many ranges are locked by way of [`posix::lock`](crate::posix::lock).
    #[must_use]
    pub fn held_locks(&self) -> usize {
        self.crew.core.hub.locks.held()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.registrations.clear();
        self.crew.pool.stop();
        self.crew.shared.channel.destroy();
        self.wait();
        self.crew.core.hub.parked.forget(|_| true);
        self.crew.core.hub.bindings.unbind_all();
    }
}

#[derive(Debug)]
struct Shared {
    channel: Channel,
}

/// The threads of a server and what they share.
struct Crew {
    shared: Arc<Shared>,
    core: Core,
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
            let mut buffer = self.core.hub.buffers.take();
            let received = self.shared.channel.receive(buffer.bytes_mut());
            if self.pool.work() {
                // Without another thread this one serves alone, slower but rightly.
                let _ = self.add_thread();
            }
            match received {
                Ok(Received::Message(message)) => {
                    let bytes = message.bytes();
                    self.core.message(Carrier::Ipc(message), buffer, bytes);
                }
                Ok(Received::Pulse(pulse)) => self.core.pulse(&pulse),
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

/// A prefix of this server.
#[derive(Clone)]
pub(crate) struct Attachment {
    /// The prefix, as rules see it; the root where there is none.
    pub(crate) path: Arc<[u8]>,
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) resource: Arc<dyn Resource>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.attributes.fmt(f)
    }
}

impl Attachment {
    pub(crate) fn new(path: &[u8], attributes: Attributes, resource: impl Resource) -> Self {
        Self {
            path: path.into(),
            attributes: Arc::new(attributes),
            resource: Arc::new(resource),
        }
    }
}

/// What a server does with messages and pulses, whatever brought them.
pub(crate) struct Core {
    pub(crate) attachments: HashMap<Handle, Attachment>,
    pub(crate) hub: Arc<Hub>,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            attachments: HashMap::new(),
            hub: Hub::new(MESSAGE_BYTES),
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("attachments", &self.attachments.len())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Serves one message to its answer.
    pub(crate) fn message(&self, carrier: Carrier, buffer: Buffer, received: usize) {
        let envelope = Envelope::new(carrier, buffer, received, Arc::clone(&self.hub));
        // A handler that panics costs its client an EIO, not the manager its life.
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = match abi::MessageKind::of(envelope.message()) {
                Ok(abi::MessageKind::Connect) => connect::route(self, envelope),
                Ok(kind) => io::route(kind, envelope),
                // qnx: R2
                Err(abi::Malformed::Unknown) => refuse(envelope, Errno::ENOSYS),
                Err(_) => refuse(envelope, Errno::EINVAL),
            };
        }));
        if served.is_err() {
            tracing::error!("a handler panicked; its client got EIO");
        }
    }

    /// Handles one pulse.
    pub(crate) fn pulse(&self, pulse: &Pulse) {
        match pulse.code {
            // qnx: R15
            Pulse::UNBLOCK => {
                let errno = match pulse.subtype {
                    0 => Errno::EINTR,
                    number => Errno::from_wire(number),
                };
                if !self.hub.parked.interrupt(pulse.value, errno) {
                    for attachment in self.attachments.values() {
                        attachment.resource.unblock(pulse.value);
                    }
                }
            }
            // qnx: R14
            Pulse::DISCONNECT => {
                self.hub.parked.forget(|place| place.sender == pulse.sender);
                self.hub.bindings.unbind_client(pulse.sender);
            }
            code => tracing::debug!(code, "a pulse that nobody asked for"),
        }
    }
}

pub(crate) fn refuse(envelope: Envelope, errno: Errno) -> crate::request::Answer {
    envelope.fail(errno);
    crate::request::Answer::given()
}

/// Each client of this node costs a server two descriptors, and the usual soft limit of 1024 is one that a single
/// user reaches.
fn raise_open_files() {
    let process::Rlimit { current, maximum } = process::getrlimit(process::Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(errno) = process::setrlimit(
        process::Resource::Nofile,
        process::Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::warn!(%errno, "cannot raise the limit of open files");
    }
}

/// The longest connect message, two paths and a combined message, fits.
const MESSAGE_BYTES: usize = 80 * 1024;
