//! Plays many seeds of the simulated world, or replays one.
//!
//! The exit status tells the kind of the first finding: 2 liveness, 3 wrong, 4 leak, 5 crash; 64 for
//! a bad command line.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod options;
mod sweep;

use std::process::ExitCode;

use options::Options;
use testkit::{Finding, Outcome, Plan};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("slashnet-sim: {what}\n{}", options::USAGE);
            return ExitCode::from(options::EXIT_USAGE);
        }
    };
    match options.replay {
        None => sweep::run(&options),
        Some(seed) => {
            println!("{:#?}", Plan::new(seed));
            report(seed, &sweep::play(seed, (options.trace, options.packets)))
        }
    }
}

/// Shows what a seed has shown; answers the exit status.
fn report(seed: u64, outcome: &Outcome) -> ExitCode {
    let Some(Finding { kind, text }) = &outcome.finding else {
        println!(
            "seed {seed}: {} operations, {} packets in {:.3} s, nothing found",
            outcome.operations,
            outcome.packets,
            outcome.time.as_secs_f64()
        );
        return ExitCode::SUCCESS;
    };
    println!("seed {seed}: {kind:?}: {text}");
    for line in &outcome.strip {
        println!("  {line}");
    }
    println!("replay: cargo xtask sim {seed}    with all events: cargo xtask sim --trace {seed}");
    ExitCode::from(kind.exit_status())
}
