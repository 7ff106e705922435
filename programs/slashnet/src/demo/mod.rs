//! `slashnet demo`.

use crate::command::GlobalOptions;
use crate::failure::Outcome;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Keep the state, logs and files of both nodes in DIR, which must not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<std::path::PathBuf>,
}

pub(crate) fn run(_global: &GlobalOptions, _options: &DemoOptions) -> Outcome {
    Ok(())
}
