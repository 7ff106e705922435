//! The first four bytes of every message: its kind and its refinement.

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a message asks for. QNX's numbers where QNX has the message, ours from 0x180.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum MessageKind { $($(#[$doc])* $name = $number,)* }

        impl MessageKind {
            /// All kinds in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The kind with this number, or `None`.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Open, or do something to a path ([`crate::connect`]).
    #[doc(alias = "_IO_CONNECT")]
    Connect = 0x100,
    /// Read bytes.
    #[doc(alias = "_IO_READ")]
    Read = 0x101,
    /// Write bytes.
    #[doc(alias = "_IO_WRITE")]
    Write = 0x102,
    /// Attributes of the open file.
    #[doc(alias = "_IO_STAT")]
    Stat = 0x104,
    /// Ask for, or arm, a notice of readiness.
    #[doc(alias = "_IO_NOTIFY")]
    Notify = 0x105,
    /// Device control.
    #[doc(alias = "_IO_DEVCTL")]
    Devctl = 0x106,
    /// A configuration value.
    #[doc(alias = "_IO_PATHCONF")]
    Pathconf = 0x108,
    /// Move the file offset.
    #[doc(alias = "_IO_LSEEK")]
    Lseek = 0x109,
    /// Change the permission bits.
    #[doc(alias = "_IO_CHMOD")]
    Chmod = 0x10a,
    /// Change owner and group.
    #[doc(alias = "_IO_CHOWN")]
    Chown = 0x10b,
    /// Change the times.
    #[doc(alias = "_IO_UTIME")]
    Utime = 0x10c,
    /// Facts about the open file itself.
    #[doc(alias = "_IO_FDINFO")]
    Info = 0x10e,
    /// Record locks.
    #[doc(alias = "_IO_LOCK")]
    Lock = 0x10f,
    /// Reserve or free space; also sets the length.
    #[doc(alias = "_IO_SPACE")]
    Space = 0x110,
    /// A message of the manager's own.
    #[doc(alias = "_IO_MSG")]
    Message = 0x113,
    /// The open file is now reached by one more connection.
    #[doc(alias = "_IO_DUP")]
    Dup = 0x115,
    /// This connection leaves the open file.
    #[doc(alias = "_IO_CLOSE")]
    Close = 0x116,
    /// Make written data durable.
    #[doc(alias = "_IO_SYNC")]
    Sync = 0x119,
    /// Entries of a directory.
    ReadDirectory = 0x180,
    /// Facts about the file system.
    Statvfs = 0x181,
    /// Extended attributes.
    Xattr = 0x182,
    /// Set the length.
    Truncate = 0x183,
    /// The text of the symbolic link that is open.
    Readlink = 0x184,
}

impl MessageKind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The kind of an encoded message, without reading the rest of it.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below two bytes, [`Malformed::Unknown`] for a number that is not one
    /// of ours; a server answers the latter with `ENOSYS` (R2).
    pub fn of(message: &[u8]) -> Result<Self, Malformed> {
        Self::decode(&mut Reader::new(message))
    }
}

impl Encode for MessageKind {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.number());
    }
}

impl Decode<'_> for MessageKind {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_number(r.u16()?).ok_or(Malformed::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_numbers() {
        for &kind in MessageKind::ALL {
            assert_eq!(MessageKind::from_number(kind.number()), Some(kind));
        }
        assert!(MessageKind::ALL.is_sorted());
        assert_eq!(MessageKind::of(&[0x01, 0x01, 9]), Ok(MessageKind::Read));
        assert_eq!(MessageKind::of(&[0x03, 0x01]), Err(Malformed::Unknown));
        assert_eq!(MessageKind::of(&[0x01]), Err(Malformed::Truncated));
    }
}
