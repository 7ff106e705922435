use bitflags::bitflags;

use super::{flag_codec, record};

bitflags! {
    /// Properties of a file system.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct StatvfsFlags: u32 {
        /// Nothing can be changed.
        const READ_ONLY = 0x1;
        /// Set-id bits have no effect.
        const NO_SETUID = 0x2;
    }
}

flag_codec!(StatvfsFlags: u32);

record! {
    /// Facts about a file system.
    pub struct Statvfs {
        /// Preferred number of bytes per read and write.
        pub block_size: u32,
        /// Bytes of the unit that the counts of blocks are in.
        pub fragment_size: u32,
        /// All blocks.
        pub blocks: u64,
        /// Free blocks.
        pub blocks_free: u64,
        /// Free blocks for ordinary users.
        pub blocks_available: u64,
        /// All files.
        pub files: u64,
        /// Files that can still be made.
        pub files_free: u64,
        /// Files that ordinary users can still make.
        pub files_available: u64,
        /// Tells file systems of one server apart.
        pub id: u64,
        /// Properties.
        pub flags: StatvfsFlags,
        /// Longest name in bytes.
        pub name_max: u32,
    }
}
