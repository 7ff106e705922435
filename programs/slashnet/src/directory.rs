//! Which node a command means: the directory with its state and sockets.

use std::path::{Path, PathBuf};

/// The directory given, or where this user's own node is.
pub(crate) fn own(given: Option<&Path>) -> PathBuf {
    given.map_or_else(ipc::own_directory, Path::to_owned)
}

/// The directory given, or the one that all programs use by default.
pub(crate) fn of(given: Option<&Path>) -> PathBuf {
    given.map_or_else(ipc::default_directory, Path::to_owned)
}
