//! What the two ends of a session keep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use abi::ChannelId;

use super::{Attachment, ClientSide, NOT_SERVED, NewSide, ServerSide, Side};

impl Side {
    pub(super) fn new(side: NewSide) -> Self {
        match side {
            NewSide::Client(peer) => Self::Client(ClientSide {
                peer,
                attachments: BTreeMap::new(),
                next_attachment: 0,
                pulses: 0,
                slot_waiters: VecDeque::new(),
                detached: Vec::new(),
            }),
            NewSide::Server {
                credentials,
                user,
                rights,
            } => Self::Server(ServerSide {
                credentials: Arc::new(credentials),
                user,
                rights: Arc::new(rights),
                senders: BTreeMap::new(),
                farewells: 0,
                served: Vec::new(),
            }),
        }
    }
}

impl ClientSide {
    /// The attachment to `channel`, made if need be; the flag tells that it is new.
    pub(crate) fn attachment(&mut self, channel: ChannelId) -> (u32, bool) {
        if let Some((id, _)) = self.attachments.iter().find(|(_, a)| a.channel == channel) {
            return (*id, false);
        }
        let id = self.next_attachment;
        self.next_attachment = self.next_attachment.wrapping_add(1);
        let attachment = Attachment {
            channel,
            connections: BTreeSet::new(),
            pulses_sent: 0,
            refused: None,
            is_dead: false,
        };
        self.attachments.insert(id, attachment);
        (id, true)
    }
}

impl ServerSide {
    /// The served operation in `slot`.
    pub(crate) fn in_slot(&self, slot: u16) -> Option<u32> {
        self.served
            .get(usize::from(slot))
            .copied()
            .filter(|served| *served != NOT_SERVED)
    }

    pub(crate) fn set_slot(&mut self, slot: u16, served: u32) {
        let slot = usize::from(slot);
        if self.served.len() <= slot {
            self.served.resize(slot + 1, NOT_SERVED);
        }
        self.served[slot] = served;
    }
}
