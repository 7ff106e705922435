//! Where a node keeps its socket and its state.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use ipc::own_directory;

use crate::StartError;

/// The state directory that belongs to a node directory: for root's default one `/var/lib/slashnet`, for another
/// user's default one `slashnet` in the XDG state directory, for any other directory `state` in it.
#[must_use]
pub fn default_state(directory: &Path) -> PathBuf {
    let named = std::env::var_os("SLASHNET_DIR").is_some_and(|dir| !dir.is_empty());
    if named || directory != own_directory() {
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
    if !metadata.is_dir() {
        return Err(StartError::at(directory, "is not a directory"));
    }
    // Whoever may change the directory can put a socket of his own in place of the node's, and be the node to everybody.
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&metadata.uid()) || metadata.mode() & 0o002 != 0 {
        let text = format!(
            "others may change it (owner {}, mode {:o}): programs could not trust what they find there; \
             choose another --dir, or take it over with chown and chmod 755",
            metadata.uid(),
            metadata.mode() & 0o7777
        );
        return Err(StartError::at(directory, text));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_may_change_is_no_place_for_a_node() {
        let place = tempfile::tempdir().unwrap();
        let mode = |bits| {
            let permissions = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(place.path(), permissions).unwrap();
        };
        for (bits, refused) in [
            (0o755, false),
            (0o700, false),
            (0o777, true),
            (0o775, false),
        ] {
            mode(bits);
            assert_eq!(make_public(place.path()).is_err(), refused, "{bits:o}");
        }
        mode(0o755);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(place.path(), Some(54_321), None).unwrap();
            assert!(make_public(place.path()).is_err(), "somebody else's");
        }
    }
}
