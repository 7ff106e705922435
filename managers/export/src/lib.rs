//! Directory trees of this machine, offered below a pathname.
//!
//! Every operation is done with the rights of the client, as this machine maps its user: as root
//! the manager's thread becomes that user for the length of the operation (`authority`), otherwise
//! the manager acts for its own user and checks everybody else (`permission`). No path leads out of
//! the tree (`tree`). Without root, files made by other users belong to the manager's user.

mod authority;
mod leases;
mod locks;
mod names;
mod node;
mod permission;
mod resource;
mod tree;

use std::fmt;
use std::path::PathBuf;

use abi::Errno;
use resmgr::{Attributes, Endpoint, Running, Server};

pub use self::resource::Export;
pub use self::tree::Tree;

/// One directory to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The directory of this machine.
    pub directory: PathBuf,
    /// The pathname to own.
    pub prefix: String,
    /// Whether every change is refused with EROFS.
    pub read_only: bool,
}

/// Why an export does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError {
    /// The directory or the pathname.
    pub what: String,
    /// The reason.
    pub errno: Errno,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.errno)
    }
}

impl std::error::Error for ExportError {}

impl From<ExportError> for Errno {
    fn from(error: ExportError) -> Self {
        error.errno
    }
}

/// Exports these directories until the returned value is dropped.
///
/// Each open file of a client is one here, within the limit that [`Server::new`] has raised.
///
/// # Errors
/// A directory that cannot be opened, or a pathname that cannot be owned.
pub fn serve(endpoint: &Endpoint, exports: &[ExportOptions]) -> Result<Running, ExportError> {
    let at = |what: String| move |errno| ExportError { what, errno };
    // A read or write may wait for the disk, so there are more threads than processors.
    let server = Server::new(endpoint).map_err(at("export".into()))?;
    let mut server = server.threads(2..=32).message_bytes(MESSAGE_BYTES);
    for export in exports {
        let tree = Tree::open(&export.directory, export.read_only)
            .map_err(at(export.directory.display().to_string()))?;
        server = server
            .attach(
                &export.prefix,
                Attributes::directory(0o755),
                Export::new(tree),
            )
            .map_err(at(export.prefix.clone()))?;
    }
    server.start().map_err(at("export".into()))
}

/// A write of 1 MiB with its header in one piece.
const MESSAGE_BYTES: usize = (1 << 20) + 4096;
