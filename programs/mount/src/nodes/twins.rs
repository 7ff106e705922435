//! Directories that have several numbers, because the kernel knows no directory by two names.

use abi::flags::mode;
use std::collections::HashMap;

use super::Identity;

/// The numbers of each directory.
#[derive(Debug, Default)]
pub(super) struct Twins {
    numbers: HashMap<Identity, Vec<u64>>,
    /// Directories with more than one.
    several: usize,
}

impl Twins {
    pub(super) fn are_none(&self) -> bool {
        self.several == 0
    }

    /// The numbers of this directory, if they are several.
    pub(super) fn of(&self, identity: Identity) -> &[u64] {
        match self.numbers.get(&identity) {
            Some(numbers) if numbers.len() > 1 => numbers,
            _ => &[],
        }
    }

    pub(super) fn insert(&mut self, identity: Identity, number: u64) {
        if identity.kind != mode::S_IFDIR || identity.ino == 0 {
            return;
        }
        let numbers = self.numbers.entry(identity).or_default();
        numbers.push(number);
        self.several += usize::from(numbers.len() == 2);
    }

    pub(super) fn remove(&mut self, identity: Identity, number: u64) {
        let Some(numbers) = self.numbers.get_mut(&identity) else {
            return;
        };
        let before = numbers.len();
        numbers.retain(|other| *other != number);
        self.several -= usize::from(before == 2 && numbers.len() == 1);
        if numbers.is_empty() {
            self.numbers.remove(&identity);
        }
    }
}
