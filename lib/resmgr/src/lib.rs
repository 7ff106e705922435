//! Write a resource manager: a program that owns pathnames.
//!
//! All of `/dev/hello`:
//!
//! ```no_run
//! use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, ServeError};
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
//! What the library did for it: permissions, stat, seek, dup, partial reads, clients on other
//! nodes, clients that give up, die or close, threads, and shutdown. Each step deeper is one
//! method: override nothing; override [`Resource::read`]; park requests in a [`WaitQueue`]; override
//! [`Resource::open`] and keep [state](OpenFile::state) per open; serve a directory; use [`Server`]
//! with several resources. `docs/resmgr.md` walks through them.
//!
//! Reading order: `resource` (what an author sees), `request` (what a handler gets), `server` (how
//! messages come in), `connect` and `io` (how they are routed), `open_file`, `bindings`,
//! `wait_queue`, `posix`.

mod attachments;
mod attributes;
mod bindings;
mod connect;
mod dispatch;
mod envelope;
mod io;
mod locks;
mod notices;
mod open_file;
mod pool;
pub mod posix;
mod request;
mod resource;
mod rights;
mod running;
mod serve;
mod server;
pub mod testing;
mod wait_queue;

pub use abi;
pub use abi::connect::Opened;
pub use abi::credentials::Credentials;
pub use abi::{AttachFlags, Errno, FileType, OpenFlags, Result};
pub use ipc::Endpoint;

pub use self::attributes::{Attributes, Fields};
pub use self::notices::Notices;
pub use self::open_file::{Cursor, OpenFile};
pub use self::pool::{ThreadPool, blocking};
pub use self::request::{
    AllocateRequest, Answer, ChmodRequest, ChownRequest, DevctlCall, DevctlChoice, DevctlRequest,
    InfoRequest, LinkRequest, LinkTextRequest, LockRequest, MakeNodeRequest, MountRequest,
    NotifyRequest, OpenRequest, Opening, OwnRequest, PathconfRequest, RawRequest,
    ReadDirectoryRequest, ReadLinkRequest, ReadRequest, RenameRequest, Request, SeekRequest,
    SetTimesRequest, StatRequest, StatvfsRequest, SymlinkRequest, SyncRequest, TruncateRequest,
    UnlinkRequest, WriteRequest, XattrRequest,
};
pub use self::resource::Resource;
pub use self::running::{Detach, Poster, Running};
pub use self::serve::{ServeError, serve};
pub use self::server::Server;
pub use self::wait_queue::WaitQueue;
