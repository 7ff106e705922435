//! Who uses a serial port, and how it changes hands.

use alloc::vec::Vec;

use bitflags::bitflags;

use super::{Devctl, class};
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::ids::{Nd, Pid, Uid};
use crate::io::{flag_codec, record};

bitflags! {
    /// What a user of a port may do with it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PortAccess: u32 {
        /// Read.
        const READ = 0x1;
        /// Write.
        const WRITE = 0x2;
        /// Keep others out.
        const EXCLUSIVE = 0x4;
        /// Not yet: the open waits for its turn.
        const WAITING = 0x8;
    }
}

flag_codec!(PortAccess: u32);

/// Somebody who has a port open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortUser {
    /// The node in the port's terms; [`Nd::LOCAL`] is the port's own.
    pub node: Nd,
    /// Its name, as the port's node knows it; empty if it does not.
    pub node_name: Vec<u8>,
    /// The process on that node.
    pub pid: Pid,
    /// The user, in the numbers of the port's node.
    pub uid: Uid,
    /// What it may do.
    pub access: PortAccess,
    /// For how many seconds.
    pub seconds: u32,
}

impl Encode for PortUser {
    fn encode(&self, w: &mut Writer<'_>) {
        self.node.encode(w);
        w.str16(&self.node_name);
        self.pid.encode(w);
        self.uid.encode(w);
        self.access.encode(w);
        w.u32(self.seconds);
    }
}

impl Decode<'_> for PortUser {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            node: Nd::decode(r)?,
            node_name: r.str16(NODE_NAME_MAX)?.to_vec(),
            pid: Pid::decode(r)?,
            uid: Uid::decode(r)?,
            access: PortAccess::decode(r)?,
            seconds: r.u32()?,
        })
    }
}

/// The longest name of a node in bytes.
const NODE_NAME_MAX: usize = 63;

/// Users of a port, those who came first in front; not more than [`Self::MAX`] are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortUsers(pub Vec<PortUser>);

impl PortUsers {
    /// How many are told.
    pub const MAX: usize = 32;
}

impl Encode for PortUsers {
    fn encode(&self, w: &mut Writer<'_>) {
        w.list16(&self.0);
    }
}

impl Decode<'_> for PortUsers {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.list16(Self::MAX).map(Self)
    }
}

record! {
    /// A wish to have a port.
    pub struct TakeOver {
        /// Do not ask those who have it. Only for the superuser, the port's owner, and a user who takes it from himself.
        pub force: bool,
        /// How long they may think it over, in milliseconds: a second at least, a minute at most. Who says nothing agrees.
        pub patience_ms: u32,
    }
}

/// Who has the port open, and who waits for it. Also through a file that was opened only to look.
pub const CHR_USERS: Devctl<(), PortUsers> = Devctl::from_device(class::CHR, 15, 4096);
/// Makes those who are in the way of an open for reading and writing lose the port: their files are hung up. It is kept
/// for the asker for 10 s. `EBUSY` if one of them refuses, `EPERM` for force without the right.
pub const CHR_TAKE_OVER: Devctl<TakeOver, ()> = Devctl::to_device(class::CHR, 16, 5);
/// Answers when somebody wants the port that this file has: who it is.
pub const CHR_WANTED: Devctl<(), PortUser> = Devctl::from_device(class::CHR, 17, 128);
/// Refuses what is wanted now. `EAGAIN` if nothing is.
pub const CHR_REFUSE: Devctl<(), ()> = Devctl::plain(class::CHR, 18);
