//! Locks, kept by this machine's kernel on the exported files themselves, so that clients of all nodes and the programs
//! of this machine keep each other out.
//!
//! A record lock belongs to a client process and an owner within it. To the kernel each such owner is an open file
//! description of its own (`F_OFD_SETLK`), which vanishes with the last open file through which the owner has locked.
//! A `flock` is one of the client's open file. The kernel tells nobody when a lock that others hold is gone, so
//! who waits is tried again whenever a client unlocks, and now and then for the sake of this machine's programs. Circles of
//! waits are not found.
#![allow(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::io::{Lock, LockCommand, LockKind, LockRange, LockStyle};
use abi::{Errno, Nd, Pid, Result};
use resmgr::{Answer, LockRequest, OpenFile, WaitQueue};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::node::Node;
use crate::tree::{errno, own_link};

/// The locks of one export's clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// Something was unlocked, or somebody waits.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    holders: HashMap<Owner, Holder>,
    waiting: Vec<Waiter>,
    /// Whether a thread looks after `waiting`.
    attended: bool,
}

/// Whose a record lock is, and of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner {
    file: (u64, u64),
    whose: Whose,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Process(Nd, Pid),
    OpenFile(OpenId),
}

/// Tells the open files that exist at a time apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OpenId(usize);

impl OpenId {
    fn of(file: &OpenFile) -> Self {
        Self(std::ptr::from_ref(file).addr())
    }
}

#[derive(Debug)]
struct Holder {
    fd: Arc<OwnedFd>,
    /// The program, as its client calls it.
    pid: Pid,
    /// The open files that the owner has locked through.
    through: HashSet<OpenId>,
}

/// Somebody who waits; its request is alone in the queue, where giving up and dying find it.
#[derive(Debug)]
struct Waiter {
    queue: WaitQueue<LockRequest>,
    fd: Arc<OwnedFd>,
    lock: Lock,
}

impl Locks {
    /// Serves a request about a lock of `node`, which `file` is an open of.
    pub(crate) fn serve(&self, node: &Node, file: &OpenFile, request: LockRequest) -> Answer {
        let lock = request.arguments();
        let whose = match lock.style {
            LockStyle::Process => {
                let client = request.credentials();
                Whose::Process(client.node, client.pid)
            }
            LockStyle::OpenFile | LockStyle::Flock => Whose::OpenFile(OpenId::of(file)),
        };
        let prepared = resmgr::posix::lock::verify(file, &lock)
            .and_then(|()| self.descriptor(node, file, whose, &lock));
        let fd = match prepared {
            Ok(fd) => fd,
            Err(errno) => return request.fail(errno),
        };
        if lock.command == LockCommand::Get {
            let found = in_the_way(&fd, &lock).map(|found| self.named(node, whose, found));
            return request.finish(found);
        }
        match set(&fd, &lock) {
            Ok(()) => {
                if lock.range.kind != LockKind::Write {
                    self.shared.changed.notify_all();
                }
                request.done()
            }
            Err(Errno::EAGAIN) if lock.command == LockCommand::SetWait => {
                self.wait(fd, lock, request)
            }
            Err(errno) => request.fail(errno),
        }
    }

    /// With the process that has the lock, if it is one of the client who asks: numbers of others mean nothing there.
    fn named(&self, node: &Node, asker: Whose, found: LockRange) -> LockRange {
        let Ok(file) = node.identity() else {
            return found;
        };
        let all = LockRange {
            kind: LockKind::Write,
            ..found
        };
        // Nobody's own locks are in its own way.
        let has_it = |holder: &Holder| {
            record(&holder.fd, libc::F_OFD_GETLK, &all)
                .is_ok_and(|other| i32::from(other.l_type) == libc::F_UNLCK)
        };
        let table = self.shared.lock();
        let mut own = table
            .holders
            .iter()
            .filter(|(owner, holder)| owner.file == file && owner.whose == asker && has_it(holder));
        let pid = match (own.next(), asker) {
            _ if found.kind == LockKind::Unlock => return found,
            (Some((_, holder)), _) => holder.pid,
            // A program of this machine, of which the kernel has told.
            (None, Whose::Process(Nd::LOCAL, _)) => found.pid,
            (None, _) => Pid(0),
        };
        LockRange { pid, ..found }
    }

    /// The last descriptor of an open file is gone, and with it the locks that nothing else holds.
    pub(crate) fn closed(&self, file: &OpenFile) {
        let (open, client) = (OpenId::of(file), file.opener());
        let mut table = self.shared.lock();
        if table.holders.is_empty() {
            // A flock has gone with the file.
            if !table.waiting.is_empty() {
                self.shared.changed.notify_all();
            }
            return;
        }
        let own = Whose::Process(client.node, client.pid);
        table.holders.retain(|owner, holder| {
            let used = holder.through.remove(&open);
            // POSIX: a process that closes any descriptor of a file loses its locks of it. Programs behind a mount
            // have numbers, and the mount unlocks for them.
            let loses = used && owner.number == 0 && owner.whose == own;
            !loses && !holder.through.is_empty()
        });
        drop(table);
        self.shared.changed.notify_all();
    }

