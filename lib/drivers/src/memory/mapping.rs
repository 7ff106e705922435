//! The shared memory itself: making it, checking it, single words of it, bytes in and out.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::DriverError;

/// One of the two rings, named from the creator's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    AToB,
    BToA,
}

impl Direction {
    pub(super) fn reverse(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::AToB => 0,
            Self::BToA => 1,
        }
    }
}

/// The words of one ring. Each has two cache lines of its own, because the processors fetch in pairs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// Bytes that the producer has published since the start.
    Tail = 0,
    /// Bytes that the consumer has freed since the start.
    Head = 1,
    /// 1 while the consumer sleeps and wants the doorbell.
    Asleep = 2,
    /// 1 while the producer waits for room and wants the doorbell.
    Wanted = 3,
}

/// Who makes sure by a fence that it and the other side do not both overlook what the other has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Has set a flag, and looks for what there is before it sleeps.
    Waits,
    /// Has published something, and looks at the flag.
    Notifies,
}

/// What the rings need of memory that both sides reach: single words, and bytes at a position of a ring. The models of
/// threads bring memory of their own.
pub(super) trait Memory {
    fn ring_bytes(&self) -> usize;
    fn load(&self, direction: Direction, word: Word, ordering: Ordering) -> u64;
    fn store(&self, direction: Direction, word: Word, value: u64, ordering: Ordering);
    /// Puts 0 in, and gives what was there.
    fn take(&self, direction: Direction, word: Word) -> u64;
    /// The record header at `position`.
    fn record(&self, direction: Direction, position: u64) -> u64;
    fn set_record(&self, direction: Direction, position: u64, header: u64);
    /// Copies `bytes` into a ring from `position` on, around its end where needed.
    fn write(&self, direction: Direction, position: u64, bytes: &[u8]);
    /// Copies bytes out of a ring from `position` on, around its end where needed.
    fn read(&self, direction: Direction, position: u64, into: &mut [u8]);
    /// All that was stored before is seen by whoever loads after its own fence.
    fn fence(&self, side: Side);
}

/// Memory that another process may write at any time.
///
/// Single words are reached only as atomics. Ring bytes are reached only by raw copies, never through a
/// reference: a reference would promise the compiler that the bytes hold still.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    ring_bytes: usize,
}

// SAFETY: the mapping is valid until drop whichever thread uses it, and all access is atomic or a raw copy.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn create(ring_bytes: usize) -> Result<(Self, OwnedFd), DriverError> {
        check_ring_bytes(ring_bytes)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
        let memfd =
            rustix::fs::memfd_create(c"slashnet-session", flags).or_else(|_old_kernel| {
                rustix::fs::memfd_create(c"slashnet-session", flags - MemfdFlags::NOEXEC_SEAL)
            })?;
        rustix::fs::ftruncate(&memfd, total_bytes(ring_bytes) as u64)?;
        rustix::fs::fcntl_add_seals(&memfd, SEALS)?;
        let mapping = Self::map(&memfd, ring_bytes)?;
        mapping.header(MAGIC_AT).store(MAGIC, Ordering::Relaxed);
        mapping
            .header(SIZE_AT)
            .store(ring_bytes as u64, Ordering::Release);
        Ok((mapping, memfd))
    }

    pub(super) fn attach(memfd: &OwnedFd) -> Result<Self, DriverError> {
        // Without these seals the peer could truncate the file and kill this process by SIGBUS.
        let seals = rustix::fs::fcntl_get_seals(memfd).map_err(|_none| DriverError::PROTOCOL)?;
        if !seals.contains(SEALS) || seals.contains(SealFlags::WRITE) {
            return Err(DriverError::PROTOCOL);
        }
        let length = usize::try_from(rustix::fs::fstat(memfd)?.st_size)
            .map_err(|_negative| DriverError::PROTOCOL)?;
        let rings = length
            .checked_sub(HEADER_BYTES)
            .ok_or(DriverError::PROTOCOL)?;
        let ring_bytes = rings / 2;
        check_ring_bytes(ring_bytes).map_err(|_size| DriverError::PROTOCOL)?;
        if total_bytes(ring_bytes) != length {
            return Err(DriverError::PROTOCOL);
        }
        let mapping = Self::map(memfd, ring_bytes)?;
        let size = mapping.header(SIZE_AT).load(Ordering::Acquire);
        let magic = mapping.header(MAGIC_AT).load(Ordering::Relaxed);
        if magic != MAGIC || size != ring_bytes as u64 {
            return Err(DriverError::PROTOCOL);
        }
        Ok(mapping)
    }

    fn map(memfd: &OwnedFd, ring_bytes: usize) -> Result<Self, DriverError> {
        let length = total_bytes(ring_bytes);
        // SAFETY: a fresh shared mapping at an address that the kernel chooses; it aliases no Rust object.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memfd,
                0,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(DriverError::PROTOCOL)?;
        let mapping = Self {
            base,
            length,
            ring_bytes,
        };
        // A child of fork would be a second producer on the same ring; it gets no mapping at all. The content
        // of packets does not belong into core dumps.
        for advice in [libc::MADV_DONTFORK, libc::MADV_DONTDUMP] {
            // SAFETY: the range is the mapping made above, and neither advice changes its content.
            let result = unsafe { libc::madvise(base.as_ptr().cast::<c_void>(), length, advice) };
            if result != 0 {
                return Err(std::io::Error::last_os_error().into());
            }
        }
        Ok(mapping)
    }

    pub(super) fn word(&self, direction: Direction, word: Word) -> &AtomicU64 {
        self.header(WORDS_AT + (direction.index() * 4 + word as usize) * WORD_STRIDE)
    }

    fn header(&self, at: usize) -> &AtomicU64 {
        assert!(
            at.is_multiple_of(8) && at + 8 <= HEADER_BYTES,
            "a word of the header"
        );
        // SAFETY: in bounds and aligned by the assertion (the mapping is page aligned); both processes reach
        // the header only through atomics, and a hostile one can change the value but not the validity.
        unsafe { self.base.add(at).cast::<AtomicU64>().as_ref() }
    }

    /// The record header at `position` of a ring.
    pub(super) fn record_word(&self, direction: Direction, position: u64) -> &AtomicU64 {
        let offset = self.offset(position);
        assert!(offset.is_multiple_of(8), "records are aligned");
        // SAFETY: `offset` is below `ring_bytes`, a multiple of 8, so the word is inside this ring.
        unsafe {
            self.ring(direction)
                .add(offset)
                .cast::<AtomicU64>()
                .as_ref()
        }
    }

    fn ring(&self, direction: Direction) -> NonNull<u8> {
        // SAFETY: the mapping is HEADER_BYTES + 2 * ring_bytes long, and the index is 0 or 1.
        unsafe {
            self.base
                .add(HEADER_BYTES + direction.index() * self.ring_bytes)
        }
    }

    fn offset(&self, position: u64) -> usize {
        // The ring size is a power of two, so the low bits are the place in the ring.
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits matter")]
        let low = position as usize;
        low & (self.ring_bytes - 1)
    }
}

