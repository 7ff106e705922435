//! The attributes of leased directories, learnt by listing the directory above: one exchange for all of them instead of one for
//! each.
//!
//! A lease of a directory tells of changes of its own attributes, so these may be believed for long if they were asked for
//! under it. They also end with the lease of the directory above, through which the mount's own changes of them are noticed.

use abi::Result;
use client::{DirectoryEntry, Namespace};
use ipc::SendOptions;
use std::time::Instant;

use super::told::Listing;
use super::{Leases, PIECES_LEARNT, Stamp};

impl Leases {
    /// A listing of the directory above that was asked for under the lease of this one, if there is one.
    pub(crate) fn told_beside(&self, directory: u64, above: u64) -> Option<Listing> {
        let listing = self.told(above)?;
        let state = self.shared.lock();
        let known = state.directories.get(&directory)?;
        let is_older = known.held.as_ref()?.since < listing.asked;
        is_older.then_some(listing)
    }

    /// Whether the lease is the one that it was, and this mount has changed nothing in the directory since then. Only under the
    /// gate does the answer hold.
    pub(crate) fn is_unchanged_since(&self, own: Stamp, asked: Instant) -> bool {
        let state = self.shared.lock();
        state.own_changes(own).is_some_and(|own| {
            let is_older = own.changed.is_none_or(|changed| changed < asked);
            is_older && own.under_way.is_empty()
        })
    }

    /// Somebody asks for the attributes of a leased directory in this one. Lists this one anew, if others were asked for since
    /// it was listed last and it is not long.
    pub(crate) fn tell_beside(&self, above: u64, view: &Namespace) {
        let Some(stamp) = self.shared.lock().wants_anew(above) else {
            return;
        };
        if let Err(errno) = self.list_anew(stamp, view) {
            tracing::debug!(%errno, directory = above, "not listed anew");
        }
        self.shared.lock().listed_anew(above);
    }

    fn list_anew(&self, stamp: Stamp, view: &Namespace) -> Result {
        let Some(path) = self.shared.nodes.path(stamp.directory) else {
            return Ok(());
        };
        let asked = Instant::now();
        let mut reader = view.read_directory(&path)?;
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        for _ in 0..PIECES_LEARNT {
            if !reader.is_at_end() {
                reader.read_into(&mut entries, &SendOptions::default())?;
            }
        }
        if reader.is_at_end() {
            self.tells(stamp, asked, entries);
        }
        self.shared.closings.close_directory(reader);
        Ok(())
    }
}
