//! Where log lines go: standard error, plain when it is no terminal.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::failure::{During, Failure, Outcome};
use crate::log_lines::LogLines;

static LINES: OnceLock<LogLines> = OnceLock::new();

/// Begins to log as `filter` says; without one what `default` says. A program logs once.
pub(crate) fn begin(filter: Option<&str>, default: &str) -> Outcome {
    let text = filter.unwrap_or(default);
    let filter = self::filter(text).map_err(|why| Failure::usage("--log", why))?;
    let lines = LogLines::to(io::stderr()).during("log")?;
    let _ = LINES.set(lines.clone());
    let began = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .try_init();
    began.map_err(|error| Failure::new("log", error.to_string()))
}

/// Lets the last lines be written before the program ends.
pub(crate) fn finish() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// A filter that can be understood, as it is; also for verbs that have nothing to log.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    filter(text).map(|_| text.to_owned())
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|_| {
        let expected =
            "expected error, warn, info, debug, trace, or a filter such as host=debug,warn";
        format!("found '{text}', {expected}")
    })
}
