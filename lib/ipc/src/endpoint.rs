//! One process's place on a node.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use abi::system::{Reply, Request};
use abi::{AttachFlags, ChannelId, FileType, Handle, NodeName, Pid, Result};

use crate::directory::default_directory;
use crate::shared::Shared;
use crate::stats::SessionStats;

/// One process's place on a node: what channels, connections and prefixes belong to.
///
/// Clones are the same endpoint. It lives until the last clone, channel, connection and message is dropped; then
/// its sessions are closed and its prefixes detached. All methods may be called from any thread. A forked
/// child must make an endpoint of its own: every call on the parent's fails with `EBADF`.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<EndpointHandle>,
}

/// The last one to go closes the endpoint.
struct EndpointHandle {
    shared: Arc<Shared>,
}

/// A prefix owned by this endpoint; dropping it gives the prefix up.
#[derive(Debug)]
pub struct Registration {
    endpoint: Endpoint,
    /// Taken when the prefix has been given up.
    id: Option<u64>,
}

impl Endpoint {
    /// Registers with the node daemon whose directory is `directory`.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED` no daemon there, `EACCES` not allowed or run by somebody who is neither root nor this
    /// process's user, `ENOTSUP` another protocol version,
    /// `ETIMEDOUT` no answer within 30 s.
    pub fn connect(directory: &Path) -> Result<Self> {
        Shared::connect(directory).map(Self::from_shared)
    }

    /// The endpoint of the whole process at [`default_directory`], made on first use. In a forked child the
    /// first use makes another one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); a later call tries again.
    pub fn global() -> Result<&'static Self> {
        static GLOBAL: Mutex<Option<&'static Endpoint>> = Mutex::new(None);
        let mut global = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = *global
            && endpoint.shared().guard().is_owner()
        {
            return Ok(endpoint);
        }
        let endpoint = Box::leak(Box::new(Self::connect(&default_directory())?));
        *global = Some(endpoint);
        Ok(endpoint)
    }

    /// Asks the node daemon. Blocks, 30 s at most, also over a restart of the daemon.
    ///
    /// # Errors
    /// The daemon's refusal; `ETIMEDOUT` no answer; `ENOTCONN` this endpoint has no daemon; `EBADF` in a forked child.
    pub fn request(&self, request: &Request) -> Result<Reply> {
        self.shared().request(request)
    }

    /// As [`request`](Self::request), but a refusal comes as [`Reply::Error`] with its text for people.
    ///
    /// # Errors
    /// `ETIMEDOUT` no answer; `ENOTCONN` this endpoint has no daemon; `EBADF` in a forked child.
    pub fn ask(&self, request: &Request) -> Result<Reply> {
        self.shared()
            .request_with(request, Vec::new())
            .map(|(reply, _)| reply)
    }

    /// What this endpoint is called on its node. May change when the daemon is restarted.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.shared().pid()
    }

    /// The name of the node.
    #[must_use]
    pub fn node_name(&self) -> NodeName {
        self.shared().node_name()
    }

    /// A number that changes whenever a name may have come to mean something else. One load, no system call.
    #[must_use]
    pub fn namespace_generation(&self) -> u64 {
        self.shared().namespace_generation()
    }

    /// Claims a path prefix for a channel (P1). The claim outlives restarts of the daemon.
    ///
    /// # Errors
    /// `EPERM` this user may not own the path, `EEXIST` the name of a channel is taken (P4), `EINVAL` no path, or flags
    /// that contradict each other (P10 to P21), `ENAMETOOLONG` (P6), `ENOSPC` the program or its user owns too many;
    /// `EBADF` in a forked child.
    #[doc(alias = "resmgr_attach")]
    #[doc(alias = "resmgr_pathname")]
    pub fn attach_prefix(
        &self,
        path: &[u8],
        flags: AttachFlags,
        file_type: FileType,
        channel: ChannelId,
        handle: Handle,
    ) -> Result<Registration> {
        let id = self
            .shared()
            .attach_prefix(path, flags, file_type, channel, handle)?;
        Ok(Registration {
            endpoint: self.clone(),
            id: Some(id),
        })
    }

    /// All sessions of this endpoint, for tools.
    #[must_use]
    pub fn session_stats(&self) -> Vec<SessionStats> {
        self.shared().session_stats()
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(EndpointHandle { shared }),
        }
    }

    #[inline]
    /// Sends what was [submitted](crate::Connection::submit) or answered a moment ago and is kept back for more of its
    /// kind. Never blocks.
    pub fn flush(&self) {
        self.shared().flush();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Drop for EndpointHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Registration {
    /// Gives the prefix up.
    ///
    /// # Errors
    /// As [`Endpoint::request`].
    pub fn detach(mut self) -> Result {
        match self.id.take() {
            Some(id) => self.endpoint.shared().detach_prefix(id),
            None => Ok(()),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let _ = self.endpoint.shared().detach_prefix(id);
        }
    }
}
