//! Where a node keeps its socket and its state.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StartError;

/// The directory of the user's node: `$SLASHNET_DIR`, or `/run/slashnet` for root, or `slashnet` in the XDG runtime
/// directory.
#[must_use]
pub fn default_directory() -> PathBuf {
    ipc::default_directory()
}

/// The state directory that belongs to a node directory: for root's default one `/var/lib/slashnet`, for another
/// user's default one `slashnet` in the XDG state directory, for any other directory `state` in it.
#[must_use]
pub fn default_state(directory: &Path) -> PathBuf {
    let named = std::env::var_os("SLASHNET_DIR").is_some_and(|dir| !dir.is_empty());
    if named || directory != default_directory() {
        return directory.join("state");
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/slashnet");
    }
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| directory.join("state"))
        .join("slashnet")
}

/// Makes the directory that programs look into.
pub(crate) fn make_public(directory: &Path) -> Result<(), StartError> {
    make(directory, 0o755)?;
    let metadata =
        std::fs::metadata(directory).map_err(|error| StartError::at(directory, error))?;
    if metadata.is_dir() {
        Ok(())
    } else {
        Err(StartError::at(directory, "is not a directory"))
    }
}

/// Makes the directory for secrets, and takes others' rights away if it had been there.
pub(crate) fn make_private(directory: &Path) -> Result<(), StartError> {
    make(directory, 0o700)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| StartError::at(directory, format!("cannot be made private: {error}")))
}

fn make(directory: &Path, mode: u32) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .map_err(|error| StartError::at(directory, format!("cannot be made: {error}")))
}
