//! Which node a command means: the directory with its state and sockets.

use std::path::{Path, PathBuf};

use crate::failure::Outcome;

/// The directory given, or the default one: `/run/slashnet` for root, `slashnet` in
/// `XDG_RUNTIME_DIR` for others.
pub(crate) fn of(given: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/run/slashnet".into());
    }
    let own = || {
        PathBuf::from(format!(
            "/tmp/slashnet-{}",
            rustix::process::geteuid().as_raw()
        ))
    };
    Ok(std::env::var_os("XDG_RUNTIME_DIR")
        .map_or_else(own, |dir| PathBuf::from(dir).join("slashnet")))
}
