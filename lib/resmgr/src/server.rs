//! Making a server: a channel, the prefixes that lead to it, and what else it listens to.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use abi::{AttachFlags, ChannelFlags, ChannelId, Errno, FileType, Handle, Pulse, Result};
use ipc::{Channel, Endpoint, Registration};
use rustix::process;

use crate::attributes::Attributes;
use crate::dispatch::{Dispatch, OWN_KINDS};
use crate::envelope::Hub;
use crate::pool::ThreadPool;
use crate::request::{Answer, RawRequest};
use crate::resource::Resource;
use crate::running::{Poster, Running};

/// One channel with its resources and threads.
///
/// Not fork safe: a child of the process serves nothing.
#[doc(alias = "dispatch_create")]
#[derive(Debug)]
pub struct Server {
    channel: Arc<Channel>,
    endpoint: Endpoint,
    registrations: HashMap<Handle, Registration>,
    threads: ThreadPool,
    message_bytes: usize,
    dispatch: Dispatch,
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
            channel: Arc::new(channel),
            endpoint: endpoint.clone(),
            registrations: HashMap::new(),
            threads: ThreadPool::of(1..=8),
            message_bytes: MESSAGE_BYTES,
            dispatch: Dispatch::new(MESSAGE_BYTES),
        })
    }

    /// How many threads serve: at least as many wait as the start of the range says, if there are
    /// not more than its end in all (`R6`). Threads in [`blocking`](crate::blocking) do not count.
    /// The default is `1..=8`.
    #[must_use]
    pub fn threads(mut self, threads: RangeInclusive<usize>) -> Self {
        self.threads = ThreadPool::of(threads);
        self
    }

    /// As [`threads`](Self::threads), with all four water marks.
    #[doc(alias = "thread_pool_create")]
    #[must_use]
    pub fn thread_pool(mut self, threads: ThreadPool) -> Self {
        self.threads = threads;
        self
    }

    /// How much of a message is received at once, in bytes; the rest is fetched when needed. The
    /// default, and the least, is 80 KiB; managers of bulk data raise it to a little over 1 MiB; 16 MiB are
    /// the most. Each thread that works holds one such buffer.
    #[must_use]
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes.clamp(MESSAGE_BYTES, 16 << 20);
        self
    }

    /// Owns `path` with `resource`. Attributes of a directory make it own everything below, too.
    ///
    /// # Errors
    /// EPERM if this user may not own the path, EINVAL for a path that is none, ENAMETOOLONG for one beyond the limits
    /// (`P6`), ENOSPC if the program or its user owns too many; see [`Endpoint::attach_prefix`].
    #[doc(alias = "resmgr_attach")]
    pub fn attach(
        self,
        path: &str,
        attributes: Attributes,
        resource: impl Resource,
    ) -> Result<Self> {
        let prefix = Prefix::of(path, &attributes);
        self.attach_prefix(&prefix, attributes, resource)
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
        let path = path.as_bytes();
        let prefix = Prefix {
            path,
            flags,
            file_type,
        };
        self.attach_prefix(&prefix, attributes, resource)
    }

    fn attach_prefix(
        mut self,
        prefix: &Prefix<'_>,
        attributes: Attributes,
        resource: impl Resource,
    ) -> Result<Self> {
        let attachments = &self.dispatch.attachments;
        let handle = attachments.add(&prefix.seen()?, attributes, resource);
        let registration = prefix.register(&self.endpoint, self.channel(), handle)?;
        self.registrations.insert(handle, registration);
        Ok(self)
    }

    /// Serves `resource` without a pathname: for clients that are told channel and handle by other
    /// means (`R10`).
    #[doc(alias = "_RESMGR_FLAG_ATTACH_LOCAL")]
    #[must_use]
    pub fn attach_local(self, attributes: Attributes, resource: impl Resource) -> (Self, Handle) {
        let handle = self.dispatch.attachments.add(b"/", attributes, resource);
        (self, handle)
    }

    /// Gives pulses of a code to `serve`: from devices and threads of this process by a [`Poster`], from clients by
    /// their connections.
    ///
    /// # Errors
    /// EINVAL for codes below 0, which are the system's; EBUSY for one that has a handler.
    #[doc(alias = "pulse_attach")]
    pub fn on_pulse(
        mut self,
        code: i8,
        serve: impl Fn(&Pulse) + Send + Sync + 'static,
    ) -> Result<Self> {
        if code < 0 {
            return Err(Errno::EINVAL);
        }
        if self.dispatch.pulses.contains_key(&code) {
            return Err(Errno::EBUSY);
        }
        self.dispatch.pulses.insert(code, Box::new(serve));
        Ok(self)
    }

    /// Gives messages that begin with one of these 16-bit numbers to `serve`: for protocols that have nothing to do with files.
    ///
    /// # Errors
    /// EINVAL for numbers below 0x200, which are files'; EBUSY if some of them have a handler.
    #[doc(alias = "message_attach")]
    pub fn on_message(
        mut self,
        numbers: RangeInclusive<u16>,
        serve: impl Fn(RawRequest) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        if numbers.is_empty() || !OWN_KINDS.contains(numbers.start()) {
            return Err(Errno::EINVAL);
        }
        let meets = |other: &RangeInclusive<u16>| {
            numbers.start() <= other.end() && other.start() <= numbers.end()
        };
        let mut taken = self.dispatch.messages.iter();
        if taken.any(|(other, _)| meets(other)) {
            return Err(Errno::EBUSY);
        }
        self.dispatch.messages.push((numbers, Box::new(serve)));
        Ok(self)
    }

    /// Sends pulses to the handlers of this server.
    #[must_use]
    pub fn poster(&self) -> Poster {
        Poster::new(Arc::clone(&self.channel))
    }

    /// The channel on which the server receives.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.channel.id()
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
        self.dispatch.hub = Hub::new(self.message_bytes);
        let place = (self.channel, self.endpoint);
        Running::new(place, self.dispatch, self.threads, self.registrations)
    }
}

/// A path and how it is owned.
pub(crate) struct Prefix<'a> {
    path: &'a [u8],
    flags: AttachFlags,
    file_type: FileType,
}

impl<'a> Prefix<'a> {
    /// As attributes suggest: a directory owns everything below it.
    pub(crate) fn of(path: &'a str, attributes: &Attributes) -> Self {
        let flags = if attributes.lock().is_directory() {
            AttachFlags::DIR
        } else {
            AttachFlags::empty()
        };
        Self {
            path: path.as_bytes(),
            flags,
            file_type: FileType::ANY,
        }
    }

    /// As rules see it. What is no path the node refuses.
    pub(crate) fn seen(&self) -> Result<Vec<u8>> {
        rights::path::join(b"/", self.path).ok_or(Errno::EINVAL)
    }

    pub(crate) fn register(
        &self,
        endpoint: &Endpoint,
        channel: ChannelId,
        handle: Handle,
    ) -> Result<Registration> {
        endpoint.attach_prefix(self.path, self.flags, self.file_type, channel, handle)
    }
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
