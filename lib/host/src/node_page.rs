//! The page that every program of the node can read without asking: namespace generation, heartbeat, lane rows.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::system::row_words::write_row;
use abi::system::{
    GENERATION_OFFSET, HEARTBEAT_OFFSET, LANE_ROW_LEN, LANE_ROW_WORDS, LANE_ROWS, LANE_ROWS_OFFSET,
    LINKS_GENERATION_OFFSET, LaneRow, NODE_PAGE_LEN,
};
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
        for generation in [GENERATION_OFFSET, LINKS_GENERATION_OFFSET] {
            page.word(generation)
                .store(clock::wall(), Ordering::Release);
        }
        page.beat();
        Ok(page)
    }

    /// Names may mean something else from now on.
    pub(crate) fn names_changed(&self) {
        self.word(GENERATION_OFFSET).fetch_add(1, Ordering::AcqRel);
    }

    /// Writes a row; one that there is no room for is left to its sessions.
    pub(crate) fn set_lane(&self, index: u16, row: Option<&LaneRow>) {
        if usize::from(index) < LANE_ROWS {
            write_row(self.row(index.into()), &LaneRow::encode(row));
        }
    }

    /// Lane rows have changed.
    pub(crate) fn links_changed(&self) {
        self.word(LINKS_GENERATION_OFFSET)
            .fetch_add(1, Ordering::AcqRel);
    }

    /// The node is alive.
    pub(crate) fn beat(&self) {
        self.word(HEARTBEAT_OFFSET)
            .store(clock::now().as_nanos(), Ordering::Release);
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn row(&self, index: usize) -> &[AtomicU32; LANE_ROW_WORDS] {
        assert!(index < LANE_ROWS, "a row beyond the page");
        let offset = LANE_ROWS_OFFSET + index * LANE_ROW_LEN;
        // SAFETY: aligned words within the mapping, which lives as long as `self`; others only read them.
        unsafe { &*self.address.as_ptr().cast::<u8>().add(offset).cast() }
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
    use abi::system::{LaneState, LaneWhy};
    use abi::{LinkAddress, Nd};

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

    #[test]
    fn programs_see_lane_rows_where_the_protocol_says() {
        let page = NodePage::new().unwrap();
        let row = LaneRow {
            state: LaneState::Up,
            why: LaneWhy::Nothing,
            link: 3,
            peer: LinkAddress::ipv4([10, 0, 0, 2], 41_000),
            node: Nd(7),
            mtu: 1472,
            since: 5,
            rtt: None,
            min_rtt: None,
            loss: 9,
            rate: None,
        };
        let read = |index: usize| {
            let mut bytes = [0; LANE_ROW_LEN];
            let at = LANE_ROWS_OFFSET + index * LANE_ROW_LEN;
            rustix::io::pread(page.descriptor(), &mut bytes, at as u64).unwrap();
            let mut words = bytes.as_chunks::<4>().0.iter().map(host_order);
            let words: [u32; LANE_ROW_WORDS] = std::array::from_fn(|_| words.next().unwrap());
            (words[0], LaneRow::decode(&words))
        };
        let last = LANE_ROWS - 1;
        assert_eq!(read(last), (0, None));
        page.set_lane(last as u16, Some(&row));
        assert_eq!(read(last), (2, Some(row)));
        page.set_lane(last as u16, None);
        assert_eq!(read(last), (4, None));
        page.set_lane(LANE_ROWS as u16, Some(&row));
        let generation = page.word(LINKS_GENERATION_OFFSET).load(Ordering::Acquire);
        page.links_changed();
        let word = page.word(LINKS_GENERATION_OFFSET).load(Ordering::Acquire);
        assert_eq!(word, generation + 1);
    }

    #[expect(
        clippy::host_endian_bytes,
        reason = "the page is shared by programs of one machine"
    )]
    fn host_order(bytes: &[u8; 4]) -> u32 {
        u32::from_ne_bytes(*bytes)
    }
}
