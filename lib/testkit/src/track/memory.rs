//! Memory of a track's programs: every buffer holds the same pattern, and what arrives is compared.

use std::collections::BTreeMap;

use transport::{Buffer, Memory};

const PERIOD: usize = 251;

/// Buffers without bytes: only what has arrived of each is kept.
#[derive(Debug)]
pub(super) struct Pattern {
    table: Vec<u8>,
    /// Pieces that have arrived, by start: their end.
    arrived: BTreeMap<Buffer, BTreeMap<u64, u64>>,
    /// Where in the message the first byte of a transfer lies.
    base: BTreeMap<Buffer, u64>,
    fresh: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        Self {
            table: (0..PERIOD + 65_536).map(|n| (n % PERIOD) as u8).collect(),
            arrived: BTreeMap::new(),
            base: BTreeMap::new(),
            fresh: 0,
        }
    }
}

impl Pattern {
    pub(super) fn set_base(&mut self, buffer: Buffer, base: u64) {
        self.base.insert(buffer, base);
    }

    /// A buffer is not used any more; answers how much of it had arrived.
    pub(super) fn forget(&mut self, buffer: Buffer) -> u64 {
        self.base.remove(&buffer);
        let pieces = self.arrived.remove(&buffer).unwrap_or_default();
        pieces.iter().map(|(start, end)| end - start).sum()
    }

    /// Bytes that have arrived for the first time since the last call.
    pub(super) const fn take_fresh(&mut self) -> u64 {
        std::mem::replace(&mut self.fresh, 0)
    }

    fn at(&self, buffer: Buffer, offset: u64, len: usize) -> &[u8] {
        let base = self.base.get(&buffer).copied().unwrap_or(0);
        let start = (base + offset) as usize % PERIOD;
        &self.table[start..start + len]
    }

    /// Notes a piece; answers how many of its bytes are new.
    fn note(&mut self, buffer: Buffer, offset: u64, len: u64) -> u64 {
        let pieces = self.arrived.entry(buffer).or_default();
        let (mut start, mut end, mut known) = (offset, offset + len, 0);
        let before = pieces.range(..=offset).next_back().map(|(s, e)| (*s, *e));
        let mut touching: Vec<_> = pieces.range(offset..=end).map(|(s, e)| (*s, *e)).collect();
        touching.extend(before.filter(|(s, e)| *s < offset && *e >= offset));
        for (s, e) in touching {
            known += e.min(offset + len).saturating_sub(s.max(offset));
            pieces.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        pieces.insert(start, end);
        len - known
    }
}

impl Memory for Pattern {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        into.copy_from_slice(self.at(from, offset, into.len()));
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        assert!(
            bytes == self.at(to, offset, bytes.len()),
            "{to:?} at {offset}: other bytes"
        );
        self.fresh += self.note(to, offset, bytes.len() as u64);
    }
}
