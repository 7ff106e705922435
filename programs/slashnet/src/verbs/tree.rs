//! `slashnet tree`: what is below a path, drawn.

use std::os::unix::ffi::OsStrExt;

use abi::flags::mode::{is_directory, is_symlink};

use super::find;
use super::who::{self, People};
use crate::command::{GlobalOptions, TreeOptions};
use crate::descent::{Descent, Found};
use crate::failure::Outcome;
use crate::notation::printable;
use crate::table::{self, Table};
use crate::{daemon, output};

/// Draws each path given, or lists it as JSON.
pub(crate) fn run(global: &GlobalOptions, options: &TreeOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let people = options.descent.shown.who.then(|| People::new(&namespace));
    let descent = Descent {
        namespace: &namespace,
        levels: options.descent.levels,
        hidden: options.all,
    };
    let titles = if options.descent.shown.who {
        who::TITLES
    } else {
        &[]
    };
    let mut table = Table::new(&[&["TYPE"], titles, &["PATH"]].concat());
    let mut outcome = Ok(());
    for path in &options.descent.paths {
        if !options.descent.shown.table.json {
            output::line(printable(path.as_bytes()))?;
        }
        let mut see = |found: &Found<'_>| {
            if options.descent.shown.table.json {
                let who = people
                    .as_ref()
                    .map(|people| people.cells(&namespace, found.path));
                let kind = find::kind(&namespace, found).letter().into();
                let path = table::name(found.path);
                let cells = [vec![kind], who.unwrap_or_default(), vec![path]];
                table.row(cells.concat());
                return Ok(());
            }
            let mut line = branches(found.last) + &printable(found.name);
            if is_directory(found.kind) {
                line.push('/');
            } else if is_symlink(found.kind)
                && let Ok(target) = namespace.readlink(found.path)
            {
                line += &format!(" -> {}", printable(&target));
            }
            if let Some(people) = &people {
                line += &format!("  [{}]", people.words(&namespace, found.path));
            }
            output::line(line)
        };
        let drawn = descent.each(path.as_bytes(), &mut see);
        outcome = outcome.and(drawn);
    }
    if options.descent.shown.table.json {
        table.print(options.descent.shown.table)?;
    }
    outcome
}

/// Lines from above that go on, and the branch to this one.
fn branches(last: &[bool]) -> String {
    let Some((own, above)) = last.split_last() else {
        return String::new();
    };
    let lines = above.iter().map(|&last| if last { "    " } else { "|   " });
    lines.collect::<String>() + if *own { "`-- " } else { "|-- " }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_beside_what_is_below_a_branch_that_is_not_the_last() {
        assert_eq!(branches(&[false]), "|-- ");
        assert_eq!(branches(&[false, true]), "|   `-- ");
        assert_eq!(branches(&[true, false]), "    |-- ");
    }
}
