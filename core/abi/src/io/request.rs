use super::{
    Chmod, Chown, Lock, Lseek, Notify, Offset, Pathconf, Read, ReadDirectory, Space, Sync,
    Truncate, Utime, Watches, Xattr, decode_offset, encode_offset, record,
};
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::errno::Errno;
use crate::ids::ConnectionId;
use crate::limits::DEVCTL_MAX;
use crate::message::MessageKind;

record! {
    /// The sending connection joins the open file of another connection of the same client.
    #[doc(alias = "_IO_DUP")]
    pub struct Dup {
        /// The client's number of the connection that reaches the open file already.
        pub original: ConnectionId,
    }
}

/// A message to an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Read bytes. Status: how many; body: the bytes. 0 is the end of the file.
    Read(Read),
    /// Write bytes. Status: how many were taken.
    Write {
        /// Where.
        offset: Offset,
        /// The bytes, or as many as have been received: the rest starts at byte
        /// [`Request::WRITE_HEADER_LEN`]` + data.len()` of the message.
        data: &'a [u8],
    },
    /// This connection leaves the open file. Status 0.
    Close,
    /// Attributes. Body: [`super::Stat`].
    Stat,
    /// Change the permission bits. Status 0.
    Chmod(Chmod),
    /// Change owner and group. Status 0.
    Chown(Chown),
    /// Change the times. Status 0.
    Utime(Utime),
    /// Set the length. Status 0.
    Truncate(Truncate),
    /// Move the offset. Body: the new offset, 64 bits.
    Lseek(Lseek),
    /// Device control. Status: the device's own; body: its result.
    Devctl {
        /// See [`crate::devctl`].
        dcmd: u32,
        /// The encoded argument, at most [`DEVCTL_MAX`] bytes.
        data: &'a [u8],
    },
    /// Entries of a directory. Status: how many; body: [`super::Entries`].
    ReadDirectory(ReadDirectory),
    /// Make written data durable. Status 0.
    Sync(Sync),
    /// Facts about the file system. Body: [`super::Statvfs`].
    Statvfs,
    /// Extended attributes; see [`Xattr`].
    Xattr(Xattr<'a>),
    /// Record locks. Body: [`super::LockRange`] for [`super::LockCommand::Get`], else empty.
    Lock(Lock),
    /// Readiness. Body: [`super::Events`] that are true.
    Notify(Notify),
    /// Readiness of several open files of the sender; the connection that carries it need not be open. Status: how many
    /// are ready; body: one [`super::Events`] for each.
    NotifyMany(Watches<'a>),
    /// A message of the manager's own, for what is no device control. Status and body: the manager's own.
    #[doc(alias = "_IO_MSG")]
    Message {
        /// Which protocol the message belongs to, so that strangers are refused.
        manager: u16,
        /// Which message of that protocol.
        number: u16,
        /// The bytes, or as many as have been received: the rest starts at byte
        /// [`Request::MESSAGE_HEADER_LEN`]` + data.len()` of the message.
        data: &'a [u8],
    },
    /// Join an open file. Status 0.
    Dup(Dup),
    /// A configuration value. Body: 64 bits, signed; -1 is "no limit".
    Pathconf(Pathconf),
    /// Reserve or free space. Status 0.
    Space(Space),
    /// The text of the symbolic link that is open. Body: the text.
    Readlink,
    /// Facts about the open file itself. Body: [`super::Info`].
    Info,
}

impl<'a> Request<'a> {
    /// Bytes of an encoded write before its data.
    pub const WRITE_HEADER_LEN: usize = 12;
    /// Bytes of an encoded message of the manager's own before its data.
    pub const MESSAGE_HEADER_LEN: usize = 8;

    /// The kind, the first number on the wire.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Read(_) => MessageKind::Read,
            Self::Write { .. } => MessageKind::Write,
            Self::Close => MessageKind::Close,
            Self::Stat => MessageKind::Stat,
            Self::Chmod(_) => MessageKind::Chmod,
            Self::Chown(_) => MessageKind::Chown,
            Self::Utime(_) => MessageKind::Utime,
            Self::Truncate(_) => MessageKind::Truncate,
            Self::Lseek(_) => MessageKind::Lseek,
            Self::Devctl { .. } => MessageKind::Devctl,
            Self::ReadDirectory(_) => MessageKind::ReadDirectory,
            Self::Sync(_) => MessageKind::Sync,
            Self::Statvfs => MessageKind::Statvfs,
            Self::Xattr(_) => MessageKind::Xattr,
            Self::Lock(_) => MessageKind::Lock,
            Self::Notify(_) | Self::NotifyMany(_) => MessageKind::Notify,
            Self::Message { .. } => MessageKind::Message,
            Self::Dup(_) => MessageKind::Dup,
            Self::Pathconf(_) => MessageKind::Pathconf,
            Self::Space(_) => MessageKind::Space,
            Self::Readlink => MessageKind::Readlink,
            Self::Info => MessageKind::Info,
        }
    }

    /// The request in `message`, or the error to refuse it with.
    ///
    /// # Errors
    /// `EINVAL` below two bytes and `ENOSYS` for a kind that is not one of these (R2); otherwise what
    /// [`Malformed`] becomes.
    pub fn parse(message: &'a [u8]) -> Result<Self, Errno> {
        match MessageKind::of(message) {
            Err(Malformed::Truncated) => Err(Errno::EINVAL),
            Err(_) | Ok(MessageKind::Connect) => Err(Errno::ENOSYS),
            Ok(_) => Self::from_bytes(message).map_err(Errno::from),
        }
    }

    const fn subkind(&self) -> u16 {
        match self {
            Self::Xattr(xattr) => xattr.subkind(),
            Self::NotifyMany(_) => NOTIFY_MANY,
            _ => 0,
        }
    }
}

