//! Flags and file types with fixed numbers on the wire.

use bitflags::bitflags;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

macro_rules! wire_flags {
    ($($name:ident: $raw:ident),*) => {$(
        impl Encode for $name {
            fn encode(&self, w: &mut Writer<'_>) {
                w.$raw(self.bits());
            }
        }

        impl Decode<'_> for $name {
            fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Self::from_bits(r.$raw()?).ok_or(Malformed::Unknown)
            }
        }
    )*};
}

wire_flags!(OpenFlags: u32, AttachFlags: u32, PathFlags: u16, ChannelFlags: u32);

bitflags! {
    /// How a file is opened. The access bits are two independent ones (P41).
    #[doc(alias = "ioflag")]
    #[doc(alias = "O_RDONLY")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// May be read.
        #[doc(alias = "_IO_FLAG_RD")]
        const READ = 0x1;
        /// May be written.
        #[doc(alias = "_IO_FLAG_WR")]
        const WRITE = 0x2;
        /// Made if it does not exist.
        #[doc(alias = "O_CREAT")]
        const CREATE = 0x4;
        /// With [`Self::CREATE`]: refused if it exists.
        #[doc(alias = "O_EXCL")]
        const EXCLUSIVE = 0x8;
        /// Emptied.
        #[doc(alias = "O_TRUNC")]
        const TRUNCATE = 0x10;
        /// Every write goes to the end.
        #[doc(alias = "O_APPEND")]
        const APPEND = 0x20;
        /// Answers `EAGAIN` instead of waiting.
        #[doc(alias = "O_NONBLOCK")]
        const NONBLOCK = 0x40;
        /// Refused if it is not a directory.
        #[doc(alias = "O_DIRECTORY")]
        const DIRECTORY = 0x80;
        /// Refused if it is a symbolic link.
        #[doc(alias = "O_NOFOLLOW")]
        const NOFOLLOW = 0x100;
        /// Every write is durable, attributes included, before it is answered.
        #[doc(alias = "O_SYNC")]
        const SYNC = 0x200;
        /// Every write is durable before it is answered.
        #[doc(alias = "O_DSYNC")]
        const DSYNC = 0x400;
        /// Does not become the controlling terminal.
        #[doc(alias = "O_NOCTTY")]
        const NOCTTY = 0x800;
        /// Not passed on to another program.
        #[doc(alias = "O_CLOEXEC")]
        const CLOEXEC = 0x1000;
        /// Only names the file: neither read nor written.
        #[doc(alias = "O_PATH")]
        const PATH = 0x2000;
        /// A file without a name in this directory.
        #[doc(alias = "O_TMPFILE")]
        const TMPFILE = 0x4000;
        /// Read and written.
        #[doc(alias = "O_RDWR")]
        const READ_WRITE = 0x3;
    }
}

impl OpenFlags {
    /// The flags that count. Beside [`Self::PATH`], which asks for no permission, only those about the path do: whoever
    /// names a file neither reads, writes nor makes it (`open(2)` of Linux).
    #[must_use]
    pub const fn in_force(self) -> Self {
        if self.contains(Self::PATH) {
            let named = Self::PATH.union(Self::DIRECTORY);
            self.intersection(named.union(Self::NOFOLLOW).union(Self::CLOEXEC))
        } else {
            self
        }
    }
}

bitflags! {
    /// Which parts of a node's name are wanted (N6).
    #[doc(alias = "ND2S_DIR_SHOW")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct NodeTextFlags: u32 {
        /// The directory of nodes, so that the text is a path.
        const SHOW_DIRECTORY = 0x1;
        /// Without it.
        const HIDE_DIRECTORY = 0x2;
        /// The link policy.
        #[doc(alias = "ND2S_QOS_SHOW")]
        const SHOW_POLICY = 0x4;
        /// Without it.
        #[doc(alias = "ND2S_QOS_HIDE")]
        const HIDE_POLICY = 0x8;
        /// The name.
        #[doc(alias = "ND2S_NAME_SHOW")]
        const SHOW_NAME = 0x10;
        /// Without it.
        #[doc(alias = "ND2S_NAME_HIDE")]
        const HIDE_NAME = 0x20;
        /// The domain, of which names have none.
        #[doc(alias = "ND2S_DOMAIN_SHOW")]
        const SHOW_DOMAIN = 0x40;
        /// Without it.
        #[doc(alias = "ND2S_DOMAIN_HIDE")]
        const HIDE_DOMAIN = 0x80;
        /// The short form within the own domain, which is what names are.
        #[doc(alias = "ND2S_LOCAL_STR")]
        const SHORT = 0x1000;
        /// The tilde of a policy also without a name before it.
        #[doc(alias = "ND2S_SEP_FORCE")]
        const SEPARATOR = 0x2000;
    }
}

bitflags! {
    /// How a server attaches a prefix (P10 to P20).
    #[doc(alias = "_RESMGR_FLAG_BEFORE")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AttachFlags: u32 {
        /// Ahead of all unflagged and [`Self::AFTER`] objects of the path (P10).
        const BEFORE = 0x1;
        /// Behind them (P11).
        const AFTER = 0x2;
        /// Servers of shorter prefixes are not offered (P14).
        const OPAQUE = 0x4;
        /// Offered only for requests of the same file type (P17).
        const FTYPEONLY = 0x8;
        /// Matches all file types: for servers that redirect (P18).
        const FTYPEALL = 0x10;
        /// Stays when its owner is gone; must be unlinked (P19).
        const STICKY = 0x20;
        /// Serves everything below the prefix too (P15).
        const DIR = 0x100;
        /// The process that attaches may resolve to itself (P16).
        const SELF = 0x200;
    }
}

