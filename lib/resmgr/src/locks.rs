//! The locks of a server: who holds which ranges of which files, and who waits for them.
//!
//! One table for all files of a server, so that a circle of waits over several files is seen. Locks are
//! given in the order in which they were asked for, as far as they do not meet held ones. They go
//! with what they belong to: each is noted with the open file it was set through, and no open file
//! outlives its client.

mod ranges;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use abi::io::{LockCommand, LockKind, LockRange, LockStyle};
use abi::{Errno, SenderId};

use self::ranges::{Held, Ranges};
use crate::open_file::{OpenFile, Opened};
use crate::request::{Answer, LockRequest};
use crate::wait_queue::{WaitQueue, lock};

/// Which open files are the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// Those that share the attributes at this address.
    Shared(usize),
    /// Those that the manager gave the same device and serial number.
    Named(u64, u64),
}

/// Whose lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner {
    holder: Holder,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Client(SenderId),
    OpenFile(u64),
}

/// All locks of a server.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    table: Mutex<Table>,
    /// Files with locks: closing looks no further while there are none.
    files: AtomicUsize,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<Identity, FileLocks>,
    /// Files that somebody has waited for; some may wait no longer.
    awaited: HashSet<Identity>,
}

/// The locks of one file. Nobody waits where nothing is held.
#[derive(Debug, Default)]
struct FileLocks {
    ranges: Ranges,
    waiting: WaitQueue<LockRequest>,
}

impl Locks {
    /// A number for an open file that no other of this server has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Serves a request whose file is open for it.
    pub(crate) fn serve(&self, file: &OpenFile, request: LockRequest) -> Answer {
        let Some(wanted) = wanted(&request) else {
            return request.fail(Errno::EINVAL);
        };
        let command = request.arguments().command;
        let mut kept = Kept::default();
        kept.keep(&request);
        let mut table = lock(&self.table);
        let answer = if command == LockCommand::Get {
            table.tell(file.identity(), request, &wanted)
        } else {
            table.set(file.identity(), request, &wanted, &mut kept)
        };
        self.count(&table);
        answer
    }

    /// A client closes one of its connections to a file: its own locks go, whatever descriptor they were
    /// set through (LOCK 0x10f).
    pub(crate) fn leave(&self, identity: Identity, client: SenderId) {
        let owner = Owner {
            holder: Holder::Client(client),
            number: 0,
        };
        self.release(identity, |held| held.owner == owner);
    }

    /// Nobody holds an open file any more.
    pub(crate) fn closed(&self, identity: Identity, number: u64) {
        self.release(identity, |held| held.through == number);
    }

    fn release(&self, identity: Identity, gone: impl Fn(&Held) -> bool) {
        if self.files.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut kept = Kept::default();
        let mut table = lock(&self.table);
        if let Some(file) = table.files.get_mut(&identity)
            && file.ranges.remove_if(gone)
        {
            table.promote(identity, &mut kept);
        }
        self.count(&table);
    }

    fn count(&self, table: &Table) {
        self.files.store(table.files.len(), Ordering::Release);
    }

    /// Held ranges of all files.
    pub(crate) fn held(&self) -> usize {
        let table = lock(&self.table);
        table.files.values().map(|file| file.ranges.len()).sum()
    }
}

impl Table {
    fn tell(&self, identity: Identity, request: LockRequest, wanted: &Held) -> Answer {
        let file = self.files.get(&identity);
        let reply = match file.and_then(|file| file.ranges.in_the_way(wanted)) {
            Some(held) => held.to_range(),
            None => LockRange {
                kind: LockKind::Unlock,
                ..request.arguments().range
            },
        };
        request.reply(&reply)
    }

    fn set(
        &mut self,
        identity: Identity,
        request: LockRequest,
        wanted: &Held,
        kept: &mut Kept,
    ) -> Answer {
        if request.arguments().range.kind == LockKind::Unlock {
            if let Some(file) = self.files.get_mut(&identity) {
                if !file.ranges.has_room() {
                    return request.fail(Errno::ENOLCK);
                }
                file.ranges.clear(wanted);
                self.promote(identity, kept);
            }
            return request.done();
        }
        let file = self.files.entry(identity).or_default();
        let is_free = file.ranges.in_the_way(wanted).is_none();
        if is_free && !file.ranges.has_room() {
            return request.fail(Errno::ENOLCK);
        }
        if is_free {
            return self.grant(identity, request, wanted, kept);
        }
        if request.arguments().command == LockCommand::Set {
            return request.fail(Errno::EAGAIN);
        }
        if wanted.style == LockStyle::Process && self.closes_a_circle(identity, wanted) {
            return request.fail(Errno::EDEADLK);
        }
        self.awaited.insert(identity);
        match self.files.get(&identity) {
            Some(file) => file.waiting.park(request),
            None => request.fail(Errno::EIO),
        }
    }

