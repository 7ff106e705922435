//! Changing permission bits.

use abi::credentials::Credentials;
use abi::flags::mode::{PERMISSIONS, S_ISGID, S_ISVTX};
use abi::{Errno, Result};

use super::access;
use crate::attributes::Fields;
use crate::open_file::OpenFile;
use crate::request::{Answer, ChmodRequest};

/// Changes the bits if the caller may.
#[doc(alias = "iofunc_chmod_default")]
pub fn default(file: &OpenFile, chmod: ChmodRequest) -> Answer {
    let mut fields = file.attributes().lock();
    let allowed = apply(&mut fields, chmod.credentials(), chmod.permissions());
    drop(fields);
    chmod.finish(allowed)
}

/// Changes the bits of `fields` as `caller` may: the owner and the superuser; set-gid only by
/// members of the group, sticky on files only by the superuser.
///
/// # Errors
/// EROFS, EPERM.
#[doc(alias = "iofunc_chmod")]
pub fn apply(fields: &mut Fields, caller: &Credentials, permissions: u32) -> Result {
    access::check_writable(fields)?;
    access::check_owner(fields, caller)?;
    let mut permissions = permissions & PERMISSIONS;
    if !caller.is_root() {
        if !fields.is_directory() && permissions & S_ISVTX != 0 {
            return Err(Errno::EPERM);
        }
        if !caller.is_member(fields.gid) {
            permissions &= !S_ISGID;
        }
    }
    fields.mode = fields.mode & !PERMISSIONS | permissions;
    fields.stamp_changed();
    Ok(())
}
