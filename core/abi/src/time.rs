//! Points in time that come in as arguments.

use core::ops::{Add, AddAssign, Sub};

pub use core::time::Duration;

/// A point of a monotonic clock, in nanoseconds since an origin that only its issuer knows.
///
/// Instants of different issuers (nodes, simulated worlds) must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The last instant there is, about 584 years after the origin.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant this many nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `duration` before this one, or `None` before the origin.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_sub(nanos).map(Self)
    }

    /// The instant `duration` after this one, or `None` beyond [`Self::MAX`].
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }
}

/// Saturates at [`Instant::MAX`], so that "never" is any long duration.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// The same as [`Instant::saturating_since`].
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        assert_eq!(Instant::MAX + Duration::from_nanos(1), Instant::MAX);
        assert_eq!(Instant::from_nanos(5) + Duration::MAX, Instant::MAX);
        assert_eq!(
            Instant::from_nanos(5) + Duration::from_nanos(6),
            Instant::from_nanos(11)
        );
    }

    #[test]
    fn differences_never_go_below_zero() {
        let (early, late) = (Instant::from_nanos(10), Instant::from_nanos(25));
        assert_eq!(late.saturating_since(early), Duration::from_nanos(15));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early.checked_sub(Duration::from_nanos(11)), None);
        assert_eq!(
            late.checked_sub(Duration::from_nanos(25)),
            Some(Instant::from_nanos(0))
        );
    }
}
