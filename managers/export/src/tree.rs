//! The exported tree: a root descriptor, and no way out of it.
//!
//! Every path is resolved by `openat2` with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS from the
//! root's descriptor, so the kernel itself refuses `..` above the root, absolute symbolic links and
//! the links of /proc, also when the tree changes at the same time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use abi::credentials::Credentials;
use abi::{Errno, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};

use crate::authority::Authority;
use crate::permission::{self, Wanted};

/// An exported directory.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    read_only: bool,
}

/// A directory and the name of something in it, which may or may not exist.
#[derive(Debug)]
pub(crate) struct Spot<'p> {
    pub(crate) directory: OwnedFd,
    pub(crate) name: &'p [u8],
}

impl Tree {
    /// Opens the directory `path` for export.
    ///
    /// # Errors
    /// What `open` answers for a directory: ENOENT, ENOTDIR, EACCES, ...; ENOSYS on kernels
    /// before 5.6, which have no `openat2`.
    pub fn open(path: &Path, read_only: bool) -> Result<Self> {
        crate::authority::remember_owner();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(errno)?;
        let tree = Self { root, read_only };
        tree.beneath(tree.root.as_fd(), b".", flags, Mode::empty())?;
        Ok(tree)
    }

    /// Whether changes are refused.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Refuses a change of a read-only tree.
    pub(crate) fn check_writable(&self) -> Result {
        if self.read_only {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Opens `path`, which is relative to the root; empty means the root itself.
    pub(crate) fn find(
        &self,
        authority: &Authority,
        caller: &Credentials,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd> {
        if authority.must_check() {
            return permission::open(self, caller, path, flags, mode);
        }
        self.beneath(self.root.as_fd(), plain(path), flags, mode)
    }

    /// The directory in which the last name of `path` is, or would be made.
    pub(crate) fn spot<'p>(
        &self,
        authority: &Authority,
        caller: &Credentials,
        path: &'p [u8],
        wanted: Wanted,
    ) -> Result<Spot<'p>> {
        let path = trim(path);
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if name.is_empty() {
            // The root has no name here, so it can be neither made nor removed.
            return Err(Errno::EBUSY);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = self.find(authority, caller, parent, flags, Mode::empty())?;
        if authority.must_check() {
            permission::check_entry(&directory, caller, name, wanted)?;
        }
        Ok(Spot { directory, name })
    }

    /// `openat2` that stays beneath the root.
    pub(crate) fn beneath(
        &self,
        from: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // The kernel answers EAGAIN when a rename elsewhere in the system raced with `..`; three
        // tries as its manual advises.
        let mut tries = 3;
        loop {
            match rustix::fs::openat2(from, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(rustix::io::Errno::AGAIN) if tries > 0 => tries -= 1,
                Err(rustix::io::Errno::INTR) => {}
                // EXDEV is how the kernel says that the path leaves the tree.
                Err(rustix::io::Errno::XDEV) => return Err(Errno::EACCES),
                result => return result.map_err(errno),
            }
        }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// All attributes of an open file.
pub(crate) fn statx(fd: &OwnedFd) -> Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    rustix::fs::statx(fd, c"", flags, wanted).map_err(errno)
}

/// All attributes of an entry of a directory; a symbolic link's own.
pub(crate) fn statx_entry(directory: &OwnedFd, name: &[u8]) -> Result<Statx> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted).map_err(errno)
}

/// The same file with other rights: a descriptor made only for naming can do little by itself.
/// The link in /proc is this process' own, never a path from a client.
pub(crate) fn own_link(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Slashes at the end say "a directory" and are checked by the walk; the name is before them.
fn trim(path: &[u8]) -> &[u8] {
    let end = path
        .iter()
        .rposition(|&byte| byte != b'/')
        .map_or(0, |last| last + 1);
    &path[..end]
}

fn plain(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// The kernel's number as the wire's.
pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from(std::io::Error::from(errno))
}
