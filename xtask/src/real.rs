//! Programs that know nothing of Slashnet, on the mount of another node: test suites for file systems and the daily tools.
//!
//! lab1 and lab3 have the path space mounted at /net; lab2 exports a directory as /net/lab2/srv. Every program runs in an
//! empty directory of its own. What may not be passed stands in `real/expected.toml` with the reason.

mod bed;
mod disks;
mod faults;
mod posix;
mod probe;
mod speed;
mod suites;
mod table;
mod tools;

use crate::Outcome;
use crate::lab;
use bed::Bed;
use std::time::Instant;
use table::{Row, Table};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these programs; without it, all but the long ones
    names: Vec<String>,
    /// The names, and what each does
    #[arg(long)]
    list: bool,
    /// Those that the landing gate runs
    #[arg(long)]
    quick: bool,
    /// Take the programs that were built last instead of building them
    #[arg(long)]
    built: bool,
    /// The results as JSON
    #[arg(long)]
    json: bool,
    /// Print only the figures
    #[arg(long, hide = true, conflicts_with = "json")]
    figures: bool,
    /// Do one thing of a program here, in this directory
    #[arg(long, hide = true, num_args = 2..)]
    probe: Vec<String>,
}

/// When a program is run without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// In the landing gate and always.
    Gate,
    Always,
    /// Only when it is named: it takes minutes.
    Named,
}

/// One program.
struct Program {
    name: &'static str,
    about: &'static str,
    when: When,
    run: fn(&Bed, Extent) -> Outcome<String>,
}

/// How much of a program's work is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// In the landing gate.
    Brief,
    Full,
}

impl Extent {
    fn pick<T>(self, brief: T, full: T) -> T {
        match self {
            Self::Brief => brief,
            Self::Full => full,
        }
    }
}

fn programs() -> impl Iterator<Item = &'static Program> {
    [
        suites::PROGRAMS,
        posix::PROGRAMS,
        tools::PROGRAMS,
        disks::PROGRAMS,
        faults::PROGRAMS,
        speed::PROGRAMS,
    ]
    .into_iter()
    .flatten()
}

pub(crate) fn run(options: &Options) -> Outcome {
    if options.list {
        for program in programs() {
            println!("{:18} {}", program.name, program.about);
        }
        return Ok(());
    }
    if let [name, arguments @ ..] = options.probe.as_slice() {
        return probe::run(name, arguments);
    }
    let chosen = chosen(options)?;
    lab::root_only()?;
    if !options.built {
        lab::built()?;
    }
    let bed = Bed::new()?;
    let extent = if options.quick {
        Extent::Brief
    } else {
        Extent::Full
    };
    let mut table = Table::new(options.json, options.figures);
    for program in chosen {
        let begun = Instant::now();
        let outcome = bed
            .fresh_directory(program.name)
            .and_then(|()| (program.run)(&bed, extent));
        table.add(Row::new(program.name, outcome, begun.elapsed()));
    }
    table.finish()
}

/// The selection of the landing gate.
pub(crate) fn test() -> Outcome {
    run(&Options {
        names: Vec::new(),
        list: false,
        quick: true,
        built: false,
        json: false,
        figures: false,
        probe: Vec::new(),
    })
}

fn chosen(options: &Options) -> Outcome<Vec<&'static Program>> {
    let known = |name: &String| programs().any(|program| program.name == name);
    if let Some(unknown) = options.names.iter().find(|name| !known(name)) {
        return Err(format!(
            "no program '{unknown}'; `cargo xtask real --list` names them"
        ));
    }
    let wanted = |program: &&Program| match options.names.is_empty() {
        false => options.names.iter().any(|name| name == program.name),
        true if options.quick => program.when == When::Gate,
        true => program.when != When::Named,
    };
    Ok(programs().filter(wanted).collect())
}
