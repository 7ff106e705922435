//! Changing times.

use abi::credentials::Credentials;
use abi::io::{SetTime, Utime};
use abi::{Errno, Result};

use super::access::{self, WRITE};
use crate::attributes::{Fields, now};
use crate::open_file::OpenFile;
use crate::request::{Answer, SetTimesRequest};

/// Changes the times if the caller may.
#[doc(alias = "iofunc_utime_default")]
pub fn default(file: &OpenFile, times: SetTimesRequest) -> Answer {
    let mut fields = file.attributes().lock();
    let allowed = apply(&mut fields, times.credentials(), times.arguments());
    drop(fields);
    times.finish(allowed)
}

/// Changes the times of `fields` as `caller` may: the owner sets any time, whoever may write sets
/// both to the present.
///
/// # Errors
/// EROFS, EPERM, EACCES.
#[doc(alias = "iofunc_utime")]
pub fn apply(fields: &mut Fields, caller: &Credentials, times: Utime) -> Result {
    access::check_writable(fields)?;
    if access::check_owner(fields, caller).is_err() {
        if times
            != (Utime {
                atime: SetTime::Now,
                mtime: SetTime::Now,
            })
        {
            return Err(Errno::EPERM);
        }
        access::check(fields, caller, WRITE)?;
    }
    for (time, field) in [
        (times.atime, &mut fields.accessed),
        (times.mtime, &mut fields.modified),
    ] {
        match time {
            SetTime::Keep => {}
            SetTime::Now => *field = now(),
            SetTime::At(time) => *field = time,
        }
    }
    fields.stamp_changed();
    Ok(())
}
