//! Worker threads between the device and a [`Handler`].
//!
//! A thread is added whenever the last one that listens goes to work, so a request that blocks for hours blocks
//! nobody else. Where a server has its share of the threads ([`Pool`]), the thread that has read another request for it
//! lets that wait and keeps listening: interrupts and the requests of others still get through.

use super::MAX_TRANSFER;
use super::channel::{Channel, Look, Received};
use super::interrupts::{Found, InWork};
use super::pool::{Asker, Pool, Turn};
use super::reply::{self, Answer};
use super::request::{self, Header, Operation};
use std::hash::Hash;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

/// What a mounted file system answers. Called from many threads at once.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Ends the waiting of one request.
    type Token: Clone + Send + 'static;

    /// Tells servers apart: what one holds up is not to hold up the others.
    type Server: Copy + Eq + Hash + Send + 'static;

    /// Whom the request has to wait for. Does not block.
    fn server(&self, header: &Header) -> Self::Server;

    fn token(&self) -> Self::Token;
    fn trigger(&self, token: &Self::Token);

    /// Whether any signal to the caller ends this request, not only one that kills it.
    fn ends_at_any_signal(&self, header: &Header, operation: &Operation<'_>) -> bool;

    /// Answers one request; may block. `Err` is an errno of Linux, positive. `transfer` is empty memory that
    /// [`Answer::Transferred`] counts in; it is kept between requests. `early` answers before the work is done; what
    /// is returned then counts no more.
    fn handle(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        token: &Self::Token,
        transfer: &mut Vec<u8>,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer, i32>;

    /// Answers a request that takes no waiting; false if it is not one, and then it has not been answered. The thread that
    /// reads requests does this: nobody is woken to read the next one.
    fn answers_at_once(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        answer: &mut dyn FnMut(Answer),
    ) -> bool;

    /// The kernel has forgotten `lookups` of its references to `node`. Never answered.
    fn forget(&self, node: u64, lookups: u64);
}

/// One mount at work.
pub(crate) struct Session<H: Handler> {
    channel: Arc<Channel>,
    handler: H,
    in_work: InWork<H::Token>,
    pool: Mutex<Pool<H::Server, Waiting<H::Token>>>,
    ended: Condvar,
    max_readahead: u32,
}

/// A request that waits for a thread, entered as in work already so that an interrupt finds it.
type Waiting<T> = (Vec<u8>, T);

impl<H: Handler> Session<H> {
    /// Starts to serve `channel`, which belongs to a fresh mount.
    pub(crate) fn start(
        channel: Arc<Channel>,
        handler: H,
        max_readahead: u32,
    ) -> io::Result<Arc<Self>> {
        let session = Arc::new(Self {
            channel,
            handler,
            in_work: InWork::new(),
            pool: Mutex::new(Pool::new()),
            ended: Condvar::new(),
            max_readahead,
        });
        let watcher = Arc::clone(&session);
        std::thread::Builder::new()
            .name("mount-watch".into())
            .stack_size(STACK_BYTES)
            .spawn(move || watcher.watch())?;
        spawn_worker(&session)?;
        Ok(session)
    }

    /// Waits until the kernel has closed the mount or [`Self::stop`] was called, and all threads are gone.
    pub(crate) fn wait(&self) {
        let mut pool = self.pool();
        while pool.threads > 0 {
            pool = self
                .ended
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Self::wait`], for `limit` at most: a server may not let go of a request.
    pub(crate) fn wait_for(&self, limit: Duration) {
        let pool = self.pool();
        let waited = self
            .ended
            .wait_timeout_while(pool, limit, |pool| pool.threads > 0);
        if waited.is_ok_and(|(pool, _)| pool.threads > 0) {
            warn!("requests are still in work after the mount has ended");
        }
    }

    /// Ends all threads; requests in work are interrupted. The caller unmounts.
    pub(crate) fn stop(&self) {
        self.channel.stop();
        for token in self.in_work.stop() {
            self.handler.trigger(&token);
        }
    }

    /// The kernel has closed the mount.
    pub(crate) fn is_unmounted(&self) -> bool {
        self.pool().unmounted
    }

    pub(crate) const fn handler(&self) -> &H {
        &self.handler
    }

    /// Requests being answered now.
    pub(crate) fn in_work(&self) -> usize {
        self.in_work.count()
    }

    fn watch(&self) {
        let end = |token: H::Token| self.handler.trigger(&token);
        let abandon = |unique| self.send(unique, Err(rustix::io::Errno::INTR.raw_os_error()), &[]);
        while self.in_work.watch(end, abandon) {}
    }

    /// One worker: listen, answer, listen again. Counted as listening when it begins.
    fn work(self: &Arc<Self>) {
        let mut request = vec![0; REQUEST_BYTES];
        let mut transfer = Vec::new();
        let mut look = None;
        let unmounted = loop {
            let length = match self.channel.receive(&mut request, &mut look) {
                Received::Request(length) => length,
                Received::Idle if self.may_leave() => return,
                Received::Idle => continue,
                Received::Stopped => break false,
                Received::Unmounted => break true,
            };
            let Some(bytes) = request.get(..length) else {
                continue;
            };
            let Some((header, operation)) = self.understood(bytes) else {
                continue;
            };
            if self.answered_at_once(&header, &operation) {
                continue;
            }
            // Others listen while this one works.
            drop(look.take());
            let token = self.enter(&header, &operation);
            let mut server = self.handler.server(&header);
            let asker = match operation.is_waited_for() {
                true => Asker::Program,
                false => Asker::Kernel,
            };
            if !self.stop_listening((server, header.unique), asker, bytes, &token) {
                continue;
            }
            look = self.answer(&header, &operation, &token, &mut transfer);
            loop {
                let next = self.pool().done(server);
                let Some((whose, (bytes, token))) = next else {
                    break;
                };
                server = whose;
                drop(look.take());
                if let Some((header, operation)) = self.understood(&bytes) {
                    look = self.answer(&header, &operation, &token, &mut transfer);
                }
            }
            if !self.listen_again() {
                return;
            }
        };
        let mut pool = self.pool();
        pool.closed = true;
        pool.unmounted |= unmounted;
        pool.listening -= 1;
        pool.threads -= 1;
        drop(pool);
        // Whoever still works on a request of a mount that is gone may stop.
        for token in self.in_work.stop() {
            self.handler.trigger(&token);
        }
        self.channel.stop();
        self.ended.notify_all();
    }

    fn understood<'a>(&self, bytes: &'a [u8]) -> Option<(Header, Operation<'a>)> {
        let parsed = request::parse(bytes).ok();
        if parsed.is_none() {
            warn!(
                length = bytes.len(),
                "the kernel sent a request that cannot be read"
            );
            if let Some(unique) = request::unique_of(bytes) {
                self.send(unique, Err(rustix::io::Errno::IO.raw_os_error()), &[]);
            }
        }
        parsed
    }

    /// Deals with what may not wait for a thread and never blocks.
    fn answered_at_once(&self, header: &Header, operation: &Operation<'_>) -> bool {
        match operation {
            Operation::Interrupt { unique } => {
                let (found, token) = self.in_work.interrupt(*unique, Instant::now());
                if let Some(token) = token {
                    self.handler.trigger(&token);
                }
                if found == Found::Unknown {
                    // The kernel asks again, unless the request has been answered meanwhile.
                    self.send(
                        header.unique,
                        Err(rustix::io::Errno::AGAIN.raw_os_error()),
                        &[],
                    );
                }
            }
            Operation::Forget { lookups } => self.handler.forget(header.node, *lookups),
            Operation::BatchForget { items } => {
                for (node, lookups) in *items {
                    self.handler.forget(node, lookups);
                }
            }
            Operation::Init {
                minor,
                max_readahead,
                flags,
                ..
            } => {
                let answer = self.init(*minor, *max_readahead, *flags);
                self.finish(header.unique, Ok(answer), &[]);
            }
            Operation::Destroy => self.finish(header.unique, Ok(Answer::Empty), &[]),
            _ => return self.answered_from_memory(header, operation),
        }
        true
    }

    fn answered_from_memory(&self, header: &Header, operation: &Operation<'_>) -> bool {
        let mut answered = false;
        let mut answer = |answer| {
            answered = true;
            self.finish(header.unique, Ok(answer), &[]);
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.handler.answers_at_once(header, operation, &mut answer)
        }));
        outcome.unwrap_or_else(|_| {
            error!(opcode = header.opcode, "a request ended in a panic");
            if !answered {
                let errno = rustix::io::Errno::IO.raw_os_error();
                self.finish(header.unique, Err(errno), &[]);
            }
            true
        })
    }

    fn init(&self, minor: u32, max_readahead: u32, offered: u64) -> Answer {
        let flags = offered & WANTED;
        debug!(minor, max_readahead, flags, "FUSE session begins");
        reply::init(&reply::Init {
            minor: minor.min(PROTOCOL_MINOR),
            max_readahead: max_readahead.max(self.max_readahead),
            flags,
            max_background: MAX_BACKGROUND,
            congestion_threshold: MAX_BACKGROUND / 4 * 3,
            max_write: MAX_TRANSFER as u32,
            max_pages: (MAX_TRANSFER / 4096) as u16,
        })
    }

    fn enter(&self, header: &Header, operation: &Operation<'_>) -> H::Token {
        let token = self.handler.token();
        let at_any_signal = self.handler.ends_at_any_signal(header, operation);
        self.in_work
            .enter(header.unique, token.clone(), header.pid, at_any_signal);
        token
    }

    /// Returns the right to look for what is asked next, if this thread has got it.
    fn answer(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        token: &H::Token,
        transfer: &mut Vec<u8>,
    ) -> Option<Look<'_>> {
        // A request that is never answered cannot even be killed, so a bug becomes an error of this one request.
        let mut answered = false;
        let mut look = None;
        // Only a write may go on for long after its answer.
        let ends = !matches!(operation, Operation::Write { .. });
        let mut early = |answer| {
            answered = true;
            look = ends.then(|| self.channel.look()).flatten();
            self.in_work.leave(header.unique);
            self.finish(header.unique, Ok(answer), &[]);
        };
        let answer = catch_unwind(AssertUnwindSafe(|| {
            self.handler
                .handle(header, operation, token, transfer, &mut early)
        }))
        .unwrap_or_else(|_| {
            error!(opcode = header.opcode, "a request ended in a panic");
            Err(rustix::io::Errno::IO.raw_os_error())
        });
        if !answered {
            look = self.channel.look();
            self.in_work.leave(header.unique);
            self.finish(header.unique, answer, transfer);
        }
        look
    }

    fn finish(&self, unique: u64, answer: Result<Answer, i32>, transfer: &[u8]) {
        match answer {
            Ok(Answer::Empty) => self.send(unique, Ok(()), &[]),
            Ok(Answer::Bytes(body)) => self.send(unique, Ok(()), &body),
            Ok(Answer::Transferred(count)) => {
                self.send(unique, Ok(()), transfer.get(..count).unwrap_or_default());
            }
            Err(errno) => self.send(unique, Err(errno), &[]),
        }
    }

    fn send(&self, unique: u64, status: Result<(), i32>, body: &[u8]) {
        let error = status.err().unwrap_or(0);
        let header = reply::header(unique, -error, body.len());
        match self.channel.send(&header, body) {
            Ok(()) => {}
            // The caller is gone, or an interrupted request was answered in its place.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => {}
            Err(errno) => {
                error!(%errno, length = body.len(), "the kernel refused a reply");
                let header = reply::header(unique, -rustix::io::Errno::IO.raw_os_error(), 0);
                let _ = self.channel.send(&header, &[]);
            }
        }
    }

    /// Leaves the listeners to work on `bytes`. False if it has to listen on, because nobody else can or the server has its
    /// share of threads: the request waits then.
    fn stop_listening(
        self: &Arc<Self>,
        (server, unique): (H::Server, u64),
        asker: Asker,
        bytes: &[u8],
        token: &H::Token,
    ) -> bool {
        let turn = self.pool().read(server);
        match turn {
            Turn::Works => return true,
            Turn::WorksReplaced if spawn_worker(self).is_ok() => return true,
            Turn::WorksReplaced => self.pool().not_replaced(server),
            Turn::Listens => {}
        }
        let waiting = (bytes.to_vec(), token.clone());
        if self.pool().wait(server, asker, waiting).is_err() {
            self.in_work.leave(unique);
            self.send(unique, Err(rustix::io::Errno::AGAIN.raw_os_error()), &[]);
        }
        false
    }

    /// Joins the listeners; false if there are enough and this thread ends.
    fn listen_again(&self) -> bool {
        let mut pool = self.pool();
        if pool.closed || pool.listening >= MAX_LISTENING {
            pool.threads -= 1;
            self.ended.notify_all();
            return false;
        }
        pool.listening += 1;
        true
    }

    /// After a time without work: whether this thread ends, because others listen too.
    fn may_leave(&self) -> bool {
        let mut pool = self.pool();
        if pool.listening <= MIN_LISTENING {
            return false;
        }
        pool.listening -= 1;
        pool.threads -= 1;
        self.ended.notify_all();
        true
    }

    fn pool(&self) -> MutexGuard<'_, Pool<H::Server, Waiting<H::Token>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn_worker<H: Handler>(session: &Arc<Session<H>>) -> io::Result<()> {
    let session = Arc::clone(session);
    let builder = std::thread::Builder::new()
        .name("mount".into())
        .stack_size(STACK_BYTES);
    builder.spawn(move || session.work()).map(drop)
}

/// A request: a write of the largest size and its headers.
const REQUEST_BYTES: usize = MAX_TRANSFER + 4096;
const STACK_BYTES: usize = 256 << 10;
/// Threads that listen at most when there is nothing to do; the others end. Making a thread anew costs more than
/// a request, above all the first touch of its buffers, so a burst finds those of the last one.
const MAX_LISTENING: usize = 32;
/// Threads that stay however long there is nothing to do.
const MIN_LISTENING: usize = 2;
/// Reads and writes in flight that a program has not asked for one by one. Beyond it the kernel makes one wait behind those
/// of a server that does not answer, so it is as much as can be said. How much is written back at a time the kernel bounds
/// besides: a hundredth of the memory, for a mount.
const MAX_BACKGROUND: u16 = u16::MAX;
/// Newest minor version of the protocol this side speaks (7.36: second word of flags).
const PROTOCOL_MINOR: u32 = 36;

/// Parallel reads, truncating opens, big writes, listings with attributes where they pay, parallel lookups,
/// 1 MiB requests, page cache dropped when size or mtime change, set-id bits cleared by the server, locks kept by the server.
const WANTED: u64 = ASYNC_READ
    | ATOMIC_TRUNCATE
    | BIG_WRITES
    | AUTO_INVALIDATE
    | READDIRPLUS
    | READDIRPLUS_AUTO
    | ASYNC_DIRECT
    | PARALLEL_LOOKUPS
    | MAX_PAGES
    | HANDLE_KILLPRIV_V2
    | POSIX_LOCKS
    | FLOCK_LOCKS
    | INIT_EXTENDED;

const ASYNC_READ: u64 = 1;
const POSIX_LOCKS: u64 = 1 << 1;
const FLOCK_LOCKS: u64 = 1 << 10;
const ATOMIC_TRUNCATE: u64 = 1 << 3;
const BIG_WRITES: u64 = 1 << 5;
const AUTO_INVALIDATE: u64 = 1 << 12;
const READDIRPLUS: u64 = 1 << 13;
const READDIRPLUS_AUTO: u64 = 1 << 14;
const ASYNC_DIRECT: u64 = 1 << 15;
const PARALLEL_LOOKUPS: u64 = 1 << 18;
const MAX_PAGES: u64 = 1 << 22;
const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
const INIT_EXTENDED: u64 = 1 << 30;
