//! What the kernel was last told of each file, to know whether its cached pages still hold when the file is opened again.
//!
//! Two changes within one tick of the server's clock may leave the same times behind. So a file counts as unchanged only
//! if it looked the same when the clock had moved on for sure.

use abi::io::{Stat, TimeSpec};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// By the kernel's numbers.
pub(crate) struct Versions {
    known: Mutex<HashMap<u64, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    version: Version,
    /// When it was seen first.
    since: Instant,
    /// Pages read since then are of this version.
    settled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    size: u64,
    modified: TimeSpec,
    changed: TimeSpec,
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            size: stat.size,
            modified: stat.mtime,
            changed: stat.ctime,
        }
    }
}

/// What a look at a file says about what the kernel has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Attributes and pages hold.
    Unchanged,
    /// Attributes hold; pages may be of the moment before.
    Unsettled,
    Changed,
}

impl Versions {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The kernel is told these attributes.
    pub(crate) fn told(&self, node: u64, stat: &Stat) {
        self.note(node, stat, Instant::now());
    }

    /// The file is opened and looks like this.
    pub(crate) fn opened(&self, node: u64, stat: &Stat) -> Found {
        let now = Instant::now();
        let found = self.note(node, stat, now);
        if found == Found::Unsettled
            && let Some(known) = self.lock().get_mut(&node)
            && now.duration_since(known.since) > TICK
        {
            // This open drops the pages; those read from now on are of no older version.
            known.settled = true;
        }
        found
    }

    pub(crate) fn forget(&self, node: u64) {
        self.lock().remove(&node);
    }

    fn note(&self, node: u64, stat: &Stat, now: Instant) -> Found {
        let version = Version::of(stat);
        let mut known = self.lock();
        match known.get(&node) {
            Some(known) if known.version == version && known.settled => Found::Unchanged,
            Some(known) if known.version == version => Found::Unsettled,
            _ => {
                let fresh = Known {
                    version,
                    since: now,
                    settled: false,
                };
                known.insert(node, fresh);
                Found::Changed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer than a tick of any server's clock for file times (10 ms where the kernel counts 100 in a second).
const TICK: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_unchanged_only_when_it_has_looked_so_for_a_tick() {
        let versions = Versions::new();
        let stat = |size| Stat {
            size,
            ..Stat::default()
        };
        assert_eq!(versions.opened(5, &stat(1)), Found::Changed);
        if let Some(known) = versions.lock().get_mut(&5) {
            known.since = known.since.checked_sub(2 * TICK).unwrap();
        }
        assert_eq!(versions.opened(5, &stat(1)), Found::Unsettled);
        assert_eq!(versions.opened(5, &stat(1)), Found::Unchanged);
        versions.told(5, &stat(2));
        assert_eq!(versions.opened(5, &stat(2)), Found::Unsettled);
        versions.forget(5);
        assert_eq!(versions.opened(5, &stat(2)), Found::Changed);
    }
}
