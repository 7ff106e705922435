//! Changing owner and group.

use abi::credentials::Credentials;
use abi::flags::mode::{S_ISGID, S_ISUID};
use abi::io::Chown;
use abi::{Errno, Result};

use super::access;
use crate::attributes::Fields;
use crate::open_file::OpenFile;
use crate::request::{Answer, ChownRequest};

/// Changes owner and group if the caller may.
#[doc(alias = "iofunc_chown_default")]
pub fn default(file: &OpenFile, chown: ChownRequest) -> Answer {
    let mut fields = file.attributes().lock();
    let allowed = apply(&mut fields, chown.credentials(), chown.arguments());
    drop(fields);
    chown.finish(allowed)
}

/// Changes owner and group of `fields` as `caller` may: only the superuser gives files away, an
/// owner may choose among its own groups. Set-id bits do not survive.
///
/// # Errors
/// EROFS, EPERM.
#[doc(alias = "iofunc_chown")]
pub fn apply(fields: &mut Fields, caller: &Credentials, chown: Chown) -> Result {
    access::check_writable(fields)?;
    access::check_owner(fields, caller)?;
    if !caller.is_root() {
        let gives_away = chown.uid.is_some_and(|uid| uid != fields.uid);
        let foreign = chown
            .gid
            .is_some_and(|gid| !caller.is_member(gid) && gid != fields.gid);
        if gives_away || foreign {
            return Err(Errno::EPERM);
        }
        fields.mode &= !(S_ISUID | S_ISGID);
    }
    fields.uid = chown.uid.unwrap_or(fields.uid);
    fields.gid = chown.gid.unwrap_or(fields.gid);
    fields.stamp_changed();
    Ok(())
}