    /// Gives a range that nobody is in the way of, if the client is still there to have it.
    fn grant(
        &mut self,
        identity: Identity,
        request: LockRequest,
        wanted: &Held,
        kept: &mut Kept,
    ) -> Answer {
        if request.deliver_done().is_ok()
            && let Some(file) = self.files.get_mut(&identity)
        {
            file.ranges.set(wanted);
        }
        // A write lock that became a read lock lets readers in; and an empty entry goes.
        self.promote(identity, kept);
        Answer::given()
    }

    /// Gives those who wait what has become free, and forgets a file without locks.
    fn promote(&mut self, identity: Identity, kept: &mut Kept) {
        let Some(file) = self.files.get_mut(&identity) else {
            return;
        };
        loop {
            let (ranges, waiting) = (&file.ranges, &file.waiting);
            let is_free = |request: &LockRequest| {
                wanted(request).is_some_and(|wanted| ranges.in_the_way(&wanted).is_none())
            };
            let Some(request) = waiting.take_if(is_free) else {
                break;
            };
            kept.keep(&request);
            let Some(wanted) = wanted(&request) else {
                continue;
            };
            let is_open = request
                .opened()
                .is_some_and(|opened| !opened.file.is_closed());
            if !is_open || !file.ranges.has_room() {
                let errno = if is_open { Errno::ENOLCK } else { Errno::EBADF };
                let _ = request.fail(errno);
            } else if request.deliver_done().is_ok() {
                file.ranges.set(&wanted);
            }
        }
        if file.waiting.is_empty() {
            self.awaited.remove(&identity);
        }
        if file.ranges.is_empty() {
            self.files.remove(&identity);
        }
    }

    /// Whether the one who wants this would wait, over others, for itself.
    fn closes_a_circle(&self, identity: Identity, wanted: &Held) -> bool {
        let Some(file) = self.files.get(&identity) else {
            return false;
        };
        let waits = self.waits();
        let mut next: Vec<Owner> = file.ranges.owners_in_the_way(wanted).collect();
        let mut seen: HashSet<Owner> = next.iter().copied().collect();
        while let Some(owner) = next.pop() {
            if owner == wanted.owner {
                return true;
            }
            let others = waits.get(&owner).into_iter().flatten().copied();
            next.extend(others.filter(|other| seen.insert(*other)));
        }
        false
    }

    /// Whom each process that waits for a record lock waits for.
    fn waits(&self) -> HashMap<Owner, Vec<Owner>> {
        let mut waits: HashMap<Owner, Vec<Owner>> = HashMap::new();
        for file in self.awaited.iter().filter_map(|id| self.files.get(id)) {
            file.waiting.for_each(|request| {
                let Some(wanted) = wanted(request) else {
                    return;
                };
                if wanted.style == LockStyle::Process {
                    let others = file.ranges.owners_in_the_way(&wanted);
                    waits.entry(wanted.owner).or_default().extend(others);
                }
            });
        }
        waits
    }
}

/// What a request asks for, as if it were held; `None` if no such range exists.
fn wanted(request: &LockRequest) -> Option<Held> {
    let (opened, lock) = (request.opened()?, request.arguments());
    let through = opened.file.number();
    let holder = match lock.style {
        LockStyle::Process => Holder::Client(request.client()),
        LockStyle::OpenFile | LockStyle::Flock => Holder::OpenFile(through),
    };
    let (start, len) = match lock.style {
        LockStyle::Flock => (0, 0),
        LockStyle::Process | LockStyle::OpenFile => (lock.range.start, lock.range.len),
    };
    let caller = request.credentials();
    Some(Held {
        owner: Owner {
            holder,
            number: lock.range.owner,
        },
        style: lock.style,
        exclusive: lock.range.kind == LockKind::Write,
        start,
        end: ranges::end(start, len)?,
        through,
        pid: caller.pid,
        node: caller.node,
    })
}

/// Open files of requests that are answered while the table is locked: the last of an open file takes
/// its locks with it, so it must not go before the table is free.
#[derive(Default)]
struct Kept(Vec<Arc<Opened>>);

impl Kept {
    fn keep(&mut self, request: &LockRequest) {
        self.0.extend(request.opened().cloned());
    }
}
