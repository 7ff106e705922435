//! Why there is no mount.

use std::fmt;
use std::io;
use std::path::PathBuf;

use abi::Errno;

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
            Self::Helper(error) => write!(f, "fusermount3: {}", words(error)),
            Self::HelperSaid(words) if words.is_empty() => {
                write!(f, "fusermount3 refused to mount")
            }
            Self::HelperSaid(words) => write!(f, "{words}"),
            Self::Mount { point, errno } => {
                write!(f, "{}: cannot mount: {}", point.display(), words(errno))
            }
            Self::Unmount { point, errno } => {
                write!(f, "{}: cannot unmount: {}", point.display(), words(errno))
            }
            Self::Io(error) => write!(f, "mount: {}", words(error)),
        }
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(error) => {
                write!(f, "it does not exist and cannot be made: {}", words(error))
            }
            Self::Unusable(error) => write!(f, "{}", words(error)),
            Self::NotADirectory => write!(f, "not a directory"),
            Self::Busy(kind) => write!(f, "a {kind} file system is mounted here already"),
        }
    }
}

/// The reason without the number that the standard library puts behind it.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from(io::Error::from_raw_os_error(number))
            .text()
            .to_owned(),
        None => error.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_without_numbers() {
        let why = MountPoint::Missing(io::Error::from_raw_os_error(13));
        let point = PathBuf::from("/net");
        assert_eq!(
            Error::MountPoint { point, why }.to_string(),
            "/net: cannot mount here: it does not exist and cannot be made: permission denied"
        );
        let errno = io::Error::from_raw_os_error(16);
        let point = PathBuf::from("/net");
        let said = Error::Unmount { point, errno }.to_string();
        assert!(said.starts_with("/net: cannot unmount: "), "{said}");
        assert!(!said.contains("os error"), "{said}");
    }
}
