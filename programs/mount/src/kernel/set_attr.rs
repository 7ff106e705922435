//! The request to change attributes.

use super::fields::{Fields, Malformed};

/// Which attributes to change; `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetAttr {
    pub(crate) handle: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) accessed: Option<When>,
    pub(crate) modified: Option<When>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    At { seconds: i64, nanoseconds: u32 },
}

impl SetAttr {
    /// `struct fuse_setattr_in`.
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let valid = fields.u32()?;
        fields.u32()?;
        let (handle, size, _owner) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (atime, mtime, _ctime) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (atime_ns, mtime_ns, _ctime_ns) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let mode = fields.u32()?;
        fields.u32()?;
        let (uid, gid) = (fields.u32()?, fields.u32()?);
        let has = |bit: u32| valid & (1 << bit) != 0;
        let when = |set: u32, now: u32, seconds: u64, nanoseconds: u32| match (has(set), has(now)) {
            (false, _) => None,
            (true, true) => Some(When::Now),
            (true, false) => Some(When::At {
                seconds: seconds.cast_signed(),
                nanoseconds,
            }),
        };
        Ok(Self {
            mode: has(0).then_some(mode),
            uid: has(1).then_some(uid),
            gid: has(2).then_some(gid),
            size: has(3).then_some(size),
            accessed: when(4, 7, atime, atime_ns),
            modified: when(5, 8, mtime, mtime_ns),
            handle: has(6).then_some(handle),
        })
    }
}
