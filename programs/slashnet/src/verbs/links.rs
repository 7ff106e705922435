//! `slashnet links`: the links of this node, and every way to a peer over them.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use abi::system::{LaneState, LinkKind, LinkRow, NodeRow, NodeState, QueryKind, Rows};
use abi::{LinkAddress, Nd};
use serde_json::Value;

use crate::command::{GlobalOptions, LinksOptions};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::notation::{bits_per_second, bytes, sentence};
use crate::output;
use crate::table::{self, Cell, Table};

const TITLES: &[&str] = &[
    "LINK",
    "NAME",
    "KIND",
    "ADDRESS",
    "PEER",
    "PEER ADDRESS",
    "STATE",
    "SINCE",
    "MTU",
    "RTT",
    "LOSS",
    "RATE",
    "SENT",
    "RECEIVED",
    "SWITCHES",
    "WHY",
];

/// Makes a terminal begin a picture anew.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints the table, once or again and again.
pub(crate) fn run(global: &GlobalOptions, options: &LinksOptions) -> Outcome {
    let daemon = Daemon::of(global)?;
    let Some(seconds) = options.watch else {
        return table(&daemon)?.print(options.table);
    };
    let terminal = std::io::stdout().is_terminal() && !options.table.json;
    loop {
        let table = table(&daemon)?;
        let text = match (options.table.json, terminal) {
            // One line for each look, so that a program can take them one by one.
            (true, _) => table.json_line() + "\n",
            (false, true) => CLEAR.to_owned() + &table.text(),
            (false, false) => table.text() + "\n",
        };
        output::write(text.as_bytes())?;
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

fn table(daemon: &Daemon) -> Outcome<Table> {
    let mut table = Table::new(TITLES);
    let mut peers = BTreeSet::new();
    daemon.rows(QueryKind::Links, Nd::LOCAL, |rows| {
        if let Rows::Links(rows) = rows {
            rows.iter().for_each(|row| table.row(link(row)));
            peers.extend(rows.iter().filter_map(|row| row.peer));
        }
    })?;
    daemon.rows(QueryKind::Nodes, Nd::LOCAL, |rows| {
        if let Rows::Nodes(rows) = rows {
            let silent = rows.iter().filter(|row| !peers.contains(&row.name));
            silent
                .filter_map(silent_peer)
                .for_each(|row| table.row(row));
        }
    })?;
    Ok(table)
}

/// A peer that is not reached over any link: it has not answered since this node began to ask.
fn silent_peer(row: &NodeRow) -> Option<Vec<Cell>> {
    let why = match row.state {
        NodeState::Connecting | NodeState::Down => "no answer",
        NodeState::Local | NodeState::Up | NodeState::Idle => return None,
    };
    let mut cells = vec![Cell::from(Value::Null); TITLES.len()];
    let mut fill = |title: &str, cell: Cell| {
        if let Some(at) = TITLES.iter().position(|known| *known == title) {
            cells[at] = cell;
        }
    };
    fill("PEER", row.name.as_str().into());
    if let Some(address) = row.addresses.first() {
        fill("PEER ADDRESS", address.to_string().into());
    }
    fill("STATE", state(LaneState::Down).into());
    fill("WHY", why.into());
    Some(cells)
}

/// What only a way to a peer has is empty in the row of the link itself.
fn link(row: &LinkRow) -> Vec<Cell> {
    let of_peer = |cell: Cell| match row.peer {
        Some(_) => cell,
        None => Value::Null.into(),
    };
    let rtt = row.rtt.map_or(Value::Null.into(), table::passed);
    let rate = match row.rate {
        0 => Value::Null.into(),
        rate => Cell::shown_as(rate, bits_per_second(rate)),
    };
    vec![
        row.index.into(),
        table::name(&row.name),
        kind(row.kind).into(),
        address(&row.address),
        row.peer
            .map_or(Value::Null, |peer| peer.as_str().into())
            .into(),
        address(&row.peer_address),
        state(row.state).into(),
        table::passed(row.since),
        row.mtu.into(),
        rtt,
        of_peer(Cell::shown_as(row.loss, loss(row.loss))),
        rate,
        Cell::shown_as(row.sent, bytes(row.sent)),
        Cell::shown_as(row.received, bytes(row.received)),
        of_peer(row.switches.into()),
        sentence(&row.why).into(),
    ]
}

const fn kind(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Udp => "udp",
        LinkKind::Ethernet => "ethernet",
        LinkKind::Memory => "memory",
    }
}

pub(super) const fn state(state: LaneState) -> &'static str {
    match state {
        LaneState::Down => "down",
        LaneState::Init => "init",
        LaneState::Up => "up",
    }
}

/// Millionths as a share of a hundred.
fn loss(millionths: u32) -> String {
    match millionths {
        0 => "0 %".to_owned(),
        some => format!("{:.2} %", f64::from(some) / 1e4),
    }
}

fn address(address: &LinkAddress) -> Cell {
    if address.is_none() {
        Value::Null.into()
    } else {
        address.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LinkRow {
        LinkRow {
            index: 1,
            name: b"eth1".to_vec(),
            address: LinkAddress::ipv4([10, 0, 1, 1], 41_000),
            mtu: 1472,
            peer: Some(abi::NodeName::parse("lab2").unwrap()),
            peer_address: LinkAddress::ipv4([10, 0, 1, 2], 41_000),
            kind: LinkKind::Udp,
            state: LaneState::Down,
            since: Duration::from_millis(1500),
            why: b"answers stopped".to_vec(),
            rtt: Some(Duration::from_micros(250)),
            loss: 12_500,
            rate: 125_000_000,
            sent: 2048,
            received: 17,
            switches: 3,
        }
    }

    fn shown(row: &LinkRow) -> (String, Value) {
        let mut table = Table::new(&[
            "LINK", "NAME", "KIND", "ADDRESS", "PEER", "PA", "STATE", "SINCE", "MTU", "RTT",
            "LOSS", "RATE", "SENT", "RECEIVED", "SWITCHES", "WHY",
        ]);
        table.row(link(row));
        let json: Value = serde_json::from_str(&table.json_line()).unwrap();
        (table.text(), json[0].clone())
    }

    #[test]
    fn a_way_to_a_peer_shows_how_it_is_and_why() {
        let (text, json) = shown(&row());
        for part in [
            "lab2",
            "down",
            "1.50 s",
            "250 us",
            "1.25 %",
            "1.00 Gbit/s",
            "2.00 KiB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.trim_end().ends_with("3  answers stopped"), "{text}");
        assert_eq!(json["rtt"], 250_000);
        assert_eq!(json["since"], 1_500_000_000);
        assert_eq!(
            (&json["loss"], &json["rate"]),
            (&12_500.into(), &125_000_000.into())
        );
    }

    #[test]
    fn a_link_itself_has_no_measurements() {
        let own = LinkRow {
            peer: None,
            peer_address: LinkAddress::NONE,
            rtt: None,
            rate: 0,
            ..row()
        };
        let (_, json) = shown(&own);
        for key in ["peer", "pa", "rtt", "loss", "rate", "switches"] {
            assert_eq!(json[key], Value::Null, "{key}");
        }
        assert_eq!(json["sent"], 2048);
    }
}
