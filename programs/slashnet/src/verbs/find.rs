//! `slashnet find`: what is below a path and has a certain name or type.

use std::os::unix::ffi::OsStrExt;

use abi::flags::mode::S_IFMT;
use client::Namespace;

use super::who::{self, People};
use crate::command::{FindOptions, FindType, GlobalOptions};
use crate::descent::{Descent, Found};
use crate::failure::Outcome;
use crate::notation::printable;
use crate::table::{self, Table};
use crate::{daemon, output};

/// Prints the paths that were asked for, as they are found.
pub(crate) fn run(global: &GlobalOptions, options: &FindOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let people = options.descent.shown.who.then(|| People::new(&namespace));
    let descent = Descent {
        namespace: &namespace,
        levels: options.descent.levels,
        hidden: true,
    };
    let titles = if options.descent.shown.who {
        who::TITLES
    } else {
        &[]
    };
    let mut table = Table::new(&[&["TYPE"], titles, &["PATH"]].concat());
    let in_table = options.descent.shown.table.json || options.descent.shown.who;
    let mut outcome = Ok(());
    for path in &options.descent.paths {
        let mut see = |found: &Found<'_>| {
            let Some(kind) = matching(&namespace, options, found) else {
                return Ok(());
            };
            if !in_table {
                return output::line(printable(found.path));
            }
            let who = people
                .as_ref()
                .map(|people| people.cells(&namespace, found.path));
            let path = table::name(found.path);
            table.row(
                [
                    vec![kind.letter().into()],
                    who.unwrap_or_default(),
                    vec![path],
                ]
                .concat(),
            );
            Ok(())
        };
        let found = descent.each(path.as_bytes(), &mut see);
        outcome = outcome.and(found);
    }
    if in_table {
        table.print(options.descent.shown.table)?;
    }
    outcome
}

/// The type of what is found.
pub(super) fn kind(namespace: &Namespace, found: &Found<'_>) -> FindType {
    FindType::of(match found.kind & S_IFMT {
        // Only its server knows.
        0 => namespace.lstat(found.path).map_or(0, |stat| stat.mode),
        kind => kind,
    })
}

/// What is found, if it is what was asked for.
fn matching(namespace: &Namespace, options: &FindOptions, found: &Found<'_>) -> Option<FindType> {
    if let Some(pattern) = &options.name
        && !pattern.matches(&String::from_utf8_lossy(found.name))
    {
        return None;
    }
    let kind = kind(namespace, found);
    options
        .kind
        .is_none_or(|wanted| wanted == kind)
        .then_some(kind)
}
