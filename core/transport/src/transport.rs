//! All sessions of one process.

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};

use crate::config::{Config, SessionParams};
use crate::event::{
    Cause, Event, Gone, IncomingKey, LinkIndex, Memory, OpKey, OpenError, Request, SendError,
    SessionKey, TransferKey,
};

/// What [`Transport::transmit`] has written: packets for one peer, all `segment` bytes long but
/// the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub to: LinkAddress,
    /// Length of each packet in bytes.
    pub segment: usize,
    /// Length of all packets in bytes.
    pub len: usize,
}

/// All sessions of one process.
pub struct Transport {
    config: Config,
}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut, clippy::unused_self)]
impl Transport {
    /// A transport without sessions. `seed` feeds the jitter of timers, nothing secret.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self { config }
    }

    /// Opens a session. Both ends call it with mirrored parameters before the first packet.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(&mut self, now: Instant, params: SessionParams) -> Result<SessionKey, OpenError> {
        Err(OpenError::TooManySessions)
    }

    /// Takes one packet that came in on `link`. `packet` is decrypted in place. Packets that are
    /// not authentic, not for a session here, or replayed, are dropped without a trace.
    pub fn receive(
        &mut self,
        now: Instant,
        link: LinkIndex,
        from: &LinkAddress,
        packet: &mut [u8],
        memory: &mut dyn Memory,
    ) {
    }

    /// A link on which something can be sent at once, or `None` until the next input or timeout.
    pub fn next_link(&mut self, now: Instant) -> Option<LinkIndex> {
        None
    }

    /// Writes the next packets for `link` into `space`, which must hold at least the largest
    /// packet of the link's lanes. `None` if there is nothing to send on it.
    pub fn transmit(
        &mut self,
        now: Instant,
        link: LinkIndex,
        space: &mut [u8],
        memory: &mut dyn Memory,
    ) -> Option<Transmit> {
        None
    }

    /// The driver accepts no packets: the link is not offered by [`Self::next_link`] until
    /// [`Self::link_ready`].
    pub fn link_full(&mut self, now: Instant, link: LinkIndex) {}

    /// The driver accepts packets again.
    pub fn link_ready(&mut self, now: Instant, link: LinkIndex) {}

    /// The link has failed: what is in flight on it goes to other lanes at once.
    pub fn link_down(&mut self, now: Instant, link: LinkIndex) {}

    /// The link may work again: its lanes are probed and return when they answer.
    pub fn link_up(&mut self, now: Instant, link: LinkIndex) {}

    /// When to call [`Self::handle_timeout`] at the latest. May be earlier than needed.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {}

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        None
    }

    /// Asks the peer for an operation. It ends by exactly one of [`Event::Replied`],
    /// [`Event::Refused`] and [`Event::Failed`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed.
    #[doc(alias = "MsgSend")]
    pub fn send(
        &mut self,
        now: Instant,
        session: SessionKey,
        request: Request,
    ) -> Result<OpKey, SendError> {
        Err(SendError::Closed)
    }

    /// Asks the peer to give the operation up; `reason` is the peer's to read. The operation still
    /// ends by an event. Does nothing for an operation that has ended.
    pub fn cancel(&mut self, now: Instant, op: OpKey, reason: u8) {}

    /// Answers an operation; `len` bytes come from [`crate::Buffer::Outgoing`], but never more
    /// than the client has room for.
    ///
    /// # Errors
    /// [`Gone`] if it was answered already or its session is closed.
    #[doc(alias = "MsgReply")]
    pub fn reply(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        status: i64,
        len: u64,
    ) -> Result<(), Gone> {
        Err(Gone)
    }

    /// Answers an operation with an error number.
    ///
    /// # Errors
    /// As [`Self::reply`].
    #[doc(alias = "MsgError")]
    pub fn fail(&mut self, now: Instant, incoming: IncomingKey, errno: u16) -> Result<(), Gone> {
        Err(Gone)
    }

    /// Fetches bytes of the client's request into [`crate::Buffer::Transfer`]. The range is cut to
    /// the request's length.
    ///
    /// # Errors
    /// [`Gone`] as for [`Self::reply`].
    #[doc(alias = "MsgRead")]
    pub fn pull(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        offset: u64,
        len: u64,
    ) -> Result<TransferKey, Gone> {
        Err(Gone)
    }

    /// Writes bytes from [`crate::Buffer::Transfer`] into the client's room for the reply, before
    /// the reply. The range is cut to that room.
    ///
    /// # Errors
    /// [`Gone`] as for [`Self::reply`].
    #[doc(alias = "MsgWrite")]
    pub fn push(
        &mut self,
        now: Instant,
        incoming: IncomingKey,
        offset: u64,
        len: u64,
    ) -> Result<TransferKey, Gone> {
        Err(Gone)
    }

    /// Checks that the peer lives: the session is closed with [`Cause::Link`] unless an authentic
    /// packet arrives within `bound`.
    pub fn verify(&mut self, now: Instant, session: SessionKey, bound: Duration) {}

    /// Closes a session and tells the peer `code`. Operations end with [`Cause::Closed`].
    pub fn close(&mut self, now: Instant, session: SessionKey, code: u16) {}

    /// Ends a session whose peer is known to be dead. Operations end with `cause`.
    pub fn abandon(&mut self, now: Instant, session: SessionKey, cause: Cause) {}

    /// The session with this local id.
    #[must_use]
    pub fn session(&self, local: SessionId) -> Option<SessionKey> {
        None
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}
