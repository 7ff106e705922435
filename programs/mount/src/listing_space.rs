//! The memory that listings of directories may take: they are as long as their servers like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::{Errno, Result};

use crate::share::leaves_as_much;

/// What many listings share.
#[derive(Clone)]
pub(crate) struct ListingSpace {
    taken: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// What one listing has of it; given back when it is dropped.
pub(crate) struct Taken {
    space: ListingSpace,
    bytes: usize,
}

impl ListingSpace {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            taken: Arc::default(),
            bytes_max,
        }
    }

    pub(crate) fn nothing(&self) -> Taken {
        Taken {
            space: self.clone(),
            bytes: 0,
        }
    }
}

impl Taken {
    /// Takes more.
    ///
    /// # Errors
    /// `ENOMEM` if this listing would have more than is left for others.
    pub(crate) fn grow(&mut self, more: usize) -> Result {
        let own = self.bytes.saturating_add(more);
        let grown = |taken: usize| {
            let taken = taken.checked_add(more)?;
            leaves_as_much(own, taken, self.space.bytes_max).then_some(taken)
        };
        let taken = &self.space.taken;
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| Errno::ENOMEM)?;
        self.bytes = own;
        Ok(())
    }

    /// Gives all of it back.
    pub(crate) fn clear(&mut self) {
        self.space.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listing_has_half_of_the_space_at_most_and_the_next_half_of_the_rest() {
        let space = ListingSpace::new(512 << 20);
        let (mut first, mut second) = (space.nothing(), space.nothing());
        let fill = |listing: &mut Taken| {
            let mut mebibytes = 0;
            while listing.grow(1 << 20).is_ok() {
                mebibytes += 1;
            }
            mebibytes
        };
        assert_eq!(fill(&mut first), 256);
        assert_eq!(fill(&mut second), 128);
        assert_eq!(first.grow(usize::MAX), Err(Errno::ENOMEM));
        drop(first);
        second.clear();
        assert_eq!(space.taken.load(Ordering::Relaxed), 0);
        assert_eq!(fill(&mut second), 256);
    }
}
