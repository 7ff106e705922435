use bitflags::bitflags;

use super::{
    Encode, Malformed, OFFSET_MAX, Offset, Reader, Writer, choice, decode_offset, encode_offset,
    flag_codec, record,
};
use crate::codec::Decode;
use crate::flags::OpenFlags;

/// Read bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Read {
    /// At most so many bytes.
    pub nbytes: u32,
    /// Where.
    pub offset: Offset,
}

impl Encode for Read {
    fn encode(&self, w: &mut Writer<'_>) {
        encode_offset(self.offset, w);
        w.u32(self.nbytes);
    }
}

impl Decode<'_> for Read {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            offset: decode_offset(r)?,
            nbytes: r.u32()?,
        })
    }
}

choice! {
    /// Where an offset counts from.
    pub enum Whence {
        /// The start of the file.
        #[default]
        Set = 0,
        /// The present offset.
        Current = 1,
        /// The end of the file.
        End = 2,
        /// The next data at or after the offset.
        Data = 3,
        /// The next hole at or after the offset.
        Hole = 4,
    }
}

record! {
    /// Move the open file's offset.
    pub struct Lseek {
        /// By or to how many bytes.
        pub offset: i64,
        /// From where.
        pub whence: Whence,
    }
}

/// Set the length of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truncate {
    /// The new length in bytes, at most [`OFFSET_MAX`].
    pub size: u64,
}

impl Encode for Truncate {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u64(self.size);
    }
}

impl Decode<'_> for Truncate {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        bounded(r).map(|size| Self { size })
    }
}

fn bounded(r: &mut Reader<'_>) -> Result<u64, Malformed> {
    let value = r.u64()?;
    if value <= OFFSET_MAX {
        Ok(value)
    } else {
        Err(Malformed::Invalid)
    }
}

bitflags! {
    /// How [`Space`] treats its range.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SpaceFlags: u32 {
        /// The length stays, even if the range lies beyond it.
        const KEEP_SIZE = 0x1;
        /// The range is freed and reads as zeros; needs [`Self::KEEP_SIZE`].
        const PUNCH_HOLE = 0x2;
        /// The range reads as zeros.
        const ZERO_RANGE = 0x4;
    }
}

flag_codec!(SpaceFlags: u32);

/// Reserve or free the space of a range.
#[doc(alias = "fallocate")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Space {
    /// How.
    pub flags: SpaceFlags,
    /// Start of the range, at most [`OFFSET_MAX`].
    pub offset: u64,
    /// Bytes of the range, at most [`OFFSET_MAX`].
    pub len: u64,
}

impl Encode for Space {
    fn encode(&self, w: &mut Writer<'_>) {
        self.flags.encode(w);
        w.u64(self.offset);
        w.u64(self.len);
    }
}

impl Decode<'_> for Space {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: SpaceFlags::decode(r)?,
            offset: bounded(r)?,
            len: bounded(r)?,
        })
    }
}

record! {
    /// Make written data durable.
    pub struct Sync {
        /// Attributes that are not needed to read the data back may wait.
        pub data_only: bool,
    }
}

choice! {
    /// A configuration value to ask for.
    #[doc(alias = "_PC_LINK_MAX")]
    pub enum Pathconf {
        /// Most hard links.
        LinkMax = 1,
        /// Most bytes of a line of terminal input.
        MaxCanon = 2,
        /// Most bytes of terminal input that wait.
        MaxInput = 3,
        /// Most bytes of a name.
        #[default]
        NameMax = 4,
        /// Most bytes of a path.
        PathMax = 5,
        /// Most bytes that a pipe takes whole.
        PipeBuf = 6,
        /// Only the superuser gives files away.
        ChownRestricted = 7,
        /// Long names are refused, not cut.
        NoTrunc = 8,
        /// The character that switches a special character off.
        Vdisable = 9,
        /// Writes can be made durable.
        SyncIo = 10,
        /// Bits of a file's size.
        FileSizeBits = 11,
        /// Most bytes of a symbolic link.
        SymlinkMax = 12,
    }
}

record! {
    /// Facts about the open file itself.
    #[doc(alias = "_fdinfo")]
    pub struct Info {
        /// How it is open.
        pub flags: OpenFlags,
        /// Kind and permissions.
        pub mode: u32,
        /// Its offset.
        pub offset: u64,
        /// Length of the file.
        pub size: u64,
        /// How many connections reach this open file.
        pub connections: u32,
    }
}
