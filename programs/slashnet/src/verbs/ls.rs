//! `slashnet ls`: what is in a directory.

use std::os::unix::ffi::OsStrExt;

use abi::flags::mode::{is_directory, is_symlink};
use abi::io::Stat;
use client::DirectoryEntry;

use super::who::{self, People};
use crate::command::{GlobalOptions, LsOptions};
use crate::descent::{Descent, Found, below};
use crate::failure::{During, Outcome};
use crate::notation::{exact, mode, printable, time};
use crate::table::{self, Cell, Table};
use crate::{daemon, output};

/// Lists all paths given.
pub(crate) fn run(global: &GlobalOptions, options: &LsOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let people = options.shown.who.then(|| People::new(&namespace));
    let listing = Listing {
        descent: Descent {
            namespace: &namespace,
            levels: None,
            hidden: options.all,
        },
        options,
        people,
    };
    if options.recursive && !options.shown.table.json {
        return listing.all_the_way_down();
    }
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    for path in &options.paths {
        let path = path.as_bytes();
        if !listing.itself(path, &mut rows)? {
            if options.recursive {
                let mut see = |found: &Found<'_>| {
                    let name = found.path.to_vec();
                    rows.push(listing.row(name, found.path, found.stat, found.kind));
                    Ok(())
                };
                outcome = outcome.and(listing.descent.each(path, &mut see));
            } else {
                rows.extend(listing.rows(path, &listing.descent.entries(path)?));
            }
        }
    }
    listing.print(rows)?;
    outcome
}

/// What is listed, and how.
struct Listing<'a> {
    descent: Descent<'a>,
    options: &'a LsOptions,
    people: Option<People>,
}

/// One line of a listing.
struct Row {
    name: Vec<u8>,
    /// Not known of every entry: a server may be unable or unwilling to say.
    stat: Option<Stat>,
    kind: u32,
    target: Option<Vec<u8>>,
    who: Vec<Cell>,
}

impl Listing<'_> {
    /// Adds a path itself, if that is meant; false for a directory of which the entries are meant.
    fn itself(&self, path: &[u8], rows: &mut Vec<Row>) -> Outcome<bool> {
        let namespace = self.descent.namespace;
        // A link given by name is shown as a link with -l, and followed otherwise, as ls does.
        let own = if self.options.long {
            namespace.lstat(path)
        } else {
            namespace.stat(path)
        };
        let own = own.during(printable(path))?;
        if !self.options.directory && is_directory(own.mode) {
            return Ok(false);
        }
        rows.push(self.row(path.to_vec(), path, Some(own), own.mode));
        Ok(true)
    }

    fn rows(&self, directory: &[u8], entries: &[DirectoryEntry]) -> Vec<Row> {
        let row = |entry: &DirectoryEntry| {
            let full = below(directory, &entry.name);
            self.row(entry.name.clone(), &full, entry.stat, entry.mode)
        };
        entries.iter().map(row).collect()
    }

    /// Each directory under its own path, as ls -R does.
    fn all_the_way_down(&self) -> Outcome {
        let mut outcome = Ok(());
        for path in &self.options.paths {
            let path = path.as_bytes();
            let mut rows = Vec::new();
            if self.itself(path, &mut rows)? {
                self.print(rows)?;
                continue;
            }
            let mut see = |directory: &[u8], entries: &[DirectoryEntry]| {
                if directory != path {
                    output::line("")?;
                }
                output::line(printable(directory) + ":")?;
                self.print(self.rows(directory, entries))
            };
            outcome = outcome.and(self.descent.directories(path, &mut see));
        }
        outcome
    }

    fn row(&self, name: Vec<u8>, path: &[u8], stat: Option<Stat>, kind: u32) -> Row {
        let namespace = self.descent.namespace;
        let wanted = self.options.long || self.options.shown.table.json;
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
        let who = self
            .people
            .as_ref()
            .map(|people| people.cells(namespace, path));
        Row {
            name,
            stat,
            kind,
            target,
            who: who.unwrap_or_default(),
        }
    }

    fn print(&self, rows: Vec<Row>) -> Outcome {
        let is_table = self.options.long || self.options.shown.table.json || self.options.shown.who;
        if !is_table {
            let lines = rows.iter().map(|row| printable(&row.name) + "\n");
            return output::write(lines.collect::<String>().as_bytes());
        }
        let about: &[&str] = if self.options.long || self.options.shown.table.json {
            &["MODE", "LINKS", "UID", "GID", "SIZE", "MODIFIED"]
        } else {
            &[]
        };
        let who = if self.options.shown.who {
            who::TITLES
        } else {
            &[]
        };
        let mut table = Table::new(&[about, who, &["NAME"]].concat());
        for mut row in rows {
            let name = row.name();
            let who = std::mem::take(&mut row.who);
            let mut cells = if about.is_empty() {
                Vec::new()
            } else {
                row.about()
            };
            cells.extend(who);
            cells.push(name);
            table.row(cells);
        }
        table.print(self.options.shown.table)
    }
}

impl Row {
    fn name(&self) -> Cell {
        match &self.target {
            Some(target) => {
                let shown = format!("{} -> {}", printable(&self.name), printable(target));
                Cell::shown_as(exact(&self.name), shown)
            }
            None => table::name(&self.name),
        }
    }

    fn about(&self) -> Vec<Cell> {
        let Some(stat) = self.stat else {
            let unknown = || Cell::from(serde_json::Value::Null);
            let kind = Cell::shown_as(self.kind, mode(self.kind).replace("---------", "?????????"));
            return vec![kind, unknown(), unknown(), unknown(), unknown(), unknown()];
        };
        vec![
            Cell::shown_as(stat.mode, mode(stat.mode)),
            stat.nlink.into(),
            stat.uid.0.into(),
            stat.gid.0.into(),
            stat.size.into(),
            Cell::shown_as(stat.mtime.seconds, time(stat.mtime.seconds)),
        ]
    }
}
