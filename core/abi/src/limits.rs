//! Bounds that every encoder and decoder keeps.

/// Longest pathname in bytes, without a terminator. Longer ones are `ENAMETOOLONG`.
pub const PATH_MAX: usize = 4095;

/// Longest component of a pathname in bytes. Longer ones are `ENAMETOOLONG`.
pub const NAME_MAX: usize = 255;

/// Most candidates in one answer of a resolution (P31).
pub const CANDIDATES_MAX: usize = 256;

/// Most supplementary groups in [`crate::Credentials`].
pub const GROUPS_MAX: usize = 64;

/// How many redirects and symbolic links may nest before `ELOOP` (P36).
pub const SYMLOOP_MAX: u32 = 16;

/// Most entries in one reply to a directory read.
pub const DIRECTORY_ENTRIES_MAX: usize = 4096;

/// Most descriptors that one message asks after.
pub const WATCHES_MAX: usize = 4096;

/// Longest name of an extended attribute in bytes.
pub const XATTR_NAME_MAX: usize = 255;

/// Longest value of an extended attribute in bytes.
pub const XATTR_VALUE_MAX: usize = 65_536;

/// Most bytes of argument or result of one devctl.
pub const DEVCTL_MAX: usize = 16_383;
