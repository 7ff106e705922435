//! What the node daemon publishes for everybody, read without a system call.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use abi::system::{GENERATION_OFFSET, NODE_PAGE_LEN};
use abi::{Errno, NodeName, Pid, Result};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::system_error::errno;

/// Name and generation of the node, and this endpoint's pid on it.
pub(crate) struct NodePage {
    pid: AtomicU32,
    name: Mutex<NodeName>,
    /// The word with the generation, in the newest mapping.
    generation: AtomicPtr<AtomicU64>,
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
            generation: AtomicPtr::new(std::ptr::null_mut()),
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
        let word = self.generation.load(Ordering::Acquire);
        // SAFETY: null, or the aligned word of a mapping that stays until `self` is dropped.
        unsafe { word.as_ref() }.map_or(0, |word| word.load(Ordering::Acquire))
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
        // SAFETY: the offset lies within the mapping and is a multiple of eight.
        let word = unsafe { address.as_ptr().cast::<u8>().add(GENERATION_OFFSET) };
        self.mappings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Mapping(address));
        self.generation.store(word.cast(), Ordering::Release);
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
