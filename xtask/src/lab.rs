//! A lab on one machine: hosts `lab1`, `lab2`, ... as namespaces (network, mounts, host name),
//! each with an interface `eth0`, `eth1`, ... per cable, joined by bridges in a namespace of their
//! own. Addresses are 10.77.CABLE.HOST, both counted from 1.
//!
//! Each host has its own empty /run, /var/lib and /srv, so programs run there as on a fresh
//! machine with their default directories. Nothing outside the namespaces changes but files under
//! [`DIRECTORY`].

mod bed;
mod cuts;
mod exclusive;
mod guard;
mod host;
mod loss;
mod plot;
mod record;
mod report;
mod stories;
mod story;
mod sum;
mod wire;

use crate::Outcome;
use crate::command::{Program, build};
use crate::packages;
pub(crate) use bed::wait_until;
pub(crate) use host::{CableState, Host, Lab};
use report::Judge;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where the lab keeps the process ids of its hosts, unless `$SLASHNET_LAB` names another place for another lab.
const DIRECTORY: &str = "/run/slashnet-lab";

fn directory() -> PathBuf {
    std::env::var_os("SLASHNET_LAB").map_or_else(|| DIRECTORY.into(), PathBuf::from)
}

#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Make the hosts and cables
    Up {
        /// How many hosts
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=16))]
        hosts: u8,
        /// How many cables, each reaching every host
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
        cables: u8,
    },
    /// End all programs of the hosts and remove hosts and cables
    Down,
    /// Run a command on a host: `cargo xtask lab exec lab1 slashnet nodes`
    Exec {
        host: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// A shell on a host
    Shell { host: String },
    /// Pull a cable of a host (silently: no carrier event) or put it back
    Cable {
        host: String,
        /// Counted from 0, as in eth0
        cable: u8,
        #[arg(value_enum)]
        state: CableState,
    },
    /// The README's first steps with two machines, and a short form of the measurements, asserted
    Test,
    /// Cut one of two cables under load, again and again: gaps, return, nothing lost
    Cuts {
        /// How often, in each way and under each load
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
        cuts: u32,
    },
    /// Throughput over two cables beside the sum of each alone
    Sum {
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
        rounds: u32,
    },
    /// Throughput and calls over a cable that loses 5 % at random, beside TCP
    Loss {
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
        rounds: u32,
    },
    /// exclusive and preferred: what passes over the other cable, and what calls do when theirs is cut
    Exclusive,
    /// What happens to networks while programs talk: links vanish, addresses change, packets fall into holes
    Stories {
        /// Only those whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// Waits for the end of the lab's maker
    #[command(hide = true)]
    Guard,
}

pub(crate) fn run(verb: &Verb) -> Outcome {
    root_only()?;
    match verb {
        Verb::Up { hosts, cables } => {
            let lab = Lab::make(*hosts, *cables)?;
            for host in lab.hosts() {
                println!("{}: cargo xtask lab shell {}", host.name(), host.name());
            }
            lab.keep();
            Ok(())
        }
        Verb::Down => Lab::remove(),
        Verb::Exec { host, command } => Host::find(host)?.command(command).run(),
        Verb::Shell { host } => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            Host::find(host)?.command(&[shell]).run()
        }
        Verb::Cable { host, cable, state } => Host::find(host)?.cable(*cable, *state),
        Verb::Test => test(),
        Verb::Cuts { cuts } => built().and_then(|()| cuts::run(*cuts, Judge::Strict)),
        Verb::Sum { rounds } => built().and_then(|()| sum::run(*rounds, MEASURED, Judge::Strict)),
        Verb::Loss { rounds } => built().and_then(|()| loss::run(*rounds, MEASURED, Judge::Strict)),
        Verb::Exclusive => built().and_then(|()| exclusive::run(Judge::Strict)),
        Verb::Stories { only } => built().and_then(|()| stories::run(only.as_deref())),
        Verb::Guard => guard::wait(),
    }
}

/// Draws docs/figures/cut.svg.
pub(crate) fn plot() -> Outcome {
    root_only()?;
    built().and_then(|()| plot::run())
}

pub(crate) fn root_only() -> Outcome {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("the lab makes namespaces and needs root".into())
    }
}

/// How long a throughput is measured.
const MEASURED: Duration = Duration::from_millis(2500);

/// Builds what runs on the hosts.
pub(crate) fn built() -> Outcome {
    packages::install()?;
    build(&["slashnet", "load"])
}

/// How long a throughput is measured in the landing gate.
const MEASURED_BRIEFLY: Duration = Duration::from_millis(1200);

/// Builds the programs and plays everything in its short form, each on a lab of its own.
pub(crate) fn test() -> Outcome {
    root_only()?;
    built()?;
    story::play()?;
    stories::run_in_gate()?;
    cuts::run(5, Judge::Gate)?;
    sum::run(1, MEASURED_BRIEFLY, Judge::Gate)?;
    exclusive::run(Judge::Gate)?;
    loss::run(1, MEASURED_BRIEFLY, Judge::Gate)
}

fn ip(arguments: &[&str]) -> Outcome {
    Program::new("ip").args(arguments).output().map(drop)
}
