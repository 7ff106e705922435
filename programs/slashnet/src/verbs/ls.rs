//! `slashnet ls`: what is in a directory.

use std::os::unix::ffi::OsStrExt;

use abi::flags::mode::{is_directory, is_symlink};
use abi::io::Stat;
use client::Namespace;

use crate::command::{GlobalOptions, LsOptions};
use crate::failure::{During, Outcome};
use crate::notation::{mode, printable, time};
use crate::table::{Cell, Table};
use crate::{daemon, output};

/// Lists all paths given.
pub(crate) fn run(global: &GlobalOptions, options: &LsOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let mut rows = Vec::new();
    for path in &options.paths {
        list(&namespace, path.as_bytes(), options, &mut rows)?;
    }
    if !options.long && !options.table.json {
        return output::write(
            rows.iter()
                .map(|row| printable(&row.name) + "\n")
                .collect::<String>()
                .as_bytes(),
        );
    }
    let mut table = Table::new(&["MODE", "LINKS", "UID", "GID", "SIZE", "MODIFIED", "NAME"]);
    for row in rows {
        table.row(row.cells());
    }
    table.print(options.table)
}

/// One line of a listing.
struct Row {
    name: Vec<u8>,
    /// Not known of every entry: a server may be unable or unwilling to say.
    stat: Option<Stat>,
    kind: u32,
    target: Option<Vec<u8>>,
}

fn list(namespace: &Namespace, path: &[u8], options: &LsOptions, rows: &mut Vec<Row>) -> Outcome {
    let shown = printable(path);
    // A link given by name is shown as a link with -l, and followed otherwise, as ls does.
    let own = if options.long {
        namespace.lstat(path)
    } else {
        namespace.stat(path)
    };
    let own = own.during(&shown)?;
    if options.directory || !is_directory(own.mode) {
        rows.push(row(
            namespace,
            path.to_vec(),
            path,
            Some(own),
            own.mode,
            options,
        ));
        return Ok(());
    }
    let directory = namespace.read_directory(path).during(&shown)?;
    let mut entries = directory.collect::<abi::Result<Vec<_>>>().during(&shown)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        if options.all || !entry.name.starts_with(b".") {
            let full = [path, b"/", &entry.name].concat();
            rows.push(row(
                namespace, entry.name, &full, entry.stat, entry.mode, options,
            ));
        }
    }
    Ok(())
}

fn row(
    namespace: &Namespace,
    name: Vec<u8>,
    path: &[u8],
    stat: Option<Stat>,
    kind: u32,
    options: &LsOptions,
) -> Row {
    let wanted = options.long || options.table.json;
    let stat = if wanted {
        stat.or_else(|| namespace.lstat(path).ok())
    } else {
        None
    };
    let linked = wanted && is_symlink(kind);
    let target = if linked {
        namespace.readlink(path).ok()
    } else {
        None
    };
    Row {
        name,
        stat,
        kind,
        target,
    }
}

impl Row {
    fn cells(self) -> Vec<Cell> {
        let name = printable(&self.name);
        let name = match self.target {
            Some(target) => {
                let shown = format!("{name} -> {}", printable(&target));
                Cell::shown_as(name, shown)
            }
            None => Cell::from(name),
        };
        let Some(stat) = self.stat else {
            let unknown = || Cell::from(serde_json::Value::Null);
            let kind = Cell::shown_as(self.kind, mode(self.kind).replace("---------", "?????????"));
            return vec![
                kind,
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                unknown(),
                name,
            ];
        };
        vec![
            Cell::shown_as(stat.mode, mode(stat.mode)),
            stat.nlink.into(),
            stat.uid.0.into(),
            stat.gid.0.into(),
            stat.size.into(),
            Cell::shown_as(stat.mtime.seconds, time(stat.mtime.seconds)),
            name,
        ]
    }
}
