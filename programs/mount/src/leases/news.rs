//! What is said to servers about leases.

use abi::devctl::{DIRECTORY_LEASE, LEASE_BEAT_MS, LEASE_NEWS};
use abi::flags::mode;
use abi::{Errno, OpenFlags, Result};
use client::{Directory as Reader, File, Namespace};
use ipc::SendOptions;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{Held, Shared, Stamp, State};
use crate::server::Server;

impl Shared {
    pub(super) fn lease(
        self: &Arc<Self>,
        directory: u64,
        path: &[u8],
        file: &File,
        view: &Namespace,
    ) -> Result {
        let found = file.opened().mode;
        // What one user is shown others see until it expires, so only where all may look things up.
        if !mode::is_directory(found) || found & 0o001 == 0 {
            return Err(Errno::EACCES);
        }
        let server = Server::of(file.server());
        self.hear(server, path, view)?;
        let number = lease_once_heard(file).inspect_err(|errno| self.shun_for(server, *errno))?;
        self.enter(directory, file, number)
    }

    /// Opens and leases a directory with one exchange where that is likely to do; nothing where it is not.
    ///
    /// # Errors
    /// Those of both, and what speaks against leasing what has been opened.
    pub(super) fn open_leased(
        &self,
        directory: u64,
        path: &[u8],
        view: &Namespace,
    ) -> Result<Option<Reader>> {
        let server = self.nodes.server(directory);
        {
            let state = self.lock();
            let known = state.directories.get(&directory);
            if known.is_none_or(|known| known.is_doubtful) || !state.feeds.contains_key(&server) {
                return Ok(None);
            }
        }
        let view = view.with_time_limit(HEARD_WITHIN);
        let opened = view.read_directory_and_control(path, DIRECTORY_LEASE, ());
        let entered = opened.and_then(|(reader, number)| {
            let file = reader.server().ok_or(Errno::EXDEV)?;
            let found = file.opened().mode;
            if !mode::is_directory(found) || found & 0o001 == 0 {
                return Err(Errno::EXDEV);
            }
            self.enter(directory, file, number)?;
            Ok(reader)
        });
        entered.map(Some).inspect_err(|errno| {
            self.shun_for(server, *errno);
            if *errno == Errno::EXDEV
                && let Some(known) = self.lock().directories.get_mut(&directory)
            {
                known.is_doubtful = true;
            }
        })
    }

    fn shun_for(&self, server: Server, errno: Errno) {
        if matches!(errno, Errno::ETIMEDOUT | Errno::EINVAL) {
            self.lock().shun(server);
        }
    }

    /// Enters a lease that a server has given, of a directory that is open there.
    fn enter(&self, directory: u64, file: &File, number: u64) -> Result {
        let server = Server::of(file.server());
        let found = file.opened().mode;
        let mut state = self.lock();
        if !state.feeds.contains_key(&server) || state.ended_early.contains(&(server, number)) {
            return Err(Errno::ESRCH);
        }
        state.stamps += 1;
        let stamp = state.stamps;
        state.numbers.insert((server, number), directory);
        if let Some(known) = state.directories.get_mut(&directory) {
            known.held = Some(Held {
                stamp,
                since: Instant::now(),
                server,
                number,
                open_to_all: found & 0o004 != 0,
                listed: None,
                missing: Vec::new(),
                names: None,
                told: None,
            });
        }
        Ok(())
    }

    /// What became of an attempt.
    pub(super) fn leased(&self, directory: u64, outcome: Result) -> Option<Stamp> {
        let mut state = self.lock();
        state.being_made -= 1;
        if state.being_made == 0 {
            state.ended_early.clear();
        }
        let known = state.directories.get_mut(&directory)?;
        known.asked = false;
        if let Err(errno) = outcome {
            tracing::debug!(%errno, directory, "no lease");
            let pause = match errno {
                // It has changed at this very moment.
                Errno::ESRCH => super::CHANGED_PAUSE,
                _ => REFUSED_PAUSE,
            };
            known.not_before = Instant::now().checked_add(pause);
            known.lookups = 0;
        }
        state.stamp(directory)
    }

    /// Has a thread listen to the news of a server, if none does. It asks through a file of its own.
    fn hear(self: &Arc<Self>, server: Server, path: &[u8], view: &Namespace) -> Result {
        {
            let state = self.lock();
            if state.feeds.contains_key(&server) {
                return Ok(());
            }
            if state.is_shunned(server) {
                return Err(Errno::EAGAIN);
            }
        }
        let file = view.open(path, OpenFlags::READ | OpenFlags::DIRECTORY)?;
        if Server::of(file.server()) != server {
            return Err(Errno::ESTALE);
        }
        let file = Arc::new(file);
        let mut state = self.lock();
        if state.feeds.contains_key(&server) {
            drop(state);
            return Ok(());
        }
        let (shared, feed) = (Arc::downgrade(self), Arc::clone(&file));
        let builder = std::thread::Builder::new()
            .name("mount-news".into())
            .stack_size(STACK_BYTES);
        builder
            .spawn(move || listen(&shared, server, &feed))
            .map_err(|_| Errno::EAGAIN)?;
        state.feeds.insert(server, file);
        Ok(())
    }
}

