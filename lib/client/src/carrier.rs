//! What a namespace needs of the world: its node, and ways to servers. A trait, so that resolving, caching and
//! listing are tested without a daemon.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use abi::system::{Identity, Reply as NodeReply, Request as NodeRequest};
use abi::{ChannelId, Errno, Nd, Pid, Result};
use ipc::{Connection, Endpoint, Failure, Pending, Reply, SendOptions};

use crate::selector::Place;

/// A node and the processes it leads to.
pub(crate) trait Carrier: Send + Sync {
    /// Changes whenever a name may have come to mean something else.
    fn generation(&self) -> u64;

    /// Asks the node daemon.
    fn request(&self, request: &NodeRequest) -> Result<NodeReply>;

    /// A connection to a server, speaking for `identity` if there is one.
    fn attach(
        &self,
        nd: Nd,
        pid: Pid,
        channel: ChannelId,
        identity: Option<&Identity>,
    ) -> Result<Arc<dyn Line>>;
}

/// A connection to a server.
pub(crate) trait Line: Send + Sync {
    fn send(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure>;

    /// As [`send`](Self::send), but leaves soon, or with [`flush`](Self::flush), and is waited for later.
    fn submit(
        &self,
        request: Vec<u8>,
        reply: Vec<u8>,
        options: &SendOptions<'_>,
    ) -> core::result::Result<Pending, Failure>;

    /// Sends what was submitted.
    fn flush(&self) {}

    /// Another connection to the same channel. Costs nothing on the way.
    fn duplicate(&self) -> Result<Arc<dyn Line>>;

    /// The server is known to be gone.
    fn is_dead(&self) -> bool;

    /// How its server knows it; `None` in a test without servers.
    fn place(&self) -> Option<Place> {
        None
    }
}

impl Carrier for Endpoint {
    fn generation(&self) -> u64 {
        self.namespace_generation()
    }

    fn request(&self, request: &NodeRequest) -> Result<NodeReply> {
        Self::request(self, request)
    }

    fn attach(
        &self,
        nd: Nd,
        pid: Pid,
        channel: ChannelId,
        identity: Option<&Identity>,
    ) -> Result<Arc<dyn Line>> {
        Ok(Arc::new(Connection::attach_as(
            self, nd, pid, channel, identity,
        )?))
    }
}

impl Line for Connection {
    fn send(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        self.send_vectored(request, reply, options)
            .map_err(|failure| still_gone(self, failure))
    }

    fn submit(
        &self,
        request: Vec<u8>,
        reply: Vec<u8>,
        options: &SendOptions<'_>,
    ) -> core::result::Result<Pending, Failure> {
        Self::submit(self, request, reply, options).map_err(|failure| still_gone(self, failure))
    }

    fn flush(&self) {
        self.endpoint().flush();
    }

    fn duplicate(&self) -> Result<Arc<dyn Line>> {
        Ok(Arc::new(Self::duplicate(self)?))
    }

    fn is_dead(&self) -> bool {
        Self::is_dead(self)
    }

    fn place(&self) -> Option<Place> {
        Some((self.client(), self.id()))
    }
}

/// A connection whose server is gone is none any more, and says so (I22). A file goes on saying why: its user's descriptor
/// is as good as before.
fn still_gone(connection: &Connection, failure: Failure) -> Failure {
    match failure.errno {
        Errno::EBADF if connection.is_dead() => Failure {
            errno: Errno::ESRCH,
            ..failure
        },
        _ => failure,
    }
}
