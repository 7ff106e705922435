//! Taking values from bytes.

use alloc::vec::Vec;

use super::{Decode, Malformed};

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
