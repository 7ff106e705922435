//! Somebody who is faster than the network with copies of packets, and those whose addresses the copies bear.

use std::collections::BTreeMap;

use transport::LinkIndex;

use crate::checkers::{Finding, Kind};

/// Addresses from here on are those of victims, who never answer.
pub(crate) const VICTIM: u8 = 0x80;
/// Bytes that may go to a victim for each that seemed to come from it.
const SHARE: u64 = 3;

/// What came from the victims' addresses, and what went there, for each process.
#[derive(Debug, Default)]
pub(crate) struct Victims {
    balances: BTreeMap<(LinkIndex, usize, u8), Balance>,
}

#[derive(Debug, Default)]
struct Balance {
    came: u64,
    went: u64,
}

impl Victims {
    /// A process takes a packet that seems to come from `address`.
    pub(crate) fn came(&mut self, link: LinkIndex, process: usize, address: u8, bytes: usize) {
        if address >= VICTIM {
            let balance = self.balances.entry((link, process, address));
            balance.or_default().came += bytes as u64;
        }
    }

    /// A process sends to `address`.
    pub(crate) fn went(&mut self, link: LinkIndex, process: usize, address: u8, bytes: usize) {
        if address >= VICTIM {
            let balance = self.balances.entry((link, process, address));
            balance.or_default().went += bytes as u64;
        }
    }

    /// Whether anything went to one.
    pub(crate) fn any(&self) -> bool {
        self.balances.values().any(|balance| balance.went > 0)
    }

    /// Checks that nobody was turned on a victim.
    ///
    /// # Errors
    /// A finding for the first who got too much.
    pub(crate) fn check(&self) -> Result<(), Finding> {
        let mut balances = self.balances.iter();
        match balances.find(|(_, balance)| balance.went > SHARE * balance.came) {
            None => Ok(()),
            Some((to, balance)) => Err(Finding::new(
                Kind::Wrong,
                format!("a victim is flooded: {to:?} {balance:?}"),
            )),
        }
    }
}
