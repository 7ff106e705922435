//! The page that every program of the node can read without asking: namespace generation and heartbeat.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::system::{GENERATION_OFFSET, HEARTBEAT_OFFSET, NODE_PAGE_LEN};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::clock;

/// The page, mapped for writing here and nowhere else.
#[derive(Debug)]
pub(crate) struct NodePage {
    file: OwnedFd,
    address: NonNull<c_void>,
}

// SAFETY: the mapping belongs to this value; all access is by atomics.
unsafe impl Send for NodePage {}

impl NodePage {
    /// A page whose generation no earlier node of this machine has shown: it begins with the calendar.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let file = memfd_create(
            "slashnet-node",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        ftruncate(&file, NODE_PAGE_LEN as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                NODE_PAGE_LEN,
                access,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let address = NonNull::new(address).ok_or(rustix::io::Errno::NOMEM)?;
        let page = Self { file, address };
        // From here on nobody else can write to it or change its size, whoever gets the descriptor.
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_add_seals(&page.file, seals)?;
        page.word(GENERATION_OFFSET)
            .store(clock::wall(), Ordering::Release);
        page.beat();
        Ok(page)
    }

    /// Names may mean something else from now on.
    pub(crate) fn names_changed(&self) {
        self.word(GENERATION_OFFSET).fetch_add(1, Ordering::AcqRel);
    }

    /// The node is alive.
    pub(crate) fn beat(&self) {
        self.word(HEARTBEAT_OFFSET)
            .store(clock::now().as_nanos(), Ordering::Release);
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= NODE_PAGE_LEN);
        // SAFETY: an aligned word within the mapping, which lives as long as `self`; others only read it.
        unsafe {
            &*self
                .address
                .as_ptr()
                .cast::<u8>()
                .add(offset)
                .cast::<AtomicU64>()
        }
    }
}

impl Drop for NodePage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.address.as_ptr(), NODE_PAGE_LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(page: &NodePage, access: ProtFlags) -> rustix::io::Result<*mut c_void> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        unsafe {
            mmap(
                std::ptr::null_mut(),
                NODE_PAGE_LEN,
                access,
                MapFlags::SHARED,
                page.descriptor(),
                0,
            )
        }
    }

    #[test]
    fn programs_see_the_generation_change_and_cannot_change_it() {
        let page = NodePage::new().unwrap();
        assert!(map(&page, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert!(rustix::io::pwrite(page.descriptor(), &[1], 64).is_err());
        assert!(ftruncate(page.descriptor(), 0).is_err());
        let address = map(&page, ProtFlags::READ).unwrap();
        // SAFETY: an aligned word of the mapping made above.
        let word = unsafe {
            &*address
                .cast::<u8>()
                .add(GENERATION_OFFSET)
                .cast::<AtomicU64>()
        };
        let before = word.load(Ordering::Acquire);
        page.names_changed();
        assert_eq!(word.load(Ordering::Acquire), before + 1);
        // SAFETY: the mapping made above, not used any more.
        unsafe { munmap(address, NODE_PAGE_LEN) }.unwrap();
    }
}
