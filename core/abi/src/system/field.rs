//! How the values inside a system message are laid out: one rule per type, and the macros that build records and
//! messages from them, so that the list of fields in a type's declaration is also its wire format.

use alloc::vec::Vec;
use core::time::Duration;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::connect::Candidate;
use crate::credentials::Credentials;
use crate::errno::Errno;
use crate::flags::{AttachFlags, FileType, PathFlags};
use crate::ids::{ChannelId, Gid, Handle, Incarnation, Nd, NodeName, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;
use crate::system::table::Rows;

/// A value that can stand inside a system message.
pub(crate) trait Field: Sized {
    fn put(&self, w: &mut Writer<'_>);
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A value of which a list may be sent. Every record takes at least one byte, so a list cannot claim more entries
/// than its packet has bytes.
pub(crate) trait Record: Field {}

/// Declares a struct whose fields, in order, are its wire format.
macro_rules! record {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)* })+) => {$(
        $(#[$meta])*
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::system::field::Field for $name {
            fn put(&self, w: &mut $crate::codec::Writer<'_>) {
                $($crate::system::field::Field::put(&self.$field, w);)*
            }
            fn take(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::Malformed> {
                Ok(Self { $($field: $crate::system::field::Field::take(r)?,)* })
            }
        }
        impl $crate::system::field::Record for $name {}
        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer<'_>) {
                $crate::system::field::Field::put(self, w);
            }
        }
        impl<'a> $crate::codec::Decode<'a> for $name {
            fn decode(r: &mut $crate::codec::Reader<'a>) -> Result<Self, $crate::codec::Malformed> {
                $crate::system::field::Field::take(r)
            }
        }
    )+};
}

/// Declares an enum of messages: a fixed `u16` kind each, then the fields of its body.
macro_rules! messages {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $kind:literal => $variant:ident $(($value:ident : $type:ty))?,)*
    }) => {
        $(#[$meta])*
        pub enum $name { $($(#[$variant_meta])* $variant $(($type))?,)* }

        impl $name {
            /// Numbers and names of all kinds, in the order of their declaration.
            pub const KINDS: &'static [(u16, &'static str)] = &[$(($kind, stringify!($variant)),)*];

            /// The kind number on the wire.
            pub const fn kind(&self) -> u16 {
                match self { $(Self::$variant { .. } => $kind,)* }
            }
            /// The name of this kind of message, for logs and tables.
            pub const fn kind_name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant),)* }
            }
        }
        impl $crate::codec::Encode for $name {
            fn encode(&self, w: &mut $crate::codec::Writer<'_>) {
                w.u16(self.kind());
                match self {
                    $(Self::$variant $(($value))? => { $($crate::system::field::Field::put($value, w);)? })*
                }
            }
        }
        impl<'a> $crate::codec::Decode<'a> for $name {
            fn decode(r: &mut $crate::codec::Reader<'a>) -> Result<Self, $crate::codec::Malformed> {
                match r.u16()? {
                    $($kind => Ok(Self::$variant $((<$type as $crate::system::field::Field>::take(r)?))?),)*
                    _ => Err($crate::codec::Malformed::Unknown),
                }
            }
        }
    };
}

/// Declares an enum of bare choices, one byte on the wire.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant = $number,)* }

        impl $name {
            /// The number on the wire.
            pub const fn number(self) -> u8 {
                self as u8
            }
            /// What a number on the wire means.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// A lower-case word for tables.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
        impl $crate::system::field::Field for $name {
            fn put(&self, w: &mut $crate::codec::Writer<'_>) {
                w.u8(self.number());
            }
            fn take(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::Malformed> {
                Self::from_number(r.u8()?).ok_or($crate::codec::Malformed::Unknown)
            }
        }
    };
}

pub(crate) use {choice, messages, record};

macro_rules! plain {
    ($($type:ty: $method:ident;)*) => {$(
        impl Field for $type {
            fn put(&self, w: &mut Writer<'_>) { w.$method(*self); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { r.$method() }
        }
    )*};
}
plain! { u8: u8; u16: u16; u32: u32; u64: u64; bool: bool; }

macro_rules! coded {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put(&self, w: &mut Writer<'_>) { self.encode(w); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Self::decode(r) }
        }
    )*};
}
coded!(
    Nd,
    Pid,
    ChannelId,
    Handle,
    SessionId,
    Uid,
    Gid,
    FileType,
    Incarnation,
    Errno,
    NodeName,
    LinkAddress,
    Credentials,
    AttachFlags,
    PathFlags,
    Candidate,
    Rows
);

impl Record for Candidate {}
impl Record for SessionId {}
impl Record for Gid {}

/// Microseconds, saturating at about 584 000 years.
impl Field for Duration {
    fn put(&self, w: &mut Writer<'_>) {
        w.u64(u64::try_from(self.as_micros()).unwrap_or(u64::MAX));
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::from_micros(r.u64()?))
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.array()
    }
}

/// Bytes with a `u16` length: pathnames, names, texts.
impl Field for Vec<u8> {
    fn put(&self, w: &mut Writer<'_>) {
        w.str16(self);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(r.str16(usize::from(u16::MAX))?.to_vec())
    }
}

impl<T: Record> Field for Vec<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.count16(self.len());
        for item in self {
            item.put(w);
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = r.u16()?;
        let mut list = Self::new();
        for _ in 0..count {
            list.push(T::take(r)?);
        }
        Ok(list)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.bool(self.is_some());
        if let Some(value) = self {
            value.put(w);
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if r.bool()? { Some(T::take(r)?) } else { None })
    }
}
