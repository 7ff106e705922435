//! Facts about open files, and limits.

use abi::Errno;
use abi::io::{Info, Pathconf};
use abi::limits::{NAME_MAX, PATH_MAX};

use crate::open_file::OpenFile;
use crate::request::{Answer, InfoRequest, PathconfRequest};

/// Tells flags, offset and attributes of the open file.
#[doc(alias = "iofunc_fdinfo_default")]
pub fn default(file: &OpenFile, info: InfoRequest) -> Answer {
    let offset = *file.offset();
    let fields = file.attributes().lock();
    let reply = Info {
        flags: file.flags(),
        mode: fields.mode,
        offset,
        size: fields.size,
        connections: file.connections(),
    };
    drop(fields);
    info.reply(&reply)
}

/// Tells the limits of this protocol; EINVAL for what only a manager can know.
#[doc(alias = "iofunc_pathconf_default")]
pub fn pathconf(_file: &OpenFile, pathconf: PathconfRequest) -> Answer {
    let value = match pathconf.arguments() {
        Pathconf::NameMax => NAME_MAX as i64,
        Pathconf::PathMax | Pathconf::SymlinkMax => PATH_MAX as i64,
        Pathconf::ChownRestricted | Pathconf::NoTrunc | Pathconf::SyncIo => 1,
        Pathconf::FileSizeBits => 64,
        Pathconf::Vdisable => 0,
        Pathconf::LinkMax | Pathconf::MaxCanon | Pathconf::MaxInput | Pathconf::PipeBuf => {
            return pathconf.fail(Errno::EINVAL);
        }
    };
    pathconf.reply(&value)
}
