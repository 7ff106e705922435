//! Opening a path (`R40`).

use abi::{Errno, OpenFlags, Result};

use super::access::{self, READ, WRITE};
use crate::attributes::Fields;
use crate::request::{Answer, OpenRequest};

/// Checks the caller's rights and opens the resource itself; there is nothing below it.
#[doc(alias = "iofunc_open_default")]
pub fn default(open: OpenRequest) -> Answer {
    if !open.path().is_empty() {
        let errno = if open.attributes().lock().is_directory() {
            Errno::ENOENT
        } else {
            Errno::ENOTDIR
        };
        return open.fail(errno);
    }
    match verify(&open) {
        Ok(()) => open.accept(),
        Err(errno) => open.fail(errno),
    }
}

/// Whether the caller may open the prefix itself as it wants to, by its attributes.
///
/// # Errors
/// EEXIST, ENOTDIR, EISDIR, EROFS, EACCES; checked in this order.
#[doc(alias = "iofunc_open")]
pub fn verify(open: &OpenRequest) -> Result {
    check(open, &open.attributes().lock())
}

/// Whether the caller may open what has these attributes, and is there already, as it wants to.
///
/// # Errors
/// As [`verify`].
pub fn check(open: &OpenRequest, fields: &Fields) -> Result {
    let flags = open.flags();
    if flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) {
        return Err(Errno::EEXIST);
    }
    let needs_directory = flags.contains(OpenFlags::DIRECTORY) || open.must_be_directory();
    if needs_directory && !fields.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    if flags.contains(OpenFlags::PATH) {
        return Ok(());
    }
    let writes = flags.contains(OpenFlags::WRITE);
    if writes && fields.is_directory() {
        return Err(Errno::EISDIR);
    }
    if writes {
        access::check_writable(fields)?;
    }
    let mut rights = 0;
    if flags.contains(OpenFlags::READ) {
        rights |= READ;
    }
    if writes {
        rights |= WRITE;
    }
    access::check(fields, open.credentials(), rights)
}
