//! Who may open a port's path: who may open the device, unless its options say otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt;

use abi::flags::mode::PERMISSIONS;
use abi::{Gid, Uid};
use resmgr::Attributes;

use crate::device;
use crate::options::PortOptions;

/// Permissions of what is no file here: every user of this machine may connect to it by TCP.
const REMOTE: u32 = 0o666;

/// Owner, group and permissions of the path. A superuser offers a device as it is; anybody else owns what he offers, also
/// where it was an access control list that let him at the device.
///
/// # Errors
/// What `stat` of the device answers.
pub(crate) fn attributes(options: &PortOptions) -> abi::Result<Attributes> {
    if device::is_remote(&options.device) {
        return Ok(Attributes::device(options.permissions.unwrap_or(REMOTE)));
    }
    let device = fs::metadata(&options.device)?;
    let permissions = options.permissions.unwrap_or(device.mode() & PERMISSIONS);
    let own = rustix::process::geteuid();
    let owner = if own.is_root() {
        device.uid()
    } else {
        own.as_raw()
    };
    Ok(Attributes::device(permissions).owner(Uid(owner), Gid(device.gid())))
}
