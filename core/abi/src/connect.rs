//! The connect message: everything a client asks of a server by pathname.
//!
//! A request is [`Connect`]. The status of its answer is one of [`ConnectStatus`]; the body depends on
//! it. Requests that are refused are answered with an error number and no body.

mod extra;

use alloc::vec::Vec;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::flags::{AttachFlags, FileType, OpenFlags, PathFlags};
use crate::ids::{ChannelId, Handle, Nd, Pid};
use crate::limits::{CANDIDATES_MAX, PATH_MAX};
use crate::message::MessageKind;

pub use extra::Extra;

/// Longest I/O message that may ride in a connect message, in bytes.
pub const COMBINED_MAX: usize = 65_535;

/// What is to be done to the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ConnectType {
    /// Open, do the I/O message that rides along, and stay open (R20).
    #[doc(alias = "_IO_CONNECT_COMBINE")]
    Combine = 0,
    /// Open, do the I/O message, and close (R20).
    #[doc(alias = "_IO_CONNECT_COMBINE_CLOSE")]
    CombineClose = 1,
    /// Open.
    #[doc(alias = "_IO_CONNECT_OPEN")]
    Open = 2,
    /// Remove a name; with `S_IFDIR` in the mode an empty directory.
    #[doc(alias = "_IO_CONNECT_UNLINK")]
    Unlink = 3,
    /// Give the object of [`Extra::Rename`] this path.
    #[doc(alias = "_IO_CONNECT_RENAME")]
    Rename = 4,
    /// Make a directory, a pipe, a file or a device.
    #[doc(alias = "_IO_CONNECT_MKNOD")]
    Mknod = 5,
    /// Read the text of a symbolic link.
    #[doc(alias = "_IO_CONNECT_READLINK")]
    Readlink = 6,
    /// Give the object of [`Extra::Link`] this path too.
    #[doc(alias = "_IO_CONNECT_LINK")]
    Link = 7,
    /// Mount the thing of [`Extra::Mount`] here.
    #[doc(alias = "_IO_CONNECT_MOUNT")]
    Mount = 9,
    /// Make a symbolic link with the text of [`Extra::Symlink`].
    Symlink = 0x80,
}

impl ConnectType {
    /// All types in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::Combine,
        Self::CombineClose,
        Self::Open,
        Self::Unlink,
        Self::Rename,
        Self::Mknod,
        Self::Readlink,
        Self::Link,
        Self::Mount,
        Self::Symlink,
    ];

    /// Whether an answer of success leaves an open file behind.
    #[must_use]
    pub const fn stays_open(self) -> bool {
        matches!(self, Self::Open | Self::Combine)
    }

    /// Whether the request opens the path, as opposed to doing something to it.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Open | Self::Combine | Self::CombineClose)
    }
}

impl Encode for ConnectType {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(*self as u16);
    }
}

impl Decode<'_> for ConnectType {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = r.u16()?;
        Self::ALL
            .iter()
            .copied()
            .find(|t| *t as u16 == number)
            .ok_or(Malformed::Unknown)
    }
}

/// A request by pathname to the server of a candidate.
#[doc(alias = "io_connect_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What is to be done.
    pub subtype: ConnectType,
    /// The handle of the candidate that is asked.
    pub handle: Handle,
    /// The type of file that is wanted.
    pub file_type: FileType,
    /// How it is to be opened.
    pub flags: OpenFlags,
    /// Kind and permissions of what is made; `S_IFLNK` asks for a link itself (P63).
    pub mode: u32,
    /// Permissions that what is made must not have.
    pub umask: u32,
    /// What the pathname looked like.
    pub path_flags: PathFlags,
    /// Relative to the prefix, without a leading slash; empty for the prefix itself.
    pub path: &'a [u8],
    /// More, depending on `subtype`.
    pub extra: Extra<'a>,
}

impl<'a> Connect<'a> {
    /// An ordinary open of `path` below the prefix with `handle`.
    #[must_use]
    pub const fn open(handle: Handle, path: &'a [u8], flags: OpenFlags) -> Self {
        Self {
            subtype: ConnectType::Open,
            handle,
            file_type: FileType::ANY,
            flags,
            mode: 0,
            umask: 0,
            path_flags: PathFlags::empty(),
            path,
            extra: Extra::None,
        }
    }
}

impl Encode for Connect<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        MessageKind::Connect.encode(w);
        self.subtype.encode(w);
        self.handle.encode(w);
        self.file_type.encode(w);
        self.flags.encode(w);
        w.u32(self.mode);
        w.u32(self.umask);
        self.path_flags.encode(w);
        w.str16(self.path);
        self.extra.encode(w);
    }
}

impl<'a> Decode<'a> for Connect<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        if MessageKind::decode(r)? != MessageKind::Connect {
            return Err(Malformed::Unknown);
        }
        Ok(Self {
            subtype: ConnectType::decode(r)?,
            handle: Handle::decode(r)?,
            file_type: FileType::decode(r)?,
            flags: OpenFlags::decode(r)?,
            mode: r.u32()?,
            umask: r.u32()?,
            path_flags: PathFlags::decode(r)?,
            path: r.str16(PATH_MAX)?,
            extra: Extra::decode(r)?,
        })
    }
}

/// The status of an answer to a connect message, carried as the status of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ConnectStatus {
    /// Done. The body is [`Opened`] for an open, [`CombinedReply`] for a combined message, the text
    /// for a readlink, and empty otherwise.
    Ok = 0,
    /// Ask these: the body is [`Redirect`].
    #[doc(alias = "_IO_CONNECT_RET_LINK")]
    Redirect = 1,
    /// A symbolic link is on the way: the body is [`SymlinkReply`].
    Symlink = 2,
    /// Ask again for this type: the body is a [`FileType`].
    #[doc(alias = "_IO_CONNECT_RET_FTYPE")]
    FileType = 3,
}

