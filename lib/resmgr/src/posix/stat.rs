//! Telling attributes.

use abi::Nd;
use abi::io::{Stat, TimeSpec};

use crate::attributes::Fields;
use crate::open_file::OpenFile;
use crate::request::{Answer, StatRequest};

/// Answers with the attributes.
#[doc(alias = "iofunc_stat_default")]
pub fn default(file: &OpenFile, stat: StatRequest) -> Answer {
    let reply = of(&file.attributes().lock());
    stat.reply(&reply)
}

/// The attributes as the protocol carries them.
#[doc(alias = "iofunc_stat")]
#[must_use]
pub fn of(fields: &Fields) -> Stat {
    Stat {
        node: Nd::LOCAL,
        dev: 0,
        ino: fields.inode,
        mode: fields.mode,
        nlink: fields.links,
        uid: fields.uid,
        gid: fields.gid,
        rdev: fields.device,
        size: fields.size,
        block_size: 4096,
        blocks: fields.size.div_ceil(512),
        atime: fields.accessed,
        mtime: fields.modified,
        ctime: fields.changed,
        btime: TimeSpec::default(),
    }
}
