//! The request about a lock, and its answer.

// The FUSE protocol is a kernel ABI: fields are in the byte order of the machine.
#![allow(clippy::host_endian_bytes)]

use super::fields::{Fields, Malformed};
use super::reply::Answer;

/// `struct fuse_lk_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileLock {
    pub(crate) handle: u64,
    /// Tells processes (or, for `flock`, open files) apart.
    pub(crate) owner: u64,
    pub(crate) part: LockPart,
    pub(crate) wish: LockWish,
    /// `flock` and not `fcntl`.
    pub(crate) whole: bool,
}

/// `struct fuse_file_lock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockPart {
    pub(crate) start: u64,
    /// The last byte; [`LockPart::END`] or more is the end of the file, wherever that is.
    pub(crate) last: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub(crate) kind: u32,
    pub(crate) pid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockWish {
    Ask,
    Set,
    SetWaiting,
}

impl LockPart {
    /// `OFFSET_MAX` of the kernel.
    pub(crate) const END: u64 = i64::MAX as u64;

    /// `struct fuse_lk_out`.
    pub(crate) fn answer(self) -> Answer {
        let mut body = Vec::with_capacity(24);
        body.extend_from_slice(&self.start.to_ne_bytes());
        body.extend_from_slice(&self.last.to_ne_bytes());
        body.extend_from_slice(&self.kind.to_ne_bytes());
        body.extend_from_slice(&self.pid.to_ne_bytes());
        Answer::Bytes(body)
    }
}

impl FileLock {
    pub(super) fn parse(opcode: u32, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (handle, owner) = (fields.u64()?, fields.u64()?);
        let part = LockPart {
            start: fields.u64()?,
            last: fields.u64()?,
            kind: fields.u32()?,
            pid: fields.u32()?,
        };
        let flags = fields.u32()?;
        let wish = match opcode {
            31 => LockWish::Ask,
            32 => LockWish::Set,
            _ => LockWish::SetWaiting,
        };
        Ok(Self {
            handle,
            owner,
            part,
            wish,
            whole: flags & LOCK_FLOCK != 0,
        })
    }
}

/// `FUSE_LK_FLOCK`.
const LOCK_FLOCK: u32 = 1;
