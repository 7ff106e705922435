//! `slashnet ln -sP`: links in the process manager's table.

use std::os::unix::ffi::OsStrExt;

use abi::system::{Link, Request};

use crate::command::{GlobalOptions, LnOptions};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::notation::printable;

/// Makes the link `path`, which stands for `target`.
pub(crate) fn run(global: &GlobalOptions, options: &LnOptions) -> Outcome {
    if !(options.symbolic && options.process_manager) {
        return Err(Failure::usage(
            "ln",
            "give -sP; other links are made by ln on the mount",
        ));
    }
    let link = Link {
        path: options.path.as_bytes().to_vec(),
        target: options.target.as_bytes().to_vec(),
    };
    let shown = printable(options.path.as_bytes());
    Daemon::of(global)?
        .ask(&shown, &Request::Link(link))
        .map(|_| ())
}
