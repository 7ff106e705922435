//! Messages to an open file: requests, and the bodies of their replies.
//!
//! Every request is one variant of [`Request`]; its encoding starts with the kind and the subkind.
//! Results are the reply's status, its body, or both, as each variant says.

mod attributes;
mod directory;
mod lock;
mod notify;
mod position;
mod request;
mod statvfs;
mod xattr;

pub use attributes::{Chmod, Chown, SetTime, Stat, TimeSpec, Utime};
pub use directory::{Entries, Entry, LISTING_END, ReadDirectory, is_entry_name, push_entry};
pub use lock::{Lock, LockCommand, LockKind, LockRange, LockStyle};
pub use notify::{Events, Notify, NotifyAction, Watch, Watches};
pub use position::{Info, Lseek, Pathconf, Read, Space, SpaceFlags, Sync, Truncate, Whence};
pub use request::{Dup, Request};
pub use statvfs::{Statvfs, StatvfsFlags};
pub use xattr::{Xattr, XattrFlags};

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

/// A structure that is encoded field after field.
macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer<'_>) {
                $($crate::codec::Encode::encode(&self.$field, w);)*
            }
        }

        impl $crate::codec::Decode<'_> for $name {
            fn decode(
                r: &mut $crate::codec::Reader<'_>,
            ) -> core::result::Result<Self, $crate::codec::Malformed> {
                Ok(Self { $($field: $crate::codec::Decode::decode(r)?,)* })
            }
        }
    };
}

/// An enumeration that is encoded as one 16-bit number.
macro_rules! choice {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$item_doc])* $item = $number,)* }

        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer<'_>) {
                w.u16(*self as u16);
            }
        }

        impl $crate::codec::Decode<'_> for $name {
            fn decode(
                r: &mut $crate::codec::Reader<'_>,
            ) -> core::result::Result<Self, $crate::codec::Malformed> {
                match r.u16()? {
                    $($number => Ok(Self::$item),)*
                    _ => Err($crate::codec::Malformed::Unknown),
                }
            }
        }
    };
}

/// A set of flags that is encoded as its bits; unknown bits are refused.
macro_rules! flag_codec {
    ($name:ident: $raw:ident) => {
        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer<'_>) {
                w.$raw(self.bits());
            }
        }

        impl $crate::codec::Decode<'_> for $name {
            fn decode(
                r: &mut $crate::codec::Reader<'_>,
            ) -> core::result::Result<Self, $crate::codec::Malformed> {
                Self::from_bits(r.$raw()?).ok_or($crate::codec::Malformed::Unknown)
            }
        }
    };
}

pub(crate) use {choice, flag_codec, record};

/// Where in the file; `None` is the open file's own offset, which then moves.
///
/// On the wire 64 bits, all ones for `None`.
pub type Offset = Option<u64>;

/// The largest offset and size of a file.
pub const OFFSET_MAX: u64 = i64::MAX as u64;

const NO_OFFSET: u64 = u64::MAX;

fn encode_offset(offset: Offset, w: &mut Writer<'_>) {
    w.u64(offset.unwrap_or(NO_OFFSET));
}

fn decode_offset(r: &mut Reader<'_>) -> Result<Offset, Malformed> {
    match r.u64()? {
        NO_OFFSET => Ok(None),
        offset if offset <= OFFSET_MAX => Ok(Some(offset)),
        _ => Err(Malformed::Invalid),
    }
}

macro_rules! integers {
    ($($raw:ident),*) => {$(
        impl Encode for $raw {
            fn encode(&self, w: &mut Writer<'_>) {
                w.$raw(*self);
            }
        }

        impl Decode<'_> for $raw {
            fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                r.$raw()
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i32, i64, bool);

/// Nothing: no bytes.
impl Encode for () {
    fn encode(&self, _: &mut Writer<'_>) {}
}

impl Decode<'_> for () {
    fn decode(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}
