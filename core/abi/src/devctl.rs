//! Device control: requests with a number and typed argument and result.

mod leases;
mod port_users;
mod serial;

use core::fmt;
use core::marker::PhantomData;

use crate::codec::{Decode, Encode};
use crate::flags::OpenFlags;

pub use leases::{BrokenLeases, DIRECTORY_LEASE, LEASE_BEAT_MS, LEASE_NEWS};
pub use port_users::{
    CHR_REFUSE, CHR_TAKE_OVER, CHR_USERS, CHR_WANTED, PortAccess, PortUser, PortUsers, TakeOver,
};
pub use serial::{
    CHR_DRAIN, CHR_EXCLUSIVE, CHR_FLUSH, CHR_INPUT_COUNT, CHR_LINE_STATUS, CHR_MODEM_GET,
    CHR_MODEM_SET, CHR_OUTPUT_COUNT, CHR_SEND_BREAK, CHR_SET_BREAK, CHR_TCGETATTR, CHR_TCSETATTR,
    CHR_WINDOW_GET, CHR_WINDOW_SET, ControlCharacter, ControlModes, FlushQueue, InputModes,
    LineErrors, LineStatus, LocalModes, ModemLines, ModemSet, OutputModes, SetTermios, Termios,
    When, WindowSize,
};

/// One kind of device control: its number, and the types of its argument and result.
///
/// The constant is written once and used by both sides, so they cannot disagree. The number holds,
/// from the top: to the device (1 bit), from the device (1 bit), size of the larger of argument and
/// result (14 bits), class (8 bits), number within the class (8 bits).
#[doc(alias = "DCMD_CHR_TCGETATTR")]
pub struct Devctl<Request, Reply> {
    dcmd: u32,
    types: PhantomData<fn(Request) -> Reply>,
}

/// Classes of device control.
pub mod class {
    /// Understood by every resource manager.
    pub const ALL: u8 = 1;
    /// Character devices.
    pub const CHR: u8 = 5;
    /// Files and directories of a disk.
    pub const FILES: u8 = 7;
    /// Free for programs' own.
    pub const PRIVATE: u8 = 0xff;
}

const TO_DEVICE: u32 = 0x8000_0000;
const FROM_DEVICE: u32 = 0x4000_0000;

impl<Request, Reply> Devctl<Request, Reply> {
    const fn build(class: u8, number: u8, direction: u32, size: u16) -> Self {
        assert!(size < 1 << 14, "the size has 14 bits");
        let dcmd = direction | (size as u32) << 16 | (class as u32) << 8 | number as u32;
        Self {
            dcmd,
            types: PhantomData,
        }
    }

    /// An argument and a result of at most `size` bytes when encoded.
    #[doc(alias = "__DIOTF")]
    #[must_use]
    pub const fn both(class: u8, number: u8, size: u16) -> Self {
        Self::build(class, number, TO_DEVICE | FROM_DEVICE, size)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn dcmd(&self) -> u32 {
        self.dcmd
    }
}

impl Devctl<(), ()> {
    /// Neither an argument nor a result.
    #[doc(alias = "__DION")]
    #[must_use]
    pub const fn plain(class: u8, number: u8) -> Self {
        Self::build(class, number, 0, 0)
    }
}

impl<Reply> Devctl<(), Reply> {
    /// A result of at most `size` bytes when encoded, and no argument.
    #[doc(alias = "__DIOF")]
    #[must_use]
    pub const fn from_device(class: u8, number: u8, size: u16) -> Self {
        Self::build(class, number, FROM_DEVICE, size)
    }
}

impl<Request> Devctl<Request, ()> {
    /// An argument of at most `size` bytes when encoded, and no result.
    #[doc(alias = "__DIOT")]
    #[must_use]
    pub const fn to_device(class: u8, number: u8, size: u16) -> Self {
        Self::build(class, number, TO_DEVICE, size)
    }
}

impl<Request, Reply> Clone for Devctl<Request, Reply> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Request, Reply> Copy for Devctl<Request, Reply> {}

impl<Request, Reply> fmt::Debug for Devctl<Request, Reply> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Devctl({:#010x})", self.dcmd)
    }
}

/// What can be the argument or the result of a device control.
pub trait Argument: Encode + for<'a> Decode<'a> {}

impl<T: Encode + for<'a> Decode<'a>> Argument for T {}

/// The flags the open file has now.
#[doc(alias = "DCMD_ALL_GETFLAGS")]
pub const ALL_GETFLAGS: Devctl<(), OpenFlags> = Devctl::from_device(class::ALL, 1, 4);

/// Changes [`OpenFlags::APPEND`], [`OpenFlags::NONBLOCK`], [`OpenFlags::SYNC`] and
/// [`OpenFlags::DSYNC`] of the open file; other bits are ignored.
#[doc(alias = "DCMD_ALL_SETFLAGS")]
pub const ALL_SETFLAGS: Devctl<OpenFlags, ()> = Devctl::to_device(class::ALL, 2, 4);
