//! Files that are closed behind the backs of their programs, which do not wait for it.

use client::{Closing, Directory, File};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Closes under way, the oldest first.
#[derive(Default)]
pub(crate) struct Closings {
    under_way: Mutex<VecDeque<Closing>>,
}

impl Closings {
    /// Has the server close a file.
    pub(crate) fn close(&self, file: File) {
        // Without a server there is nothing to close.
        if let Ok(closing) = file.begin_close() {
            self.add([closing]);
        }
    }

    /// Has its servers close a directory.
    pub(crate) fn close_directory(&self, directory: Directory) {
        if let Ok(closings) = directory.begin_close() {
            self.add(closings);
        }
    }

    /// Waits only for the oldest of too many.
    fn add(&self, closings: impl IntoIterator<Item = Closing>) {
        let mut ended = Vec::new();
        let mut awaited = Vec::new();
        {
            let mut under_way = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            under_way.extend(closings);
            while under_way.front().is_some_and(Closing::is_ended) {
                ended.extend(under_way.pop_front());
            }
            while under_way.len() > UNDER_WAY_MAX {
                awaited.extend(under_way.pop_front());
            }
        }
        for closing in awaited {
            // It is over in any case, and nobody is left to be told.
            let _ = closing.wait();
        }
    }
}

/// Closes that nobody waits for; each has a place among the operations of its session.
const UNDER_WAY_MAX: usize = 16;
