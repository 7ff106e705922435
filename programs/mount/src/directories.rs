//! Requests about open directories.

use abi::{Errno, Result};
use client::{Directory, DirectoryEntry, Namespace};
use std::sync::{Mutex, PoisonError};

use crate::attributes;
use crate::kernel::reply::{Entry, Known};
use crate::kernel::{Answer, FileAttributes, Listing, Validity, reply};
use crate::leases::{self, LEASED, Stamp};
use crate::nodes::Identity;
use crate::path_space::{Call, PathSpace};
use std::time::Instant;

/// A directory that some program is listing. What has been read is kept, because the kernel asks again from where
/// its buffer was full, and its offsets are positions in this list.
pub(crate) struct Listed {
    path: Vec<u8>,
    /// The caller that opened it.
    view: Namespace,
    /// What was there before it was opened.
    lease: Option<Stamp>,
    state: Mutex<State>,
}

struct State {
    reader: Option<Directory>,
    entries: Vec<DirectoryEntry>,
    /// When the last piece was asked for.
    read: Instant,
}

impl PathSpace {
    pub(crate) fn open_directory(&self, call: &Call<'_>) -> Result<Answer> {
        let path = self.path(call)?;
        let lease = self.lease(call, call.node, LISTING_WEIGHT);
        let reader = call.view.read_directory(&path)?;
        let state = State {
            reader: Some(reader),
            entries: Vec::new(),
            read: call.begun,
        };
        let listed = Listed {
            path,
            view: call.view.clone(),
            lease,
            state: Mutex::new(state),
        };
        Ok(reply::opened(self.directories.insert(listed), 0))
    }

    pub(crate) fn read_directory(
        &self,
        call: &Call<'_>,
        handle: u64,
        offset: u64,
        wanted: (usize, bool),
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let (room, plus) = wanted;
        let listed = self.directories.get(handle).ok_or(Errno::EBADF)?;
        let mut state = listed.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 && !state.entries.is_empty() {
            // Rewound: what is there now counts.
            let reader = listed.view.read_directory(&listed.path)?;
            *state = State {
                reader: Some(reader),
                entries: Vec::new(),
                read: call.begun,
            };
        }
        let mut listing = Listing::new(room);
        let mut at = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        loop {
            if at < DOTS.len() {
                let name = DOTS[at];
                if !listing.fits(name, plus) {
                    break;
                }
                push(&mut listing, at, (2, 0o040_000, name), plus, None);
            } else {
                if at - DOTS.len() >= state.entries.len() && !state.read_on(call)? {
                    break;
                }
                let Some(entry) = state.entries.get(at - DOTS.len()) else {
                    break;
                };
                if !listing.fits(&entry.name, plus) {
                    break;
                }
                let leased = listed.lease.is_some();
                self.push_entry(call, &mut listing, at, entry, (plus, state.read, leased));
            }
            at += 1;
        }
        if listed.lease.is_none() {
            return Ok(listing.finish());
        }
        // The entries were given the validity of the lease; it must still be there when the kernel gets them.
        let _gate = self.leases.gate();
        if self.leases.holds(listed.lease) {
            early(listing.finish());
            return Ok(Answer::Empty);
        }
        Ok(listing.finish_outdated())
    }

    fn push_entry(
        &self,
        call: &Call<'_>,
        listing: &mut Listing,
        at: usize,
        entry: &DirectoryEntry,
        (plus, read, leased): (bool, Instant, bool),
    ) {
        // The C library takes an entry of number 0 for a deleted one, and the own node's descriptor is 0.
        let ino = match entry.ino {
            0 => UNKNOWN_INO,
            ino => ino,
        };
        let ino = entry.stat.as_ref().map_or(ino, attributes::inode);
        let shown = (
            ino,
            attributes::listed_kind(entry.mode, entry.stat.as_ref()),
            entry.name.as_slice(),
        );
        // A file that is being written has other attributes than the server knows.
        let known = self.nodes.find(call.node, &entry.name);
        let settled = known.is_none_or(|known| self.behind.is_settled(known));
        let Some(stat) = entry.stat.as_ref().filter(|_| plus && settled) else {
            return push(listing, at, shown, plus, None);
        };
        let left = self.fresh.saturating_sub(read.elapsed());
        let node = self.nodes.enter(call.node, &entry.name, Identity::of(stat));
        self.versions.told(node, stat);
        let known = attributes::of(stat);
        let known = Known {
            node,
            attributes: &known,
            validity: Validity {
                entry: if leased { LEASED } else { left },
                attributes: match leased && leases::is_noticed(stat) {
                    true => LEASED,
                    false => left,
                },
            },
        };
        push(listing, at, shown, plus, Some(&known));
    }
}

fn push(
    listing: &mut Listing,
    at: usize,
    (ino, mode, name): (u64, u32, &[u8]),
    plus: bool,
    known: Option<&Known<'_>>,
) {
    let nothing = FileAttributes::default();
    let unknown = Known {
        node: 0,
        attributes: &nothing,
        validity: Validity {
            entry: std::time::Duration::ZERO,
            attributes: std::time::Duration::ZERO,
        },
    };
    let entry = Entry {
        ino,
        next: at as u64 + 1,
        mode,
        name,
    };
    listing.push(&entry, plus.then_some(known.unwrap_or(&unknown)));
}

impl State {
    /// Reads the next piece; false at the end.
    fn read_on(&mut self, call: &Call<'_>) -> Result<bool> {
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        if self.entries.len() >= ENTRIES_MAX {
            return Err(Errno::ENOMEM);
        }
        let begun = Instant::now();
        let more = reader.read_into(&mut self.entries, &call.options())?;
        self.read = begun;
        if !more {
            // The server's directory can be closed already.
            self.reader = None;
        }
        Ok(more)
    }
}

/// A listing is as good as several lookups.
const LISTING_WEIGHT: u32 = 4;

const DOTS: [&[u8]; 2] = [b".", b".."];

/// Entries kept per open directory; about 200 bytes each.
const ENTRIES_MAX: usize = 2_000_000;

/// What FUSE itself lists where no number is known.
const UNKNOWN_INO: u64 = 0xffff_ffff;
