//! `slashnet nodes`, `sessions`, `ps` and `prefixes`: what the node daemon knows.

use abi::system::{
    NodeRow, NodeState, PrefixRow, ProcessRow, QueryKind, Rows, SessionRole, SessionRow,
};
use abi::{AttachFlags, FileType, Nd};
use client::Namespace;
use serde_json::Value;

use crate::command::{GlobalOptions, PrefixesOptions};
use crate::daemon::{self, Daemon};
use crate::directory;
use crate::failure::{During, Outcome};
use crate::notation::{exact, printable};
use crate::table::{self, Cell, Table, TableOptions};

/// Prints the nodes this one knows.
pub(crate) fn nodes(global: &GlobalOptions, options: TableOptions) -> Outcome {
    let mut table = Table::new(&[
        "ND",
        "NAME",
        "STATE",
        "ROUND TRIP",
        "SESSIONS",
        "KEY",
        "ADDRESSES",
    ]);
    Daemon::of(global)?.rows(QueryKind::Nodes, Nd::LOCAL, |rows| {
        if let Rows::Nodes(rows) = rows {
            rows.iter().for_each(|row| table.row(node(row)));
        }
    })?;
    table.print(options)
}

fn node(row: &NodeRow) -> Vec<Cell> {
    let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
    let round_trip = row.round_trip.map_or(Value::Null.into(), table::passed);
    let key: String = row
        .fingerprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    vec![
        row.nd.0.into(),
        row.name.as_str().into(),
        node_state(row.state).into(),
        round_trip,
        row.sessions.into(),
        key.into(),
        addresses.into(),
    ]
}

/// How a node is, in words.
pub(super) const fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Local => "this node",
        NodeState::Up => "up",
        NodeState::Connecting => "connecting",
        NodeState::Down => "down",
        NodeState::Idle => "not asked yet",
    }
}

/// Prints who talks to whom.
pub(crate) fn sessions(global: &GlobalOptions, options: TableOptions) -> Outcome {
    let mut table = Table::new(&[
        "SESSION",
        "PEER SESSION",
        "ROLE",
        "PID",
        "NODE",
        "ND",
        "PEER PID",
        "UID",
        "LANES",
        "AGE",
    ]);
    Daemon::of(global)?.rows(QueryKind::Sessions, Nd::LOCAL, |rows| {
        if let Rows::Sessions(rows) = rows {
            rows.iter().for_each(|row| table.row(session(row)));
        }
    })?;
    table.print(options)
}

fn session(row: &SessionRow) -> Vec<Cell> {
    let role = match row.role {
        SessionRole::Client => "client",
        SessionRole::Server => "server",
    };
    vec![
        row.local.0.into(),
        row.peer.0.into(),
        role.into(),
        row.pid.0.into(),
        row.node.as_str().into(),
        row.nd.0.into(),
        row.peer_pid.0.into(),
        row.uid.0.into(),
        row.lanes.into(),
        table::passed(row.age),
    ]
}

/// Prints the processes that use this node.
pub(crate) fn processes(global: &GlobalOptions, options: TableOptions) -> Outcome {
    let mut table = Table::new(&["PID", "NAME", "UID", "PREFIXES", "SESSIONS", "AGE"]);
    Daemon::of(global)?.rows(QueryKind::Processes, Nd::LOCAL, |rows| {
        if let Rows::Processes(rows) = rows {
            rows.iter().for_each(|row| table.row(process(row)));
        }
    })?;
    table.print(options)
}

fn process(row: &ProcessRow) -> Vec<Cell> {
    vec![
        row.pid.0.into(),
        table::name(&row.name),
        row.uid.0.into(),
        row.prefixes.into(),
        row.sessions.into(),
        table::passed(row.age),
    ]
}

/// Prints the prefix tree of this node or another.
pub(crate) fn prefixes(global: &GlobalOptions, options: &PrefixesOptions) -> Outcome {
    let endpoint = daemon::endpoint(&directory::of(global.dir.as_deref()))?;
    let nd = match &options.node {
        Some(name) => daemon::lookup(&endpoint, name)?,
        None => Nd::LOCAL,
    };
    let rows = Namespace::of(&endpoint).prefixes(nd).during("prefixes")?;
    let mut table = Table::new(&["ND", "PID", "CHID", "HANDLE", "TYPE", "FLAGS", "PATH"]);
    rows.iter().for_each(|row| table.row(prefix(row)));
    table.print(options.table)
}

fn prefix(row: &PrefixRow) -> Vec<Cell> {
    let path = if row.target.is_empty() {
        table::name(&row.path)
    } else {
        let shown = format!("{} -> {}", printable(&row.path), printable(&row.target));
        Cell::shown_as(exact(&row.path), shown)
    };
    vec![
        row.nd.0.into(),
        row.pid.0.into(),
        row.channel.0.into(),
        row.handle.0.into(),
        file_type(row.file_type).into(),
        flags(row.flags),
        path,
    ]
}

/// The name of a type of file.
pub(super) fn file_type(file_type: FileType) -> String {
    let name = match file_type {
        FileType::ANY => "any",
        FileType::FILE => "file",
        FileType::LINK => "link",
        FileType::SYMLINK => "symlink",
        FileType::PIPE => "pipe",
        FileType::SHMEM => "shmem",
        FileType::MQUEUE => "mqueue",
        FileType::SOCKET => "socket",
        FileType::SEM => "sem",
        FileType::PHOTON => "photon",
        FileType::DUMPER => "dumper",
        FileType::MOUNT => "mount",
        FileType::NAME => "name",
        FileType::TYMEM => "tymem",
        FileType(number) => return number.to_string(),
    };
    name.to_owned()
}

/// The names of the flags of a prefix.
pub(super) fn flags(flags: AttachFlags) -> Cell {
    let names: Vec<String> = flags
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    let text = if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    };
    Cell::shown_as(names, text)
}
