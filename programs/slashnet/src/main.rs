//! The `slashnet` command: parse arguments, call a library, print.
//!
//! Nothing is decided here that a library could decide. [`command`] is the one definition of the
//! command line; help, man pages and completions are made from it. Each verb is a file in
//! [`verbs`], and [`demo`] is the whole system in one run on one machine.
//!
//! Exit status: 0 done, 1 failed, 2 used wrongly.
#![allow(clippy::print_stdout)]

mod command;
mod config;
mod daemon;
mod demo;
mod descent;
mod directory;
mod failure;
mod log_lines;
mod logging;
mod machine;
mod name_map;
mod notation;
mod offer;
mod output;
mod signals;
mod supervised;
mod supervisor;
mod table;
mod users;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::command::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => verbs::run(cli),
        Err(help) if help.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(
            Failure::refused(&format!("no command is given\n\n{}", help.render())),
        ),
        Err(error) if error.use_stderr() => Err(Failure::refused(&error.render().to_string())),
        Err(help) => output::write(help.render().to_string().as_bytes()),
    };
    logging::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
