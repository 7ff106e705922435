//! Requests about open files.

use abi::flags::mode;
use abi::io::{SpaceFlags, Whence};
use abi::{Errno, OpenFlags, Result};
use client::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::attributes;
use crate::kernel::{Answer, MAX_TRANSFER, reply};
use crate::leases::{LEASED, OwnChange};
use crate::nodes::Identity;
use crate::path_space::{Call, PathSpace};
use crate::versions::Found;

/// A file that some program has open through the mount.
pub(crate) struct OpenFile {
    file: File,
    /// User and group of who opened it.
    opener: (u32, u32),
    /// What the server was last told about `O_NONBLOCK`: a program may change it while the file is open.
    nonblocking: Mutex<bool>,
    /// Where the last write ended, to know a program that streams.
    end: AtomicU64,
    /// What became of writes that the program did not wait for.
    failure: Mutex<Option<Errno>>,
}

impl OpenFile {
    fn new(file: File, opener: (u32, u32)) -> Self {
        let nonblocking = Mutex::new(file.flags().contains(OpenFlags::NONBLOCK));
        Self {
            file,
            opener,
            nonblocking,
            end: AtomicU64::new(u64::MAX),
            failure: Mutex::new(None),
        }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    pub(crate) const fn opener(&self) -> (u32, u32) {
        self.opener
    }

    /// Reads may wait for as long as they like, and there are no offsets.
    pub(crate) fn is_device(&self) -> bool {
        attributes::is_device(self.file.opened().mode)
    }

    /// How the kernel treats it.
    fn open_flags(&self) -> u32 {
        if self.is_device() {
            // Without a position, a blocked read keeps nobody from writing.
            reply::OPEN_DIRECT_IO | reply::OPEN_NONSEEKABLE | reply::OPEN_STREAM
        } else if self.file.opened().direct || !self.file.flags().contains(OpenFlags::READ) {
            // Who only writes gains nothing from the page cache, which is written through anyway, and saves a copy.
            reply::OPEN_DIRECT_IO | reply::OPEN_PARALLEL_WRITES
        } else {
            0
        }
    }

    /// Whether a write of these bytes goes on where the last one ended, so that the program need not wait for it. The
    /// first one, small ones and those that must be durable tell their errors at once.
    fn is_streaming(&self, offset: u64, length: usize) -> bool {
        let waits = OpenFlags::APPEND | OpenFlags::SYNC | OpenFlags::DSYNC;
        let goes_on = self.end.swap(offset + length as u64, Ordering::SeqCst) == offset;
        goes_on
            && length >= STREAMED_MIN
            && !self.file.opened().direct
            && !self.is_device()
            && !self.file.flags().intersects(waits)
    }

    /// Writes all of it: nobody is there any more to write the rest.
    fn write_all(&self, offset: u64, data: &[u8]) -> Result {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match self.file.write_at(offset + done as u64, rest)? {
                0 => return Err(Errno::EIO),
                count => done += count,
            }
        }
        Ok(())
    }

    /// The error of a write that was not waited for, once.
    fn settled(&self) -> Result {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }

    fn fail(&self, errno: Errno) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(errno);
    }

    /// Where the server is to read or write.
    fn offset(&self, offset: u64) -> Option<u64> {
        (!self.is_device()).then_some(offset)
    }

    /// Passes a change of `O_NONBLOCK` on before a read or write of a device.
    fn follow(&self, flags: u32) -> Result {
        if !self.is_device() {
            return Ok(());
        }
        let wanted = flags & O_NONBLOCK != 0;
        let mut nonblocking = self
            .nonblocking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *nonblocking != wanted {
            self.file.set_nonblocking(wanted)?;
            *nonblocking = wanted;
        }
        Ok(())
    }
}

