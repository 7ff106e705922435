//! The path space as a FUSE file system.
#![allow(dead_code)]

mod error;
mod kernel;

pub use error::{Error, MountPoint};
