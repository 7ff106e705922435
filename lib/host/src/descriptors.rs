//! File descriptors on their way from one program to another.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

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
}
