//! How far the kernel reads ahead of a program that reads from start to end.
//!
//! Of a near server, what one request brings is enough: what is asked for while a program takes that in keeps everybody
//! busy, and the memory in use stays small enough for the cache of a CPU. Of a far one, that would leave the link idle.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{MAX_TRANSFER, device};

/// The window that the kernel gives to the next file that is opened, if this process may set it.
#[derive(Debug, Default)]
pub(crate) struct Readahead {
    window: OnceLock<Window>,
}

#[derive(Debug)]
struct Window {
    setting: File,
    /// As set last.
    kilobytes: Mutex<usize>,
}

/// The widest window.
pub(crate) const WIDEST: usize = 4 << 20;

impl Readahead {
    /// Sets the window of the file system that is mounted at `point`. Only the superuser may; others keep the kernel's default
    /// of 128 KiB.
    pub(crate) fn attach(&self, point: &Path) {
        match device::readahead_setting(point) {
            Ok(setting) => self.set(setting),
            Err(error) => tracing::debug!(%error, "the readahead window stays at the default"),
        }
    }

    fn set(&self, setting: File) {
        let kilobytes = Mutex::new(0);
        let window = self.window.get_or_init(|| Window { setting, kilobytes });
        window.widen_to(MAX_TRANSFER);
    }

    /// A file is about to be opened whose server took so long to answer. The kernel gives it the window that is set when it
    /// hears of the answer; another file may get it as well, which is no harm.
    pub(crate) fn opening(&self, took: Duration) {
        if let Some(window) = self.window.get() {
            window.widen_to(if took < FAR { MAX_TRANSFER } else { WIDEST });
        }
    }
}

impl Window {
    fn widen_to(&self, bytes: usize) {
        let wanted = bytes >> 10;
        let mut kilobytes = self
            .kilobytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *kilobytes == wanted {
            return;
        }
        match self.setting.write_at(wanted.to_string().as_bytes(), 0) {
            Ok(_) => *kilobytes = wanted,
            Err(error) => tracing::debug!(%error, "the readahead window stays as it is"),
        }
    }
}

/// A server that takes so long for an open is far. A gigabit carries a quarter of a request meanwhile.
const FAR: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[test]
    fn files_of_far_servers_get_a_wider_window_and_the_next_near_one_does_not() {
        let file = File::from(memfd_create("setting", MemfdFlags::CLOEXEC).unwrap());
        let is_set = || {
            let mut text = [0; 4];
            file.read_exact_at(&mut text, 0).unwrap();
            text
        };
        let readahead = Readahead::default();
        readahead.opening(FAR);
        readahead.set(file.try_clone().unwrap());
        assert_eq!(is_set(), *b"1024");
        readahead.opening(FAR);
        assert_eq!(is_set(), *b"4096");
        readahead.opening(FAR / 2);
        assert_eq!(is_set(), *b"1024");
    }
}
