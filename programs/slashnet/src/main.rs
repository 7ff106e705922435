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
mod mounted;
mod name_map;
mod notation;
mod offer;
mod output;
mod running;
mod signals;
mod supervised;
mod supervisor;
mod table;
mod users;
mod verbs;

use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::command::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => verbs::run(cli),
        Err(help) if help.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(
            Failure::refused(&format!("no command is given\n\n{}", help.render())),
        ),
        Err(error) if error.use_stderr() => {
            let text = without_hidden(error).render().to_string();
            Err(Failure::refused(&as_typed(text)))
        }
        Err(help) => output::write(help.render().to_string().as_bytes()),
    };
    logging::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The usage without options that the environment has given: nobody typed them.
fn as_typed(text: String) -> String {
    let from_environment = [
        ("SLASHNET_DIR", "--dir", " --dir <DIR>"),
        ("SLASHNET_LOG", "--log", " --log <FILTER>"),
    ];
    let is_typed = |option: &str| {
        let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        words.any(|word| word.starts_with(option))
    };
    from_environment
        .iter()
        .filter(|(variable, option, _)| std::env::var_os(variable).is_some() && !is_typed(option))
        .fold(text, |text, (_, _, shown)| text.replacen(shown, "", 1))
}

/// What is not for people is not proposed to them either.
fn without_hidden(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::SuggestedSubcommand) else {
        return error;
    };
    let command = Cli::command();
    let is_shown = |name: &&String| {
        command
            .find_subcommand(name)
            .is_none_or(|verb| !verb.is_hide_set())
    };
    let shown: Vec<String> = names.iter().filter(is_shown).cloned().collect();
    if shown.is_empty() {
        error.remove(ContextKind::SuggestedSubcommand);
    } else {
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(shown),
        );
    }
    error
}
