//! `docs/faults.md` tells the truth: it names every fault that must be covered, and tests that exist.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;

/// What the project has promised to survive, in the words of the table.
const PROMISED: [&str; 22] = [
    "unknown node",
    "unknown path",
    "node without a daemon",
    "daemon without trust",
    "wrong join code",
    "second use of a join code",
    "expired join code",
    "truncated packets",
    "flipped packets",
    "replayed packets",
    "client killed in mid-send",
    "server killed with requests queued and in work",
    "daemon killed and restarted under traffic",
    "full disk behind the export",
    "read-only tree behind the export",
    "path escapes",
    "names of 255 and 256 bytes",
    "paths too long",
    "10 000 open descriptors",
    "FUSE client killed",
    "mount point busy",
    "tty that disappears",
];

/// A row: the fault, what the user sees, and the tests with their files.
struct Row {
    fault: String,
    seen: String,
    tests: Vec<(String, PathBuf)>,
}

fn rows() -> Vec<Row> {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = fs::read_to_string(docs.join("faults.md")).unwrap();
    let link = |link: &str| {
        let (name, file) = link.split_once("](")?;
        Some((name.to_owned(), docs.join(file.split(')').next()?)))
    };
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, fault, seen, tests, _] = cells[..] else {
            return None;
        };
        Some(Row {
            fault: fault.to_owned(),
            seen: seen.to_owned(),
            tests: tests.split('[').filter_map(link).collect(),
        })
    };
    let is_row = |line: &&str| !line.starts_with("| fault ") && !line.starts_with("|---");
    text.lines().filter(is_row).filter_map(row).collect()
}

#[test]
fn every_promised_fault_is_in_the_table() {
    let rows = rows();
    for fault in PROMISED {
        let found = rows.iter().filter(|row| row.fault == fault).count();
        assert_eq!(found, 1, "{fault}");
    }
}

#[test]
fn every_test_in_the_table_exists() {
    for row in rows() {
        assert!(
            !row.seen.is_empty() && !row.tests.is_empty(),
            "{}",
            row.fault
        );
        for (name, file) in row.tests {
            let text = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let at = text.find(&format!("fn {name}("));
            let at = at.unwrap_or_else(|| panic!("{name} is not in {}", file.display()));
            let above: Vec<_> = text[..at].lines().rev().take(3).collect();
            assert!(above.contains(&"#[test]"), "{name} is no test: {above:?}");
        }
    }
}
