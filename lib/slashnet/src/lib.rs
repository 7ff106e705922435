//! Every device, file and service of every machine, under one path: `/net/<node>/...`.
//!
//! This is the crate to depend on. It gathers what a program needs:
//!
//! - [`File`] and [`Namespace`]: open, read, write, control and list what is anywhere, by path; [`Selector`] waits for
//!   several files at once.
//! - [`resmgr`]: own a path and serve it, to this node and all others.
//! - [`Channel`], [`Connection`]: send, receive, reply between processes, here or across nodes.
//!
//! # Use a device of another machine
//!
//! ```no_run
//! use slashnet::{File, OpenFlags};
//! use std::io::{Read, Write};
//!
//! fn main() -> std::io::Result<()> {
//!     let mut port = File::open("/net/lab2/dev/ser1", OpenFlags::READ_WRITE)?;
//!     port.write_all(b"ATZ\r")?;
//!     let mut answer = String::new();
//!     port.take(64).read_to_string(&mut answer)?;
//!     println!("{answer}");
//!     Ok(())
//! }
//! ```
//!
//! # Serve one
//!
//! ```no_run
//! use slashnet::resmgr::{self, Answer, Attributes, OpenFile, ReadRequest, Resource, ServeError};
//!
//! struct Hello;
//!
//! impl Resource for Hello {
//!     fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
//!         read.slice(b"hello, world\n")
//!     }
//! }
//!
//! fn main() -> Result<(), ServeError> {
//!     resmgr::serve("/dev/hello", Attributes::device(0o444), Hello)
//! }
//! ```
//!
//! Any program of any node may now read `/net/<this node>/dev/hello`; on the way are no daemons, only the two
//! processes.
//!
//! # Send messages
//!
//! ```no_run
//! use slashnet::{Channel, ChannelFlags, Endpoint, Received, Result};
//!
//! fn main() -> Result {
//!     let endpoint = Endpoint::global()?;
//!     let channel = Channel::create(endpoint, ChannelFlags::empty())?;
//!     let mut buffer = [0; 64];
//!     loop {
//!         match channel.receive(&mut buffer)? {
//!             Received::Message(message) => {
//!                 let sent = &buffer[..message.bytes()];
//!                 let sum: u64 = sent.iter().map(|&byte| u64::from(byte)).sum();
//!                 message.reply(0, &sum.to_le_bytes())?;
//!             }
//!             Received::Pulse(pulse) => println!("{pulse:?}"),
//!         }
//!     }
//! }
//! ```
//!
//! All calls block and may be made from any thread. Every send ends: with a reply, a refusal, or a
//! [`Failure`] that says whether the message may have been executed. A forked child makes its own [`Endpoint`].
//! The node daemon (`slashnet up`) must run; which one is used says `$SLASHNET_DIR`.

pub use abi::{
    AttachFlags, ChannelFlags, ChannelId, ConnectionId, Credentials, Errno, FileType, Gid, Handle,
    Incarnation, Nd, NodeName, OpenFlags, Pid, Pulse, Result, SenderId, Uid,
};
pub use client::{
    Answered, Asked, Directory, DirectoryEntry, Events, File, Identity, Info, Interrupt, Namespace,
    NodeTextFlags, Owner, Selector, SendOptions, SetTime, SpaceFlags, Stat, Statvfs, TimeSpec,
    TraceStep, Watched, Whence,
};
pub use ipc::{
    Cause, Channel, Connection, Delivery, Endpoint, Failure, Message, MessageId, MessageInfo,
    Received, Registration, Reply,
};
pub use resmgr;

/// Device controls with their types, such as [`devctl::CHR_LINE_STATUS`].
pub use abi::devctl;
/// Messages to open files, for servers that handle them raw.
pub use abi::io as io_messages;
