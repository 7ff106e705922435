use super::COMBINED_MAX;
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::ids::Handle;
use crate::limits::{NAME_MAX, PATH_MAX};

/// What a connect message carries besides the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extra<'a> {
    /// Nothing.
    #[default]
    None,
    /// The old path, relative to the prefix of the same server, and the handle of that prefix.
    Rename {
        /// Relative to its prefix, without a leading slash.
        path: &'a [u8],
        /// Of the prefix that `path` is relative to.
        handle: Handle,
    },
    /// The existing path, relative to the prefix of the same server, and the handle of that prefix.
    Link {
        /// Relative to its prefix, without a leading slash.
        path: &'a [u8],
        /// Of the prefix that `path` is relative to.
        handle: Handle,
    },
    /// The text of the new symbolic link.
    Symlink {
        /// 1 to [`PATH_MAX`] bytes.
        target: &'a [u8],
    },
    /// The device number of a new device.
    Mknod {
        /// 0 for anything but a device.
        rdev: u64,
    },
    /// What is to be mounted.
    #[doc(alias = "_IO_CONNECT_EXTRA_MOUNT")]
    Mount {
        /// What it is on: a path or a name that the server understands; may be empty.
        special: &'a [u8],
        /// Which kind of file system.
        kind: &'a [u8],
        /// Options in the words of that kind.
        options: &'a [u8],
    },
    /// An encoded [`crate::io::Request`]; empty for a pure probe.
    Combined(&'a [u8]),
}

impl Encode for Extra<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::None => w.u16(0),
            Self::Rename { path, handle } => {
                w.u16(1);
                handle.encode(w);
                w.str16(path);
            }
            Self::Link { path, handle } => {
                w.u16(2);
                handle.encode(w);
                w.str16(path);
            }
            Self::Symlink { target } => {
                w.u16(3);
                w.str16(target);
            }
            Self::Mknod { rdev } => {
                w.u16(4);
                w.u64(*rdev);
            }
            Self::Combined(message) => {
                w.u16(5);
                w.str16(message);
            }
            Self::Mount {
                special,
                kind,
                options,
            } => {
                w.u16(6);
                w.str16(special);
                w.str16(kind);
                w.str16(options);
            }
        }
    }
}

impl<'a> Decode<'a> for Extra<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match r.u16()? {
            0 => Self::None,
            1 => Self::Rename {
                handle: Handle::decode(r)?,
                path: r.str16(PATH_MAX)?,
            },
            2 => Self::Link {
                handle: Handle::decode(r)?,
                path: r.str16(PATH_MAX)?,
            },
            3 => Self::Symlink {
                target: r.str16(PATH_MAX)?,
            },
            4 => Self::Mknod { rdev: r.u64()? },
            5 => Self::Combined(r.str16(COMBINED_MAX)?),
            6 => Self::Mount {
                special: r.str16(PATH_MAX)?,
                kind: r.str16(NAME_MAX)?,
                options: r.str16(PATH_MAX)?,
            },
            _ => return Err(Malformed::Unknown),
        })
    }
}