impl Encode for Request<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        self.kind().encode(w);
        w.u16(self.subkind());
        match self {
            Self::Close | Self::Stat | Self::Statvfs | Self::Readlink | Self::Info => {}
            Self::Write { offset, data } => {
                encode_offset(*offset, w);
                w.bytes(data);
            }
            Self::Devctl { dcmd, data } => {
                w.u32(*dcmd);
                w.bytes(data);
            }
            Self::Read(body) => body.encode(w),
            Self::Chmod(body) => body.encode(w),
            Self::Chown(body) => body.encode(w),
            Self::Utime(body) => body.encode(w),
            Self::Truncate(body) => body.encode(w),
            Self::Lseek(body) => body.encode(w),
            Self::ReadDirectory(body) => body.encode(w),
            Self::Sync(body) => body.encode(w),
            Self::Xattr(body) => body.encode(w),
            Self::Lock(body) => body.encode(w),
            Self::Notify(body) => body.encode(w),
            Self::NotifyMany(body) => body.encode(w),
            Self::Message {
                manager,
                number,
                data,
            } => {
                w.u16(*manager);
                w.u16(*number);
                w.bytes(data);
            }
            Self::Dup(body) => body.encode(w),
            Self::Pathconf(body) => body.encode(w),
            Self::Space(body) => body.encode(w),
        }
    }
}

impl<'a> Decode<'a> for Request<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = MessageKind::decode(r)?;
        let subkind = r.u16()?;
        if kind == MessageKind::Xattr {
            return Xattr::decode_as(subkind, r).map(Self::Xattr);
        }
        if (kind, subkind) == (MessageKind::Notify, NOTIFY_MANY) {
            return Watches::decode(r).map(Self::NotifyMany);
        }
        if subkind != 0 {
            return Err(Malformed::Unknown);
        }
        Ok(match kind {
            MessageKind::Connect => return Err(Malformed::Unknown),
            MessageKind::Read => Self::Read(Read::decode(r)?),
            MessageKind::Write => Self::Write {
                offset: decode_offset(r)?,
                data: r.rest(),
            },
            MessageKind::Close => Self::Close,
            MessageKind::Stat => Self::Stat,
            MessageKind::Chmod => Self::Chmod(Chmod::decode(r)?),
            MessageKind::Chown => Self::Chown(Chown::decode(r)?),
            MessageKind::Utime => Self::Utime(Utime::decode(r)?),
            MessageKind::Truncate => Self::Truncate(Truncate::decode(r)?),
            MessageKind::Lseek => Self::Lseek(Lseek::decode(r)?),
            MessageKind::Devctl => {
                let dcmd = r.u32()?;
                if r.remaining() > DEVCTL_MAX {
                    return Err(Malformed::TooMany);
                }
                Self::Devctl {
                    dcmd,
                    data: r.rest(),
                }
            }
            MessageKind::ReadDirectory => Self::ReadDirectory(ReadDirectory::decode(r)?),
            MessageKind::Sync => Self::Sync(Sync::decode(r)?),
            MessageKind::Statvfs => Self::Statvfs,
            MessageKind::Xattr => return Err(Malformed::Unknown),
            MessageKind::Lock => Self::Lock(Lock::decode(r)?),
            MessageKind::Notify => Self::Notify(Notify::decode(r)?),
            MessageKind::Message => Self::Message {
                manager: r.u16()?,
                number: r.u16()?,
                data: r.rest(),
            },
            MessageKind::Dup => Self::Dup(Dup::decode(r)?),
            MessageKind::Pathconf => Self::Pathconf(Pathconf::decode(r)?),
            MessageKind::Space => Self::Space(Space::decode(r)?),
            MessageKind::Readlink => Self::Readlink,
            MessageKind::Info => Self::Info,
        })
    }
}

/// The subkind of a question about several open files.
const NOTIFY_MANY: u16 = 1;
