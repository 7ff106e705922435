//! Readiness.

use abi::Errno;
use abi::flags::mode;
use abi::io::Events;

use crate::open_file::OpenFile;
use crate::request::{Answer, NotifyRequest};

/// Files and directories are always ready; of anything else only its manager can know, so that is ENOSYS.
pub fn default(file: &OpenFile, notify: NotifyRequest) -> Answer {
    let kind = file.attributes().lock().mode & mode::S_IFMT;
    if !matches!(kind, mode::S_IFREG | mode::S_IFDIR) {
        return notify.fail(Errno::ENOSYS);
    }
    let asked = notify.arguments().events;
    notify.reply(&(asked & (Events::INPUT | Events::OUTPUT)))
}
