//! `slashnet rm`, `mkdir` and `mv`: changes of names.

use std::os::unix::ffi::OsStrExt;

use crate::command::{FromToOptions, GlobalOptions, PathsOptions, RmOptions};
use crate::daemon;
use crate::failure::{During, Outcome};
use crate::notation::printable;

/// Permissions of a new directory, before the umask.
const DIRECTORY_MODE: u32 = 0o777;

/// Removes files, or empty directories.
pub(crate) fn remove(global: &GlobalOptions, options: &RmOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    options
        .paths
        .iter()
        .map(|path| path.as_bytes())
        .try_for_each(|path| {
            let removed = if options.directory {
                namespace.rmdir(path)
            } else {
                namespace.unlink(path)
            };
            removed.during(printable(path))
        })
}

/// Makes directories.
pub(crate) fn make_directories(global: &GlobalOptions, options: &PathsOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    options
        .paths
        .iter()
        .map(|path| path.as_bytes())
        .try_for_each(|path| {
            namespace
                .mkdir(path, DIRECTORY_MODE & !namespace.umask())
                .during(printable(path))
        })
}

/// Renames.
pub(crate) fn rename(global: &GlobalOptions, options: &FromToOptions) -> Outcome {
    let (from, to) = (options.from.as_bytes(), options.to.as_bytes());
    let what = format!("{} to {}", printable(from), printable(to));
    daemon::namespace(global)?.rename(from, to).during(what)
}
