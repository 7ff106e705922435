//! Requests as the kernel writes them to `/dev/fuse` (`include/uapi/linux/fuse.h`, protocol 7.31 and later).
//!
//! The bytes come from the kernel, yet they are parsed like any outside bytes: a short body is an error.

mod nature;
#[cfg(test)]
mod tests;

use super::fields::Fields;
pub(crate) use super::fields::Malformed;
pub(crate) use super::file_lock::{FileLock, LockPart, LockWish};
pub(crate) use super::set_attr::{SetAttr, When};

/// The fixed start of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    /// Number of the request; an interrupt names it.
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Thread that made the call, 0 when it is not visible from here (or the kernel itself).
    pub(crate) pid: u32,
}

/// What a request asks for, borrowed from the bytes read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u64,
    },
    Destroy,
    Interrupt {
        unique: u64,
    },
    Forget {
        lookups: u64,
    },
    BatchForget {
        items: Forgets<'a>,
    },
    Lookup {
        name: &'a [u8],
    },
    GetAttr {
        handle: Option<u64>,
    },
    SetAttr(SetAttr),
    ReadLink,
    SymLink {
        name: &'a [u8],
        target: &'a [u8],
    },
    MkNod {
        name: &'a [u8],
        mode: u32,
        rdev: u32,
    },
    MkDir {
        name: &'a [u8],
        mode: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    RmDir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        new_parent: u64,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        node: u64,
        new_name: &'a [u8],
    },
    Open {
        flags: u32,
    },
    Create {
        name: &'a [u8],
        flags: u32,
        mode: u32,
    },
    Read {
        handle: u64,
        offset: u64,
        size: u32,
        flags: u32,
    },
    Write {
        handle: u64,
        offset: u64,
        flags: u32,
        /// Of pages that programs have changed in memory.
        from_cache: bool,
        data: &'a [u8],
    },
    StatFs,
    Release {
        handle: u64,
    },
    /// Asks about, sets or clears a lock.
    Lock(FileLock),
    /// Asks what can be done without waiting; `notify` wants to be told when that changes.
    Poll {
        handle: u64,
        /// The kernel's name for the open file.
        watch: u64,
        events: u32,
        notify: bool,
    },
    FSync {
        handle: u64,
        data_only: bool,
    },
    /// A descriptor is closed, and with it the record locks of its owner.
    Flush {
        handle: u64,
        owner: u64,
    },
    OpenDir,
    ReadDir {
        handle: u64,
        offset: u64,
        size: u32,
        plus: bool,
    },
    ReleaseDir {
        handle: u64,
    },
    FSyncDir,
    SetXattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
    },
    GetXattr {
        name: &'a [u8],
        size: u32,
    },
    ListXattr {
        size: u32,
    },
    RemoveXattr {
        name: &'a [u8],
    },
    Access {
        mask: u32,
    },
    Fallocate {
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    LSeek {
        handle: u64,
        offset: u64,
        whence: u32,
    },
    Unknown,
}

/// The nodes of a batch forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    /// Node and how many lookups of it to forget.
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut fields = Fields::new(self.0);
        let item = (fields.u64().ok()?, fields.u64().ok()?);
        self.0 = fields.rest();
        Some(item)
    }
}

/// The number of a request that cannot be read otherwise, so that it can be refused.
pub(crate) fn unique_of(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(bytes);
    fields.u64().ok()?;
    fields.u64().ok()
}

/// Splits one request as read from the device.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Header, Operation<'_>), Malformed> {
    let mut fields = Fields::new(bytes);
    let length = fields.u32()? as usize;
    let header = Header {
        opcode: fields.u32()?,
        unique: fields.u64()?,
        node: fields.u64()?,
        uid: fields.u32()?,
        gid: fields.u32()?,
        pid: fields.u32()?,
    };
    fields.u32()?;
    if length != bytes.len() {
        return Err(Malformed);
    }
    let operation = match header.opcode {
        1..=14 => names(header.opcode, &mut fields)?,
        15..=35 => files(header.opcode, &mut fields)?,
        _ => others(header.opcode, &mut fields)?,
    };
    Ok((header, operation))
}

fn names<'a>(opcode: u32, fields: &mut Fields<'a>) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        1 => Operation::Lookup {
            name: fields.text()?,
        },
        2 => Operation::Forget {
            lookups: fields.u64()?,
        },
        3 => {
            let flags = fields.u32()?;
            fields.u32()?;
            let handle = fields.u64()?;
            Operation::GetAttr {
                handle: (flags & GETATTR_HANDLE != 0).then_some(handle),
            }
        }
        4 => Operation::SetAttr(SetAttr::parse(fields)?),
        5 => Operation::ReadLink,
        6 => Operation::SymLink {
            name: fields.text()?,
            target: fields.text()?,
        },
        8 => {
            let (mode, rdev) = (fields.u32()?, fields.u32()?);
            fields.u64()?;
            Operation::MkNod {
                name: fields.text()?,
                mode,
                rdev,
            }
        }
        9 => {
            let mode = fields.u32()?;
            fields.u32()?;
            Operation::MkDir {
                name: fields.text()?,
                mode,
            }
        }
        10 => Operation::Unlink {
            name: fields.text()?,
        },
        11 => Operation::RmDir {
            name: fields.text()?,
        },
        12 => {
            let new_parent = fields.u64()?;
            Operation::Rename {
                name: fields.text()?,
                new_parent,
                new_name: fields.text()?,
                flags: 0,
            }
        }
        13 => Operation::Link {
            node: fields.u64()?,
            new_name: fields.text()?,
        },
        14 => Operation::Open {
            flags: fields.u32()?,
        },
        _ => Operation::Unknown,
    })
}