impl ConnectStatus {
    /// The status of the reply.
    #[must_use]
    pub const fn status(self) -> i64 {
        self as i64
    }

    /// What a reply's status means.
    ///
    /// # Errors
    /// [`Malformed::Unknown`] for a status that is none of these.
    pub const fn from_status(status: i64) -> Result<Self, Malformed> {
        Ok(match status {
            0 => Self::Ok,
            1 => Self::Redirect,
            2 => Self::Symlink,
            3 => Self::FileType,
            _ => return Err(Malformed::Unknown),
        })
    }
}

/// One possible server for a path.
#[doc(alias = "io_connect_entry")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its node, in the terms of whoever is told.
    pub nd: Nd,
    /// Its process there.
    pub pid: Pid,
    /// The channel on which it receives.
    pub chid: ChannelId,
    /// What it chose when it attached the prefix.
    pub handle: Handle,
    /// What it serves.
    pub file_type: FileType,
    /// How it attached.
    pub flags: AttachFlags,
    /// How many bytes of the normalised path are its prefix. What follows, without the slash, is the
    /// path it is asked for.
    pub prefix_len: u16,
}

impl Encode for Candidate {
    fn encode(&self, w: &mut Writer<'_>) {
        self.nd.encode(w);
        self.pid.encode(w);
        self.chid.encode(w);
        self.handle.encode(w);
        self.file_type.encode(w);
        self.flags.encode(w);
        w.u16(self.prefix_len);
    }
}

impl Decode<'_> for Candidate {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            nd: Nd::decode(r)?,
            pid: Pid::decode(r)?,
            chid: ChannelId::decode(r)?,
            handle: Handle::decode(r)?,
            file_type: FileType::decode(r)?,
            flags: AttachFlags::decode(r)?,
            prefix_len: r.u16()?,
        })
    }
}

/// "Ask over there": the candidates in the order in which to try them, and the path they see.
///
/// `path` is absolute, seen from the root of whoever answers; each candidate's `prefix_len` counts
/// into it, the leading slash included.
#[doc(alias = "io_connect_link_reply")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// At most [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// The whole path that the candidates' prefixes are prefixes of.
    pub path: Vec<u8>,
    /// What `path` looked like before it was normalised.
    pub path_flags: PathFlags,
}

impl Encode for Redirect {
    fn encode(&self, w: &mut Writer<'_>) {
        w.list16(&self.candidates);
        w.str16(&self.path);
        self.path_flags.encode(w);
    }
}

impl Decode<'_> for Redirect {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let candidates: Vec<Candidate> = r.list16(CANDIDATES_MAX)?;
        let path = r.str16(PATH_MAX)?.to_vec();
        if candidates
            .iter()
            .any(|c| usize::from(c.prefix_len) > path.len())
        {
            return Err(Malformed::Invalid);
        }
        Ok(Self {
            candidates,
            path,
            path_flags: PathFlags::decode(r)?,
        })
    }
}

/// A symbolic link was met. The client splices: directory of the link, `target`, then `rest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymlinkReply {
    /// The link's text. An absolute one starts again at the client's root.
    pub target: Vec<u8>,
    /// What of the asked path follows the link, without a leading slash.
    pub rest: Vec<u8>,
}

impl Encode for SymlinkReply {
    fn encode(&self, w: &mut Writer<'_>) {
        w.str16(&self.target);
        w.str16(&self.rest);
    }
}

impl Decode<'_> for SymlinkReply {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            target: r.str16(PATH_MAX)?.to_vec(),
            rest: r.str16(PATH_MAX)?.to_vec(),
        })
    }
}

/// What a client learns from a successful open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Opened {
    /// What was opened.
    pub file_type: FileType,
    /// Kind and permissions.
    pub mode: u32,
    /// Length in bytes; 0 for a device.
    pub size: u64,
    /// Serial number within its server.
    pub ino: u64,
    /// Reads and writes must reach the server one by one: a device, not a file to be cached.
    pub direct: bool,
    /// Preferred number of bytes per read and write; 0 if there is none.
    pub block_size: u32,
}

impl Encode for Opened {
    fn encode(&self, w: &mut Writer<'_>) {
        self.file_type.encode(w);
        w.u32(self.mode);
        w.u64(self.size);
        w.u64(self.ino);
        w.bool(self.direct);
        w.u32(self.block_size);
    }
}

impl Decode<'_> for Opened {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            file_type: FileType::decode(r)?,
            mode: r.u32()?,
            size: r.u64()?,
            ino: r.u64()?,
            direct: r.bool()?,
            block_size: r.u32()?,
        })
    }
}

/// The answer to a combined message: that of the open, if it stays open, and that of the I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CombinedReply<'a> {
    /// Present for [`ConnectType::Combine`].
    pub opened: Option<Opened>,
    /// The status the I/O message alone would have been answered with.
    pub status: i64,
    /// The body the I/O message alone would have been answered with.
    pub body: &'a [u8],
}

impl Encode for CombinedReply<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        w.option(self.opened.as_ref());
        w.i64(self.status);
        w.bytes(self.body);
    }
}

impl<'a> Decode<'a> for CombinedReply<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            opened: r.option()?,
            status: r.i64()?,
            body: r.rest(),
        })
    }
}
