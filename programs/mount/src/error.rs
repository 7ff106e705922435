//! Why there is no mount.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a mount could not be made or taken away. Nothing is left mounted, except after [`Error::Unmount`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be a mount point.
    MountPoint {
        /// The directory asked for.
        point: PathBuf,
        /// What is wrong with it.
        why: MountPoint,
    },
    /// The kernel has no FUSE, or `/dev/fuse` is missing.
    NoFuse,
    /// An ordinary user mounts with `fusermount3`, which is not installed (Debian package `fuse3`).
    NoHelper,
    /// `fusermount3` could not be run.
    Helper(io::Error),
    /// `fusermount3` refused; its own words.
    HelperSaid(String),
    /// The kernel refused the mount.
    Mount {
        /// The directory asked for.
        point: PathBuf,
        /// Its reason.
        errno: io::Error,
    },
    /// The kernel refused to unmount.
    Unmount {
        /// The mounted directory.
        point: PathBuf,
        /// Its reason.
        errno: io::Error,
    },
    /// The device or a thread failed.
    Io(io::Error),
}

/// What is wrong with a directory as a mount point.
#[derive(Debug)]
#[non_exhaustive]
pub enum MountPoint {
    /// It does not exist and cannot be made.
    Missing(io::Error),
    /// It cannot be looked at.
    Unusable(io::Error),
    /// It is something else.
    NotADirectory,
    /// A file system of this type is mounted there already.
    Busy(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountPoint { point, why } => {
                write!(f, "{}: cannot mount here: {why}", point.display())
            }
            Self::NoFuse => write!(f, "/dev/fuse: no FUSE on this machine (try: modprobe fuse)"),
            Self::NoHelper => {
                write!(
                    f,
                    "fusermount3: not found; ordinary users need it (Debian package fuse3)"
                )
            }
            Self::Helper(error) => write!(f, "fusermount3: {error}"),
            Self::HelperSaid(words) if words.is_empty() => {
                write!(f, "fusermount3 refused to mount")
            }
            Self::HelperSaid(words) => write!(f, "{words}"),
            Self::Mount { point, errno } => write!(f, "{}: cannot mount: {errno}", point.display()),
            Self::Unmount { point, errno } => {
                write!(f, "{}: cannot unmount: {errno}", point.display())
            }
            Self::Io(error) => write!(f, "mount: {error}"),
        }
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(error) => write!(f, "it does not exist and cannot be made: {error}"),
            Self::Unusable(error) => write!(f, "{error}"),
            Self::NotADirectory => write!(f, "not a directory"),
            Self::Busy(kind) => write!(f, "a {kind} file system is mounted here already"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}
