//! Appending values to bytes.

use alloc::vec::Vec;

use super::{Encode, Overflow};

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
