//! The project's own chores, one verb each: `cargo xtask --help`.
//!
//! `ci` is what decides whether a change lands; everything it runs can be run alone by the verb
//! of the same name.
#![allow(clippy::print_stdout)]

mod big_endian;
mod ci;
mod command;
mod figures;
mod fuzz;
mod lab;
mod names_plot;
mod packages;
mod real;
mod sanitizer;
mod svg;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Checks, tests and tools of the Slashnet repository"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Every check and test, as the landing gate runs them
    Ci(ci::Options),
    /// Formatting, tidy and lints: the quick part of ci
    Check,
    /// House rules: file sizes, rooms, dead links, banned words
    Tidy,
    /// Hosts in network namespaces on this machine, joined by virtual cables (needs root)
    #[command(subcommand)]
    Lab(lab::Verb),
    /// Programs that know nothing of Slashnet on another node's files: suites and daily tools (needs root)
    Real(real::Options),
    /// Tests of core/ on a big-endian machine (s390x) under emulation
    BigEndian,
    /// Tests of the crates with unsafe code under the address sanitizer
    Sanitizer,
    /// The fuzz targets: what strangers, peers and programs may send
    Fuzz(fuzz::Options),
    /// Clients of a resource manager killed at random, and what is left of them
    Deaths {
        /// How many files they open in all
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        opens: u64,
    },
    /// The simulated world: many seeds, or one again
    Sim {
        /// `--seeds N`, `--from K`, `--jobs J`, `--all` to go on after findings; or one seed to
        /// replay, with `--trace` for all its events
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Ratios of medians against a reference in the same run
    Bench {
        /// Options for the bench; `--peers` builds the others to compare with first
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// docs/figures/cut.svg: throughput over time while cables are cut and put back (needs root)
    Plot,
    /// docs/figures/names.svg: what a name costs against how many there are
    PlotNames,
    /// The tables of docs/performance.md, measured and written there (needs root, all of them take ten minutes)
    Figures(figures::Options),
    /// Man pages of all verbs into docs/man
    Man,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Ci(options) => ci::run(&options),
        Verb::Check => ci::check(),
        Verb::Tidy => tidy::run(),
        Verb::Lab(verb) => lab::run(&verb),
        Verb::Real(options) => real::run(&options),
        Verb::BigEndian => big_endian::run(),
        Verb::Sanitizer => sanitizer::run(),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Deaths { opens } => deaths(opens),
        Verb::Sim { arguments } => run_release("slashnet-sim", "slashnet-sim", &arguments),
        Verb::Bench { arguments } => bench(&arguments),
        Verb::Plot => lab::plot(),
        Verb::PlotNames => names_plot::run(),
        Verb::Figures(options) => figures::take(&options),
        Verb::Man => man(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, as one line for the person at the terminal.
type Outcome<T = ()> = Result<T, String>;

fn run_release(package: &str, binary: &str, arguments: &[String]) -> Outcome {
    command::cargo([
        "run",
        "--release",
        "--quiet",
        "--package",
        package,
        "--bin",
        binary,
        "--",
    ])
    .args(arguments)
    .run()
}

/// The test of the gate, with more to do.
fn deaths(opens: u64) -> Outcome {
    command::cargo(["test", "--quiet", "--package", "slashnet-examples"])
        .args(["--test", "deaths", "--", "--nocapture"])
        .env("SLASHNET_DEATHS_OPENS", opens.to_string())
        .run()
}

/// The bench measures the `slashnet` binary too, so that is built first; what it is compared with only on request.
fn bench(arguments: &[String]) -> Outcome {
    command::build(&["slashnet", "bench"])?;
    let (peers, others): (Vec<String>, Vec<String>) = arguments
        .iter()
        .cloned()
        .partition(|argument| argument == "--peers");
    if !peers.is_empty() {
        let manifest = command::root().join("tests/peers/Cargo.toml");
        command::cargo(["build", "--release", "--locked", "--manifest-path"])
            .args([manifest])
            .run()?;
    }
    let program = command::root().join("target/release/bench");
    command::Program::new(program).args(others).run()
}

fn man() -> Outcome {
    let directory = command::root().join("docs/man");
    command::cargo([
        "run",
        "--release",
        "--quiet",
        "--bin",
        "slashnet",
        "--",
        "man",
    ])
    .args([&directory])
    .run()?;
    println!("man pages: {}", directory.display());
    Ok(())
}
