//! Waiting for several open files at once, whatever managers and nodes they belong to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::io::{Events, NotifyAction, Request, Watch, Watches};
use abi::limits::WATCHES_MAX;
use abi::{ConnectionId, Decode, Encode, Errno, Result};
use ipc::{ClientKey, Interrupt, SendOptions};

use crate::File;
use crate::carrier::Line;

/// Waits until one of several open files is ready, on whatever managers and nodes (R52).
///
/// There is one message under way for each manager, however many of its files are watched; it is
/// answered when one of them is ready, so nothing is lost and nothing is asked twice. A thread waits for each
/// manager. May be used by several threads. In a forked child every wait runs into its time limit.
///
/// ```no_run
/// use client::{Events, File, OpenFlags, Selector};
///
/// # fn main() -> client::Result<()> {
/// let port = File::open("/net/lab2/dev/ser1", OpenFlags::READ)?;
/// let other = File::open("/net/lab3/dev/ser1", OpenFlags::READ)?;
/// let selector = Selector::new();
/// let first = selector.add(&port, Events::INPUT)?;
/// selector.add(&other, Events::INPUT)?;
/// for (which, events) in selector.wait(None)? {
///     println!("{} {events:?}", if which == first { "lab2" } else { "lab3" });
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "select")]
#[doc(alias = "poll")]
#[doc(alias = "select_attach")]
#[derive(Debug, Default)]
pub struct Selector {
    shared: Arc<Shared>,
}

/// One watched file of a [`Selector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watched(u64);

impl Selector {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches `file` for `events` from now on; errors, hangups and closed files are always told. The file may be added
    /// several times.
    ///
    /// # Errors
    /// `EMFILE` more than [`WATCHES_MAX`] files of one manager, `EAGAIN` no thread can be started, `EBADF` the
    /// file is none that can be watched.
    pub fn add(&self, file: &File, events: Events) -> Result<Watched> {
        let line = file.line();
        let (client, connection) = line.place().ok_or(Errno::EBADF)?;
        let mut state = self.shared.lock();
        state.next += 1;
        let watched = Watched(state.next);
        if let Entry::Vacant(place) = state.servers.entry(client) {
            self.start(client)?;
            place.insert(Server::new(Arc::clone(line)));
        }
        let server = state.servers.get_mut(&client).ok_or(Errno::EBADF)?;
        if server.files.len() >= WATCHES_MAX {
            return Err(Errno::EMFILE);
        }
        let watch = Watch { connection, events };
        server.files.push((watched, watch));
        server.ask_again();
        self.shared.changed.notify_all();
        Ok(watched)
    }

    /// Watches for other events.
    ///
    /// # Errors
    /// `ENOENT` not watched.
    pub fn change(&self, watched: Watched, events: Events) -> Result {
        self.edit(watched, |files, at| {
            if let Some((_, watch)) = files.get_mut(at) {
                watch.events = events;
            }
        })
    }

    /// Watches a file no longer.
    ///
    /// # Errors
    /// `ENOENT` not watched.
    pub fn remove(&self, watched: Watched) -> Result {
        self.edit(watched, |files, at| {
            files.remove(at);
        })
    }

    fn edit(
        &self,
        watched: Watched,
        edit: impl FnOnce(&mut Vec<(Watched, Watch)>, usize),
    ) -> Result {
        let mut state = self.shared.lock();
        for server in state.servers.values_mut() {
            let at = server.files.iter().position(|(key, _)| *key == watched);
            if let Some(at) = at {
                edit(&mut server.files, at);
                server.ready.remove(&watched);
                server.ask_again();
                self.shared.changed.notify_all();
                return Ok(());
            }
        }
        Err(Errno::ENOENT)
    }

