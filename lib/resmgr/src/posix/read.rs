//! Reading bytes.

use abi::{Errno, Result};

use crate::open_file::OpenFile;
use crate::request::{Answer, ReadRequest};

/// Is at the end of the file.
#[doc(alias = "iofunc_read_default")]
pub fn default(file: &OpenFile, read: ReadRequest) -> Answer {
    match verify(file, &read) {
        Ok(()) => read.data(&[]),
        Err(errno) => read.fail(errno),
    }
}

/// Whether the file may be read through this open.
///
/// # Errors
/// EISDIR for a directory, EBADF if it was not opened for reading.
#[doc(alias = "iofunc_read_verify")]
pub fn verify(file: &OpenFile, _read: &ReadRequest) -> Result {
    if !file.is_readable() {
        return Err(Errno::EBADF);
    }
    if file.attributes().lock().is_directory() {
        return Err(Errno::EISDIR);
    }
    Ok(())
}
