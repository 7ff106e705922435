//! `slashnet stat`: everything known about a path.

use std::os::unix::ffi::OsStrExt;

use super::who::{self, People};
use crate::command::{GlobalOptions, StatOptions};
use crate::daemon;
use crate::failure::{During, Outcome};
use crate::notation::{mode, printable, time};
use crate::table::{self, Cell, Table};

/// Prints a row for each path.
pub(crate) fn run(global: &GlobalOptions, options: &StatOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let people = options.shown.who.then(|| People::new(&namespace));
    let about: &[&str] = &[
        "PATH", "ND", "MODE", "LINKS", "UID", "GID", "SIZE", "BLOCKS", "INODE", "DEVICE",
        "ACCESSED", "MODIFIED", "CHANGED",
    ];
    let who = if options.shown.who { who::TITLES } else { &[] };
    let mut table = Table::new(&[about, who].concat());
    for path in &options.paths {
        let shown = printable(path.as_bytes());
        let stat = if options.follow {
            namespace.stat(path.as_bytes())
        } else {
            namespace.lstat(path.as_bytes())
        };
        let stat = stat.during(&shown)?;
        let moment = |seconds: i64| Cell::shown_as(seconds, time(seconds));
        let who = people
            .as_ref()
            .map(|people| people.cells(&namespace, path.as_bytes()));
        let mut cells = vec![
            table::name(path.as_bytes()),
            stat.node.0.into(),
            Cell::shown_as(stat.mode, mode(stat.mode)),
            stat.nlink.into(),
            stat.uid.0.into(),
            stat.gid.0.into(),
            stat.size.into(),
            stat.blocks.into(),
            stat.ino.into(),
            stat.dev.into(),
            moment(stat.atime.seconds),
            moment(stat.mtime.seconds),
            moment(stat.ctime.seconds),
        ];
        cells.extend(who.unwrap_or_default());
        table.row(cells);
    }
    table.print(options.shown.table)
}
