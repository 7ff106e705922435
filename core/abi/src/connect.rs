//! Connect messages.

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::flags::{AttachFlags, FileType};
use crate::ids::{ChannelId, Handle, Nd, Pid};

/// A server that may own a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its node, in the asker's terms.
    pub nd: Nd,
    /// Its process.
    pub pid: Pid,
    /// The channel that takes connect messages.
    pub chid: ChannelId,
    /// The server's own handle for the prefix.
    pub handle: Handle,
    /// What is there.
    pub file_type: FileType,
    /// How it was attached.
    pub flags: AttachFlags,
    /// How much of the normalised path is the prefix.
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
