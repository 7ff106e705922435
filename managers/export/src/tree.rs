//! The exported tree: a root descriptor, and no way out of it.
//!
//! Every path is resolved by `openat2` with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS from the
//! root's descriptor, so the kernel itself refuses `..` above the root, absolute symbolic links and
//! the links of /proc, also when the tree changes at the same time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use abi::credentials::Credentials;
use abi::{Errno, Result};
use rustix::fs::inotify::ReadFlags;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};

use crate::authority::Authority;
use crate::leases::Touched;
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

impl Spot<'_> {
    /// What the kernel will notice of a change of the name.
    pub(crate) fn touched(&self, events: ReadFlags) -> Touched<'_> {
        Touched {
            directory: self.directory.as_fd(),
            name: self.name,
            events,
        }
    }
}

/// Whether symbolic links on the way are followed. They are not where rules of the node tell paths inside the tree
/// apart: whoever may make a link would get past them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

impl Links {
    pub(crate) const fn on_the_way(has_inner_rules: bool) -> Self {
        if has_inner_rules {
            Self::Refused
        } else {
            Self::Followed
        }
    }
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
        let none = ResolveFlags::empty();
        tree.resolve(tree.root.as_fd(), b".", flags, Mode::empty(), none)?;
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
        (authority, links): (&Authority, Links),
        caller: &Credentials,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd> {
        let found = if authority.must_check() {
            permission::open(self, links, caller, path, flags, mode)
        } else {
            let resolve = match links {
                Links::Followed => ResolveFlags::empty(),
                Links::Refused => ResolveFlags::NO_SYMLINKS,
            };
            self.resolve(self.root.as_fd(), plain(path), flags, mode, resolve)
        };
        match (found, links) {
            (Err(Errno::ELOOP), Links::Refused) if !flags.contains(OFlags::NOFOLLOW) => {
                Err(Errno::EACCES)
            }
            (found, _) => found,
        }
    }

    /// The directory in which the last name of `path` is, or would be made.
    pub(crate) fn spot<'p>(
        &self,
        (authority, links): (&Authority, Links),
        caller: &Credentials,
        path: &'p [u8],
        wanted: Wanted,
    ) -> Result<Spot<'p>> {
        let (parent, name) = split(path);
        if name.is_empty() {
            // The root has no name here, so it can be neither made nor removed.
            return Err(Errno::EBUSY);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = self.find((authority, links), caller, parent, flags, Mode::empty())?;
        if authority.must_check() {
            permission::check_entry(&directory, caller, name, wanted)?;
        }
        Ok(Spot { directory, name })
    }

    /// The directory and name of a path, as the manager itself sees them; `None` if there is no such directory.
    pub(crate) fn place<'p>(&self, path: &'p [u8]) -> Option<Spot<'p>> {
        let (parent, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let none = ResolveFlags::empty();
        let directory = self.resolve(self.root.as_fd(), plain(parent), flags, Mode::empty(), none);
        let directory = directory.ok()?;
        Some(Spot { directory, name })
    }

    /// Opens one name, which is not followed if it is a link, in a directory of the tree.
    pub(crate) fn beneath(
        &self,
        from: BorrowedFd<'_>,
        name: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd> {
        self.resolve(from, name, flags, mode, ResolveFlags::empty())
    }

    /// `openat2` that stays beneath the root.
    fn resolve(
        &self,
        from: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        further: ResolveFlags,
    ) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | further;
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

/// The directory's path and the last name; slashes at the end do not count.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = trim(path);
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    }
}

fn plain(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// The kernel's number as the wire's.
pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from(std::io::Error::from(errno))
}
