//! The one place where values become bytes: little-endian, unaligned, without padding.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use alloc::vec::Vec;
use core::fmt;

use crate::errno::Errno;

pub use reader::Reader;
pub use writer::Writer;

/// Why bytes from outside could not be understood. Nothing was changed by the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the value does.
    Truncated,
    /// The value ends before the bytes do.
    Trailing,
    /// A pathname, a name or a link text is longer than its bound.
    NameTooLong,
    /// A list or a block of bytes is longer than its bound.
    TooMany,
    /// A number or a flag that this version does not know.
    Unknown,
    /// A known field with an impossible value.
    Invalid,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends too early",
            Self::Trailing => "bytes follow the end of the message",
            Self::NameTooLong => "a name in the message is too long",
            Self::TooMany => "a list in the message is too long",
            Self::Unknown => "the message holds a number that is not known",
            Self::Invalid => "the message holds an impossible value",
        })
    }
}

impl core::error::Error for Malformed {}

impl From<Malformed> for Errno {
    fn from(cause: Malformed) -> Self {
        match cause {
            Malformed::NameTooLong => Self::ENAMETOOLONG,
            Malformed::Truncated
            | Malformed::Trailing
            | Malformed::TooMany
            | Malformed::Unknown
            | Malformed::Invalid => Self::EBADMSG,
        }
    }
}

/// A value does not fit: into the given space, or into the length field that precedes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value does not fit into the message")
    }
}

impl core::error::Error for Overflow {}

impl From<Overflow> for Errno {
    fn from(_: Overflow) -> Self {
        Self::EMSGSIZE
    }
}

/// A value that can be written.
pub trait Encode {
    /// Appends the value. Lack of space is remembered by the writer, see [`Writer::finish`].
    fn encode(&self, w: &mut Writer<'_>);

    /// The encoded value in a new vector.
    ///
    /// # Errors
    /// [`Overflow`] if a part is longer than its length field can say.
    fn to_bytes(&self) -> Result<Vec<u8>, Overflow> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Appends the encoded value to `bytes`. On an error what was there before is kept.
    ///
    /// # Errors
    /// [`Overflow`] if a part is longer than its length field can say.
    fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), Overflow> {
        let before = bytes.len();
        let mut w = Writer::growing(bytes);
        self.encode(&mut w);
        let outcome = w.finish();
        if outcome.is_err() {
            bytes.truncate(before);
        }
        outcome.map(|_| ())
    }

    /// Writes the encoded value to the start of `space`; returns its length.
    ///
    /// # Errors
    /// [`Overflow`] if `space` is too small.
    fn write_to(&self, space: &mut [u8]) -> Result<usize, Overflow> {
        let mut w = Writer::fixed(space);
        self.encode(&mut w);
        w.finish()
    }
}

/// A value that can be read from bytes which anybody may have written.
pub trait Decode<'a>: Sized {
    /// Reads the value from the front; what follows it stays in `r`.
    ///
    /// # Errors
    /// [`Malformed`] says why the bytes are no such value.
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Reads the value from exactly these bytes.
    ///
    /// # Errors
    /// As [`Self::decode`], and [`Malformed::Trailing`] if bytes are left.
    fn from_bytes(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}
