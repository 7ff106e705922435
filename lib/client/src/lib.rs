//! open, read, write, devctl, names: what programs do with the pathname space of all nodes.
//!
//! [`File`] is an open file, device or service; [`Namespace`] does things to paths. Both look the same whether the
//! server is on this node or on another one.
//!
//! ```no_run
//! use client::{File, OpenFlags};
//! use std::io::{Read, Write};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut port = File::open("/net/lab2/dev/ser1", OpenFlags::READ_WRITE)?;
//! port.write_all(b"ATZ\r")?;
//! let mut answer = [0; 64];
//! let count = Read::read(&mut port, &mut answer)?;
//! # let _ = count; Ok(()) }
//! ```
//!
//! A path is resolved in steps, each by the manager of the part of the path it knows ([`Namespace::trace`] shows
//! them); afterwards client and server talk directly. What managers answered is kept while no name has
//! changed, so a path that is opened again costs one exchange with its server.

mod carrier;
mod connections;
mod directory;
mod file;
mod names;
mod namespace;
mod nodes;
mod owners;
mod request;
mod resolver;
mod selector;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;
mod trace;

pub use abi::devctl::Devctl;
pub use abi::flags::NodeTextFlags;
pub use abi::io::{Events, Info, SetTime, SpaceFlags, Stat, Statvfs, TimeSpec, Whence};
pub use abi::{Errno, OpenFlags, Result};
pub use directory::{Directory, DirectoryEntry};
pub use file::{Closing, File, TRANSFER_MAX};
pub use ipc::{First, Identity, Interrupt, Pending, Readable, SendOptions};
pub use namespace::Namespace;
pub use owners::Owner;
pub use selector::{Selector, Watched};
pub use trace::{Answered, Asked, TraceStep};
