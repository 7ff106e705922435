//! What one resource is: owner, permissions, size, times.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::flags::mode;
use abi::io::TimeSpec;
use abi::{Gid, Uid};

use crate::wait_queue::lock;

/// The attributes of one resource, shared by all its open files. Thread safe.
///
/// A new value belongs to the user and group that run the manager.
#[doc(alias = "iofunc_attr_t")]
#[derive(Debug)]
pub struct Attributes {
    fields: Mutex<Fields>,
}

/// The fields of [`Attributes`]; reached by [`Attributes::lock`].
#[derive(Clone, Debug)]
pub struct Fields {
    /// File type (`S_IFMT`) and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
    /// Size in bytes; 0 for devices without one.
    pub size: u64,
    /// Inode number, unique in the manager.
    pub inode: u64,
    /// Number of names.
    pub links: u32,
    /// Device number of a device node.
    pub device: u64,
    /// Last read.
    pub accessed: TimeSpec,
    /// Last write.
    pub modified: TimeSpec,
    /// Last change of attributes.
    pub changed: TimeSpec,
    /// Whether the tree it lies in may not be changed (EROFS).
    pub read_only: bool,
}

impl Attributes {
    /// A character device with these permission bits, such as `0o666`.
    #[must_use]
    pub fn device(permissions: u32) -> Self {
        Self::new(mode::S_IFCHR | (permissions & 0o7777))
    }

    /// A regular file.
    #[must_use]
    pub fn file(permissions: u32) -> Self {
        Self::new(mode::S_IFREG | (permissions & 0o7777))
    }

    /// A directory: the manager is asked for every path below its prefix.
    #[must_use]
    pub fn directory(permissions: u32) -> Self {
        Self::new(mode::S_IFDIR | (permissions & 0o7777))
    }

    /// Any type: `mode` holds the `S_IFMT` bits too.
    #[must_use]
    pub fn new(mode: u32) -> Self {
        let now = now();
        Self {
            fields: Mutex::new(Fields {
                mode,
                uid: Uid(rustix::process::geteuid().as_raw()),
                gid: Gid(rustix::process::getegid().as_raw()),
                size: 0,
                inode: 1,
                links: 1,
                device: 0,
                accessed: now,
                modified: now,
                changed: now,
                read_only: false,
            }),
        }
    }

    /// The same, owned by somebody else.
    #[must_use]
    pub fn owner(self, uid: Uid, gid: Gid) -> Self {
        self.with(|fields| (fields.uid, fields.gid) = (uid, gid))
    }

    /// The same, with a size in bytes.
    #[must_use]
    pub fn size(self, bytes: u64) -> Self {
        self.with(|fields| fields.size = bytes)
    }

    /// The same, with an inode number.
    #[must_use]
    pub fn inode(self, inode: u64) -> Self {
        self.with(|fields| fields.inode = inode)
    }

    /// The same, in a tree that may not be changed.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.with(|fields| fields.read_only = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Fields)) -> Self {
        change(
            self.fields
                .get_mut()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        self
    }

    /// Locks the fields for reading or changing; keep it short.
    pub fn lock(&self) -> MutexGuard<'_, Fields> {
        lock(&self.fields)
    }
}

impl Fields {
    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & mode::S_IFMT == mode::S_IFDIR
    }

    /// Notes that bytes were read.
    pub fn stamp_read(&mut self) {
        if !self.read_only {
            self.accessed = now();
        }
    }

    /// Notes that bytes were written.
    pub fn stamp_written(&mut self) {
        self.modified = now();
        self.changed = self.modified;
    }

    /// Notes that attributes changed.
    pub fn stamp_changed(&mut self) {
        self.changed = now();
    }
}

/// The wall clock as the wire carries it.
pub(crate) fn now() -> TimeSpec {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    TimeSpec {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