fn files<'a>(opcode: u32, fields: &mut Fields<'a>) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        15 => {
            let (handle, offset, size, _, flags) = transfer(fields)?;
            Operation::Read {
                handle,
                offset,
                size,
                flags,
            }
        }
        16 => {
            let (handle, offset, size, how, flags) = transfer(fields)?;
            Operation::Write {
                handle,
                offset,
                flags,
                from_cache: how & WRITE_CACHE != 0,
                data: fields.bytes(size as usize)?,
            }
        }
        17 => Operation::StatFs,
        18 => Operation::Release {
            handle: fields.u64()?,
        },
        20 => {
            let handle = fields.u64()?;
            Operation::FSync {
                handle,
                data_only: fields.u32()? & 1 != 0,
            }
        }
        _ => attributes(opcode, fields)?,
    })
}

fn attributes<'a>(opcode: u32, fields: &mut Fields<'a>) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        21 => {
            let (size, flags) = (fields.u32()?, fields.u32()?);
            let name = fields.text()?;
            Operation::SetXattr {
                name,
                value: fields.bytes(size as usize)?,
                flags,
            }
        }
        22 => {
            let size = fields.u32()?;
            fields.u32()?;
            Operation::GetXattr {
                name: fields.text()?,
                size,
            }
        }
        23 => Operation::ListXattr {
            size: fields.u32()?,
        },
        24 => Operation::RemoveXattr {
            name: fields.text()?,
        },
        25 => {
            let handle = fields.u64()?;
            fields.u64()?;
            Operation::Flush {
                handle,
                owner: fields.u64()?,
            }
        }
        26 => {
            let (major, minor, max_readahead) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let low = fields.u32()?;
            // Before 7.36 there is no second word of flags.
            let high = fields.u32().unwrap_or(0);
            let flags = u64::from(low) | u64::from(high) << 32;
            Operation::Init {
                major,
                minor,
                max_readahead,
                flags,
            }
        }
        27 => Operation::OpenDir,
        28 => read_directory(fields, false)?,
        29 => Operation::ReleaseDir {
            handle: fields.u64()?,
        },
        30 => Operation::FSyncDir,
        31..=33 => Operation::Lock(FileLock::parse(opcode, fields)?),
        34 => Operation::Access {
            mask: fields.u32()?,
        },
        35 => {
            let (flags, mode) = (fields.u32()?, fields.u32()?);
            fields.u64()?;
            Operation::Create {
                name: fields.text()?,
                flags,
                mode,
            }
        }
        _ => Operation::Unknown,
    })
}

fn others<'a>(opcode: u32, fields: &mut Fields<'a>) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        36 => Operation::Interrupt {
            unique: fields.u64()?,
        },
        38 => Operation::Destroy,
        40 => {
            let (handle, watch) = (fields.u64()?, fields.u64()?);
            let (flags, events) = (fields.u32()?, fields.u32()?);
            Operation::Poll {
                handle,
                watch,
                events,
                notify: flags & POLL_NOTIFY != 0,
            }
        }
        42 => {
            let count = fields.u32()? as usize;
            fields.u32()?;
            let size = count.checked_mul(16).ok_or(Malformed)?;
            Operation::BatchForget {
                items: Forgets(fields.bytes(size)?),
            }
        }
        43 => {
            let (handle, offset, length) = (fields.u64()?, fields.u64()?, fields.u64()?);
            Operation::Fallocate {
                handle,
                offset,
                length,
                mode: fields.u32()?,
            }
        }
        44 => read_directory(fields, true)?,
        45 => {
            let (new_parent, flags) = (fields.u64()?, fields.u32()?);
            fields.u32()?;
            Operation::Rename {
                name: fields.text()?,
                new_parent,
                new_name: fields.text()?,
                flags,
            }
        }
        46 => {
            let (handle, offset) = (fields.u64()?, fields.u64()?);
            Operation::LSeek {
                handle,
                offset,
                whence: fields.u32()?,
            }
        }
        _ => Operation::Unknown,
    })
}

/// `struct fuse_read_in` and `struct fuse_write_in`: handle, offset, size, flags of the open file.
/// Handle, offset, size, flags of the request, flags of the open file.
fn transfer(fields: &mut Fields<'_>) -> Result<(u64, u64, u32, u32, u32), Malformed> {
    let (handle, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
    let how = fields.u32()?;
    fields.u64()?;
    let flags = fields.u32()?;
    fields.u32()?;
    Ok((handle, offset, size, how, flags))
}

fn read_directory<'a>(fields: &mut Fields<'a>, plus: bool) -> Result<Operation<'a>, Malformed> {
    let (handle, offset, size, ..) = transfer(fields)?;
    Ok(Operation::ReadDir {
        handle,
        offset,
        size,
        plus,
    })
}

/// `FUSE_WRITE_CACHE`.
const WRITE_CACHE: u32 = 1;

/// `FUSE_POLL_SCHEDULE_NOTIFY`.
const POLL_NOTIFY: u32 = 1;

/// `FUSE_GETATTR_FH`: the handle field counts.
const GETATTR_HANDLE: u32 = 1;
