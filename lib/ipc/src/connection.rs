//! A client's way to one channel.

use std::io::{IoSlice, IoSliceMut};
use std::time::Instant;

use abi::system::Identity;
use abi::{ChannelId, ConnectionId, Incarnation, Nd, Pid, Result};

use transport::SessionKey;

use crate::client::Route;
use crate::{Endpoint, Failure, Interrupt, Pending};

/// A client's way to one channel of one process, here or on another node.
///
/// All connections of a process to the same channel share one attachment: the server sees one client,
/// and one DISCONNECT pulse when the last of them is dropped (I7, I9). A connection may be used by
/// many threads at once. In a forked child every call fails with `EBADF` and dropping does nothing.
#[doc(alias = "ConnectAttach")]
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    route: Route,
    nd: Nd,
    pid: Pid,
}

/// What a server takes for one client: an attachment to one of its channels by one of this process's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    session: SessionKey,
    attachment: u32,
}

/// A server's answer to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status that the server gave.
    pub status: i64,
    /// Bytes of the reply in the caller's buffer, counted from its start.
    pub len: usize,
}

/// How a send waits.
///
/// A server whose channel has `UNBLOCK` may keep a caller beyond its deadline or interrupt (I40), but only while it
/// lives: if nothing is heard of it for a second, the send ends all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions<'a> {
    /// When to give up with `ETIMEDOUT`; none waits as long as the server lives.
    pub deadline: Option<Instant>,
    /// Ends the send with `EINTR` from another thread.
    pub interrupt: Option<&'a Interrupt>,
    /// Priority 1 to 255; 10 if none is given.
    pub priority: Option<u8>,
}

impl Connection {
    /// Attaches to channel `channel` of process `pid` on node `nd`.
    ///
    /// The first connection to a process opens a session by way of the node daemons and blocks for it, 30 s at
    /// most; further ones cost nothing on the way. On the own node the channel is looked for (I5); on another
    /// one it is only met by the first send (I6).
    ///
    /// # Errors
    /// `ESRCH` no such process or channel, `ENXIO` it is ending (I5), `EACCES` the peer's node refuses,
    /// `EHOSTDOWN` or `EHOSTUNREACH` the node does not answer, `ENOREMOTE` there is no network manager,
    /// `EAGAIN` too many connections, `EBADF` in a forked child.
    #[doc(alias = "ConnectAttach")]
    pub fn attach(endpoint: &Endpoint, nd: Nd, pid: Pid, channel: ChannelId) -> Result<Self> {
        Self::attach_as(endpoint, nd, pid, channel, None)
    }

    /// As [`attach`](Self::attach), but speaking for `identity`. Every identity has a session of its own.
    ///
    /// # Errors
    /// `EPERM` when the caller is neither the superuser, nor the owner of the node, nor that identity, else as
    /// [`attach`](Self::attach).
    pub fn attach_as(
        endpoint: &Endpoint,
        nd: Nd,
        pid: Pid,
        channel: ChannelId,
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let route = endpoint.shared().attach(nd, pid, channel, identity)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            route,
            nd,
            pid,
        })
    }

    /// Another connection to the same channel, with a number of its own. Sends nothing.
    ///
    /// # Errors
    /// `EAGAIN` too many connections, `EBADF` the server is gone or this is a forked child.
    pub fn duplicate(&self) -> Result<Self> {
        let route = self.endpoint.shared().duplicate(&self.route)?;
        Ok(Self {
            endpoint: self.endpoint.clone(),
            route,
            nd: self.nd,
            pid: self.pid,
        })
    }

    /// The number of the connection; the value of a COIDDEATH pulse.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.route.connection
    }

    /// Whom its server takes for its client: connections with the same value are one client to it (I7), which it
    /// tells apart by [`id`](Self::id).
    #[must_use]
    pub const fn client(&self) -> ClientKey {
        ClientKey {
            session: self.route.session,
            attachment: self.route.attachment,
        }
    }

    /// The node it leads to.
    #[must_use]
    pub const fn nd(&self) -> Nd {
        self.nd
    }

    /// The process it leads to.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The channel it leads to.
    #[must_use]
    pub const fn channel(&self) -> ChannelId {
        self.route.channel
    }

    /// The endpoint it belongs to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The life of the server process it leads to.
    #[must_use]
    pub const fn peer(&self) -> Incarnation {
        self.route.incarnation
    }

    /// Whether the server is known to be gone; never in a forked child.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.endpoint.shared().is_dead(&self.route)
    }

    /// Sends `request` and blocks until the server answers. Both may be of any length, also empty; a reply
    /// that does not fit is cut (I20, I21). The bytes are moved from and into the caller's memory without
    /// buffers in between.
    ///
    /// # Errors
    /// [`Failure`] with the numbers of I22, or what the server's [`fail`](crate::Message::fail) said. Its
    /// `delivery` tells whether repeating is safe; the library itself never repeats.
    #[doc(alias = "MsgSend")]
    pub fn send(&self, request: &[u8], reply: &mut [u8]) -> core::result::Result<Reply, Failure> {
        self.send_vectored(
            &[IoSlice::new(request)],
            &mut [IoSliceMut::new(reply)],
            &SendOptions::default(),
        )
    }

    /// As [`send`](Self::send), from and into several pieces, with a deadline, an interrupt and a priority.
    ///
    /// # Errors
    /// As [`send`](Self::send); besides `ETIMEDOUT` after the deadline and `EINTR` after an interrupt. While a
    /// server whose channel has UNBLOCK works on the message, both only ask it to answer (I40, I43).
    #[doc(alias = "MsgSendv")]
    pub fn send_vectored(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        self.endpoint
            .shared()
            .send(&self.route, request, reply, options)
    }

    /// As [`send_vectored`](Self::send_vectored), but returns before the answer is there, so that one thread can have
    /// many messages under way. `request` and `reply`, whose length is the room for the answer, belong to the library
    /// until [`Pending::wait`], which heeds the deadline.
    ///
    /// Blocks only while the session has as many operations under way as its server grants, some hundred.
    ///
    /// # Errors
    /// As [`send_vectored`](Self::send_vectored), if the message could not be started.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let connection: slashnet_ipc::Connection = unimplemented!();
    /// let options = slashnet_ipc::SendOptions::default();
    /// let questions = [b"one".to_vec(), b"two".to_vec()];
    /// let mut pending = Vec::new();
    /// for question in questions {
    ///     pending.push(connection.submit(question, vec![0; 100], &options)?);
    /// }
    /// for pending in pending {
    ///     println!("{:?}", pending.wait()?.bytes());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(
        &self,
        request: Vec<u8>,
        reply: Vec<u8>,
        options: &SendOptions<'_>,
    ) -> core::result::Result<Pending, Failure> {
        let memory = (request, reply);
        let submitted = self.endpoint.shared().submit(&self.route, memory, options);
        submitted.map(Pending::new)
    }

    /// Sends a pulse. Never waits for the server; a pulse and a later message on this connection arrive in
    /// this order (I66).
    ///
    /// `priority` is 1 to 255, or -1 for the default; `code` is 0 to 127.
    ///
    /// # Errors
    /// `EINVAL` bad priority, `EAGAIN` too many pulses of this process wait at the server (I50), `EPERM` an
    /// earlier pulse was refused because the server belongs to another user (I51), `EBADF` the server or its
    /// channel is gone, or this is a forked child.
    #[doc(alias = "MsgSendPulse")]
    pub fn pulse(&self, priority: i16, code: i8, value: u64) -> Result {
        self.endpoint
            .shared()
            .pulse(&self.route, priority, code, value)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.shared().detach(&self.route);
    }
}
