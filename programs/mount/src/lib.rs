//! The path space as a FUSE file system, for programs that know nothing of Slashnet.
//!
//! A mount is an ordinary client: every request of the kernel becomes calls of [`client::Namespace`] and
//! [`client::File`]. Devices are shown as plain files whose reads and writes reach the server one by one; files and
//! directories are cached, and no answer is believed for longer than [`Options::fresh`].

mod attributes;
mod behind;
mod closing;
mod directories;
mod error;
mod files;
mod handles;
mod identity;
mod kernel;
mod known;
mod leases;
mod listing_space;
mod locks;
mod mount;
mod names;
mod nodes;
mod open_files;
mod path_space;
mod readiness;
mod server;
mod share;
mod versions;

pub use error::{Error, MountPoint};
pub use mount::{Mount, Options};
