//! A thread that writes the list of trusted nodes, so that the loop never waits for a disk.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use node::TrustRecord;
use rustix::event::{EventfdFlags, eventfd};

use crate::{StartError, event_number, trust_store};

/// Writes lists one after the other. Dropping it waits until the last one is written.
#[derive(Debug)]
pub(crate) struct TrustKeeper {
    lists: Option<Sender<Vec<TrustRecord>>>,
    done: OwnedFd,
    thread: Option<JoinHandle<()>>,
    /// Lists that are not written yet.
    under_way: u64,
}

impl TrustKeeper {
    /// Keeps lists in the directory `state`.
    pub(crate) fn start(state: PathBuf) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| {
            StartError::new(format!("cannot start the thread that keeps trust: {error}"))
        };
        let done = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let (lists, receiver) = channel();
        let said = done.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("trust".to_owned())
            .spawn(move || write_all(&state, &receiver, &said))
            .map_err(failed)?;
        Ok(Self {
            lists: Some(lists),
            done,
            thread: Some(thread),
            under_way: 0,
        })
    }

    /// Has a list written.
    pub(crate) fn keep(&mut self, list: Vec<TrustRecord>) {
        if let Some(lists) = &self.lists
            && lists.send(list).is_ok()
        {
            self.under_way += 1;
        }
    }

    /// Whether a list is still on its way to the disk.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Readable when one has been written.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Takes note of what has been written.
    pub(crate) fn written(&mut self) {
        self.under_way = self
            .under_way
            .saturating_sub(event_number::take(&self.done));
    }

    /// Waits until everything is written. Nothing can be kept after that.
    pub(crate) fn finish(&mut self) {
        self.lists = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for TrustKeeper {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write_all(state: &std::path::Path, lists: &Receiver<Vec<TrustRecord>>, done: &OwnedFd) {
    for list in lists {
        if let Err(error) = trust_store::save(state, &list) {
            tracing::error!(
                "cannot keep the list of trusted nodes in {}: {error}",
                state.display()
            );
        }
        event_number::put(done, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_kept_is_there_when_the_keeper_ends() {
        let state = tempfile::tempdir().unwrap();
        let mut keeper = TrustKeeper::start(state.path().to_owned()).unwrap();
        assert!(!keeper.is_busy());
        keeper.keep(Vec::new());
        keeper.keep(Vec::new());
        assert!(keeper.is_busy());
        drop(keeper);
        assert!(trust_store::load(state.path()).unwrap().is_empty());
        assert!(state.path().join(trust_store::FILE_NAME).exists());
    }
}
