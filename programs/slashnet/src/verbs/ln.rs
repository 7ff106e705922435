//! `slashnet ln -sP`: links in the process manager's table.

use abi::system::{Link, Request};

use crate::command::{GlobalOptions, LnOptions};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// Makes the link `path`, which stands for `target`.
pub(crate) fn run(global: &GlobalOptions, options: &LnOptions) -> Outcome {
    if !(options.symbolic && options.process_manager) {
        return Err(Failure::usage(
            "ln",
            "give -sP; other links are made by ln on the mount",
        ));
    }
    let link = Link {
        path: options.path.clone().into_bytes(),
        target: options.target.clone().into_bytes(),
    };
    Daemon::of(global)?
        .ask(&options.path, &Request::Link(link))
        .map(|_| ())
}
