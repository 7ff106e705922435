//! What is said to servers about leases.

use abi::devctl::{DIRECTORY_LEASE, LEASE_BEAT_MS, LEASE_NEWS};
use abi::flags::mode;
use abi::{Candidate, Errno, OpenFlags, Result};
use client::{File, Namespace};
use ipc::SendOptions;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{Held, Server, Shared, Stamp};

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
        let server = server_of(file.server());
        self.hear(server, path, view)?;
        let number = lease_once_heard(file)?;
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
                server,
                number,
                open_to_all: found & 0o004 != 0,
                listed: None,
                missing: Vec::new(),
                names: None,
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
        if self.lock().feeds.contains_key(&server) {
            return Ok(());
        }
        let file = view.open(path, OpenFlags::READ | OpenFlags::DIRECTORY)?;
        if server_of(file.server()) != server {
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
    loop {
        match file.devctl(DIRECTORY_LEASE, ()) {
            Err(Errno::EINVAL) if Instant::now() < deadline => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

/// Hears the news of one server until it is not heard of any more.
fn listen(shared: &Weak<Shared>, server: Server, feed: &File) {
    loop {
        let options = SendOptions {
            deadline: Some(Instant::now() + HEARD_WITHIN),
            ..SendOptions::default()
        };
        let news = feed.devctl_with(LEASE_NEWS, (), &options);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let ended: Vec<u64> = match &news {
            Ok(broken) => {
                let mut state = shared.lock();
                let mut ended = Vec::new();
                for number in &broken.numbers {
                    match state.numbers.get(&(server, *number)) {
                        Some(directory) => ended.push(*directory),
                        None if state.being_made > 0 => {
                            state.ended_early.insert((server, *number));
                        }
                        None => {}
                    }
                }
                ended
            }
            Err(_) => {
                let mut state = shared.lock();
                state.feeds.remove(&server);
                let all = state.numbers.iter();
                all.filter(|((of, _), _)| *of == server)
                    .map(|(_, directory)| *directory)
                    .collect()
            }
        };
        if !ended.is_empty() {
            shared.end(&ended);
        }
        if let Err(errno) = news {
            tracing::debug!(%errno, "no news of leases any more");
            return;
        }
    }
}

fn server_of(candidate: &Candidate) -> Server {
    (
        u32::from(candidate.nd.node()),
        candidate.pid.0,
        candidate.chid.0,
        candidate.handle.0,
    )
}

/// After a refusal.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A server that is silent for so long may be gone: what is leased is not believed any more. Four times its beat.
const HEARD_WITHIN: Duration = Duration::from_millis(4 * LEASE_BEAT_MS);
const STACK_BYTES: usize = 256 << 10;
