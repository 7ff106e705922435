use alloc::vec::Vec;

use super::{Stat, record};
use crate::codec::{Decode, Encode, Malformed, Overflow, Reader, Writer};
use crate::limits::{DIRECTORY_ENTRIES_MAX, NAME_MAX};

record! {
    /// Entries of a directory.
    pub struct ReadDirectory {
        /// Where to go on: 0 at first, then [`Entry::next`] of the last entry seen.
        pub cookie: u64,
        /// Room for the reply in bytes; a server that cannot place one entry answers `EINVAL`.
        pub nbytes: u32,
        /// Whether each entry brings its attributes.
        pub with_stat: bool,
    }
}

/// In the status of a reply with entries, besides their count: nothing comes behind them, so nobody needs to ask.
pub const LISTING_END: i64 = 1 << 32;

/// One entry of a directory.
#[doc(alias = "dirent")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Serial number; in `/net` the node descriptor (P52).
    pub ino: u64,
    /// The kind, as in `st_mode`; permissions may be missing.
    pub mode: u32,
    /// The cookie with which to ask for what follows this entry. Never 0.
    pub next: u64,
    /// What [`is_entry_name`] allows.
    pub name: &'a [u8],
    /// Attributes, if they were asked for and could be had.
    pub stat: Option<Stat>,
}

/// Whether a directory may have an entry of this name: 1 to [`NAME_MAX`] bytes without a slash or zero, and neither `.` nor
/// `..`. Whoever puts names from elsewhere behind a path must know that the result is below it.
#[must_use]
pub fn is_entry_name(name: &[u8]) -> bool {
    let length = 1..=NAME_MAX;
    let is_plain = name.iter().all(|byte| !matches!(byte, b'/' | 0));
    length.contains(&name.len()) && is_plain && !matches!(name, b"." | b"..")
}

impl Encode for Entry<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u64(self.ino);
        w.u32(self.mode);
        w.u64(self.next);
        w.str16(self.name);
        w.option(self.stat.as_ref());
    }
}

impl<'a> Decode<'a> for Entry<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (ino, mode, next) = (r.u64()?, r.u32()?, r.u64()?);
        let name = r.str16(NAME_MAX)?;
        if !is_entry_name(name) {
            return Err(Malformed::Invalid);
        }
        Ok(Self {
            ino,
            mode,
            next,
            name,
            stat: r.option()?,
        })
    }
}

/// Appends an entry to a reply that must not grow beyond `nbytes`. Returns whether it fitted; if
/// not, the reply is as it was.
///
/// # Errors
/// [`Overflow`] for a name that no reply can carry.
pub fn push_entry(reply: &mut Vec<u8>, nbytes: u32, entry: &Entry<'_>) -> Result<bool, Overflow> {
    if entry.name.len() > NAME_MAX {
        return Err(Overflow);
    }
    let before = reply.len();
    entry.append_to(reply)?;
    let fits = reply.len() <= nbytes as usize;
    if !fits {
        reply.truncate(before);
    }
    Ok(fits)
}

/// The entries in the body of a reply, one after the other until it ends.
///
/// Yields at most [`DIRECTORY_ENTRIES_MAX`] entries and stops after the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    r: Reader<'a>,
    left: usize,
}

impl<'a> Entries<'a> {
    /// The entries of a reply's body; an empty body is the end of the directory.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self {
            r: Reader::new(body),
            left: DIRECTORY_ENTRIES_MAX,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.r.remaining() == 0 {
            return None;
        }
        let entry = if self.left == 0 {
            Err(Malformed::TooMany)
        } else {
            Entry::decode(&mut self.r)
        };
        self.left = self.left.saturating_sub(1);
        if entry.is_err() {
            self.r.rest();
        }
        Some(entry)
    }
}
