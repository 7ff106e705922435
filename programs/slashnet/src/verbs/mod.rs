//! One file for each verb or for a few that are one thing; each parses nothing, calls a library
//! and prints.

mod cat;
mod complete;
mod cp;
mod down;
mod find;
mod links;
mod ln;
mod ls;
mod manual;
mod mount;
mod names;
mod node;
mod port;
mod rights;
mod run;
mod serve;
mod stat;
mod status;
mod tables;
pub(crate) mod trace;
mod tree;
mod trust;
mod tty;
pub(crate) mod up;
mod who;
mod why;
mod write;

use crate::command::{Cli, Verb};
use crate::failure::Outcome;
use crate::{demo, output, supervised};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Outcome {
    if let Some(supervisor) = cli.global.supervised {
        supervised::tie_to(supervisor)?;
    }
    let global = cli.global;
    match cli.verb {
        Verb::Up(options) => up::run(&global, &options),
        Verb::Down => down::run(&global),
        Verb::Status(options) => status::run(&global, options),
        Verb::Demo(options) => demo::run(&global, &options),
        Verb::Peer(options) => demo::peer(&global, &options),
        Verb::Completion { shell } => manual::completion(shell),
        Verb::Complete(options) => complete::run(&global, &options),
        Verb::Version => output::line(format!("slashnet {}", env!("CARGO_PKG_VERSION"))),
        Verb::Man { dir } => manual::pages(&dir),
        Verb::Invite(options) => trust::invite(&global, &options),
        Verb::Join(options) => trust::join(&global, &options),
        Verb::Forget(options) => trust::forget(&global, &options),
        Verb::Nodes(options) => tables::nodes(&global, options),
        Verb::Links(options) => links::run(&global, &options),
        Verb::Sessions(options) => tables::sessions(&global, options),
        Verb::Ps(options) => tables::processes(&global, options),
        Verb::Prefixes(options) => tables::prefixes(&global, &options),
        Verb::Ln(options) => ln::run(&global, &options),
        Verb::Ls(options) => ls::run(&global, &options),
        Verb::Tree(options) => tree::run(&global, &options),
        Verb::Find(options) => find::run(&global, &options),
        Verb::Who(options) => who::run(&global, &options),
        Verb::Cat(options) => cat::run(&global, &options),
        Verb::Cp(options) => cp::run(&global, &options),
        Verb::Stat(options) => stat::run(&global, &options),
        Verb::Write(options) => write::run(&global, &options),
        Verb::Rm(options) => names::remove(&global, &options),
        Verb::Mkdir(options) => names::make_directories(&global, &options),
        Verb::Mv(options) => names::rename(&global, &options),
        Verb::Port(options) => port::run(&global, &options),
        Verb::Tty(options) => tty::run(&global, &options),
        Verb::PreloadBroker(options) => run::broker(&global, &options),
        Verb::Run(options) => run::run(&global, &options),
        Verb::Confined(options) => run::enter(&options),
        Verb::Rights(options) => rights::run(&global, &options),
        Verb::Why(options) => why::run(&global, &options),
        Verb::Trace(verb) => trace::run(&global, &verb),
        Verb::Serve(verb) => serve::run(&global, &verb),
        Verb::Mount(options) => mount::run(&global, &options),
        Verb::Node(options) => node::run(&global, &options),
    }
}
