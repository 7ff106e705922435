//! Replies as the kernel reads them from `/dev/fuse`.

// The FUSE protocol is a kernel ABI: fields are in the byte order of the machine.
#![allow(clippy::host_endian_bytes)]

use std::time::Duration;

/// What a handler gives back for one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, nothing to say.
    Empty,
    /// The body of the reply.
    Bytes(Vec<u8>),
    /// The first so many bytes of the transfer buffer.
    Transferred(usize),
}

/// How long the kernel may believe what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) entry: Duration,
    pub(crate) attributes: Duration,
}

/// `struct fuse_attr` with our names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileAttributes {
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// In units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) accessed: (i64, u32),
    pub(crate) modified: (i64, u32),
    pub(crate) changed: (i64, u32),
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u32,
    pub(crate) block_size: u32,
}

/// `struct fuse_kstatfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
    pub(crate) block_size: u32,
    pub(crate) fragment_size: u32,
    pub(crate) name_max: u32,
}

/// `FOPEN_*`: how the kernel treats an open file.
pub(crate) const OPEN_DIRECT_IO: u32 = 1;
pub(crate) const OPEN_NONSEEKABLE: u32 = 1 << 2;
/// The file has no position at all, so reads and writes do not lock each other out.
pub(crate) const OPEN_STREAM: u32 = 1 << 4;
/// Direct writes need not wait for each other.
pub(crate) const OPEN_PARALLEL_WRITES: u32 = 1 << 6;

/// The file has not changed since its pages were cached.
pub(crate) const OPEN_KEEP_CACHE: u32 = 1 << 1;

/// The kernel may keep the listing of a directory.
pub(crate) const OPEN_CACHE_DIRECTORY: u32 = 1 << 3;

/// Codes of notices, which go where an error goes in a reply.
pub(crate) const NOTIFY_POLL: i32 = 1;
pub(crate) const NOTIFY_INVAL_INODE: i32 = 2;

pub(crate) const NOTIFY_INVAL_ENTRY: i32 = 3;

/// `struct fuse_notify_inval_entry_out` and the name.
pub(crate) fn inval_entry(directory: u64, name: &[u8]) -> Vec<u8> {
    let mut body = Body(Vec::with_capacity(17 + name.len()));
    body.u64(directory);
    body.u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
    body.u32(0);
    body.0.extend_from_slice(name);
    body.0.push(0);
    body.0
}

/// `struct fuse_notify_inval_inode_out`, to the end of the file.
pub(crate) fn inval_inode(node: u64, offset: i64) -> [u8; 24] {
    let mut body = [0; 24];
    body[..8].copy_from_slice(&node.to_ne_bytes());
    body[8..16].copy_from_slice(&offset.to_ne_bytes());
    body
}

