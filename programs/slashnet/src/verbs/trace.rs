//! `slashnet trace open`: who was asked, which path each one saw, and what it answered.

use std::os::unix::ffi::OsStrExt;

use abi::OpenFlags;
use client::{Answered, TraceStep};

use crate::command::{GlobalOptions, TraceVerb};
use crate::daemon;
use crate::failure::{During, Failure, Outcome};
use crate::notation::{exact, printable, sentence};
use crate::table::{Cell, Table};

/// Traces what was asked for. An open that fails is traced to where it failed, and then is a
/// failure.
pub(crate) fn run(global: &GlobalOptions, verb: &TraceVerb) -> Outcome {
    let TraceVerb::Open {
        path,
        table: options,
    } = verb;
    let namespace = daemon::namespace(global)?;
    let shown = printable(path.as_bytes());
    let steps = namespace
        .trace(path.as_bytes(), OpenFlags::READ)
        .during(&shown)?;
    table(&steps).print(*options)?;
    match steps.last().map(|step| &step.answer) {
        Some(Answered::Failed(errno)) => Err(Failure::new(shown, *errno)),
        _ => Ok(()),
    }
}

/// The steps, one in a row.
pub(crate) fn table(steps: &[TraceStep]) -> Table {
    let mut table = Table::new(&["STEP", "ASKED", "PATH", "ANSWER"]);
    for step in steps {
        table.row(vec![
            step.number.into(),
            step.asked.to_string().into(),
            seen(step),
            sentence(step.answer.to_string().as_bytes()).into(),
        ]);
    }
    table
}

fn seen(step: &TraceStep) -> Cell {
    let path = path_of(step);
    if path.is_empty() {
        Cell::shown_as(path, "(nothing left)")
    } else {
        Cell::shown_as(exact(&step.path), path)
    }
}

/// The path that was seen in a step.
pub(crate) fn path_of(step: &TraceStep) -> String {
    printable(&step.path)
}
