//! POSIX rights, checked by hand: for callers that a manager without root cannot become.
//!
//! The walk goes name by name, so that the caller's right to search is checked in every directory,
//! those that symbolic links lead through included. It only ever denies: what it lets pass, the
//! kernel still checks against the manager's own rights.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use abi::credentials::Credentials;
use abi::limits::SYMLOOP_MAX;
use abi::{Errno, Gid, Result};
use rustix::fs::{FileType, Mode, OFlags, Statx};

use crate::tree::{Links, Tree, errno, statx, statx_entry};

/// What is going to be done with an entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is made.
    Make,
    /// It is removed or gets another name.
    Remove,
    /// It is looked at.
    Look,
}

pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const SEARCH: u32 = 1;

/// Whether `caller` has all of `rights` to a file with these attributes.
///
/// # Errors
/// EACCES.
pub(crate) fn check(stat: &Statx, caller: &Credentials, rights: u32) -> Result {
    if caller.is_root() {
        return Ok(());
    }
    let mode = u32::from(stat.stx_mode);
    let granted = if caller.uid.0 == stat.stx_uid {
        mode >> 6
    } else if caller.is_member(Gid(stat.stx_gid)) {
        mode >> 3
    } else {
        mode
    };
    if granted & rights == rights {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether `caller` owns the file.
///
/// # Errors
/// EPERM.
pub(crate) fn check_owner(stat: &Statx, caller: &Credentials) -> Result {
    if caller.is_root() || caller.uid.0 == stat.stx_uid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether `caller` may do this to the entry `name`; a sticky directory protects others' entries.
///
/// # Errors
/// EACCES, EPERM.
pub(crate) fn check_entry(
    directory: &OwnedFd,
    caller: &Credentials,
    name: &[u8],
    wanted: Wanted,
) -> Result {
    let parent = statx(directory)?;
    let rights = if wanted == Wanted::Look {
        SEARCH
    } else {
        SEARCH | WRITE
    };
    check(&parent, caller, rights)?;
    let sticky = u32::from(parent.stx_mode) & abi::flags::mode::S_ISVTX != 0;
    if wanted == Wanted::Remove && sticky && caller.uid.0 != parent.stx_uid {
        check_owner(&statx_entry(directory, name)?, caller)?;
    }
    Ok(())
}

/// Opens `path` in `tree` if `caller` may, as `openat2` would for it.
pub(crate) fn open(
    tree: &Tree,
    links: Links,
    caller: &Credentials,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd> {
    let mut walk = Walk::new(tree, links, path)?;
    let follow = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(OFlags::EXCL);
    let Some(name) = walk.reach_last(tree, caller, follow)? else {
        return reopen(tree, &walk.directory, caller, flags);
    };
    let Ok(stat) = statx_entry(&walk.directory, &name) else {
        if flags.contains(OFlags::CREATE) {
            check_entry(&walk.directory, caller, &name, Wanted::Make)?;
        }
        return tree.beneath(
            walk.directory.as_fd(),
            &name,
            flags | OFlags::NOFOLLOW,
            mode,
        );
    };
    let names_only = flags.contains(OFlags::PATH);
    if !names_only && kind(&stat) != FileType::Symlink {
        check(&stat, caller, rights_for(flags))?;
    }
    // The name may mean another file by now, so what was opened is looked at once more, and emptied only then.
    let rest = flags.difference(OFlags::TRUNC) | OFlags::NOFOLLOW;
    let fd = tree.beneath(walk.directory.as_fd(), &name, rest, mode)?;
    if !names_only {
        check(&statx(&fd)?, caller, rights_for(flags))?;
    }
    if flags.contains(OFlags::TRUNC) {
        rustix::fs::ftruncate(&fd, 0).map_err(errno)?;
    }
    Ok(fd)
}

fn reopen(
    tree: &Tree,
    directory: &OwnedFd,
    caller: &Credentials,
    flags: OFlags,
) -> Result<OwnedFd> {
    if !flags.contains(OFlags::PATH) {
        check(&statx(directory)?, caller, rights_for(flags))?;
    }
    tree.beneath(directory.as_fd(), b".", flags, Mode::empty())
}

fn rights_for(flags: OFlags) -> u32 {
    let access = flags & OFlags::ACCMODE;
    let truncates = if flags.contains(OFlags::TRUNC) {
        WRITE
    } else {
        0
    };
    truncates
        | if access == OFlags::RDWR {
            READ | WRITE
        } else if access == OFlags::WRONLY {
            WRITE
        } else {
            READ
        }
}

fn kind(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

/// A position in the tree, and the names still to go.
struct Walk {
    directory: OwnedFd,
    /// The directories above `directory`, the root first: `..` leads here, never out.
    above: Vec<OwnedFd>,
    names: VecDeque<Vec<u8>>,
    /// Links that have been followed.
    links: u32,
}

impl Walk {
    fn new(tree: &Tree, links: Links, path: &[u8]) -> Result<Self> {
        let directory = step(tree, tree.root().as_fd(), b".")?;
        let mut walk = Self {
            directory,
            above: Vec::new(),
            names: VecDeque::new(),
            links: match links {
                Links::Followed => 0,
                Links::Refused => SYMLOOP_MAX,
            },
        };
        walk.push_names(path);
        Ok(walk)
    }

    fn push_names(&mut self, path: &[u8]) {
        let names = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty());
        for name in names.rev() {
            self.names.push_front(name.to_vec());
        }
    }

    /// Walks to the directory of the last name; None if the walk ends in a directory itself.
    fn reach_last(
        &mut self,
        tree: &Tree,
        caller: &Credentials,
        follow: bool,
    ) -> Result<Option<Vec<u8>>> {
        while let Some(name) = self.names.pop_front() {
            check(&statx(&self.directory)?, caller, SEARCH)?;
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    self.directory = self.above.pop().ok_or(Errno::EACCES)?;
                    continue;
                }
                _ => {}
            }
            let last = self.names.is_empty();
            let stat = match statx_entry(&self.directory, &name) {
                Err(_) if last => return Ok(Some(name)),
                stat => stat?,
            };
            match kind(&stat) {
                FileType::Symlink if !last || follow => self.follow_link(&name)?,
                FileType::Directory if !last => {
                    let next = step(tree, self.directory.as_fd(), &name)?;
                    self.above
                        .push(std::mem::replace(&mut self.directory, next));
                }
                _ if last => return Ok(Some(name)),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        Ok(None)
    }

    fn follow_link(&mut self, name: &[u8]) -> Result {
        self.links += 1;
        if self.links > SYMLOOP_MAX {
            return Err(Errno::ELOOP);
        }
        let target = rustix::fs::readlinkat(&self.directory, name, Vec::new()).map_err(errno)?;
        if target.as_bytes().starts_with(b"/") {
            return Err(Errno::EACCES);
        }
        self.push_names(target.as_bytes());
        Ok(())
    }
}

/// One directory further; never through a link, which the walk reads itself.
fn step(tree: &Tree, from: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    tree.beneath(from, name, flags, Mode::empty())
}