impl Memory for Mapping {
    fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    #[inline]
    fn load(&self, direction: Direction, word: Word, ordering: Ordering) -> u64 {
        self.word(direction, word).load(ordering)
    }

    #[inline]
    fn store(&self, direction: Direction, word: Word, value: u64, ordering: Ordering) {
        self.word(direction, word).store(value, ordering);
    }

    #[inline]
    fn take(&self, direction: Direction, word: Word) -> u64 {
        self.word(direction, word).swap(0, Ordering::AcqRel)
    }

    #[inline]
    fn record(&self, direction: Direction, position: u64) -> u64 {
        self.record_word(direction, position)
            .load(Ordering::Relaxed)
    }

    #[inline]
    fn set_record(&self, direction: Direction, position: u64, header: u64) {
        self.record_word(direction, position)
            .store(header, Ordering::Relaxed);
    }

    fn write(&self, direction: Direction, position: u64, bytes: &[u8]) {
        assert!(bytes.len() <= self.ring_bytes, "more than the ring holds");
        let offset = self.offset(position);
        let first = bytes.len().min(self.ring_bytes - offset);
        let ring = self.ring(direction).as_ptr();
        // SAFETY: `offset + first` is at most `ring_bytes` and the rest at most `offset`, so both copies stay
        // inside the ring; `bytes` is private memory and cannot overlap it.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), ring.add(offset), first);
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), ring, bytes.len() - first);
        }
    }

    fn read(&self, direction: Direction, position: u64, into: &mut [u8]) {
        assert!(into.len() <= self.ring_bytes, "more than the ring holds");
        let offset = self.offset(position);
        let first = into.len().min(self.ring_bytes - offset);
        let ring = self.ring(direction).as_ptr();
        // SAFETY: bounds as in `write`. The peer may change the bytes meanwhile; the copy then holds some
        // mixture, which the caller treats like any other bytes from outside.
        unsafe {
            std::ptr::copy_nonoverlapping(ring.add(offset), into.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(ring, into.as_mut_ptr().add(first), into.len() - first);
        }
    }

    #[inline]
    fn fence(&self, _side: Side) {
        fence(Ordering::SeqCst);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping, and no reference into it outlives `self`.
        // Nothing can be done about an error here.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
    }
}

/// Wakes the owner of `bell`. A bell that cannot take another ring is ringing already.
pub(crate) fn ring(bell: &OwnedFd) {
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel of this machine reads it"
    )]
    let one = 1u64.to_ne_bytes();
    let _ = rustix::io::write(bell, &one);
}

/// Refuses what is no doorbell. Whoever made it is trusted; this finds mistakes.
pub(super) fn check_doorbell(rings: &OwnedFd, hears: &OwnedFd) -> Result<(), DriverError> {
    let flags = rustix::fs::fcntl_getfl(rings)?;
    let mut is_doorbell = flags.contains(rustix::fs::OFlags::NONBLOCK);
    for half in [rings, hears] {
        let mode = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(half.as_fd())?.st_mode);
        // Both halves are anonymous inodes, which have no file type at all.
        is_doorbell &= mode == rustix::fs::FileType::Unknown;
    }
    if is_doorbell {
        Ok(())
    } else {
        Err(DriverError::PROTOCOL)
    }
}

fn check_ring_bytes(bytes: usize) -> Result<(), DriverError> {
    let fits = bytes.is_power_of_two() && (RING_MIN..=RING_MAX).contains(&bytes);
    if fits {
        Ok(())
    } else {
        Err(DriverError::Io(libc::EINVAL))
    }
}

fn total_bytes(ring_bytes: usize) -> usize {
    HEADER_BYTES + 2 * ring_bytes
}

const RING_MIN: usize = 4 * 1024;
const RING_MAX: usize = 16 * 1024 * 1024;
const HEADER_BYTES: usize = 4096;
const MAGIC_AT: usize = 0;
const SIZE_AT: usize = 8;
const WORDS_AT: usize = 512;
const WORD_STRIDE: usize = 128;
/// "slashmem" and the version of this layout.
const MAGIC: u64 = 0x736c_6173_686d_0001;
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);
