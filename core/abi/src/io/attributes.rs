use super::{Encode, Malformed, Reader, Writer, record};
use crate::codec::Decode;
use crate::ids::{Gid, Nd, Uid};

/// A point in time of the world's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpec {
    /// Seconds since 1970-01-01 00:00 UTC; negative before.
    pub seconds: i64,
    /// 0 to 999 999 999, always forward.
    pub nanos: u32,
}

impl Encode for TimeSpec {
    fn encode(&self, w: &mut Writer<'_>) {
        w.i64(self.seconds);
        w.u32(self.nanos);
    }
}

impl Decode<'_> for TimeSpec {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let time = Self {
            seconds: r.i64()?,
            nanos: r.u32()?,
        };
        if time.nanos < 1_000_000_000 {
            Ok(time)
        } else {
            Err(Malformed::Invalid)
        }
    }
}

record! {
    /// Attributes of a file.
    #[doc(alias = "struct stat")]
    pub struct Stat {
        /// The node of the file; [`Nd::LOCAL`] in an answer, the client fills in the server's.
        pub node: Nd,
        /// Device it is on.
        pub dev: u64,
        /// Serial number on that device.
        pub ino: u64,
        /// Kind and permissions.
        pub mode: u32,
        /// Hard links.
        pub nlink: u32,
        /// Owner.
        pub uid: Uid,
        /// Group.
        pub gid: Gid,
        /// Device number, if it is a device.
        pub rdev: u64,
        /// Length in bytes.
        pub size: u64,
        /// Preferred number of bytes per read and write.
        pub block_size: u32,
        /// Blocks of 512 bytes in use.
        pub blocks: u64,
        /// Last read.
        pub atime: TimeSpec,
        /// Last change of the data.
        pub mtime: TimeSpec,
        /// Last change of anything.
        pub ctime: TimeSpec,
        /// When it was made; zero if not known.
        pub btime: TimeSpec,
    }
}

impl Stat {
    /// Bytes of an encoded structure.
    pub const ENCODED_LEN: usize = 112;
}

record! {
    /// Change the permission bits.
    pub struct Chmod {
        /// [`crate::flags::mode::PERMISSIONS`]; the kind is ignored.
        pub mode: u32,
    }
}

/// Change owner and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chown {
    /// The new owner; `None` keeps it. On the wire all ones.
    pub uid: Option<Uid>,
    /// The new group; `None` keeps it. On the wire all ones.
    pub gid: Option<Gid>,
}

const KEEP: u32 = u32::MAX;

impl Encode for Chown {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u32(self.uid.map_or(KEEP, |uid| uid.0));
        w.u32(self.gid.map_or(KEEP, |gid| gid.0));
    }
}

impl Decode<'_> for Chown {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let given = |number| (number != KEEP).then_some(number);
        Ok(Self {
            uid: given(r.u32()?).map(Uid),
            gid: given(r.u32()?).map(Gid),
        })
    }
}

/// What to do with one of a file's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SetTime {
    /// Leave it.
    #[doc(alias = "UTIME_OMIT")]
    #[default]
    Keep,
    /// Set it to the server's present time.
    #[doc(alias = "UTIME_NOW")]
    Now,
    /// Set it.
    At(TimeSpec),
}

impl Encode for SetTime {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Keep => w.u16(0),
            Self::Now => w.u16(1),
            Self::At(time) => {
                w.u16(2);
                time.encode(w);
            }
        }
    }
}

impl Decode<'_> for SetTime {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u16()? {
            0 => Ok(Self::Keep),
            1 => Ok(Self::Now),
            2 => TimeSpec::decode(r).map(Self::At),
            _ => Err(Malformed::Unknown),
        }
    }
}

record! {
    /// Change the times.
    #[doc(alias = "utimensat")]
    pub struct Utime {
        /// Last read.
        pub atime: SetTime,
        /// Last change of the data.
        pub mtime: SetTime,
    }
}
