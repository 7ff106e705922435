//! `/ram`: a file system in memory.
//!
//! What an open file does is in `files`, what is done to names in `names`, both over the nodes of `tree`; the
//! bytes of a file are in `content`. Permissions, attributes and locks are the framework's.

mod content;
mod files;
mod names;
mod tree;

use resmgr::{Attributes, Endpoint, Result, Server};

use crate::files::Ram;

fn main() -> Result {
    let path = std::env::args().nth(1);
    let path = path.as_deref().unwrap_or("/ram");
    Server::new(Endpoint::global()?)?
        .threads(2..=8)
        .message_bytes(MESSAGE_BYTES)
        .attach(path, Attributes::directory(0o1777), Ram::new())?
        .run()
}

/// A write of 1 MiB comes in one piece.
const MESSAGE_BYTES: usize = (1 << 20) + 4096;
