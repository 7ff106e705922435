//! Plays many seeds of the simulated world, or replays one.
//!
//! The exit status tells the kind of the first finding: 2 liveness, 3 wrong, 4 leak, 5 crash; 64 for
//! a bad command line.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use testkit::{Finding, Kind, Outcome, Plan, World};

const USAGE: &str = "usage: slashnet-sim [--seeds N] [--from K]    play N seeds from K (200 from 0)
       slashnet-sim [--trace] SEED           replay one seed";
const EXIT_USAGE: u8 = 64;
/// How often progress is shown on long runs.
const PROGRESS: Duration = Duration::from_secs(5);

struct Options {
    seeds: u64,
    from: u64,
    replay: Option<u64>,
    trace: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("slashnet-sim: {what}\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Some(seed) = options.replay {
        println!("{:#?}", Plan::new(seed));
        return report(seed, &play(seed, options.trace), true);
    }
    let (start, mut shown) = (Instant::now(), Instant::now());
    let (mut packets, mut operations) = (0, 0);
    for seed in options.from..options.from.saturating_add(options.seeds) {
        let outcome = play(seed, false);
        packets += outcome.packets;
        operations += outcome.operations;
        if outcome.finding.is_some() {
            return report(seed, &outcome, false);
        }
        if shown.elapsed() > PROGRESS {
            shown = Instant::now();
            eprintln!(
                "seed {seed}, {} done, {packets} packets",
                seed - options.from + 1
            );
        }
    }
    println!(
        "{} seeds from {}: {operations} operations, {packets} packets, nothing found, {:.1} s",
        options.seeds,
        options.from,
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        seeds: 200,
        from: 0,
        replay: None,
        trace: false,
    };
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let mut number = |name: &str| -> Result<u64, String> {
            let text = args.next().ok_or(format!("{name} needs a number"))?;
            text.parse()
                .map_err(|_| format!("{name}: `{text}` is not a number"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number("--seeds")?,
            "--from" => options.from = number("--from")?,
            "--trace" => options.trace = true,
            text => {
                let seed = text.parse();
                options.replay = Some(seed.map_err(|_| format!("`{text}` is not a seed"))?);
            }
        }
    }
    Ok(options)
}

/// Plays a seed; a panic is a finding like others.
fn play(seed: u64, trace: bool) -> Outcome {
    let run = AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        world.trace = trace;
        world.run()
    });
    catch_unwind(run).unwrap_or_else(|_| Outcome {
        finding: Some(Finding::new(Kind::Crash, "the program panicked".into())),
        strip: Vec::new(),
        seen: Default::default(),
        packets: 0,
        operations: 0,
        time: Duration::ZERO,
    })
}

fn report(seed: u64, outcome: &Outcome, replay: bool) -> ExitCode {
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
    if !replay {
        println!("replay: cargo run -p slashnet-sim -- {seed}");
    }
    ExitCode::from(kind.exit_status())
}
