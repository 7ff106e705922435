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
                    _ => Err($crate::codec::Malformed),
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
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// A lower-case word for tables.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
        impl $crate::system::field::Field for $name {
            fn put(&self, w: &mut $crate::codec::Writer<'_>) {
                w.u8(match self { $(Self::$variant => $number,)* });
            }
            fn take(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::Malformed> {
                match r.u8()? { $($number => Ok(Self::$variant),)* _ => Err($crate::codec::Malformed) }
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
plain! { u8: u8; u16: u16; u32: u32; u64: u64; }

macro_rules! newtype {
    ($($type:ident: $method:ident;)*) => {$(
        impl Field for $type {
            fn put(&self, w: &mut Writer<'_>) { w.$method(self.0); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Ok(Self(r.$method()?)) }
        }
    )*};
}
newtype! {
    Nd: u32; Pid: u32; ChannelId: u32; Handle: u32; SessionId: u32; Uid: u32; Gid: u32; FileType: u32;
    Incarnation: u64;
}

macro_rules! coded {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put(&self, w: &mut Writer<'_>) { self.encode(w); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Self::decode(r) }
        }
    )*};
}
coded!(NodeName, LinkAddress, Credentials, Candidate);

macro_rules! flags {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn put(&self, w: &mut Writer<'_>) { w.u32(self.bits().into()); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bits = r.u32()?.try_into().map_err(|_| Malformed)?;
                Self::from_bits(bits).ok_or(Malformed)
            }
        }
    )*};
}
flags!(AttachFlags, PathFlags);

impl Record for Candidate {}
impl Record for SessionId {}
impl Record for Gid {}

impl Field for bool {
    fn put(&self, w: &mut Writer<'_>) {
        w.u8((*self).into());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Field for Errno {
    fn put(&self, w: &mut Writer<'_>) {
        w.u16(self.to_wire());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_wire(r.u16()?).ok_or(Malformed)
    }
}

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
        r.bytes(N)?.try_into().map_err(|_| Malformed)
    }
}

/// Bytes with a `u16` length: pathnames, names, texts.
impl Field for Vec<u8> {
    fn put(&self, w: &mut Writer<'_>) {
        w.str16(self);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(r.str16()?.to_vec())
    }
}

impl<T: Record> Field for Vec<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.u16(u16::try_from(self.len()).unwrap_or(u16::MAX));
        for item in self.iter().take(usize::from(u16::MAX)) {
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
        w.u8(self.is_some().into());
        if let Some(value) = self {
            value.put(w);
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if bool::take(r)? { Some(T::take(r)?) } else { None })
    }
}
