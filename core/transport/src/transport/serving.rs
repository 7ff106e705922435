//! What a server does with the operations that it has taken.

use abi::time::Instant;

use super::{Transport, wire};
use crate::event::{Gone, IncomingKey, TransferKey};
use crate::incoming::Phase;
use crate::outgoing::ReplyHead;
use crate::transfer::Way;

impl Transport {
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
        self.answer(
            now,
            incoming,
            ReplyHead {
                total: len,
                status,
                refused: false,
            },
        )
    }

    /// Answers an operation with an error number.
    ///
    /// # Errors
    /// As [`Self::reply`].
    #[doc(alias = "MsgError")]
    pub fn fail(&mut self, now: Instant, incoming: IncomingKey, errno: u16) -> Result<(), Gone> {
        let status = i64::from(errno);
        self.answer(
            now,
            incoming,
            ReplyHead {
                total: 0,
                status,
                refused: true,
            },
        )
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
        let (session, events) = self.parts(incoming.session).ok_or(Gone)?;
        let transfer = session.pull(wire(incoming), offset, len, events)?;
        self.touched(now, incoming.session.index);
        Ok(transfer)
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
        let (session, events) = self.parts(incoming.session).ok_or(Gone)?;
        let transfer = session.push(wire(incoming), offset, len, events)?;
        self.touched(now, incoming.session.index);
        Ok(transfer)
    }

    /// How many bytes of a reply the client has, as far as it has said so: what was sent again and again to a
    /// client that says nothing is not counted. [`u64::MAX`] once the reply is over.
    pub fn reply_progress(&mut self, incoming: IncomingKey) -> u64 {
        let Some((session, _)) = self.parts(incoming.session) else {
            return u64::MAX;
        };
        match session.served.get(wire(incoming)) {
            Some(served) if served.phase == Phase::Replying => served.flow.acked_bytes(),
            _ => u64::MAX,
        }
    }

    /// How many bytes of a transfer have arrived where they go, as far as this end knows. [`u64::MAX`] once it is
    /// over.
    pub fn transfer_progress(&mut self, transfer: TransferKey) -> u64 {
        let session = self.parts(transfer.session).map(|(session, _)| session);
        let own = session.and_then(|session| session.transfers.get(transfer.id));
        own.map_or(u64::MAX, |own| match &own.way {
            Way::Pull(received) => received.bytes(),
            Way::Push(flow) => flow.acked_bytes(),
        })
    }

    fn answer(&mut self, now: Instant, key: IncomingKey, head: ReplyHead) -> Result<(), Gone> {
        let (session, events) = self.parts(key.session).ok_or(Gone)?;
        session.reply(now, wire(key), head, events)?;
        self.touched(now, key.session.index);
        Ok(())
    }
}
