//! The bytes of a file: pages where something was written, holes elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resmgr::{Errno, Result};

pub(crate) const PAGE: usize = 4096;

/// Memory that all files share, counted in pages.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) pages: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            pages: bytes / PAGE as u64,
            used: AtomicU64::new(0),
        })
    }

    pub(crate) fn free(&self) -> u64 {
        self.pages - self.used.load(Ordering::Relaxed)
    }

    fn take(&self) -> Result {
        let more = |used| (used < self.pages).then_some(used + 1);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| Errno::ENOSPC)
    }

    fn give_back(&self, pages: usize) {
        self.used.fetch_sub(pages as u64, Ordering::Relaxed);
    }
}

/// What one file holds; reads as zeros where no page is.
#[derive(Debug)]
pub(crate) struct Content {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    budget: Arc<Budget>,
}

impl Content {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        let pages = BTreeMap::new();
        Self { pages, budget }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    pub(crate) fn read(&self, at: u64, into: &mut [u8]) {
        for (page, within, piece) in pieces(at, into) {
            match self.pages.get(&page) {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + piece.len()]),
                None => piece.fill(0),
            }
        }
    }

    /// Writes as much as there is memory for.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = place(at + done as u64);
            let count = (PAGE - within).min(bytes.len() - done);
            let page = match self.page(page) {
                Ok(page) => page,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            page[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        Ok(done)
    }

    /// Makes sure that writing into the range needs no more memory.
    pub(crate) fn reserve(&mut self, at: u64, len: u64) -> Result {
        for page in place(at).0..(at + len).div_ceil(PAGE as u64) {
            self.page(page)?;
        }
        Ok(())
    }

    /// Makes a hole.
    pub(crate) fn clear(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len);
        let pages = self.pages.range_mut(place(at).0..end.div_ceil(PAGE as u64));
        let mut empty = Vec::new();
        for (&page, bytes) in pages {
            let start = page * PAGE as u64;
            let from = at.saturating_sub(start) as usize;
            let to = (end - start).min(PAGE as u64) as usize;
            bytes[from..to].fill(0);
            if to - from == PAGE {
                empty.push(page);
            }
        }
        for page in &empty {
            self.pages.remove(page);
        }
        self.budget.give_back(empty.len());
    }

    /// The first byte from `at` on that is in a page; with `hole` the first that is in none.
    pub(crate) fn next(&self, at: u64, hole: bool) -> Option<u64> {
        if !hole {
            let (&page, _) = self.pages.range(place(at).0..).next()?;
            return Some(at.max(page * PAGE as u64));
        }
        let mut page = place(at).0;
        while self.pages.contains_key(&page) {
            page += 1;
        }
        Some(at.max(page * PAGE as u64))
    }

    fn page(&mut self, page: u64) -> Result<&mut Box<[u8; PAGE]>> {
        if !self.pages.contains_key(&page) {
            self.budget.take()?;
        }
        Ok(self
            .pages
            .entry(page)
            .or_insert_with(|| Box::new([0; PAGE])))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.budget.give_back(self.pages.len());
    }
}

fn place(at: u64) -> (u64, usize) {
    (at / PAGE as u64, (at % PAGE as u64) as usize)
}

/// The parts of `into` that lie in one page each.
fn pieces(at: u64, into: &mut [u8]) -> impl Iterator<Item = (u64, usize, &mut [u8])> {
    let (first, within) = place(at);
    let (head, rest) = into.split_at_mut((PAGE - within).min(into.len()));
    let rest = rest.chunks_mut(PAGE).zip(first + 1..);
    std::iter::once((first, within, head)).chain(rest.map(|(piece, page)| (page, 0, piece)))
}