/// The header of a reply; the body follows. `error` is 0 or a negated errno.
pub(crate) fn header(unique: u64, error: i32, body: usize) -> [u8; 16] {
    let mut header = [0; 16];
    let length = u32::try_from(16 + body).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// `struct fuse_entry_out`. Node 0 tells the kernel that the name does not exist and that it may remember that.
pub(crate) fn entry(node: u64, attributes: &FileAttributes, validity: Validity) -> Answer {
    let mut body = Body(Vec::with_capacity(128));
    body.entry(node, attributes, validity);
    Answer::Bytes(body.0)
}

/// `struct fuse_attr_out`.
pub(crate) fn attributes(attributes: &FileAttributes, validity: Validity) -> Answer {
    let mut body = Body(Vec::with_capacity(104));
    body.u64(validity.attributes.as_secs());
    body.u32(validity.attributes.subsec_nanos());
    body.u32(0);
    body.attributes(attributes);
    Answer::Bytes(body.0)
}

/// `struct fuse_open_out`.
pub(crate) fn opened(handle: u64, flags: u32) -> Answer {
    let mut body = Body(Vec::with_capacity(16));
    body.opened(handle, flags);
    Answer::Bytes(body.0)
}

/// The reply of a create: an entry and an open file.
pub(crate) fn created(
    node: u64,
    attributes: &FileAttributes,
    validity: Validity,
    handle: u64,
    flags: u32,
) -> Answer {
    let mut body = Body(Vec::with_capacity(144));
    body.entry(node, attributes, validity);
    body.opened(handle, flags);
    Answer::Bytes(body.0)
}

/// `struct fuse_write_out`.
pub(crate) fn written(count: u32) -> Answer {
    words(count)
}

/// `struct fuse_poll_out`.
pub(crate) fn ready(events: u32) -> Answer {
    words(events)
}

/// `struct fuse_getxattr_out`: how long the value or the list is.
pub(crate) fn xattr_size(size: u32) -> Answer {
    words(size)
}

/// `struct fuse_lseek_out`.
pub(crate) fn position(offset: u64) -> Answer {
    Answer::Bytes(offset.to_ne_bytes().to_vec())
}

/// `struct fuse_statfs_out`.
pub(crate) fn space(space: &Space) -> Answer {
    let mut body = Body(Vec::with_capacity(80));
    for word in [
        space.blocks,
        space.free,
        space.available,
        space.files,
        space.files_free,
    ] {
        body.u64(word);
    }
    for word in [space.block_size, space.name_max, space.fragment_size] {
        body.u32(word);
    }
    // Padding and six spare words.
    for _ in 0..7 {
        body.u32(0);
    }
    Answer::Bytes(body.0)
}

/// What this side wants of the kernel, in `struct fuse_init_out`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Init {
    pub(crate) minor: u32,
    pub(crate) max_readahead: u32,
    pub(crate) flags: u64,
    /// Asynchronous requests (readahead, direct reads) in flight before the kernel waits.
    pub(crate) max_background: u16,
    pub(crate) congestion_threshold: u16,
    pub(crate) max_write: u32,
    pub(crate) max_pages: u16,
}

pub(crate) fn init(init: &Init) -> Answer {
    let mut body = Body(Vec::with_capacity(64));
    body.u32(7);
    body.u32(init.minor);
    body.u32(init.max_readahead);
    body.u32(init.flags as u32);
    body.u16(init.max_background);
    body.u16(init.congestion_threshold);
    body.u32(init.max_write);
    // Granularity of times: 1 ns.
    body.u32(1);
    body.u16(init.max_pages);
    body.u16(0);
    body.u32((init.flags >> 32) as u32);
    for _ in 0..7 {
        body.u32(0);
    }
    Answer::Bytes(body.0)
}

/// The entries of one read of a directory, never longer than the kernel's buffer.
pub(crate) struct Listing {
    body: Body,
    room: usize,
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) ino: u64,
    /// Where reading goes on behind this entry.
    pub(crate) next: u64,
    /// `S_IFMT` bits.
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
}

/// What the kernel remembers of an entry when a listing carries attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// 0: only the name is known.
    pub(crate) node: u64,
    pub(crate) attributes: &'a FileAttributes,
    pub(crate) validity: Validity,
}

impl Listing {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            body: Body(Vec::with_capacity(room)),
            room,
        }
    }

    /// Whether an entry of that name still fits.
    pub(crate) fn fits(&self, name: &[u8], plus: bool) -> bool {
        let fixed = if plus { ENTRY_OUT + DIRENT } else { DIRENT };
        self.body.0.len() + (fixed + name.len()).next_multiple_of(8) <= self.room
    }

    /// Adds an entry; the caller has asked [`Self::fits`].
    pub(crate) fn push(&mut self, entry: &Entry<'_>, known: Option<&Known<'_>>) {
        if let Some(known) = known {
            self.body
                .entry(known.node, known.attributes, known.validity);
        }
        self.body.u64(entry.ino);
        self.body.u64(entry.next);
        self.body
            .u32(u32::try_from(entry.name.len()).unwrap_or(u32::MAX));
        self.body.u32((entry.mode & 0o170_000) >> 12);
        self.body.0.extend_from_slice(entry.name);
        self.body.0.resize(self.body.0.len().next_multiple_of(8), 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.0.is_empty()
    }

    pub(crate) fn finish(self) -> Answer {
        Answer::Bytes(self.body.0)
    }
}

