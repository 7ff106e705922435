//! One file for each verb or for a few that are one thing; each parses nothing, calls a library
//! and prints.

mod manual;
mod up;

use crate::command::{Cli, Verb};
use crate::failure::{Failure, Outcome};
use crate::{demo, output, supervised};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Outcome {
    if let Some(supervisor) = cli.global.supervised {
        supervised::tie_to(supervisor)?;
    }
    let global = cli.global;
    match cli.verb {
        Verb::Up(options) => up::run(&global, &options),
        Verb::Demo(options) => demo::run(&global, &options),
        Verb::Completion { shell } => manual::completion(shell),
        Verb::Version => output::line(format!("slashnet {}", env!("CARGO_PKG_VERSION"))),
        Verb::Man { dir } => manual::pages(&dir),
        _ => Err(Failure::new("verb", "not wired")),
    }
}
