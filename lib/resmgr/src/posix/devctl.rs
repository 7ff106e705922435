//! Controls that every open file understands.

use abi::Errno;
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS};

use crate::open_file::OpenFile;
use crate::request::{Answer, DevctlRequest};

/// Tells and changes the flags of the open file; ENOTTY for the rest.
#[doc(alias = "iofunc_devctl_default")]
pub fn default(file: &OpenFile, devctl: DevctlRequest) -> Answer {
    devctl
        .on(ALL_GETFLAGS, |()| Ok(file.flags()))
        .on(ALL_SETFLAGS, |flags| {
            file.set_flags(flags);
            Ok(())
        })
        .otherwise(|devctl| devctl.fail(Errno::ENOTTY))
}
