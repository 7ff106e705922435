//! One open file or directory of the tree.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use abi::connect::Opened;
use abi::credentials::Credentials;
use abi::io::{Entry, Lseek, SetTime, Space, SpaceFlags, Stat, Statvfs, StatvfsFlags, TimeSpec};
use abi::io::{Utime, Whence};
use abi::{Errno, FileType as WireType, Gid, Nd, Result, Uid};
use resmgr::ReadDirectoryRequest;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, RawDir, SeekFrom, StatVfsMountFlags, Statx,
    Timespec, Timestamps,
};

use crate::authority::Authority;
use crate::leases::Change;
use crate::permission::{self, READ, SEARCH, WRITE};
use crate::tree::{errno, own_link, statx, statx_entry};

/// An open descriptor in the tree, and what may be done with it.
#[derive(Debug)]
pub(crate) struct Node {
    fd: OwnedFd,
    kind: FileType,
    /// Made only to name the file: no read, no write.
    names_only: bool,
    /// Where it was opened; it may have another name by now, or none.
    path: Vec<u8>,
    /// Held while a directory is listed: its descriptor has one position for all.
    listing: Mutex<()>,
    /// Ends when the descriptor is closed: fields are dropped in their order.
    closing: Mutex<Option<Change>>,
}

impl Node {
    pub(crate) fn new(fd: OwnedFd, stat: &Statx, names_only: bool, path: &[u8]) -> Self {
        let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
        Self {
            fd,
            kind,
            names_only,
            path: path.to_vec(),
            listing: Mutex::new(()),
            closing: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last thing that is done to it.
    pub(crate) fn closes(&self, change: Option<Change>) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }

    /// Refuses a caller that the manager must check itself.
    fn permit(&self, authority: &Authority, caller: &Credentials, rights: u32) -> Result {
        if authority.must_check() {
            permission::check(&statx(&self.fd)?, caller, rights)
        } else {
            Ok(())
        }
    }

    pub(crate) fn permit_owner(&self, authority: &Authority, caller: &Credentials) -> Result {
        if authority.must_check() {
            permission::check_owner(&statx(&self.fd)?, caller)
        } else {
            Ok(())
        }
    }

    pub(crate) fn stat(&self) -> Result<Stat> {
        statx(&self.fd).map(|stat| wire_stat(&stat))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether the kernel notices every change in this directory: on a disk of this machine, not on what other machines or
    /// programs serve.
    ///
    /// # Errors
    /// ENOTDIR, EOPNOTSUPP.
    pub(crate) fn check_changes_are_noticed(&self) -> Result {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let kind = rustix::fs::fstatfs(&self.fd).map_err(errno)?.f_type;
        match NOTICED.contains(&(kind as u32)) {
            true => Ok(()),
            false => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Device and number: what makes it the same file under every name.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        self.stat().map(|stat| (stat.dev, stat.ino))
    }

    /// Fills `into`, up to the end of the file. An error on the way is told, whatever was read before it: a kernel that caches the
    /// file takes a short answer for its end.
    pub(crate) fn read_at(&self, position: u64, into: &mut [u8]) -> Result<usize> {
        let mut count = 0;
        while let Some(rest) = into.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match retry(|| rustix::io::pread(&self.fd, &mut *rest, position + count as u64))? {
                0 => break,
                more => count += more,
            }
        }
        Ok(count)
    }

    pub(crate) fn write_at(&self, position: u64, bytes: &[u8]) -> Result<usize> {
        if bytes.len() as u64 > abi::io::OFFSET_MAX.saturating_sub(position) {
            return Err(Errno::EFBIG);
        }
        retry(|| rustix::io::pwritev(&self.fd, &[IoSlice::new(bytes)], position))
    }

    /// The length in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        statx(&self.fd).map(|stat| stat.stx_size)
    }

    pub(crate) fn set_append(&self, append: bool) -> Result {
        if self.names_only {
            return Err(Errno::EBADF);
        }
        let mut flags = rustix::fs::fcntl_getfl(&self.fd).map_err(errno)?;
        flags.set(OFlags::APPEND, append);
        rustix::fs::fcntl_setfl(&self.fd, flags).map_err(errno)
    }

    pub(crate) fn chmod(&self, authority: &Authority, caller: &Credentials, bits: u32) -> Result {
        self.permit_owner(authority, caller)?;
        let mode = Mode::from_raw_mode(bits);
        if self.names_only {
            rustix::fs::chmod(own_link(&self.fd), mode).map_err(errno)
        } else {
            rustix::fs::fchmod(&self.fd, mode).map_err(errno)
        }
    }

    pub(crate) fn chown(
        &self,
        authority: &Authority,
        caller: &Credentials,
        uid: Option<Uid>,
        gid: Option<Gid>,
    ) -> Result {
        self.permit_owner(authority, caller)?;
        let uid = uid.map(|uid| rustix::fs::Uid::from_raw(uid.0));
        let gid = gid.map(|gid| rustix::fs::Gid::from_raw(gid.0));
        rustix::fs::chownat(&self.fd, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(errno)
    }

    pub(crate) fn set_times(
        &self,
        authority: &Authority,
        caller: &Credentials,
        times: Utime,
    ) -> Result {
        if times
            == (Utime {
                atime: SetTime::Now,
                mtime: SetTime::Now,
            })
        {
            let owner = self.permit_owner(authority, caller);
            owner.or_else(|_| self.permit(authority, caller, WRITE))?;
        } else {
            self.permit_owner(authority, caller)?;
        }
        let times = Timestamps {
            last_access: timespec(times.atime),
            last_modification: timespec(times.mtime),
        };
        rustix::fs::utimensat(&self.fd, c"", &times, AtFlags::EMPTY_PATH).map_err(errno)
    }

    pub(crate) fn truncate(
        &self,
        authority: &Authority,
        caller: &Credentials,
        size: u64,
    ) -> Result {
        match self.kind {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        if !self.names_only {
            return retry(|| rustix::fs::ftruncate(&self.fd, size));
        }
        self.permit(authority, caller, WRITE)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(own_link(&self.fd), flags, Mode::empty()).map_err(errno)?;
        retry(|| rustix::fs::ftruncate(&file, size))
    }

    pub(crate) fn allocate(&self, space: Space) -> Result {
        let pairs = [
            (SpaceFlags::KEEP_SIZE, FallocateFlags::KEEP_SIZE),
            (SpaceFlags::PUNCH_HOLE, FallocateFlags::PUNCH_HOLE),
            (SpaceFlags::ZERO_RANGE, FallocateFlags::ZERO_RANGE),
        ];
        let flags = pairs.iter().filter(|(wire, _)| space.flags.contains(*wire));
        let flags = flags.fold(FallocateFlags::empty(), |all, (_, flag)| all | *flag);
        retry(|| rustix::fs::fallocate(&self.fd, flags, space.offset, space.len))
    }

    pub(crate) fn sync(&self, data_only: bool) -> Result {
        // The disk may take long; the pool gets another thread meanwhile.
        resmgr::blocking(|| {
            if data_only {
                retry(|| rustix::fs::fdatasync(&self.fd))
            } else {
                retry(|| rustix::fs::fsync(&self.fd))
            }
        })
    }

    /// Where a seek from `offset` leads.
    pub(crate) fn seek(&self, offset: u64, seek: Lseek) -> Result<u64> {
        let from = match seek.whence {
            Whence::Set | Whence::Current => return resmgr::posix::seek::target(offset, 0, seek),
            Whence::End => return resmgr::posix::seek::target(offset, self.size()?, seek),
            Whence::Data | Whence::Hole => u64::try_from(seek.offset).map_err(|_| Errno::ENXIO)?,
        };
        let from = if seek.whence == Whence::Data {
            SeekFrom::Data(from)
        } else {
            SeekFrom::Hole(from)
        };
        rustix::fs::seek(&self.fd, from).map_err(errno)
    }

    pub(crate) fn link_text(&self) -> Result<Vec<u8>> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        let text = rustix::fs::readlinkat(&self.fd, c"", Vec::new()).map_err(errno)?;
        Ok(text.into_bytes())
    }

    pub(crate) fn statvfs(&self, read_only: bool) -> Result<Statvfs> {
        let facts = rustix::fs::fstatvfs(&self.fd).map_err(errno)?;
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut flags = StatvfsFlags::empty();
        let frozen = facts.f_flag.contains(StatVfsMountFlags::RDONLY);
        flags.set(StatvfsFlags::READ_ONLY, read_only || frozen);
        flags.set(
            StatvfsFlags::NO_SETUID,
            facts.f_flag.contains(StatVfsMountFlags::NOSUID),
        );
        Ok(Statvfs {
            block_size: narrow(facts.f_bsize),
            fragment_size: narrow(facts.f_frsize),
            blocks: facts.f_blocks,
            blocks_free: facts.f_bfree,
            blocks_available: facts.f_bavail,
            files: facts.f_files,
            files_free: facts.f_ffree,
            files_available: facts.f_favail,
            id: facts.f_fsid,
            flags,
            name_max: narrow(facts.f_namemax),
        })
    }

    /// The descriptor, for extended attributes; a naming descriptor is reached by its link.
    pub(crate) fn for_xattr(
        &self,
        authority: &Authority,
        caller: &Credentials,
        changes: bool,
    ) -> Result<String> {
        self.permit(authority, caller, if changes { WRITE } else { READ })?;
        Ok(own_link(&self.fd))
    }

    /// Adds the entries from the request's cookie on; false if they did not all fit.
    pub(crate) fn list(
        &self,
        authority: &Authority,
        read: &mut ReadDirectoryRequest,
    ) -> Result<bool> {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if self.names_only {
            return Err(Errno::EBADF);
        }
        let with_stat =
            read.wants_stat() && self.permit(authority, read.credentials(), SEARCH).is_ok();
        let _listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let cookie = SeekFrom::Start(read.cookie());
        rustix::fs::seek(&self.fd, cookie).map_err(errno)?;
        // Read in small pieces: what does not fit into the reply is read again the next time.
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(self.fd.as_fd(), &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = with_stat
                .then(|| statx_entry(&self.fd, name))
                .and_then(Result::ok);
            let described = Entry {
                ino: entry.ino(),
                mode: stat.map_or_else(
                    || entry.file_type().as_raw_mode(),
                    |stat| u32::from(stat.stx_mode),
                ),
                next: entry.next_entry_cookie(),
                name,
                stat: stat.as_ref().map(wire_stat),
            };
            if !read.add(&described) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `f_type` of ext2 to ext4, xfs, btrfs, f2fs and tmpfs (statfs(2)).
const NOTICED: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// What a client is told about what it opened.
pub(crate) fn opened(stat: &Statx) -> Opened {
    let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
    Opened {
        file_type: WireType::FILE,
        mode: u32::from(stat.stx_mode),
        size: stat.stx_size,
        ino: stat.stx_ino,
        direct: !matches!(kind, FileType::RegularFile | FileType::Directory),
        block_size: stat.stx_blksize,
    }
}

fn wire_stat(stat: &Statx) -> Stat {
    let time = |time: rustix::fs::StatxTimestamp| TimeSpec {
        seconds: time.tv_sec,
        nanos: time.tv_nsec.min(999_999_999),
    };
    Stat {
        node: Nd::LOCAL,
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        mode: u32::from(stat.stx_mode),
        nlink: stat.stx_nlink,
        uid: Uid(stat.stx_uid),
        gid: Gid(stat.stx_gid),
        rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        block_size: stat.stx_blksize,
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        btime: time(stat.stx_btime),
    }
}

fn timespec(time: SetTime) -> Timespec {
    let nanos = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match time {
        SetTime::Keep => nanos(rustix::fs::UTIME_OMIT),
        SetTime::Now => nanos(rustix::fs::UTIME_NOW),
        SetTime::At(time) => Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanos.into(),
        },
    }
}

/// Signals of this process are no business of a client.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(errno),
        }
    }
}