/// Sizes of `struct fuse_entry_out` and of the fixed part of `struct fuse_dirent`.
const ENTRY_OUT: usize = 128;
const DIRENT: usize = 24;
/// The smallest entry of a listing.
pub(crate) const ENTRY_MIN: usize = (DIRENT + 1).next_multiple_of(8);

/// A 32-bit word and its padding, the shape of the small replies.
fn words(word: u32) -> Answer {
    let mut body = Body(Vec::with_capacity(8));
    body.u32(word);
    body.u32(0);
    Answer::Bytes(body.0)
}

struct Body(Vec<u8>);

impl Body {
    fn u16(&mut self, word: u16) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    fn u32(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    fn u64(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    fn entry(&mut self, node: u64, attributes: &FileAttributes, validity: Validity) {
        self.u64(node);
        // Generation: node numbers are never used twice.
        self.u64(0);
        self.u64(validity.entry.as_secs());
        self.u64(validity.attributes.as_secs());
        self.u32(validity.entry.subsec_nanos());
        self.u32(validity.attributes.subsec_nanos());
        self.attributes(attributes);
    }

    fn attributes(&mut self, attributes: &FileAttributes) {
        self.u64(attributes.ino);
        self.u64(attributes.size);
        self.u64(attributes.blocks);
        let times = [attributes.accessed, attributes.modified, attributes.changed];
        for (seconds, _) in times {
            self.u64(seconds.cast_unsigned());
        }
        for (_, nanoseconds) in times {
            self.u32(nanoseconds);
        }
        for word in [
            attributes.mode,
            attributes.links,
            attributes.uid,
            attributes.gid,
            attributes.rdev,
            attributes.block_size,
            0,
        ] {
            self.u32(word);
        }
    }

    fn opened(&mut self, handle: u64, flags: u32) {
        self.u64(handle);
        self.u32(flags);
        self.u32(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(answer: Answer) -> usize {
        match answer {
            Answer::Bytes(bytes) => bytes.len(),
            other => panic!("{other:?} has no bytes"),
        }
    }

    const VALIDITY: Validity = Validity {
        entry: Duration::from_secs(1),
        attributes: Duration::from_millis(500),
    };

    #[test]
    fn every_reply_has_the_size_of_its_kernel_structure() {
        let none = FileAttributes::default();
        assert_eq!(length(entry(1, &none, VALIDITY)), ENTRY_OUT);
        assert_eq!(length(attributes(&none, VALIDITY)), 104);
        assert_eq!(length(opened(1, 0)), 16);
        assert_eq!(length(created(1, &none, VALIDITY, 1, 0)), 144);
        assert_eq!(length(written(1)), 8);
        assert_eq!(length(space(&Space::default())), 80);
        let wanted = Init {
            minor: 36,
            max_readahead: 0,
            flags: 0,
            max_background: 1,
            congestion_threshold: 1,
            max_write: 1,
            max_pages: 1,
        };
        assert_eq!(length(init(&wanted)), 64);
    }

    #[test]
    fn a_listing_never_outgrows_its_room() {
        let mut listing = Listing::new(100);
        let mut count = 0;
        while listing.fits(b"name", false) {
            listing.push(
                &Entry {
                    ino: 1,
                    next: 1,
                    mode: 0o100_644,
                    name: b"name",
                },
                None,
            );
            count += 1;
        }
        assert_eq!(count, 3);
        assert_eq!(length(listing.finish()), 96);
    }

    #[test]
    fn a_reply_header_counts_itself() {
        let header = header(5, -2, 8);
        assert_eq!(header[..4], 24u32.to_ne_bytes());
        assert_eq!(header[4..8], (-2i32).to_ne_bytes());
        assert_eq!(header[8..], 5u64.to_ne_bytes());
    }
}
