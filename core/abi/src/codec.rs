//! The one place where values become bytes: little-endian, unaligned, without padding.

use alloc::vec::Vec;
use core::fmt;

use crate::errno::Errno;

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

/// Takes values from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    /// The next `N` bytes by value.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(Malformed::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// An unsigned byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if none is left; the same holds for the other integers.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// An unsigned 16-bit integer.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// An unsigned 32-bit integer.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// An unsigned 64-bit integer.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A signed byte.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_le_bytes(self.array()?))
    }

    /// A signed 32-bit integer.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// A signed 64-bit integer.
    ///
    /// # Errors
    /// As [`Self::u8`].
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A truth value: 0 or 1.
    ///
    /// # Errors
    /// [`Malformed::Invalid`] for any other byte.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Invalid),
        }
    }

    /// Text as bytes, after a 16-bit length. The bytes need not be UTF-8.
    ///
    /// # Errors
    /// [`Malformed::NameTooLong`] beyond `max` bytes, [`Malformed::Truncated`].
    pub fn str16(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let n = usize::from(self.u16()?);
        if n > max {
            return Err(Malformed::NameTooLong);
        }
        self.bytes(n)
    }

    /// The 16-bit length of a list, checked against `max`.
    ///
    /// # Errors
    /// [`Malformed::TooMany`] beyond `max`, [`Malformed::Truncated`].
    pub fn count16(&mut self, max: usize) -> Result<usize, Malformed> {
        let n = usize::from(self.u16()?);
        if n > max {
            Err(Malformed::TooMany)
        } else {
            Ok(n)
        }
    }

    /// A list after a 16-bit count. No memory is reserved on the count's word alone.
    ///
    /// # Errors
    /// [`Malformed::TooMany`] beyond `max`, and whatever decoding an element answers.
    pub fn list16<T: Decode<'a>>(&mut self, max: usize) -> Result<Vec<T>, Malformed> {
        let n = self.count16(max)?;
        let mut list = Vec::with_capacity(n.min(self.bytes.len()));
        for _ in 0..n {
            list.push(T::decode(self)?);
        }
        Ok(list)
    }

    /// An optional value after a truth value.
    ///
    /// # Errors
    /// [`Malformed::Invalid`] for a bad truth value, and whatever decoding the value answers.
    pub fn option<T: Decode<'a>>(&mut self) -> Result<Option<T>, Malformed> {
        if self.bool()? {
            T::decode(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Everything that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes;
        self.bytes = &[];
        rest
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Malformed::Trailing`] if something is.
    pub const fn finish(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing)
        }
    }
}

#[derive(Debug)]
enum Space<'a> {
    Growing {
        bytes: &'a mut Vec<u8>,
        start: usize,
    },
    Fixed {
        bytes: &'a mut [u8],
        written: usize,
    },
}

/// Appends values to a vector, or to a slice until it is full.
///
/// A writer never panics: the first value that does not fit makes [`Writer::finish`] fail, and
/// nothing after it is written.
#[derive(Debug)]
pub struct Writer<'a> {
    space: Space<'a>,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `bytes`.
    pub const fn growing(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        Self {
            space: Space::Growing { bytes, start },
            overflow: false,
        }
    }

    /// A writer that fills `bytes` from the start.
    pub const fn fixed(bytes: &'a mut [u8]) -> Self {
        Self {
            space: Space::Fixed { bytes, written: 0 },
            overflow: false,
        }
    }

    /// Appends `bytes` as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.overflow {
            return;
        }
        match &mut self.space {
            Space::Growing { bytes: to, .. } => to.extend_from_slice(bytes),
            Space::Fixed { bytes: to, written } => {
                let Some(room) = to
                    .get_mut(*written..)
                    .and_then(|to| to.get_mut(..bytes.len()))
                else {
                    self.overflow = true;
                    return;
                };
                room.copy_from_slice(bytes);
                *written += bytes.len();
            }
        }
    }

    /// An unsigned byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// An unsigned 16-bit integer.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// An unsigned 32-bit integer.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// An unsigned 64-bit integer.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.bytes(&value.to_le_bytes());
    }

    /// A signed 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    /// A signed 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Bytes after their 16-bit length; longer ones than the length can say are an overflow.
    pub fn str16(&mut self, bytes: &[u8]) {
        self.count16(bytes.len());
        self.bytes(bytes);
    }

    /// A 16-bit length; longer ones are an overflow.
    pub fn count16(&mut self, n: usize) {
        match u16::try_from(n) {
            Ok(n) => self.u16(n),
            Err(_) => self.overflow = true,
        }
    }

    /// A list after its 16-bit length.
    pub fn list16<T: Encode>(&mut self, list: &[T]) {
        self.count16(list.len());
        for value in list {
            value.encode(self);
        }
    }

    /// An optional value after a truth value.
    pub fn option<T: Encode>(&mut self, value: Option<&T>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            value.encode(self);
        }
    }

    /// How many bytes this writer has written.
    #[must_use]
    pub const fn written(&self) -> usize {
        match &self.space {
            Space::Growing { bytes, start } => bytes.len() - *start,
            Space::Fixed { written, .. } => *written,
        }
    }

    /// The number of bytes written.
    ///
    /// # Errors
    /// [`Overflow`] if something did not fit.
    pub const fn finish(self) -> Result<usize, Overflow> {
        if self.overflow {
            Err(Overflow)
        } else {
            Ok(self.written())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn integers_are_little_endian() {
        let mut bytes = vec![];
        let mut w = Writer::growing(&mut bytes);
        w.u8(1);
        w.u16(0x0203);
        w.u32(0x0405_0607);
        w.u64(0x0809_0a0b_0c0d_0e0f);
        w.i8(-1);
        w.i32(-2);
        w.i64(-3);
        w.bool(true);
        w.str16(b"\xff!");
        assert_eq!(w.finish(), Ok(33));
        let expected = [
            1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xfd,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0, 0xff, b'!',
        ];
        assert_eq!(bytes, expected);
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(0x0203));
        assert_eq!(r.u32(), Ok(0x0405_0607));
        assert_eq!(r.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(r.i8(), Ok(-1));
        assert_eq!(r.i32(), Ok(-2));
        assert_eq!(r.i64(), Ok(-3));
        assert_eq!(r.bool(), Ok(true));
        assert_eq!(r.str16(2), Ok(&b"\xff!"[..]));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn a_full_slice_is_an_error_and_keeps_what_fitted() {
        let mut space = [0; 3];
        let mut w = Writer::fixed(&mut space);
        w.u16(0x0102);
        w.u16(0x0304);
        w.u8(9);
        assert_eq!(w.finish(), Err(Overflow));
        assert_eq!(space, [2, 1, 0]);
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_takes_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.u32(), Err(Malformed::Truncated));
        assert_eq!(r.bytes(4), Err(Malformed::Truncated));
        assert_eq!(r.remaining(), 3);
        assert_eq!(r.clone().finish(), Err(Malformed::Trailing));
        assert_eq!(r.rest(), &[1, 2, 3]);
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn a_text_longer_than_its_bound_is_refused_before_it_is_read() {
        let bytes = [0xff, 0xff];
        assert_eq!(Reader::new(&bytes).str16(255), Err(Malformed::NameTooLong));
        assert_eq!(Reader::new(&bytes).count16(255), Err(Malformed::TooMany));
        assert_eq!(Reader::new(&[2]).bool(), Err(Malformed::Invalid));
    }

    #[test]
    fn a_text_longer_than_the_length_field_overflows() {
        let mut bytes = vec![];
        let mut w = Writer::growing(&mut bytes);
        w.str16(&vec![0; 65_536]);
        assert_eq!(w.finish(), Err(Overflow));
    }

    #[test]
    fn what_was_there_before_an_overflow_is_kept() {
        struct TooLong;
        impl Encode for TooLong {
            fn encode(&self, w: &mut Writer<'_>) {
                w.u8(1);
                w.count16(65_536);
            }
        }
        let mut bytes = vec![7];
        assert_eq!(TooLong.append_to(&mut bytes), Err(Overflow));
        assert_eq!(bytes, [7]);
    }
}
