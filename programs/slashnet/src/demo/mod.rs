//! `slashnet demo`: the main job on one machine, as an ordinary user, with two real nodes.

mod echo;
mod lab;
mod peer;
mod report;
mod round_trips;

use std::path::PathBuf;

use crate::command::GlobalOptions;
use crate::failure::Outcome;
use lab::Lab;
use report::Report;

pub(crate) use peer::run as peer;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Keep the state, logs and files of both nodes in DIR, which must not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs all chapters; true to its exit status.
pub(crate) fn run(_global: &GlobalOptions, options: &DemoOptions) -> Outcome {
    let report = Report::new();
    let lab = Lab::build(options.keep.as_deref())?;
    round_trips::run(&lab, &report)?;
    lab.end();
    report.close()
}
