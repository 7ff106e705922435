//! The bytes of messages between nodes while the transport moves them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use transport::{Buffer, IncomingKey, Memory, OpKey, SessionKey};

use crate::limits::PEER_MESSAGE_MAX;

/// Requests and replies on their way.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    requests: BTreeMap<OpKey, Vec<u8>>,
    replies: BTreeMap<OpKey, Vec<u8>>,
    incoming: BTreeMap<IncomingKey, Vec<u8>>,
    outgoing: BTreeMap<IncomingKey, Vec<u8>>,
}

impl Letters {
    pub(crate) fn asked(&mut self, op: OpKey, bytes: Vec<u8>) {
        self.requests.insert(op, bytes);
    }

    /// The operation has ended; its reply, as far as it came.
    pub(crate) fn take_reply(&mut self, op: OpKey) -> Vec<u8> {
        self.requests.remove(&op);
        self.replies.remove(&op).unwrap_or_default()
    }

    pub(crate) fn take_incoming(&mut self, incoming: IncomingKey) -> Vec<u8> {
        self.incoming.remove(&incoming).unwrap_or_default()
    }

    pub(crate) fn answer(&mut self, incoming: IncomingKey, bytes: Vec<u8>) {
        self.outgoing.insert(incoming, bytes);
    }

    pub(crate) fn released(&mut self, incoming: IncomingKey) {
        self.outgoing.remove(&incoming);
    }

    /// A session is over: nobody will ask for its letters again.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        self.requests.retain(|op, _| op.session() != session);
        self.replies.retain(|op, _| op.session() != session);
        self.incoming
            .retain(|incoming, _| incoming.session() != session);
        self.outgoing
            .retain(|incoming, _| incoming.session() != session);
    }

    fn place(&mut self, buffer: Buffer) -> Option<&mut Vec<u8>> {
        match buffer {
            Buffer::Request(op) => self.requests.get_mut(&op),
            Buffer::Reply(op) => Some(self.replies.entry(op).or_default()),
            Buffer::Incoming(incoming) => Some(self.incoming.entry(incoming).or_default()),
            Buffer::Outgoing(incoming) => self.outgoing.get_mut(&incoming),
            Buffer::Transfer(_) => None,
        }
    }
}

impl Memory for Letters {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        into.fill(0);
        let Some(bytes) = self.place(from) else {
            return;
        };
        let Some(bytes) = usize::try_from(offset)
            .ok()
            .and_then(|offset| bytes.get(offset..))
        else {
            return;
        };
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > PEER_MESSAGE_MAX {
            return;
        }
        let Some(place) = self.place(to) else { return };
        let (start, end) = (offset as usize, end as usize);
        if place.len() < end {
            place.resize(end, 0);
        }
        place[start..end].copy_from_slice(bytes);
    }
}
