//! Locks of ranges and of whole files (LOCK 0x10f).

use abi::io::{Lock, LockCommand, LockKind, LockStyle};
use abi::{Errno, OpenFlags, Result};

use crate::open_file::OpenFile;
use crate::request::{Answer, LockRequest};

/// Keeps the locks in the server: those who wait for one are served in their order, a circle of waits is
/// refused with EDEADLK, and locks vanish with the descriptors and clients they belong to.
///
/// Open files are the same file if they share their [`Attributes`](crate::Attributes) or have the same
/// [identity](crate::Opening::identity). Nobody but clients of the server is kept out.
#[doc(alias = "iofunc_lock_default")]
pub fn default(file: &OpenFile, lock: LockRequest) -> Answer {
    match verify(file, &lock.arguments()) {
        Ok(()) => file.locks().serve(file, lock),
        Err(errno) => lock.fail(errno),
    }
}

/// Whether such a lock may be set through this open: a record lock for reading needs a file that is
/// open for reading, one for writing one that is open for writing.
///
/// # Errors
/// EBADF.
#[doc(alias = "iofunc_lock")]
pub fn verify(file: &OpenFile, lock: &Lock) -> Result {
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    if lock.style == LockStyle::Flock || lock.command == LockCommand::Get {
        return Ok(());
    }
    let may = match lock.range.kind {
        LockKind::Read => file.is_readable(),
        LockKind::Write => file.is_writable(),
        LockKind::Unlock => true,
    };
    if may { Ok(()) } else { Err(Errno::EBADF) }
}
