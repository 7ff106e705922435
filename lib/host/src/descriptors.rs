//! File descriptors on their way from one program to another.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use drivers::{Doorbell, DriverError};
use node::Descriptors;

/// Descriptors that the node has been told of and not disposed of yet.
#[derive(Debug, Default)]
pub(crate) struct Held {
    sets: BTreeMap<u64, Vec<OwnedFd>>,
    last: u64,
}

impl Held {
    pub(crate) fn keep(&mut self, descriptors: Vec<OwnedFd>) -> Option<Descriptors> {
        if descriptors.is_empty() {
            return None;
        }
        self.last += 1;
        let count = u8::try_from(descriptors.len()).unwrap_or(u8::MAX);
        self.sets.insert(self.last, descriptors);
        Some(Descriptors {
            key: self.last,
            count,
        })
    }

    pub(crate) fn take(&mut self, descriptors: Descriptors) -> Vec<OwnedFd> {
        self.sets.remove(&descriptors.key).unwrap_or_default()
    }

    /// The memory that a client sent, and the server's halves of two new doorbells. The client's halves are kept
    /// under the number of the memory. Without descriptors for doorbells the server refuses what it gets.
    pub(crate) fn take_with_doorbells(&mut self, memory: Descriptors) -> Vec<OwnedFd> {
        let mut passed = self.take(memory);
        match doorbells() {
            Ok((near, far)) => {
                passed.extend([near.rings, far.hears]);
                self.sets.insert(memory.key, vec![far.rings, near.hears]);
            }
            Err(error) => tracing::warn!(%error, "a session gets no doorbells"),
        }
        passed
    }
}

fn doorbells() -> Result<(Doorbell, Doorbell), DriverError> {
    Ok((Doorbell::create()?, Doorbell::create()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_memory_and_doorbells_and_only_the_client_s_are_kept() {
        let mut held = Held::default();
        let (memory, _) = rustix::pipe::pipe().unwrap();
        let memory = held.keep(vec![memory]).unwrap();
        assert_eq!(held.take_with_doorbells(memory).len(), 3);
        assert_eq!(held.take(memory).len(), 2);
        assert!(held.sets.is_empty());
    }
}