impl PathSpace {
    pub(crate) fn open(&self, call: &Call<'_>, flags: u32) -> Result<Answer> {
        let wanted = open_flags(flags);
        let truncates = wanted.contains(OpenFlags::TRUNCATE);
        let _own = truncates.then(|| self.leases.change_of(call.node));
        let opening = |path: &[u8]| call.view.open_and_stat(path, wanted, 0);
        let (file, stat) = self.by_name(call.node, opening)?;
        self.readahead.opening(call.begun.elapsed());
        let open = OpenFile::new(file, call.caller);
        let mut flags = open.open_flags();
        match self.versions.opened(call.node, &stat) {
            Found::Unchanged => flags |= reply::OPEN_KEEP_CACHE,
            Found::Unsettled => {}
            // Or else a reader would stop at the end that the kernel still believes in.
            Found::Changed => self.channel.outdate(call.node, false),
        }
        Ok(reply::opened(self.files.insert(call.node, open), flags))
    }

    pub(crate) fn create(
        &self,
        call: &Call<'_>,
        name: &[u8],
        flags: u32,
        mode: u32,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let path = self.child(call, name)?;
        let wanted = open_flags(flags) | OpenFlags::CREATE;
        let change = self.leases.change(call.node, name);
        let permissions = mode & mode::PERMISSIONS;
        let (file, stat) = change.judge(call.view.open_and_stat(&path, wanted, permissions))?;
        let identity = Identity::of(&stat, Some(file.server()));
        let open = OpenFile::new(file, call.caller);
        let flags = open.open_flags();
        let node = self.nodes.enter(call.node, name, identity);
        self.versions.told(node, &stat);
        let handle = self.files.insert(node, open);
        let _gate = self.leases.gate();
        let mut validity = self.validity(call);
        if change.finish() {
            validity.entry = LEASED;
            validity.attributes = self.attributes_validity(call, &stat, true, None);
        }
        if self.nodes.was_known(node) {
            // The kernel takes the length from this answer even if the file has been written meanwhile.
            validity.attributes = Duration::ZERO;
        }
        let known = attributes::of(&stat);
        early(reply::created(node, &known, validity, handle, flags));
        Ok(Answer::Empty)
    }

    pub(crate) fn read(
        &self,
        call: &Call<'_>,
        open: (u64, u32),
        offset: u64,
        size: usize,
        transfer: &mut Vec<u8>,
    ) -> Result<Answer> {
        let (handle, flags) = open;
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        open.follow(flags)?;
        let size = size.min(MAX_TRANSFER);
        if transfer.len() < size {
            transfer.resize(size, 0);
        }
        let space = transfer.get_mut(..size).unwrap_or_default();
        let count = match open.offset(offset) {
            Some(offset) => open.file.read_at_with(offset, space, &call.options())?,
            None => open.file.read_with(space, &call.options())?,
        };
        Ok(Answer::Transferred(count))
    }

