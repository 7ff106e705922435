use super::{choice, record};
use crate::ids::{Nd, Pid};

choice! {
    /// What to do about a lock.
    pub enum LockCommand {
        /// Say who is in the way.
        #[doc(alias = "F_GETLK")]
        #[default]
        Get = 0,
        /// Set or clear; `EAGAIN` if somebody is in the way.
        #[doc(alias = "F_SETLK")]
        Set = 1,
        /// Set or clear; wait if somebody is in the way.
        #[doc(alias = "F_SETLKW")]
        SetWait = 2,
    }
}

choice! {
    /// Whom a lock belongs to, and which others it meets.
    pub enum LockStyle {
        /// The client process and [`LockRange::owner`]: a record lock of POSIX. Gone when the process closes any
        /// of its descriptors of the file.
        #[default]
        Process = 0,
        /// The open file and [`LockRange::owner`]: a record lock that duplicated descriptors share. Meets those
        /// of [`Self::Process`].
        #[doc(alias = "F_OFD_SETLK")]
        OpenFile = 1,
        /// As [`Self::OpenFile`], but always the whole file, and meets only its like.
        #[doc(alias = "LOCK_EX")]
        Flock = 2,
    }
}

choice! {
    /// Whom a lock keeps out.
    pub enum LockKind {
        /// Writers.
        #[default]
        Read = 0,
        /// Everybody.
        Write = 1,
        /// Nobody: the range is free, or is to be freed.
        Unlock = 2,
    }
}

record! {
    /// A locked range; in the answer to [`LockCommand::Get`] the first one in the way.
    pub struct LockRange {
        /// Whom it keeps out.
        pub kind: LockKind,
        /// First byte.
        pub start: u64,
        /// Bytes; 0 is "to the end, wherever that is".
        pub len: u64,
        /// The process that holds it, on its own node.
        pub pid: Pid,
        /// The node of that process; on the wire as the server calls it, from the client library as its own node does.
        #[doc(alias = "l_sysid")]
        pub node: Nd,
        /// Tells apart the owners within one client process or open file, such as the programs behind a mount.
        pub owner: u64,
    }
}

record! {
    /// Locks of ranges of a file (R45, LOCK 0x10f).
    pub struct Lock {
        /// What to do.
        pub command: LockCommand,
        /// For whom.
        pub style: LockStyle,
        /// With which range. For [`LockStyle::Flock`] start and length are 0.
        pub range: LockRange,
    }
}
