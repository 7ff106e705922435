//! Where a server receives.

use std::time::Instant;

use abi::{ChannelFlags, ChannelId, Pulse, Result};

use crate::{Endpoint, Message};

/// A queue of messages and pulses that clients' connections lead to.
///
/// Messages and pulses are received by priority, then in order of arrival (I24). Any number of threads
/// may receive from one channel at the same time. Dropping it destroys it: blocked clients fail
/// with `ESRCH` and queued pulses are lost (I3). In a forked child every call fails with `EBADF`.
#[doc(alias = "ChannelCreate")]
#[derive(Debug)]
pub struct Channel {
    endpoint: Endpoint,
    id: ChannelId,
}

/// What a channel hands out.
#[derive(Debug)]
pub enum Received {
    /// A client is blocked until this is answered.
    Message(Message),
    /// Nobody waits for an answer.
    Pulse(Pulse),
}

impl Channel {
    /// Creates a channel.
    ///
    /// Honoured flags (I1): `UNBLOCK` (clients that want to leave are announced by a pulse and stay until answered),
    /// `DISCONNECT` (a pulse when a client's last connection is gone), `COID_DISCONNECT` (a pulse when a server
    /// of this process is gone). The others are accepted and mean nothing here.
    ///
    /// # Errors
    /// `EBUSY` for a second channel with `COID_DISCONNECT` or `THREAD_DEATH` in one endpoint (I2), `EAGAIN` when
    /// there are too many channels, `EBADF` in a forked child.
    #[doc(alias = "ChannelCreate")]
    pub fn create(endpoint: &Endpoint, flags: ChannelFlags) -> Result<Self> {
        let id = endpoint.shared().create_channel(flags)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            id,
        })
    }

    /// The number that clients attach to.
    #[must_use]
    pub const fn id(&self) -> ChannelId {
        self.id
    }

    /// The endpoint on which it was created.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Waits for the next message or pulse. As much of a message as fits is put into `buffer`, whatever its
    /// size; the rest stays readable with [`Message::read_at`] (I21).
    ///
    /// # Errors
    /// `ESRCH` when the channel is destroyed, also by another thread meanwhile (I3, I23); `EBADF` in a forked child.
    #[doc(alias = "MsgReceive")]
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        self.receive_until(buffer, None)
    }

    /// As [`receive`](Self::receive), until `deadline` at most. A deadline that has passed takes only what is
    /// already there (I43).
    ///
    /// # Errors
    /// `ETIMEDOUT` when nothing came in time, else as [`receive`](Self::receive).
    pub fn receive_until(&self, buffer: &mut [u8], deadline: Option<Instant>) -> Result<Received> {
        self.endpoint
            .shared()
            .receive(&self.endpoint, self.id, buffer, deadline)
    }

    /// Waits for the next pulse, leaving messages to other receivers (I24).
    ///
    /// # Errors
    /// As [`receive_until`](Self::receive_until).
    #[doc(alias = "MsgReceivePulse")]
    pub fn receive_pulse(&self, deadline: Option<Instant>) -> Result<Pulse> {
        self.endpoint.shared().receive_pulse(self.id, deadline)
    }

    /// Queues a pulse to this channel from within its own process. Never blocks. It stands in the queue by `priority`,
    /// larger ones first; codes below 0 are the system's.
    ///
    /// # Errors
    /// `EAGAIN` when too many pulses wait, `ESRCH` when the channel is destroyed, `EBADF` in a forked child.
    pub fn post(&self, priority: u8, code: i8, value: u64) -> Result {
        self.endpoint.shared().post(self.id, priority, code, value)
    }

    /// Destroys the channel while others may still hold it; their receives end with `ESRCH`. Clients blocked on
    /// the channel fail with `ESRCH` and get no unblock pulse (I3). Doing it twice is harmless.
    #[doc(alias = "ChannelDestroy")]
    pub fn destroy(&self) {
        self.endpoint.shared().destroy_channel(self.id);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.destroy();
    }
}
