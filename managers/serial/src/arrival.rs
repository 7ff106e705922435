//! The coming of a device file, seen without asking again and again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;

/// Readable when something has changed in the directory where a device file is expected.
#[derive(Debug)]
pub(crate) struct Arrival(OwnedFd);

impl Arrival {
    /// Watches for `device`. A directory that is missing itself, as `/dev/serial/by-id` without devices, is
    /// watched for in the nearest one that is there. None for what is no file of this machine.
    pub(crate) fn watch(device: &Path) -> Option<Self> {
        if !device.is_absolute() {
            return None;
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watch = inotify::init(flags).ok()?;
        let changes = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::DELETE_SELF;
        let directories = device.ancestors().skip(1);
        for directory in directories {
            if inotify::add_watch(&watch, directory, changes).is_ok() {
                return Some(Self(watch));
            }
        }
        None
    }
}

impl AsFd for Arrival {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
