use bitflags::bitflags;

use super::flag_codec;
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::limits::{XATTR_NAME_MAX, XATTR_VALUE_MAX};

bitflags! {
    /// Conditions of setting an extended attribute.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct XattrFlags: u32 {
        /// `EEXIST` if it exists.
        const CREATE = 0x1;
        /// `ENODATA` if it does not exist.
        const REPLACE = 0x2;
    }
}

flag_codec!(XattrFlags: u32);

/// A request about extended attributes; the variants are the subkinds of one message.
///
/// With `nbytes` 0 a get or a list answers the needed length only; with too few it answers `ERANGE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xattr<'a> {
    /// Read one. Status: its length; body: the value.
    Get {
        /// Namespace and name, such as `user.comment`.
        name: &'a [u8],
        /// Room for the value in bytes.
        nbytes: u32,
    },
    /// Write one. Status 0.
    Set {
        /// Namespace and name.
        name: &'a [u8],
        /// Conditions.
        flags: XattrFlags,
        /// At most [`XATTR_VALUE_MAX`] bytes.
        value: &'a [u8],
    },
    /// Names of all. Status: their length; body: the names, each followed by a zero byte.
    List {
        /// Room for the names in bytes.
        nbytes: u32,
    },
    /// Remove one. Status 0.
    Remove {
        /// Namespace and name.
        name: &'a [u8],
    },
}

impl<'a> Xattr<'a> {
    pub(super) const fn subkind(&self) -> u16 {
        match self {
            Self::Get { .. } => 0,
            Self::Set { .. } => 1,
            Self::List { .. } => 2,
            Self::Remove { .. } => 3,
        }
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Get { name, nbytes } => {
                w.u32(*nbytes);
                w.str16(name);
            }
            Self::Set { name, flags, value } => {
                flags.encode(w);
                w.str16(name);
                w.bytes(value);
            }
            Self::List { nbytes } => w.u32(*nbytes),
            Self::Remove { name } => w.str16(name),
        }
    }

    pub(super) fn decode_as(subkind: u16, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match subkind {
            0 => Self::Get {
                nbytes: r.u32()?,
                name: name(r)?,
            },
            1 => {
                let (flags, name) = (XattrFlags::decode(r)?, name(r)?);
                if r.remaining() > XATTR_VALUE_MAX {
                    return Err(Malformed::TooMany);
                }
                Self::Set {
                    name,
                    flags,
                    value: r.rest(),
                }
            }
            2 => Self::List { nbytes: r.u32()? },
            3 => Self::Remove { name: name(r)? },
            _ => return Err(Malformed::Unknown),
        })
    }
}

fn name<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let name = r.str16(XATTR_NAME_MAX)?;
    if name.is_empty() || name.contains(&0) {
        Err(Malformed::Invalid)
    } else {
        Ok(name)
    }
}
