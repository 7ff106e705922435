//! Which lanes an operation may use.

/// Which lanes the packets of an operation may use, in both directions: request, reply, pulls,
/// pushes, questions about it, and the acknowledgements of all these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// All lanes that work, each as much as makes messages arrive earliest.
    #[default]
    LoadBalance,
    /// The lane with this number while it works, else as [`Policy::LoadBalance`] over the others;
    /// back after it has worked for [`crate::Config::prefer_after`].
    Preferred(u8),
    /// Never another lane than this.
    Exclusive {
        /// Number of the lane.
        lane: u8,
        /// While the lane is down, operations wait for it, until their deadlines. Without it they
        /// fail at once with [`crate::Cause::Link`].
        wait: bool,
    },
}

impl Policy {
    /// The number of the lane that the policy names.
    #[must_use]
    pub const fn lane(self) -> Option<u8> {
        match self {
            Self::LoadBalance => None,
            Self::Preferred(lane) | Self::Exclusive { lane, .. } => Some(lane),
        }
    }

    /// Whether no other lane than the named one may be used.
    #[must_use]
    pub const fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive { .. })
    }
}

/// A policy in a session: lanes by their place in its list, and without what only matters to the
/// program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Route {
    #[default]
    Any,
    Prefer(u8),
    Only(u8),
}

impl Route {
    /// The lane to which packets with such content are bound.
    pub(crate) const fn bound_to(self) -> Option<usize> {
        match self {
            Self::Only(lane) => Some(lane as usize),
            Self::Any | Self::Prefer(_) => None,
        }
    }
}

const KIND_PREFERRED: u8 = 0x10;
const KIND_EXCLUSIVE: u8 = 0x20;
const KIND_EXCLUSIVE_WAIT: u8 = 0x30;

impl Policy {
    /// The policy's byte in the head of a request; load balance has none there.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::LoadBalance => 0,
            Self::Preferred(lane) => KIND_PREFERRED | lane & 0x0f,
            Self::Exclusive { lane, wait: false } => KIND_EXCLUSIVE | lane & 0x0f,
            Self::Exclusive { lane, wait: true } => KIND_EXCLUSIVE_WAIT | lane & 0x0f,
        }
    }

    /// The policy of a byte, if there is one.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        let lane = byte & 0x0f;
        match byte & 0xf0 {
            KIND_PREFERRED => Some(Self::Preferred(lane)),
            KIND_EXCLUSIVE => Some(Self::Exclusive { lane, wait: false }),
            KIND_EXCLUSIVE_WAIT => Some(Self::Exclusive { lane, wait: true }),
            0 if lane == 0 => Some(Self::LoadBalance),
            _ => None,
        }
    }
}
