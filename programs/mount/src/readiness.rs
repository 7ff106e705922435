//! `poll`, `select` and `epoll`: what a program can do with an open file without waiting.
//!
//! A file of a disk is always ready. A device is asked; where a program wants to sleep until it is ready, a thread waits
//! in its place and has the kernel ask again.

use abi::io::Events;
use abi::{Errno, Result};
use ipc::{Interrupt, SendOptions};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::OpenFile;
use crate::kernel::channel::Channel;
use crate::kernel::{Answer, reply};
use crate::path_space::PathSpace;

/// Who waits until an open file is ready: one thread for each.
pub(crate) struct Watchers {
    watched: Arc<Mutex<HashMap<u64, Watcher>>>,
}

struct Watcher {
    /// What is waited for.
    events: Events,
    /// Ends the wait.
    interrupt: Interrupt,
}

type Watched = HashMap<u64, Watcher>;

impl Watchers {
    pub(crate) fn new() -> Self {
        Self {
            watched: Arc::default(),
        }
    }

    /// The file is closed.
    pub(crate) fn end(&self, handle: u64) {
        if let Some(watcher) = lock(&self.watched).remove(&handle) {
            watcher.interrupt.trigger();
        }
    }

    /// Has a thread wait for `events` of the open file, which then wakes who watches it. Where one waits for the same
    /// already, it will do; one that waits for something else makes room.
    fn start(
        &self,
        handle: u64,
        open: Arc<OpenFile>,
        events: Events,
        wake: impl FnOnce() + Send + 'static,
    ) -> Result {
        let interrupt = Interrupt::new();
        let mut watched = lock(&self.watched);
        let mut wanted = events;
        if let Some(other) = watched.get(&handle) {
            if other.events.contains(events) {
                return Ok(());
            }
            wanted |= other.events;
            other.interrupt.trigger();
        } else if watched.len() >= WATCHERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let watcher = Watcher {
            events: wanted,
            interrupt: interrupt.clone(),
        };
        watched.insert(handle, watcher);
        drop(watched);
        let table = Arc::clone(&self.watched);
        let wait = move || {
            let options = SendOptions {
                interrupt: Some(&interrupt),
                ..SendOptions::default()
            };
            // However the wait ends, the program looks for itself.
            let _ = open.file().wait_for(wanted, &options);
            if !interrupt.is_triggered() {
                lock(&table).remove(&handle);
            }
            wake();
        };
        let builder = std::thread::Builder::new()
            .name("mount-poll".into())
            .stack_size(STACK_BYTES);
        builder.spawn(wait).map(drop).map_err(|_| {
            lock(&self.watched).remove(&handle);
            Errno::EAGAIN
        })
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PathSpace {
    /// `watch` is the kernel's name for the open file if it wants to hear when something of `wanted` is possible.
    pub(crate) fn poll(&self, handle: u64, wanted: u32, watch: Option<u64>) -> Result<Answer> {
        let open = self.files.get(handle).ok_or(Errno::EBADF)?;
        if !open.is_device() {
            return Ok(reply::ready(wanted & (INPUT | OUTPUT)));
        }
        let events = events(wanted);
        let now = match open.file().events(events) {
            // A manager that does not tell never makes its clients wait.
            Err(Errno::ENOSYS) => return Ok(reply::ready(wanted & (INPUT | OUTPUT))),
            now => now?,
        };
        let armed = now & (events | Events::ALWAYS);
        if let (true, Some(watch)) = (armed.is_empty(), watch) {
            let channel: Arc<Channel> = Arc::clone(&self.channel);
            let wake = move || channel.wake(watch);
            self.watchers.start(handle, open, events, wake)?;
        }
        Ok(reply::ready(bits(armed) & (wanted | ALWAYS)))
    }
}

fn events(wanted: u32) -> Events {
    let mut events = Events::empty();
    events.set(Events::INPUT, wanted & INPUT != 0);
    events.set(Events::OUTPUT, wanted & OUTPUT != 0);
    events.set(Events::URGENT, wanted & URGENT != 0);
    events
}

fn bits(events: Events) -> u32 {
    let pairs = [
        (Events::INPUT, INPUT),
        (Events::OUTPUT, OUTPUT),
        (Events::URGENT, URGENT),
        (Events::ERROR, libc::POLLERR as u32),
        (Events::HANGUP, libc::POLLHUP as u32),
        (Events::INVALID, libc::POLLERR as u32),
    ];
    let set = pairs.iter().filter(|(event, _)| events.contains(*event));
    set.fold(0, |all, (_, bit)| all | bit)
}

const INPUT: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
const OUTPUT: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;
const URGENT: u32 = libc::POLLPRI as u32;
const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;

/// Open files that programs sleep on; each is a thread. One more is told EAGAIN, which `poll` shows as an error of the file.
const WATCHERS_MAX: usize = 256;
const STACK_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_kernel_become_ours_and_back() {
        assert_eq!(events(libc::POLLIN as u32), Events::INPUT);
        assert_eq!(events(INPUT | OUTPUT), Events::INPUT | Events::OUTPUT);
        assert_eq!(bits(Events::OUTPUT), OUTPUT);
        assert_eq!(bits(Events::HANGUP), libc::POLLHUP as u32);
    }
}