    pub(crate) fn write(
        &self,
        call: &Call<'_>,
        open: (u64, u32),
        offset: u64,
        data: &[u8],
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let (handle, flags) = open;
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        open.follow(flags)?;
        open.settled()?;
        let own = match open.is_device() {
            true => None,
            false => Some(self.leases.change_of(call.node)),
        };
        if !self.fresh.is_zero() && open.is_streaming(offset, data.len()) {
            let range = offset..offset + data.len() as u64;
            if let Some(_on_its_way) = self.behind.begin(call.node, range, call.interrupt)? {
                early(reply::written(
                    u32::try_from(data.len()).unwrap_or(u32::MAX),
                ));
                if let Err(errno) = judged(own.as_ref(), open.write_all(offset, data)) {
                    open.fail(errno);
                }
                return Ok(Answer::Empty);
            }
        }
        self.behind.settle(call.node, call.interrupt)?;
        let written = match open.offset(offset) {
            Some(offset) => open.file.write_at_with(offset, data, &call.options()),
            None => open.file.write_with(data, &call.options()),
        };
        let count = judged(own.as_ref(), written)?;
        Ok(reply::written(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// A program closes the file: every write has reached the server by now.
    pub(crate) fn flush(&self, call: &Call<'_>, handle: u64, owner: u64) -> Result<Answer> {
        self.unlock_all(call, handle, owner);
        self.files.get(handle).ok_or(Errno::EBADF)?.settled()?;
        Ok(Answer::Empty)
    }

    pub(crate) fn sync(&self, handle: u64, data_only: bool) -> Result<Answer> {
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        open.settled()?;
        match data_only {
            true => open.file.sync_data()?,
            false => open.file.sync_all()?,
        }
        Ok(Answer::Empty)
    }

    pub(crate) fn allocate(
        &self,
        call: &Call<'_>,
        handle: u64,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<Answer> {
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        let own = self.leases.change_of(call.node);
        let mut flags = SpaceFlags::empty();
        flags.set(SpaceFlags::KEEP_SIZE, mode & FALLOC_KEEP_SIZE != 0);
        flags.set(SpaceFlags::PUNCH_HOLE, mode & FALLOC_PUNCH_HOLE != 0);
        flags.set(SpaceFlags::ZERO_RANGE, mode & FALLOC_ZERO_RANGE != 0);
        if mode & !(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        own.judge(open.file.allocate(flags, offset, length))?;
        Ok(Answer::Empty)
    }

    pub(crate) fn seek(&self, handle: u64, offset: u64, whence: u32) -> Result<Answer> {
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        // The kernel moves offsets itself; it asks only where data and holes are.
        let whence = match whence {
            3 => Whence::Data,
            4 => Whence::Hole,
            _ => return Err(Errno::EINVAL),
        };
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(reply::position(open.file.seek(offset, whence)?))
    }
}

/// What became of a change of a file, which has one name or not.
pub(crate) fn judged<T>(own: Option<&OwnChange<'_>>, outcome: Result<T>) -> Result<T> {
    match own {
        Some(own) => own.judge(outcome),
        None => outcome,
    }
}

/// `open(2)` flags of this machine, which the kernel passes on, as ours.
fn open_flags(flags: u32) -> OpenFlags {
    let has = |bits: u32| flags & bits == bits;
    let mut wanted = match flags & 3 {
        0 => OpenFlags::READ,
        1 => OpenFlags::WRITE,
        _ => OpenFlags::READ_WRITE,
    };
    for (bits, flag) in [
        (O_EXCL, OpenFlags::EXCLUSIVE),
        (O_TRUNC, OpenFlags::TRUNCATE),
        (O_APPEND, OpenFlags::APPEND),
        (O_NONBLOCK, OpenFlags::NONBLOCK),
        (O_DSYNC, OpenFlags::DSYNC),
        (O_SYNC, OpenFlags::SYNC),
        (O_NOFOLLOW, OpenFlags::NOFOLLOW),
    ] {
        wanted.set(flag, has(bits));
    }
    wanted
}

// The numbers of the kernel this runs on. rustix has O_SYNC in the place of O_DSYNC.
const O_EXCL: u32 = libc::O_EXCL.cast_unsigned();
const O_TRUNC: u32 = libc::O_TRUNC.cast_unsigned();
const O_APPEND: u32 = libc::O_APPEND.cast_unsigned();
const O_NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();
const O_DSYNC: u32 = libc::O_DSYNC.cast_unsigned();
const O_SYNC: u32 = libc::O_SYNC.cast_unsigned();
const O_NOFOLLOW: u32 = libc::O_NOFOLLOW.cast_unsigned();

/// Bytes from which on a write is worth not being waited for.
const STREAMED_MIN: usize = 64 << 10;

const FALLOC_KEEP_SIZE: u32 = 1;
const FALLOC_PUNCH_HOLE: u32 = 2;
const FALLOC_ZERO_RANGE: u32 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_this_machine_become_ours() {
        assert_eq!(open_flags(0), OpenFlags::READ);
        assert_eq!(
            open_flags(1 | O_TRUNC),
            OpenFlags::WRITE | OpenFlags::TRUNCATE
        );
        assert_eq!(
            open_flags(2 | O_DSYNC),
            OpenFlags::READ_WRITE | OpenFlags::DSYNC
        );
        let sync = open_flags(O_SYNC);
        assert!(sync.contains(OpenFlags::SYNC | OpenFlags::DSYNC));
    }
}