    /// The open file description that stands for the owner.
    fn descriptor(
        &self,
        node: &Node,
        file: &OpenFile,
        whose: Whose,
        lock: &Lock,
    ) -> Result<Arc<OwnedFd>> {
        if lock.style == LockStyle::Flock {
            return node.fd().try_clone().map(Arc::new).map_err(Errno::from);
        }
        let owner = Owner {
            file: node.identity()?,
            whose,
            number: lock.range.owner,
        };
        let mut table = self.shared.lock();
        if let Some(holder) = table.holders.get_mut(&owner) {
            holder.through.insert(OpenId::of(file));
            holder.pid = lock.range.pid;
            return Ok(Arc::clone(&holder.fd));
        }
        let fd = Arc::new(reopened(node)?);
        if lock.command == LockCommand::Get || lock.range.kind == LockKind::Unlock {
            return Ok(fd);
        }
        if table.holders.len() >= HOLDERS_MAX {
            return Err(Errno::ENOLCK);
        }
        let through = HashSet::from([OpenId::of(file)]);
        table.holders.insert(
            owner,
            Holder {
                fd: Arc::clone(&fd),
                pid: lock.range.pid,
                through,
            },
        );
        Ok(fd)
    }

    fn wait(&self, fd: Arc<OwnedFd>, lock: Lock, request: LockRequest) -> Answer {
        let mut table = self.shared.lock();
        if table.waiting.len() >= WAITING_MAX {
            return request.fail(Errno::ENOLCK);
        }
        if !table.attended {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("export-locks".into());
            if builder.spawn(move || shared.attend()).is_err() {
                return request.fail(Errno::ENOLCK);
            }
            table.attended = true;
        }
        let queue = WaitQueue::with_limit(1);
        let answer = queue.park(request);
        table.waiting.push(Waiter { queue, fd, lock });
        drop(table);
        // What was in the way may have gone meanwhile.
        self.shared.changed.notify_all();
        answer
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries for those who wait, first come, first served, until nobody does.
    fn attend(&self) {
        let mut table = self.lock();
        loop {
            table.waiting.retain(Waiter::still_waits);
            if table.waiting.is_empty() {
                table.attended = false;
                return;
            }
            let waited = self.changed.wait_timeout(table, LOOK_AGAIN);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Waiter {
    fn still_waits(&self) -> bool {
        // A request that has been given up is not in the queue any more.
        let Some(request) = self.queue.take() else {
            return false;
        };
        let outcome = match request.is_unblock_requested() {
            true => Err(Errno::EINTR),
            false => set(&self.fd, &self.lock),
        };
        let _ = match outcome {
            Ok(()) => request.done(),
            Err(Errno::EAGAIN) => {
                let _ = self.queue.park(request);
                return true;
            }
            Err(errno) => request.fail(errno),
        };
        false
    }
}

/// The same file, for what its open file allows: locks for reading need a descriptor that reads, others one that writes. The
/// manager itself opens it, since the client has it open already; it is used for nothing but locks.
fn reopened(node: &Node) -> Result<OwnedFd> {
    let open = |access| {
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::open(own_link(node.fd()), flags, Mode::empty())
    };
    let writes = open(OFlags::RDWR);
    writes.or_else(|_| open(OFlags::RDONLY)).map_err(errno)
}

fn set(fd: &OwnedFd, lock: &Lock) -> Result {
    if lock.style == LockStyle::Flock {
        let operation = match lock.range.kind {
            LockKind::Read => FlockOperation::NonBlockingLockShared,
            LockKind::Write => FlockOperation::NonBlockingLockExclusive,
            LockKind::Unlock => FlockOperation::Unlock,
        };
        return rustix::fs::flock(fd, operation).map_err(errno);
    }
    record(fd, libc::F_OFD_SETLK, &lock.range).map(drop)
}

/// The first lock in the way of this one; the same range, unlocked, if there is none.
fn in_the_way(fd: &OwnedFd, lock: &Lock) -> Result<LockRange> {
    if lock.style == LockStyle::Flock {
        return Err(Errno::EINVAL);
    }
    let found = record(fd, libc::F_OFD_GETLK, &lock.range)?;
    let kind = match i32::from(found.l_type) {
        libc::F_RDLCK => LockKind::Read,
        libc::F_WRLCK => LockKind::Write,
        _ => {
            return Ok(LockRange {
                kind: LockKind::Unlock,
                ..lock.range
            });
        }
    };
    Ok(LockRange {
        kind,
        start: u64::try_from(found.l_start).unwrap_or(0),
        len: u64::try_from(found.l_len).unwrap_or(0),
        // -1 for an open file description: a client's, which the kernel knows no process of.
        pid: Pid(u32::try_from(found.l_pid).unwrap_or(0)),
        node: Nd::LOCAL,
        owner: 0,
    })
}

fn record(fd: &OwnedFd, command: libc::c_int, range: &LockRange) -> Result<libc::flock> {
    let number = |value: u64| libc::off_t::try_from(value).map_err(|_| Errno::EINVAL);
    let kind = match range.kind {
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
        LockKind::Unlock => libc::F_UNLCK,
    };
    // SAFETY: the structure is plain numbers, of which zero is one; some targets have padding or more fields.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = number(range.start)?;
    lock.l_len = number(range.len)?;
    // SAFETY: the descriptor is open and the structure lives until the call returns.
    let status = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
    if status == 0 {
        return Ok(lock);
    }
    match Errno::from(std::io::Error::last_os_error()) {
        Errno::EACCES => Err(Errno::EAGAIN),
        errno => Err(errno),
    }
}

/// Owners of record locks. Each is one descriptor.
const HOLDERS_MAX: usize = 4096;
/// Requests that wait for a lock.
const WAITING_MAX: usize = 4096;
/// How soon the end of a lock of this machine's own programs is noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
