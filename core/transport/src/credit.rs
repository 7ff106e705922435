//! How many unscheduled bytes the client may send and the server must hold.

use crate::config::CREDIT_FREE;

/// What a request with `unscheduled` bytes costs. Small requests cost nothing, so that they never
/// wait; the number of slots bounds their memory.
pub(crate) const fn charge(unscheduled: u32) -> u32 {
    if unscheduled <= CREDIT_FREE {
        0
    } else {
        unscheduled
    }
}

/// The client's side: bytes granted and used since the session began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    granted: u64,
    used: u64,
}

impl Allowance {
    pub(crate) const fn new(credit: u64) -> Self {
        Self {
            granted: credit,
            used: 0,
        }
    }

    /// How many of `wanted` bytes may come unscheduled: all, or the free part.
    pub(crate) fn use_for(&mut self, wanted: u32) -> u32 {
        let cost = u64::from(charge(wanted));
        if self.used + cost > self.granted {
            return CREDIT_FREE;
        }
        self.used += cost;
        wanted
    }

    /// Returns what an operation was charged that the server never heard of.
    pub(crate) const fn refund(&mut self, charge: u32) {
        self.used -= charge as u64;
    }

    /// Grants only ever grow; a late one changes nothing.
    pub(crate) fn raise(&mut self, granted: u64) {
        self.granted = self.granted.max(granted);
    }
}

/// The server's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    credit: u64,
    used: u64,
    freed: u64,
    announced: u64,
}

impl Grant {
    pub(crate) const fn new(credit: u64) -> Self {
        Self {
            credit,
            used: 0,
            freed: 0,
            announced: credit,
        }
    }

    /// Takes what a new request costs; `None` if the client was not granted that much.
    #[must_use]
    pub(crate) const fn take(&mut self, charge: u32) -> Option<()> {
        let used = self.used.saturating_add(charge as u64);
        if used > self.announced {
            return None;
        }
        self.used = used;
        Some(())
    }

    /// A request's memory is free again. Answers whether the client should hear of it.
    pub(crate) const fn free(&mut self, charge: u32) -> bool {
        self.freed += charge as u64;
        self.freed + self.credit - self.announced >= self.credit / 4 && charge > 0
    }

    /// The grant to announce.
    pub(crate) const fn announce(&mut self) -> u64 {
        self.announced = self.freed + self.credit;
        self.announced
    }

    /// Bytes held at the moment.
    pub(crate) const fn held(&self) -> u64 {
        self.used - self.freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_credit_sends_only_the_free_part() {
        let mut allowance = Allowance::new(10_000);
        assert_eq!(allowance.use_for(6_000), 6_000);
        assert_eq!(allowance.use_for(6_000), CREDIT_FREE);
        assert_eq!(allowance.use_for(64), 64);
        allowance.raise(12_000);
        allowance.raise(11_000);
        assert_eq!(allowance.use_for(6_000), 6_000);
    }

    #[test]
    fn a_server_holds_no_more_than_it_granted() {
        let mut grant = Grant::new(10_000);
        assert!(grant.take(6_000).is_some());
        assert!(grant.take(6_000).is_none());
        assert!(grant.take(4_000).is_some());
        assert!(grant.free(6_000));
        assert_eq!(grant.announce(), 16_000);
        assert_eq!(grant.held(), 4_000);
        assert!(!grant.free(1_000), "too little to be worth a frame");
    }
}
