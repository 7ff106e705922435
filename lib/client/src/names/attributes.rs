//! What is known about a path, and changing it.

use abi::flags::mode;
use abi::io::{Chmod, Chown, Request, SetTime, Statvfs, Truncate, Utime, Xattr, XattrFlags};
use abi::{Decode, Errno, Gid, OpenFlags, Result, Uid};

use super::Combined;
use crate::Namespace;

impl Namespace {
    /// Changes the permission bits.
    ///
    /// # Errors
    /// `EPERM` not the owner, `EROFS`, `ENOSYS` the server cannot.
    pub fn chmod(&self, path: impl AsRef<[u8]>, mode: u32) -> Result {
        self.alter(path.as_ref(), &Request::Chmod(Chmod { mode }), 0)
    }

    /// Changes owner and group; `None` keeps one.
    ///
    /// # Errors
    /// As [`chmod`](Self::chmod).
    pub fn chown(&self, path: impl AsRef<[u8]>, uid: Option<Uid>, gid: Option<Gid>) -> Result {
        self.alter(path.as_ref(), &Request::Chown(Chown { uid, gid }), 0)
    }

    /// As [`chown`](Self::chown), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`chmod`](Self::chmod).
    pub fn lchown(&self, path: impl AsRef<[u8]>, uid: Option<Uid>, gid: Option<Gid>) -> Result {
        self.alter(
            path.as_ref(),
            &Request::Chown(Chown { uid, gid }),
            mode::S_IFLNK,
        )
    }

    /// Changes the times of the last read and the last change of data.
    ///
    /// # Errors
    /// As [`chmod`](Self::chmod).
    #[doc(alias = "utimensat")]
    pub fn utimens(&self, path: impl AsRef<[u8]>, atime: SetTime, mtime: SetTime) -> Result {
        self.alter(path.as_ref(), &Request::Utime(Utime { atime, mtime }), 0)
    }

    /// As [`utimens`](Self::utimens), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`chmod`](Self::chmod).
    #[doc(alias = "lutimes")]
    pub fn lutimens(&self, path: impl AsRef<[u8]>, atime: SetTime, mtime: SetTime) -> Result {
        self.alter(
            path.as_ref(),
            &Request::Utime(Utime { atime, mtime }),
            mode::S_IFLNK,
        )
    }

    /// Sets the length of a file.
    ///
    /// # Errors
    /// `EISDIR`, `EFBIG`, `EROFS`, `EACCES`.
    pub fn truncate(&self, path: impl AsRef<[u8]>, size: u64) -> Result {
        let request = Request::Truncate(Truncate { size });
        self.combined_as(
            path.as_ref(),
            &request,
            OpenFlags::WRITE,
            0,
            &mut |done| match done {
                Combined::Server { .. } => Ok(()),
                Combined::Manager { .. } => Err(Errno::EISDIR),
            },
        )
    }

    /// Facts about the file system that the path is on.
    ///
    /// # Errors
    /// `ENOSYS` it is on none.
    pub fn statvfs(&self, path: impl AsRef<[u8]>) -> Result<Statvfs> {
        self.combined(
            path.as_ref(),
            &Request::Statvfs,
            0,
            &mut |done| match done {
                Combined::Server { body, .. } => Ok(Statvfs::from_bytes(body)?),
                Combined::Manager { .. } => Err(Errno::ENOSYS),
            },
        )
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` there is none, `EOPNOTSUPP` or `ENOSYS` the server has none at all.
    #[doc(alias = "getxattr")]
    pub fn xattr(&self, path: impl AsRef<[u8]>, name: &[u8]) -> Result<Vec<u8>> {
        let nbytes = abi::limits::XATTR_VALUE_MAX as u32;
        self.bytes(path.as_ref(), &Request::Xattr(Xattr::Get { name, nbytes }))
    }

    /// The names of all extended attributes, each followed by a zero byte.
    ///
    /// # Errors
    /// As [`xattr`](Self::xattr).
    #[doc(alias = "listxattr")]
    pub fn xattrs(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let nbytes = abi::limits::XATTR_VALUE_MAX as u32;
        self.bytes(path.as_ref(), &Request::Xattr(Xattr::List { nbytes }))
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST` or `ENODATA` against `flags`, `E2BIG`, `ENOSPC`, and as [`xattr`](Self::xattr).
    #[doc(alias = "setxattr")]
    pub fn set_xattr(
        &self,
        path: impl AsRef<[u8]>,
        name: &[u8],
        value: &[u8],
        flags: XattrFlags,
    ) -> Result {
        // Over what a combined message can carry it goes through an open file.
        let request = Request::Xattr(Xattr::Set { name, flags, value });
        if value.len() <= COMBINED_VALUE_MAX {
            return self.alter(path.as_ref(), &request, 0);
        }
        let file = self.open(path, OpenFlags::READ)?;
        file.call(&request, &mut [], &self.options()).map(drop)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// As [`xattr`](Self::xattr).
    #[doc(alias = "removexattr")]
    pub fn remove_xattr(&self, path: impl AsRef<[u8]>, name: &[u8]) -> Result {
        self.alter(path.as_ref(), &Request::Xattr(Xattr::Remove { name }), 0)
    }

    fn bytes(&self, path: &[u8], request: &Request<'_>) -> Result<Vec<u8>> {
        self.combined(path, request, 0, &mut |done| match done {
            Combined::Server { body, .. } => Ok(body.to_vec()),
            Combined::Manager { .. } => Err(Errno::ENOSYS),
        })
    }

    fn alter(&self, path: &[u8], request: &Request<'_>, link: u32) -> Result {
        self.combined(path, request, link, &mut |done| match done {
            Combined::Server { .. } => Ok(()),
            Combined::Manager { .. } => Err(Errno::EPERM),
        })
    }
}

/// Bytes of a value that fit into a combined message beside its name.
const COMBINED_VALUE_MAX: usize = 60_000;
