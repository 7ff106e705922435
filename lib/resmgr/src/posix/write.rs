//! Writing bytes.

use abi::flags::mode::{S_ISGID, S_ISUID};
use abi::{Errno, Result};

use crate::open_file::OpenFile;
use crate::request::{Answer, WriteRequest};

/// Accepts all bytes, forgets them, and notes the time.
#[doc(alias = "iofunc_write_default")]
pub fn default(file: &OpenFile, write: WriteRequest) -> Answer {
    if let Err(errno) = verify(file, &write) {
        return write.fail(errno);
    }
    if !write.is_empty() {
        let mut cursor = file.cursor(write.offset());
        cursor.advance(write.len());
        file.attributes().lock().stamp_written();
    }
    write.accept_all()
}

/// Whether the file may be written through this open. Clears the set-id bits of a file that
/// somebody else than its owner writes.
///
/// # Errors
/// EBADF if it was not opened for writing, EISDIR, EROFS.
#[doc(alias = "iofunc_write_verify")]
pub fn verify(file: &OpenFile, write: &WriteRequest) -> Result {
    if !file.is_writable() {
        return Err(Errno::EBADF);
    }
    let mut fields = file.attributes().lock();
    if fields.is_directory() {
        return Err(Errno::EISDIR);
    }
    super::access::check_writable(&fields)?;
    let caller = write.credentials();
    if !caller.is_root() && caller.uid != fields.uid {
        fields.mode &= !(S_ISUID | S_ISGID);
    }
    Ok(())
}
