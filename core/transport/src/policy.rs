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
