//! Measures Slashnet beside what the system offers, in turn, in one run.
//!
//! A figure alone means little on a machine that others use too. Each group here measures its subjects one
//! after the other in every round, in child processes pinned to stated CPUs, and reports the median of each
//! and the median of the ratios to the first, the reference. Nothing here fails a build: a missed target is
//! printed, not hidden and not punished.
#![expect(clippy::print_stdout, reason = "a program that reports")]

mod awaited;
mod bulk;
mod calls;
mod cpu;
mod datagram;
mod echo;
mod figures;
mod files;
mod footprint;
mod group;
mod local;
mod namespaces;
mod network;
mod nodes;
mod opening;
mod pair;
mod peers;
mod place;
mod report;
mod samples;
mod sealed;
mod serial;
mod shared;
mod slashnet;
mod stream;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use group::{Group, Settings};

/// Ratios of medians against a reference, measured in turn in one run.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Options {
    /// Only groups whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Only subjects with this in their name, beside the first of each group.
    #[arg(long)]
    subject: Option<String>,
    /// Rounds for each group; every subject is measured once in each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Milliseconds for one measurement.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    milliseconds: u64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// List the groups and stop.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// One of the two processes of a measurement; started by the bench itself.
    #[command(hide = true)]
    Child(pair::ChildOptions),
    /// Holds a network namespace open; started by the bench itself.
    #[command(hide = true)]
    Hold,
    /// Runs a command in a network namespace and on one CPU; started by the bench itself.
    #[command(hide = true)]
    Enter {
        #[arg(long)]
        network: i32,
        #[arg(long)]
        cpu: Option<usize>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.role {
        Some(Role::Child(child)) => pair::run_child(child),
        Some(Role::Hold) => namespaces::hold(),
        Some(Role::Enter {
            network,
            cpu,
            command,
        }) => files::enter(*network, *cpu, command),
        None => run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let settings = Settings {
        rounds: options.rounds,
        time: Duration::from_millis(options.milliseconds),
    };
    let mut groups: Vec<Group> = Vec::new();
    let lab = network::Lab::new(1);
    let nodes = nodes::Nodes::new(&lab);
    groups.extend(local::groups(&nodes));
    groups.extend(calls::groups(&lab, &nodes));
    groups.extend(bulk::groups(&lab, &nodes));
    groups.extend(opening::groups(&nodes));
    groups.extend(footprint::groups(&nodes));
    groups.extend(files::groups(&nodes));
    groups.extend(serial::groups(&nodes));
    if let Some(only) = &options.only {
        groups.retain(|group| group.name.contains(only.as_str()));
    }
    if let Some(wanted) = &options.subject {
        for group in &mut groups {
            let mut first = true;
            group.subjects.retain(|subject| {
                std::mem::take(&mut first) || subject.name.contains(wanted.as_str())
            });
        }
    }
    if options.list {
        for group in &groups {
            println!("{}", group.name);
        }
        return Ok(());
    }
    let mut results = Vec::new();
    for group in groups {
        eprintln!("bench: {}", group.name);
        let result = group.measure(settings);
        if !options.json {
            report::print(&result);
        }
        results.push(result);
    }
    if options.json {
        report::print_json(&results)?;
    }
    Ok(())
}

/// What goes wrong in a bench is told to a person; there is nobody to match on it.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
