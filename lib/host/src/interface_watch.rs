//! A thread that keeps the list of interfaces up to date, so that nobody else waits for the kernel's locks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::event_number;
use crate::interfaces::Interfaces;
use crate::netlink::Netlink;

/// After the kernel refused to tell, before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the list is begun at the start before whoever starts the node is told.
const OPENS_MAX: u32 = 16;

/// Who gives an interface another address takes the old one away first. What is in between is not worth a socket.
const BETWEEN: Duration = Duration::from_millis(50);

/// A switch may forward a moment later than the carrier is there. The kernel's question for a neighbour's hardware address,
/// asked by the first packet, is lost then, and it asks again only after a second.
const ROUSING: Duration = Duration::from_millis(25);

/// The list of interfaces, kept by a thread. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct InterfaceWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The newest list, until somebody takes it.
    list: Mutex<Option<Interfaces>>,
    news: OwnedFd,
    stop: OwnedFd,
}

impl InterfaceWatch {
    /// Lists the interfaces, and keeps watching. Blocks until the kernel has answered once.
    pub(crate) fn start() -> io::Result<(Self, Interfaces)> {
        let (netlink, interfaces) = opened(Netlink::open)?;
        let shared = Arc::new(Shared {
            list: Mutex::new(None),
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let (theirs, known) = (Arc::clone(&shared), interfaces.clone());
        let thread = std::thread::Builder::new()
            .name("interfaces".to_owned())
            .spawn(move || theirs.watch(netlink, known))?;
        let watch = Self {
            shared,
            thread: Some(thread),
        };
        Ok((watch, interfaces))
    }

    /// Readable when there is a new list.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// The newest list, if it has not been taken yet.
    pub(crate) fn take(&self) -> Option<Interfaces> {
        event_number::take(&self.shared.news);
        let mut list = self.shared.list.lock();
        let list = list.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut());
        list.take()
    }
}

/// Interfaces that change faster than their list is read overflow the kernel's buffer: that is no reason not to start.
fn opened<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let is_overflow = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
    for _ in 1..OPENS_MAX {
        match open() {
            Err(error) if is_overflow(&error) => {
                tracing::debug!("interfaces are listed anew: {error}");
            }
            outcome => return outcome,
        }
    }
    open()
}

impl Drop for InterfaceWatch {
    fn drop(&mut self) {
        event_number::put(&self.shared.stop, 1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn watch(&self, mut netlink: Netlink, mut interfaces: Interfaces) {
        loop {
            match self.wait(Some(&netlink), None) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!("changes of interfaces are not seen any more: {error}");
                    return;
                }
            }
            let before = interfaces.clone();
            if let Err(error) = self.read(&mut netlink, &mut interfaces) {
                tracing::debug!("news of interfaces were lost, so they are listed anew: {error}");
                let Some(again) = self.open_again() else {
                    return;
                };
                (netlink, interfaces) = again;
            }
            if interfaces != before {
                self.publish(interfaces.clone());
            }
        }
    }

    /// Takes the news; if an interface has just lost an address, waits a moment for the next one, and if one has come up,
    /// until packets pass.
    fn read(&self, netlink: &mut Netlink, interfaces: &mut Interfaces) -> io::Result<()> {
        let before = interfaces.clone();
        let began = Instant::now();
        loop {
            netlink.read(interfaces)?;
            let pause = if interfaces.only_lost_addresses(&before) {
                BETWEEN
            } else if interfaces.only_came_up(&before) {
                ROUSING
            } else {
                return Ok(());
            };
            let left = pause.saturating_sub(began.elapsed());
            if left.is_zero() || self.wait(Some(netlink), Some(left))? {
                return Ok(());
            }
        }
    }

    /// `None` if this is to stop.
    fn open_again(&self) -> Option<(Netlink, Interfaces)> {
        loop {
            match Netlink::open() {
                Ok(opened) => return Some(opened),
                Err(error) => tracing::warn!("the interfaces cannot be listed: {error}"),
            }
            if self.wait(None, Some(PAUSE)).unwrap_or(true) {
                return None;
            }
        }
    }

    fn publish(&self, interfaces: Interfaces) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(interfaces);
        event_number::put(&self.news, 1);
    }

    /// Waits for news, or for the time. True if this is to stop.
    fn wait(&self, netlink: Option<&Netlink>, time: Option<Duration>) -> io::Result<bool> {
        let mut waits = vec![PollFd::new(&self.stop, PollFlags::IN)];
        let news = netlink.map(Netlink::descriptor);
        waits.extend(news.map(|news| PollFd::from_borrowed_fd(news, PollFlags::IN)));
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut waits, time.as_ref()) {
            Ok(_) => Ok(!waits[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_list_that_overflows_is_begun_anew_and_other_errors_are_told() {
        let fails = |times: u32, number: i32| {
            let calls = Cell::new(0);
            let open = || {
                calls.set(calls.get() + 1);
                if calls.get() <= times {
                    Err(io::Error::from_raw_os_error(number))
                } else {
                    Ok(())
                }
            };
            (opened(open).is_ok(), calls.get())
        };
        assert_eq!(fails(3, libc::ENOBUFS), (true, 4));
        assert_eq!(fails(u32::MAX, libc::ENOBUFS), (false, OPENS_MAX));
        assert_eq!(fails(3, libc::EMFILE), (false, 1));
    }
}
