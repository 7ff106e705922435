//! A thread that writes what outlives the node, so that the loop never waits for a disk.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use node::Kept;
use rustix::event::{EventfdFlags, eventfd};

use crate::{StartError, event_number, invite_store, rights_store, trust_store};

/// Writes one version after the other; of those that come while one is written, the last one counts. Dropping it waits
/// until that is written.
#[derive(Debug)]
pub(crate) struct TrustKeeper {
    /// Has room for one, and is given one only when the one before is written.
    versions: Option<SyncSender<Kept>>,
    done: OwnedFd,
    thread: Option<JoinHandle<()>>,
    /// The number of the newest version.
    newest: u64,
    /// The version that is being written.
    writing: Option<u64>,
    /// The newest version, if it waits for that.
    next: Option<Kept>,
    written: u64,
}

impl TrustKeeper {
    /// Keeps it in the directory `state`, where `before` is already.
    pub(crate) fn start(state: PathBuf, before: Kept) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| {
            StartError::new(format!("cannot start the thread that keeps trust: {error}"))
        };
        let done = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let (versions, receiver) = sync_channel(1);
        let said = done.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("trust".to_owned())
            .spawn(move || write_all(&state, before, &receiver, &said))
            .map_err(failed)?;
        Ok(Self {
            versions: Some(versions),
            done,
            thread: Some(thread),
            newest: 0,
            writing: None,
            next: None,
            written: 0,
        })
    }

    /// Has a version written. Its number is less than [`Self::written`] or the same when it or a later one is.
    pub(crate) fn keep(&mut self, version: Kept) -> u64 {
        self.newest += 1;
        self.next = Some(version);
        if self.writing.is_none() {
            self.go_on();
        }
        self.newest
    }

    fn go_on(&mut self) {
        if let (Some(versions), Some(next)) = (&self.versions, self.next.take())
            && versions.try_send(next).is_ok()
        {
            self.writing = Some(self.newest);
        }
    }

    /// Readable when a version has been written.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// The number of the newest version that is written.
    pub(crate) fn written(&mut self) -> u64 {
        if event_number::take(&self.done) > 0 {
            self.written = self.writing.take().unwrap_or(self.written);
            self.go_on();
        }
        self.written
    }

    /// Waits until everything is written. Nothing can be kept after that.
    pub(crate) fn finish(&mut self) {
        if let (Some(versions), Some(next)) = (self.versions.take(), self.next.take()) {
            // It fails only if the thread is gone, which has then said why.
            let _ = versions.send(next);
        }
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

fn write_all(state: &Path, before: Kept, versions: &Receiver<Kept>, done: &OwnedFd) {
    let (mut trust, mut invites) = (Some(before.trust), Some(before.invites));
    let mut rights = Some(before.rights);
    for version in versions {
        let said = |what: &str, error: std::io::Error| {
            let place = state.display();
            tracing::error!("cannot keep the list of {what} in {place}: {error}");
        };
        if trust.as_ref() != Some(&version.trust) {
            let outcome = trust_store::save(state, &version.trust);
            trust = outcome.is_ok().then_some(version.trust);
            outcome.unwrap_or_else(|error| said("trusted nodes", error));
        }
        if invites.as_ref() != Some(&version.invites) {
            let outcome = invite_store::save(state, &version.invites);
            invites = outcome.is_ok().then_some(version.invites);
            outcome.unwrap_or_else(|error| said("one-time codes", error));
        }
        if rights.as_ref() != Some(&version.rights) {
            let outcome = rights_store::save(state, &version.rights);
            rights = outcome.is_ok().then_some(version.rights);
            outcome.unwrap_or_else(|error| said("rules", error));
        }
        event_number::put(done, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::{IdentityMap, PublicKey, TrustRecord};

    fn version(number: u16) -> Kept {
        Kept {
            trust: vec![TrustRecord {
                name: abi::NodeName::parse("lab2").unwrap(),
                number,
                key: PublicKey([1; 32]),
                secret: None,
                addresses: vec![],
                identities: IdentityMap::default(),
            }],
            invites: vec![],
            ..Kept::default()
        }
    }

    #[test]
    fn the_last_of_many_versions_is_there_when_the_keeper_ends() {
        let state = tempfile::tempdir().unwrap();
        let mut keeper = TrustKeeper::start(state.path().to_owned(), Kept::default()).unwrap();
        for number in 1..1000 {
            assert_eq!(keeper.keep(version(number)), u64::from(number));
        }
        drop(keeper);
        assert_eq!(trust_store::load(state.path()).unwrap(), version(999).trust);
    }

    #[test]
    fn whoever_waits_for_a_version_learns_that_it_or_a_later_one_is_written() {
        let state = tempfile::tempdir().unwrap();
        let mut keeper = TrustKeeper::start(state.path().to_owned(), Kept::default()).unwrap();
        assert_eq!(keeper.written(), 0);
        for number in 1..50 {
            keeper.keep(version(number));
        }
        while keeper.written() < 49 {
            let mut ready = [rustix::event::PollFd::from_borrowed_fd(
                keeper.descriptor(),
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut ready, None).unwrap();
        }
        assert_eq!(trust_store::load(state.path()).unwrap(), version(49).trust);
    }
}
