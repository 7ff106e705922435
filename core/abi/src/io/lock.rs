use super::{choice, record};
use crate::ids::Pid;

choice! {
    /// What to do about a record lock.
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
    /// Whom a record lock keeps out.
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
        /// Tells apart the owners within one client process, such as the programs behind a mount.
        pub owner: u64,
    }
}

record! {
    /// Record locks. They belong to the client process and `owner` (R45, LOCK 0x10f).
    pub struct Lock {
        /// What to do.
        pub command: LockCommand,
        /// With which range.
        pub range: LockRange,
    }
}