/// The server knows a client that asks for news; the first question may still be on its way.
fn lease_once_heard(file: &File) -> Result<u64> {
    let deadline = Instant::now() + HEARD_WITHIN;
    let options = SendOptions {
        deadline: Some(deadline),
        ..SendOptions::default()
    };
    loop {
        match file.devctl_with(DIRECTORY_LEASE, (), &options) {
            Err(Errno::EINVAL) if Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

/// Hears the news of one server until it is not heard of any more, or tells too often what is none.
fn listen(shared: &Weak<Shared>, server: Server, feed: &File) {
    let mut pace = Pace::default();
    loop {
        let asked = Instant::now();
        let options = SendOptions {
            deadline: Some(asked + HEARD_WITHIN),
            ..SendOptions::default()
        };
        let news = feed.devctl_with(LEASE_NEWS, (), &options);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut state = shared.lock();
        let heard = news.and_then(|broken| {
            let ended = state.ended(server, &broken.numbers);
            let is_bearable = pace.bears(asked.elapsed(), !ended.is_empty());
            is_bearable.then_some(ended).ok_or(Errno::EPROTO)
        });
        let ended = match &heard {
            Ok(ended) => ended.clone(),
            Err(errno) => {
                if *errno == Errno::EPROTO {
                    state.shun(server);
                }
                state.feeds.remove(&server);
                state.all_of(server)
            }
        };
        drop(state);
        if !ended.is_empty() {
            shared.end(&ended);
        }
        if let Err(errno) = heard {
            tracing::debug!(%errno, "no news of leases any more");
            return;
        }
    }
}

impl State {
    /// The directories whose leases have these numbers. A lease that is being made may have ended already.
    fn ended(&mut self, server: Server, numbers: &[u64]) -> Vec<u64> {
        let mut ended = Vec::new();
        for number in numbers {
            match self.numbers.get(&(server, *number)) {
                Some(directory) => ended.push(*directory),
                None if self.being_made > 0 => {
                    self.ended_early.insert((server, *number));
                }
                None => {}
            }
        }
        ended
    }

    fn all_of(&self, server: Server) -> Vec<u64> {
        let all = self.numbers.iter();
        all.filter(|((of, _), _)| *of == server)
            .map(|(_, directory)| *directory)
            .collect()
    }

    /// Asks a server that keeps nothing of what it promises for no leases for a while.
    fn shun(&mut self, server: Server) {
        let now = Instant::now();
        self.shunned.retain(|_, until| *until > now);
        if self.shunned.len() >= SHUNNED_MAX {
            self.shunned.clear();
        }
        self.shunned.insert(server, now + REFUSED_PAUSE);
    }

    fn is_shunned(&self, server: Server) -> bool {
        self.shunned
            .get(&server)
            .is_some_and(|until| *until > Instant::now())
    }
}

/// How often a server has answered before its time with nothing that is news here.
#[derive(Default)]
struct Pace {
    hasty: u32,
}

impl Pace {
    /// Whether a server may go on that has let wait so long for its last answer.
    fn bears(&mut self, waited: Duration, was_news: bool) -> bool {
        match was_news || waited >= HEARD_WITHIN / 8 {
            true => self.hasty = 0,
            false => self.hasty += 1,
        }
        self.hasty <= HASTY_MAX
    }
}

/// After a refusal.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A server that is silent for so long may be gone: what is leased is not believed any more. Four times its beat.
const HEARD_WITHIN: Duration = Duration::from_millis(4 * LEASE_BEAT_MS);
const STACK_BYTES: usize = 256 << 10;
/// Answers in a row without news and before their time. A server that is in order has some if leases end at both sides at once.
const HASTY_MAX: u32 = 64;
/// Servers that are shunned.
const SHUNNED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_nothing_in_time_and_news_at_any_time_but_not_nothing_all_the_time() {
        let (at_once, in_time) = (Duration::ZERO, Duration::from_millis(LEASE_BEAT_MS));
        let mut pace = Pace::default();
        for _ in 0..2 * HASTY_MAX {
            assert!(pace.bears(at_once, true) && pace.bears(in_time, false));
        }
        for _ in 0..HASTY_MAX {
            assert!(pace.bears(at_once, false));
        }
        assert!(!pace.bears(at_once, false));
    }
}
