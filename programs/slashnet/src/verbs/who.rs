//! `slashnet who`: which manager, process and node serve a path.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use abi::system::{NETWORK_MANAGER, QueryKind, Rows};
use abi::{Nd, Pid};
use client::{Namespace, Owner};
use serde_json::Value;

use crate::command::{GlobalOptions, WhoOptions};
use crate::daemon;
use crate::failure::{During, Outcome};
use crate::notation::printable;
use crate::table::{self, Cell, Table};
use crate::verbs::tables;

/// Prints a row for each one who serves a path, in the order of the search.
pub(crate) fn run(global: &GlobalOptions, options: &WhoOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let people = People::new(&namespace);
    let mut table = Table::new(&[
        "PATH", "NODE", "ND", "PID", "CHID", "HANDLE", "PROCESS", "TYPE", "FLAGS", "PREFIX",
    ]);
    for path in &options.paths {
        let shown = printable(path.as_bytes());
        for owner in namespace.owners(path.as_bytes()).during(&shown)? {
            table.row(vec![
                table::name(path.as_bytes()),
                people.node(&owner).into(),
                owner.nd.0.into(),
                owner.pid.0.into(),
                owner.channel.0.into(),
                owner.handle.0.into(),
                people.process(&owner),
                tables::file_type(owner.file_type).into(),
                tables::flags(owner.flags),
                table::name(&owner.prefix),
            ]);
        }
    }
    table.print(options.table)
}

/// Names of nodes and of processes of the own node.
pub(crate) struct People {
    nodes: BTreeMap<u16, String>,
    processes: BTreeMap<Pid, Cell>,
}

impl People {
    /// Those that the node knows, or may tell.
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let nodes = namespace.nodes().unwrap_or_default();
        let nodes = nodes
            .iter()
            .map(|row| (row.nd.node(), row.name.to_string()));
        let pieces = namespace.table(QueryKind::Processes, Nd::LOCAL);
        let processes = pieces.unwrap_or_default().into_iter().flat_map(|piece| {
            let rows = match piece {
                Rows::Processes(rows) => rows,
                _ => Vec::new(),
            };
            rows.into_iter()
                .map(|row| (row.pid, table::name(&row.name)))
        });
        Self {
            nodes: nodes.collect(),
            processes: processes.collect(),
        }
    }

    fn node(&self, owner: &Owner) -> String {
        let known = self.nodes.get(&owner.nd.node());
        known
            .cloned()
            .unwrap_or_else(|| format!("node {}", owner.nd.node()))
    }

    /// Its name, as far as it is known here.
    fn process(&self, owner: &Owner) -> Cell {
        if owner.is_node() {
            return match owner.channel {
                NETWORK_MANAGER => "network manager".into(),
                _ => "process manager".into(),
            };
        }
        match self.processes.get(&owner.pid) {
            Some(name) if owner.nd.is_local() => name.clone(),
            _ => Value::Null.into(),
        }
    }

    /// The cells under [`TITLES`] for the one who serves a path first.
    pub(crate) fn cells(&self, namespace: &Namespace, path: &[u8]) -> Vec<Cell> {
        let owners = namespace.owners(path).unwrap_or_default();
        match owners.first() {
            Some(owner) => vec![
                self.node(owner).into(),
                owner.pid.0.into(),
                owner.channel.0.into(),
                owner.handle.0.into(),
            ],
            None => vec![Value::Null.into(); TITLES.len()],
        }
    }

    /// The same in words.
    pub(crate) fn words(&self, namespace: &Namespace, path: &[u8]) -> String {
        let owners = namespace.owners(path).unwrap_or_default();
        match owners.first() {
            Some(owner) => format!(
                "{} pid {}, channel {}, handle {}",
                self.node(owner),
                owner.pid,
                owner.channel,
                owner.handle
            ),
            None => "nobody".to_owned(),
        }
    }
}

/// Columns that other listings add for the option `--who`.
pub(crate) const TITLES: &[&str] = &["NODE", "PID", "CHID", "HANDLE"];