impl AttachFlags {
    /// The bits that a resource manager may ask for (P20).
    pub const ATTACHABLE: Self = Self::from_bits_retain(0x31f);
}

bitflags! {
    /// What a pathname looked like before it was normalised (P30).
    #[doc(alias = "eflag")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PathFlags: u16 {
        /// Ended in `/`, `/.` or `/..`: it must be a directory.
        const DIR = 0x1;
        /// Ended in `.`.
        const DOT = 0x2;
        /// Ended in `..`.
        const DOTDOT = 0x4;
    }
}

bitflags! {
    /// What the owner of a channel wants to be told (I1).
    #[doc(alias = "_NTO_CHF_UNBLOCK")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ChannelFlags: u32 {
        /// Receivers keep their own priority.
        const FIXED_PRIORITY = 0x1;
        /// Blocked clients that want to leave are announced and stay until answered.
        const UNBLOCK = 0x2;
        /// Ends of threads are announced.
        const THREAD_DEATH = 0x4;
        /// Clients that are gone are announced.
        const DISCONNECT = 0x8;
        /// The full length of a message is told.
        const SENDER_LEN = 0x20;
        /// Servers that are gone are announced here.
        const COID_DISCONNECT = 0x40;
        /// The room for a reply is told.
        const REPLY_LEN = 0x80;
        /// Only this process may connect.
        const PRIVATE = 0x1000;
    }
}

/// The type of file that a request is for or that a server serves (P21).
#[doc(alias = "_FTYPE_ANY")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileType(pub u32);

impl FileType {
    /// Any type.
    pub const ANY: Self = Self(0);
    /// Files and devices.
    pub const FILE: Self = Self(1);
    /// A hard link.
    pub const LINK: Self = Self(2);
    /// A symbolic link.
    pub const SYMLINK: Self = Self(3);
    /// A pipe.
    pub const PIPE: Self = Self(4);
    /// Shared memory.
    pub const SHMEM: Self = Self(5);
    /// A message queue.
    pub const MQUEUE: Self = Self(6);
    /// A socket.
    pub const SOCKET: Self = Self(7);
    /// A named semaphore.
    pub const SEM: Self = Self(8);
    /// A Photon connection.
    pub const PHOTON: Self = Self(9);
    /// A dumper.
    pub const DUMPER: Self = Self(10);
    /// A mount point.
    pub const MOUNT: Self = Self(11);
    /// A name of a channel.
    pub const NAME: Self = Self(12);
    /// Typed memory.
    pub const TYMEM: Self = Self(13);
    /// In an answer: the server's type matched, whatever was asked (P35).
    #[doc(alias = "_FTYPE_MATCHED")]
    pub const MATCHED: Self = Self(u32::MAX);
}

impl Encode for FileType {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u32(self.0);
    }
}

/// Types beyond the named ones are a program's own and pass.
impl Decode<'_> for FileType {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.u32().map(Self)
    }
}

/// The bits of `mode`: kind of file and permissions, with the numbers all Unixes share.
pub mod mode {
    /// The bits that say the kind of file.
    pub const S_IFMT: u32 = 0o170_000;
    /// A socket.
    pub const S_IFSOCK: u32 = 0o140_000;
    /// A symbolic link.
    pub const S_IFLNK: u32 = 0o120_000;
    /// A regular file.
    pub const S_IFREG: u32 = 0o100_000;
    /// A block device.
    pub const S_IFBLK: u32 = 0o060_000;
    /// A directory.
    pub const S_IFDIR: u32 = 0o040_000;
    /// A character device.
    pub const S_IFCHR: u32 = 0o020_000;
    /// A pipe with a name.
    pub const S_IFIFO: u32 = 0o010_000;
    /// Runs as its owner.
    pub const S_ISUID: u32 = 0o4000;
    /// Runs as its group.
    pub const S_ISGID: u32 = 0o2000;
    /// In a directory: only owners remove.
    pub const S_ISVTX: u32 = 0o1000;
    /// Everything but the kind of file.
    pub const PERMISSIONS: u32 = 0o7777;

    /// Whether `mode` is a directory's.
    #[must_use]
    pub const fn is_directory(mode: u32) -> bool {
        mode & S_IFMT == S_IFDIR
    }

    /// Whether `mode` is a symbolic link's.
    #[must_use]
    pub const fn is_symlink(mode: u32) -> bool {
        mode & S_IFMT == S_IFLNK
    }

    /// Whether `mode` is a regular file's.
    #[must_use]
    pub const fn is_regular(mode: u32) -> bool {
        mode & S_IFMT == S_IFREG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // qnx: P20
    #[test]
    fn attachable_bits_are_qnx_mask() {
        let named = AttachFlags::all() - AttachFlags::STICKY;
        assert_eq!(AttachFlags::ATTACHABLE, named);
        assert_eq!(named.bits(), 0x031f);
    }

    #[test]
    fn unknown_bits_are_refused() {
        assert_eq!(
            OpenFlags::from_bytes(&[3, 0, 0, 0]),
            Ok(OpenFlags::READ_WRITE)
        );
        assert_eq!(
            OpenFlags::from_bytes(&[0, 0x80, 0, 0]),
            Err(Malformed::Unknown)
        );
        assert_eq!(PathFlags::from_bytes(&[8, 0]), Err(Malformed::Unknown));
        assert_eq!(
            AttachFlags::from_bytes(&[0x40, 0, 0, 0]),
            Err(Malformed::Unknown)
        );
    }

    // qnx: P21
    #[test]
    fn file_types_are_numbered_in_the_order_of_qnx() {
        assert_eq!(
            (FileType::ANY, FileType::MQUEUE, FileType::TYMEM),
            (FileType(0), FileType(6), FileType(13))
        );
    }
}
