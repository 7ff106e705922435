//! Which threads there are, whose requests they work on, and which requests wait for one.
//!
//! A server that never answers would in time hold every thread. So each server may hold as many threads as are left to the
//! others, and has a queue of its own: one that is stuck gets half of them, a second one half of the rest, and so on. With
//! the places in the queues it is the same, except for what nobody waits for: to refuse a page that the kernel writes back
//! is to lose it. How many of those there are the kernel bounds.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::share::leaves_as_much;

/// `K` tells servers apart, `R` is a request.
#[derive(Debug)]
pub(super) struct Pool<K, R> {
    /// Threads that exist, and how many of them listen to the device.
    pub(super) threads: usize,
    pub(super) listening: usize,
    servers: HashMap<K, Server<R>>,
    waiting: usize,
    /// Those of them that programs wait for.
    wanted: usize,
    /// Threads end instead of listening again.
    pub(super) closed: bool,
    /// The kernel closed the device.
    pub(super) unmounted: bool,
}

/// What one server holds. There is no entry of one that holds nothing.
#[derive(Debug)]
struct Server<R> {
    at_work: usize,
    waiting: VecDeque<(Asker, R)>,
    wanted: usize,
}

/// Who has to do with the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A program waits for it.
    Program,
    /// Nobody does: the kernel writes pages back, or closes.
    Kernel,
}

/// What becomes of the thread that has read a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It works on the request; others listen.
    Works,
    /// The same, after a new thread has been made that listens in its place.
    WorksReplaced,
    /// It listens on.
    Listens,
}

impl<K: Copy + Eq + Hash, R> Pool<K, R> {
    /// With one thread, which listens.
    pub(super) fn new() -> Self {
        Self {
            threads: 1,
            listening: 1,
            servers: HashMap::new(),
            waiting: 0,
            wanted: 0,
            closed: false,
            unmounted: false,
        }
    }

    /// A thread that listens has read a request of `server`. With [`Turn::WorksReplaced`] the caller makes the thread, which
    /// is counted already; with [`Turn::Listens`] the request is to [`wait`](Self::wait).
    pub(super) fn read(&mut self, server: K) -> Turn {
        if !self.may_begin(server, self.threads - self.listening) {
            return Turn::Listens;
        }
        self.begins(server);
        if self.listening > 1 {
            self.listening -= 1;
            return Turn::Works;
        }
        self.threads += 1;
        Turn::WorksReplaced
    }

    /// The thread that was to listen in another one's place could not be made.
    pub(super) fn not_replaced(&mut self, server: K) {
        self.threads -= 1;
        self.ends(server);
    }

    /// Leaves a request to whoever has finished another one, or gives it back if a program asks and too many of its server
    /// wait.
    pub(super) fn wait(&mut self, server: K, asker: Asker, request: R) -> Result<(), R> {
        let known = self.servers.get(&server);
        let own = known.map_or(0, |known| known.wanted);
        let is_wanted = asker == Asker::Program;
        if is_wanted && !leaves_as_much(own + 1, self.wanted + 1, MAX_WAITING) {
            return Err(request);
        }
        let known = self.servers.entry(server).or_default();
        known.waiting.push_back((asker, request));
        known.wanted += usize::from(is_wanted);
        self.wanted += usize::from(is_wanted);
        self.waiting += 1;
        Ok(())
    }

    /// A thread has answered a request of `server`: the next one for it, of the server that holds the fewest threads.
    pub(super) fn done(&mut self, server: K) -> Option<(K, R)> {
        self.ends(server);
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.servers.iter().filter(|(_, s)| !s.waiting.is_empty());
        let (next, _) = waiting.min_by_key(|(_, known)| known.at_work)?;
        let next = *next;
        // The thread that asks is the one that would do it.
        if !self.may_begin(next, self.threads - self.listening - 1) {
            return None;
        }
        let known = self.servers.get_mut(&next)?;
        let (asker, request) = known.waiting.pop_front()?;
        let is_wanted = asker == Asker::Program;
        known.wanted -= usize::from(is_wanted);
        self.wanted -= usize::from(is_wanted);
        self.waiting -= 1;
        self.begins(next);
        Some((next, request))
    }

    /// Whether a server holds fewer threads than are left when one listens.
    fn may_begin(&self, server: K, at_work: usize) -> bool {
        let held = self.servers.get(&server).map_or(0, |known| known.at_work);
        // Those that are left are one more than may work: one listens.
        leaves_as_much(held + 1, at_work + 1, MAX_THREADS)
    }

