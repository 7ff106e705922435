//! Memory that a blocked caller lends to the transport.

use std::io::{IoSlice, IoSliceMut};

/// Memory of a blocked caller, readable.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    slices: *const IoSlice<'static>,
    count: usize,
}

/// Memory of a blocked caller, writable.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    slices: *mut IoSliceMut<'static>,
    count: usize,
}

// SAFETY: the pointers are followed only with the endpoint's lock held, while the lender is blocked.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Source {
    pub(crate) const EMPTY: Self = Self {
        slices: std::ptr::null(),
        count: 0,
    };

    /// Lends `slices`.
    ///
    /// # Safety
    /// `slices` and what it refers to must stay valid and unchanged until the result and its copies are
    /// dropped or overwritten.
    pub(crate) const unsafe fn lend(slices: &[IoSlice<'_>]) -> Self {
        Self {
            slices: slices.as_ptr().cast(),
            count: slices.len(),
        }
    }

    /// Copies from `offset` on; what lies past the end reads as zeros.
    pub(crate) fn load(&self, offset: u64, into: &mut [u8]) {
        let mut done = 0;
        self.pieces(offset, into.len(), |bytes| {
            into[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        });
    }

    /// Hands out `len` bytes from `offset` on, piece by piece; what lies past the end reads as zeros.
    pub(crate) fn pieces(&self, offset: u64, len: usize, mut take: impl FnMut(&[u8])) {
        let mut left = len;
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for at in 0..self.count {
            // SAFETY: `lend` promises `count` valid slices at `slices`.
            let slice: &[u8] = unsafe { &*self.slices.add(at) };
            let Some(rest) = slice.get(skip..) else {
                skip -= slice.len();
                continue;
            };
            skip = 0;
            let n = rest.len().min(left);
            take(&rest[..n]);
            left -= n;
            if left == 0 {
                return;
            }
        }
        while left > 0 {
            let n = left.min(ZEROS.len());
            take(&ZEROS[..n]);
            left -= n;
        }
    }
}

impl Target {
    pub(crate) const EMPTY: Self = Self {
        slices: std::ptr::null_mut(),
        count: 0,
    };

    /// Lends `slices`.
    ///
    /// # Safety
    /// `slices` and what it refers to must stay valid and untouched until the result and its copies are
    /// dropped or overwritten.
    pub(crate) const unsafe fn lend(slices: &mut [IoSliceMut<'_>]) -> Self {
        Self {
            slices: slices.as_mut_ptr().cast(),
            count: slices.len(),
        }
    }

    /// Hands out room for `len` bytes from `offset` on, piece by piece, as far as there is any.
    pub(super) fn pieces(&self, offset: u64, len: usize, mut fill: impl FnMut(&mut [u8])) {
        let mut left = len;
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for at in 0..self.count {
            // SAFETY: `lend` promises `count` valid slices at `slices` that nobody else touches.
            let slice: &mut [u8] = unsafe { &mut *self.slices.add(at) };
            let room = slice.len();
            let Some(rest) = slice.get_mut(skip..) else {
                skip -= room;
                continue;
            };
            skip = 0;
            let n = rest.len().min(left);
            fill(&mut rest[..n]);
            left -= n;
            if left == 0 {
                return;
            }
        }
    }
}

/// What memory that is gone reads as.
static ZEROS: [u8; 1024] = [0; 1024];
