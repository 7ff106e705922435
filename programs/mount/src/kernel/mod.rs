//! The kernel's side of a FUSE mount: the device, the wire, the worker threads.
//!
//! Nothing here knows what is mounted. `session` hands each request to a [`Handler`] together with a token that
//! is triggered when the calling program is interrupted, which is why this is not the `fuser` crate
//! (docs/decisions/fuse-reader.md).

pub(crate) mod channel;
pub(crate) mod device;
mod fields;
mod file_lock;
pub(crate) mod interrupts;
mod mount_table;
mod pool;
pub(crate) mod readahead;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod session;
mod set_attr;
#[cfg(test)]
mod tests;
mod yielding;

pub(crate) use reply::{Answer, FileAttributes, Listing, Validity};
pub(crate) use request::Header;
pub(crate) use session::{Handler, Session};

/// Largest read or write in one request: what the kernel allows by default (`fs.fuse.max_pages_limit` of 256 pages).
pub(crate) const MAX_TRANSFER: usize = 1 << 20;