    fn begins(&mut self, server: K) {
        self.servers.entry(server).or_default().at_work += 1;
    }

    fn ends(&mut self, server: K) {
        let Some(known) = self.servers.get_mut(&server) else {
            return;
        };
        known.at_work -= 1;
        if known.at_work == 0 && known.waiting.is_empty() {
            self.servers.remove(&server);
        }
    }
}

impl<R> Default for Server<R> {
    fn default() -> Self {
        Self {
            at_work: 0,
            waiting: VecDeque::new(),
            wanted: 0,
        }
    }
}

/// Threads at most; each can hold one blocked read of a device.
const MAX_THREADS: usize = 512;
/// Requests of programs that wait for a thread; a server may have as many of them as are left to the others. More are
/// refused with EAGAIN.
const MAX_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Asker = Asker::Program;

    /// As a thread does that has read a request; whether it works on it.
    fn read(pool: &mut Pool<u8, u32>, server: u8) -> bool {
        pool.read(server) != Turn::Listens
    }

    /// As many requests of a server as it may have at work.
    fn fill(pool: &mut Pool<u8, u32>, server: u8) -> usize {
        let mut count = 0;
        while read(pool, server) {
            count += 1;
        }
        count
    }

    #[test]
    fn a_server_that_never_answers_leaves_threads_to_all_others() {
        let mut pool = Pool::new();
        assert_eq!(fill(&mut pool, 1), MAX_THREADS / 2);
        assert_eq!(fill(&mut pool, 2), MAX_THREADS / 4);
        assert_eq!(fill(&mut pool, 3), MAX_THREADS / 8);
        assert!(read(&mut pool, 4));
        assert!(pool.threads <= MAX_THREADS && pool.listening == 1);
    }

    #[test]
    fn somebody_always_listens() {
        let mut pool = Pool::new();
        for server in 0..=u8::MAX {
            fill(&mut pool, server);
            assert_eq!(pool.listening, 1);
            assert!(pool.threads <= MAX_THREADS);
        }
        assert!(!read(&mut pool, 0));
    }

    #[test]
    fn who_waits_gets_the_next_thread_and_nobody_waits_behind_a_stuck_server() {
        let mut pool = Pool::new();
        fill(&mut pool, 1);
        pool.wait(1, PROGRAM, 10).unwrap();
        assert!(read(&mut pool, 2));
        pool.wait(2, PROGRAM, 20).unwrap();
        assert_eq!(pool.done(2), Some((2, 20)), "server 1 has all it may have");
        assert_eq!(pool.done(2), None);
        pool.listening += 1;
        assert_eq!(pool.done(1), Some((1, 10)));
    }

    #[test]
    fn a_server_may_have_as_many_requests_waiting_as_are_left_to_others() {
        let mut pool: Pool<u8, u32> = Pool::new();
        let fill = |pool: &mut Pool<u8, u32>, server| {
            let mut requests = 0..;
            while pool.wait(server, PROGRAM, requests.next().unwrap()).is_ok() {}
            requests.start - 1
        };
        assert_eq!(fill(&mut pool, 1), MAX_WAITING as u32 / 2);
        assert_eq!(fill(&mut pool, 2), MAX_WAITING as u32 / 4);
        assert_eq!(pool.wait(1, PROGRAM, 7), Err(7), "it is given back");
    }

    #[test]
    fn what_nobody_waits_for_is_never_refused_and_takes_no_place_of_others() {
        let mut pool: Pool<u8, u32> = Pool::new();
        fill(&mut pool, 1);
        let many = 10 * MAX_WAITING as u32;
        for request in 0..many {
            pool.wait(1, Asker::Kernel, request).unwrap();
        }
        pool.wait(1, PROGRAM, many).unwrap();
        for request in 0..=many {
            assert_eq!(pool.done(1), Some((1, request)), "in their order");
        }
        assert_eq!((pool.waiting, pool.wanted), (0, 0));
    }

    #[test]
    fn a_thread_that_cannot_be_made_is_not_counted() {
        let mut pool: Pool<u8, u32> = Pool::new();
        assert_eq!(pool.read(1), Turn::WorksReplaced);
        pool.not_replaced(1);
        assert_eq!((pool.threads, pool.listening), (1, 1));
        assert!(pool.servers.is_empty());
    }
}
