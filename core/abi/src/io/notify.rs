use alloc::vec::Vec;

use bitflags::bitflags;

use super::{choice, flag_codec, record};
use crate::codec::{Decode, Encode, Malformed, Overflow, Reader, Writer};
use crate::ids::ConnectionId;
use crate::limits::WATCHES_MAX;

bitflags! {
    /// States of a file that one can wait for.
    #[doc(alias = "_NOTIFY_COND_INPUT")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Events: u32 {
        /// A read would not wait.
        #[doc(alias = "_NOTIFY_CONDE_RDNORM")]
        const INPUT = 0x1;
        /// A write would not wait.
        #[doc(alias = "_NOTIFY_CONDE_WRNORM")]
        const OUTPUT = 0x2;
        /// Urgent data is there.
        #[doc(alias = "_NOTIFY_COND_OBAND")]
        const URGENT = 0x4;
        /// Something failed. Reported always.
        const ERROR = 0x8;
        /// The other side is gone. Reported always.
        const HANGUP = 0x10;
        /// The descriptor is not open. Reported always.
        #[doc(alias = "_NOTIFY_CONDE_NVAL")]
        const INVALID = 0x20;
    }
}

impl Events {
    /// Those that are told even if nobody asked for them.
    pub const ALWAYS: Self = Self::ERROR.union(Self::HANGUP).union(Self::INVALID);
}

flag_codec!(Events: u32);

choice! {
    /// When the answer to a [`Notify`] comes.
    pub enum NotifyAction {
        /// At once, perhaps with "none".
        #[doc(alias = "_NOTIFY_ACTION_POLL")]
        #[default]
        Report = 0,
        /// As soon as one of the events is true, which may be at once.
        #[doc(alias = "_NOTIFY_ACTION_POLLARM")]
        #[doc(alias = "_NOTIFY_ACTION_CONDARM")]
        Arm = 1,
        /// When one of the events becomes true again.
        #[doc(alias = "_NOTIFY_ACTION_TRANARM")]
        Transition = 2,
    }
}

record! {
    /// Ask for, or wait for, readiness.
    pub struct Notify {
        /// Which states are of interest.
        pub events: Events,
        /// When to answer.
        pub action: NotifyAction,
    }
}

record! {
    /// One of several descriptors to watch.
    pub struct Watch {
        /// The client's number of a connection that reaches an open file of the same server.
        pub connection: ConnectionId,
        /// Which states are of interest.
        pub events: Events,
    }
}

/// Bytes of an encoded [`Watch`].
const WATCH_LEN: usize = 8;

/// Descriptors of one client at one server, to be watched together (R52).
///
/// The answer's body holds one [`Events`] for each, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watches<'a> {
    /// When to answer.
    pub action: NotifyAction,
    bytes: &'a [u8],
}

impl<'a> Watches<'a> {
    /// The descriptors that [`encode_all`](Self::encode_all) wrote.
    ///
    /// # Errors
    /// [`Malformed`] for bytes that are no list of 1 to [`WATCHES_MAX`] descriptors.
    pub fn new(action: NotifyAction, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let count = bytes.len() / WATCH_LEN;
        if !bytes.len().is_multiple_of(WATCH_LEN) {
            return Err(Malformed::Truncated);
        }
        if count > WATCHES_MAX {
            return Err(Malformed::TooMany);
        }
        if count == 0 {
            return Err(Malformed::Invalid);
        }
        for watch in bytes.chunks_exact(WATCH_LEN) {
            Watch::from_bytes(watch)?;
        }
        Ok(Self { action, bytes })
    }

    /// The bytes of a list of descriptors.
    ///
    /// # Errors
    /// [`Overflow`] for more than [`WATCHES_MAX`].
    pub fn encode_all(watches: &[Watch]) -> Result<Vec<u8>, Overflow> {
        if watches.len() > WATCHES_MAX {
            return Err(Overflow);
        }
        let mut bytes = Vec::with_capacity(watches.len() * WATCH_LEN);
        for watch in watches {
            watch.append_to(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// The descriptors in their order.
    pub fn iter(&self) -> impl Iterator<Item = Watch> + use<'a> {
        self.bytes
            .chunks_exact(WATCH_LEN)
            .filter_map(|watch| Watch::from_bytes(watch).ok())
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        self.action.encode(w);
        w.bytes(self.bytes);
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let action = NotifyAction::decode(r)?;
        Self::new(action, r.rest())
    }
}