    /// Waits until at least one file is ready and tells which, with the events that are true; nothing when `limit` is
    /// over or [`wake`](Self::wake) was called. What is still ready is told again by the next wait. A manager
    /// that is gone makes its files ready with [`Events::ERROR`].
    ///
    /// # Errors
    /// None at present.
    pub fn wait(&self, limit: Option<Duration>) -> Result<Vec<(Watched, Events)>> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.shared.lock();
        state.ask_after_what_was_told();
        self.shared.changed.notify_all();
        loop {
            let ready = state.take_ready();
            let is_woken = std::mem::take(&mut state.woken);
            if !ready.is_empty() || is_woken {
                return Ok(ready);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return Ok(Vec::new()),
                Some(left) => {
                    let waited = self.shared.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.shared.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Ends a wait of another thread, or the next one.
    pub fn wake(&self) {
        self.shared.lock().woken = true;
        self.shared.changed.notify_all();
    }

    fn start(&self, client: ClientKey) -> Result {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("selector".into())
            .spawn(move || shared.watch(client))
            .map_err(|_| Errno::EAGAIN)
            .map(drop)
    }
}

impl Drop for Selector {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for (_, server) in state.servers.drain() {
            server.interrupt.trigger();
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is ready, or to be asked.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    servers: HashMap<ClientKey, Server>,
    next: u64,
    woken: bool,
}

/// One manager, and its files that are watched.
struct Server {
    line: Arc<dyn Line>,
    files: Vec<(Watched, Watch)>,
    ready: HashMap<Watched, Events>,
    /// What the thread of this server is to do, or does.
    asking: Asking,
    interrupt: Interrupt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// Its last answer has not been passed on yet.
    Answered,
    /// Its last answer was passed on; the files may have changed since.
    Told,
    /// The thread is to ask.
    Wanted,
    /// The message is under way.
    UnderWay,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("files", &self.files.len())
            .field("asking", &self.asking)
            .finish_non_exhaustive()
    }
}

impl Server {
    fn new(line: Arc<dyn Line>) -> Self {
        Self {
            line,
            files: Vec::new(),
            ready: HashMap::new(),
            asking: Asking::Wanted,
            interrupt: Interrupt::new(),
        }
    }

    /// What is watched has changed.
    fn ask_again(&mut self) {
        if self.asking == Asking::UnderWay {
            self.interrupt.trigger();
        }
        self.asking = Asking::Wanted;
    }
}

impl State {
    fn ask_after_what_was_told(&mut self) {
        for server in self.servers.values_mut() {
            if server.asking == Asking::Told {
                server.asking = Asking::Wanted;
            }
        }
    }

    fn take_ready(&mut self) -> Vec<(Watched, Events)> {
        let mut ready = Vec::new();
        for server in self.servers.values_mut() {
            if server.asking == Asking::Answered {
                server.asking = Asking::Told;
                ready.extend(server.ready.drain());
            }
        }
        ready.sort_by_key(|(watched, _)| *watched);
        ready
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread of one server: it ends when the server is forgotten.
    fn watch(&self, client: ClientKey) {
        while let Some((line, interrupt, files)) = self.next(client) {
            let list: Vec<Watch> = files.iter().map(|(_, watch)| *watch).collect();
            let answer = ask(line.as_ref(), &list, &interrupt);
            let mut state = self.lock();
            let Some(server) = state.servers.get_mut(&client) else {
                return;
            };
            // Somebody has changed what is watched meanwhile: the answer is to another question.
            if server.asking != Asking::UnderWay {
                continue;
            }
            let keys = files.iter().map(|(watched, _)| *watched);
            server.ready = match answer {
                Ok(events) => keys.zip(events).filter(|(_, e)| !e.is_empty()).collect(),
                Err(_) => keys
                    .map(|key| (key, Events::ERROR | Events::HANGUP))
                    .collect(),
            };
            server.asking = Asking::Answered;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// What to ask, as soon as there is something.
    #[expect(clippy::type_complexity, reason = "used once, and said by its parts")]
    fn next(&self, client: ClientKey) -> Option<(Arc<dyn Line>, Interrupt, Vec<(Watched, Watch)>)> {
        let mut state = self.lock();
        loop {
            // The thread starts a moment before its server is entered, under the same lock.
            let server = state.servers.get_mut(&client)?;
            if server.asking == Asking::Wanted && !server.files.is_empty() {
                server.asking = Asking::UnderWay;
                server.interrupt.reset();
                let (line, interrupt) = (Arc::clone(&server.line), server.interrupt.clone());
                return Some((line, interrupt, server.files.clone()));
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One message about several files of a server; answered when one of them is ready.
fn ask(line: &dyn Line, list: &[Watch], interrupt: &Interrupt) -> Result<Vec<Events>> {
    let bytes = Watches::encode_all(list)?;
    let request = Request::NotifyMany(Watches::new(NotifyAction::Arm, &bytes)?).to_bytes()?;
    let options = SendOptions {
        interrupt: Some(interrupt),
        ..SendOptions::default()
    };
    let mut body = vec![0; list.len() * EVENTS_LEN];
    let mut room = [IoSliceMut::new(&mut body)];
    let reply = line.send(&[IoSlice::new(&request)], &mut room, &options)?;
    if reply.len != body.len() {
        return Err(Errno::EBADMSG);
    }
    body.chunks_exact(EVENTS_LEN)
        .map(|events| Ok(Events::from_bytes(events)?))
        .collect()
}

/// Where a server finds an open file: the client it takes the connection for, and the connection's number.
pub(crate) type Place = (ClientKey, ConnectionId);

/// Bytes of encoded [`Events`].
const EVENTS_LEN: usize = 4;
