//! What the node daemon publishes for everybody, read without a system call.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use abi::system::row_words::read_row;
use abi::system::{
    GENERATION_OFFSET, HEARTBEAT_OFFSET, LANE_ROW_LEN, LANE_ROW_WORDS, LANE_ROWS, LANE_ROWS_OFFSET,
    LINKS_GENERATION_OFFSET, LaneRow, NODE_PAGE_LEN,
};
use abi::{Errno, Instant, NodeName, Pid, Result};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::system_error::errno;

/// Name and generation of the node, and this endpoint's pid on it.
pub(crate) struct NodePage {
    pid: AtomicU32,
    name: Mutex<NodeName>,
    /// The newest mapping.
    page: AtomicPtr<u8>,
    /// All mappings so far, one for each life of the daemon: somebody may still be reading an old one.
    mappings: Mutex<Vec<Mapping>>,
}

struct Mapping(NonNull<c_void>);

// SAFETY: the mapping is read-only memory that any thread may read and unmap.
unsafe impl Send for Mapping {}

impl NodePage {
    pub(crate) fn new(pid: Pid, name: NodeName) -> Self {
        Self {
            pid: AtomicU32::new(pid.0),
            name: Mutex::new(name),
            page: AtomicPtr::new(std::ptr::null_mut()),
            mappings: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.pid.load(Ordering::Relaxed))
    }

    pub(crate) fn name(&self) -> NodeName {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.word(GENERATION_OFFSET)
    }

    /// When the node was alive last.
    pub(crate) fn heartbeat(&self) -> Instant {
        Instant::from_nanos(self.word(HEARTBEAT_OFFSET))
    }

    /// Changes when lane rows have changed; 0 before there are any.
    #[inline]
    pub(crate) fn lanes_generation(&self) -> u64 {
        self.word(LINKS_GENERATION_OFFSET)
    }

    #[inline]
    fn word(&self, offset: usize) -> u64 {
        let page = self.page.load(Ordering::Acquire);
        if page.is_null() {
            return 0;
        }
        // SAFETY: one of the aligned words of a mapping that stays until `self` is dropped.
        let word = unsafe { &*page.add(offset).cast::<AtomicU64>() };
        word.load(Ordering::Acquire)
    }

    /// The lane rows in use and their generation; no generation if a row was being written.
    pub(crate) fn lane_rows(&self) -> (Option<u64>, Vec<LaneRow>) {
        let mut generation = Some(self.lanes_generation());
        let page = self.page.load(Ordering::Acquire);
        let mut rows = Vec::new();
        if page.is_null() {
            return (generation, rows);
        }
        for at in 0..LANE_ROWS {
            // SAFETY: aligned words within a mapping that stays until `self` is dropped.
            let words = unsafe {
                &*page
                    .add(LANE_ROWS_OFFSET + at * LANE_ROW_LEN)
                    .cast::<[AtomicU32; LANE_ROW_WORDS]>()
            };
            match read_row(words) {
                Some(words) => rows.extend(LaneRow::decode(&words)),
                None => generation = None,
            }
        }
        (generation, rows)
    }

    /// Takes what a daemon that has just welcomed us publishes.
    ///
    /// # Errors
    /// `EPROTO` if the page could shrink under us or is too short.
    pub(crate) fn renew(&self, pid: Pid, name: NodeName, page: &OwnedFd) -> Result {
        let seals = fcntl_get_seals(page).map_err(|_| Errno::EPROTO)?;
        let size = fstat(page).map_err(errno)?.st_size;
        let fits = usize::try_from(size).is_ok_and(|size| size >= NODE_PAGE_LEN);
        if !seals.contains(SealFlags::SHRINK) || !fits {
            return Err(Errno::EPROTO);
        }
        // SAFETY: a new mapping at an address of the kernel's choice; the seal keeps its pages in place.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                NODE_PAGE_LEN,
                ProtFlags::READ,
                MapFlags::SHARED,
                page,
                0,
            )
        }
        .map_err(errno)?;
        let address = NonNull::new(address).ok_or(Errno::ENOMEM)?;
        self.mappings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Mapping(address));
        self.page.store(address.as_ptr().cast(), Ordering::Release);
        self.pid.store(pid.0, Ordering::Relaxed);
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `renew` with this length; the page that owned it is gone, and so are its readers.
        let _ = unsafe { munmap(self.0.as_ptr(), NODE_PAGE_LEN) };
    }
}
