//! Locks, which are the server's: programs of all nodes, and those of the server's own machine, keep each other out.

use abi::io::{Lock, LockCommand, LockKind, LockRange, LockStyle};
use abi::{Errno, Pid, Result};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernel::Answer;
use crate::kernel::request::{FileLock, LockPart, LockWish};
use crate::path_space::{Call, PathSpace};

/// Which programs may have record locks: only for these is there something to unlock when a descriptor is closed.
pub(crate) struct Lockers {
    /// Node of the file, and the kernel's number of the program.
    owners: Mutex<HashSet<(u64, u64)>>,
}

impl Lockers {
    pub(crate) fn new() -> Self {
        Self {
            owners: Mutex::new(HashSet::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(u64, u64)>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PathSpace {
    pub(crate) fn lock(&self, call: &Call<'_>, lock: &FileLock) -> Result<Answer> {
        let open = self.files.get(lock.handle).ok_or(Errno::EBADF)?;
        let kind = match lock.part.kind {
            READ => LockKind::Read,
            WRITE => LockKind::Write,
            UNLOCK => LockKind::Unlock,
            _ => return Err(Errno::EINVAL),
        };
        let record = !lock.whole && kind != LockKind::Unlock && lock.wish != LockWish::Ask;
        if record {
            // Before asking: a program may be killed meanwhile, and its lock be granted all the same.
            self.lockers.lock().insert((call.node, lock.owner));
        }
        let range = match lock.whole {
            true => LockRange {
                kind,
                ..LockRange::default()
            },
            false => LockRange {
                kind,
                start: lock.part.start,
                len: length(&lock.part),
                pid: Pid(lock.part.pid),
                owner: lock.owner,
                ..LockRange::default()
            },
        };
        let command = match lock.wish {
            LockWish::Ask => LockCommand::Get,
            LockWish::Set => LockCommand::Set,
            LockWish::SetWaiting => LockCommand::SetWait,
        };
        let style = match lock.whole {
            true => LockStyle::Flock,
            false => LockStyle::Process,
        };
        let request = Lock {
            command,
            style,
            range,
        };
        let found = open.file().lock(request, &call.options())?;
        if kind != LockKind::Unlock && lock.wish != LockWish::Ask {
            // Who had the lock before may have changed the file a moment ago.
            self.channel.outdate(call.node, true);
        }
        Ok(match (lock.wish, found) {
            (LockWish::Ask, Some(found)) => part(&found).answer(),
            (LockWish::Ask, None) => LockPart {
                kind: UNLOCK,
                ..lock.part
            }
            .answer(),
            _ => Answer::Empty,
        })
    }

    /// A program closes a descriptor: its record locks of the file are gone (POSIX), whichever descriptor they were set
    /// through.
    pub(crate) fn unlock_all(&self, call: &Call<'_>, handle: u64, owner: u64) {
        if !self.lockers.lock().remove(&(call.node, owner)) {
            return;
        }
        let range = LockRange {
            kind: LockKind::Unlock,
            owner,
            ..LockRange::default()
        };
        let request = Lock {
            command: LockCommand::Set,
            style: LockStyle::Process,
            range,
        };
        if let Some(open) = self.files.get(handle)
            && let Err(errno) = open.file().lock(request, &call.options())
        {
            tracing::debug!(%errno, "locks of a closed descriptor stay until its file is closed");
        }
    }
}

/// Bytes of a range; 0 to the end of the file.
fn length(part: &LockPart) -> u64 {
    match part.last >= LockPart::END {
        true => 0,
        false => part.last.saturating_sub(part.start) + 1,
    }
}

fn part(range: &LockRange) -> LockPart {
    let kind = match range.kind {
        LockKind::Read => READ,
        LockKind::Write => WRITE,
        LockKind::Unlock => UNLOCK,
    };
    let last = match range.len {
        0 => LockPart::END,
        len => range.start.saturating_add(len - 1),
    };
    LockPart {
        start: range.start,
        last,
        kind,
        // 0 for a process of another node or mount, whose number would mean nothing here.
        pid: range.pid.0,
    }
}

const READ: u32 = libc::F_RDLCK as u32;
const WRITE: u32 = libc::F_WRLCK as u32;
const UNLOCK: u32 = libc::F_UNLCK as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_kernel_become_ours_and_back() {
        let kernel = |start, last| LockPart {
            start,
            last,
            kind: WRITE,
            pid: 7,
        };
        assert_eq!(length(&kernel(10, 19)), 10);
        assert_eq!(length(&kernel(10, LockPart::END)), 0);
        let range = LockRange {
            kind: LockKind::Write,
            start: 10,
            len: 10,
            ..LockRange::default()
        };
        assert_eq!((part(&range).start, part(&range).last), (10, 19));
        let open = LockRange { len: 0, ..range };
        assert_eq!(part(&open).last, LockPart::END);
    }
}
