//! The rows of docs/porting.md against the tests that cite them.

use crate::Outcome;
use crate::command::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

const DOCUMENT: &str = "docs/porting.md";
/// What a test writes above itself.
const MARK: &str = "// qnx: ";
/// Rows that the document must have.
const ROWS: &[(&str, &[RangeInclusive<u32>])] = &[
    ("P", &[1..=6, 10..=21, 30..=46, 50..=54, 60..=65]),
    ("R", &[1..=7, 10..=18, 20..=22, 40..=47, 50..=52]),
    ("I", &[1..=14, 20..=33, 40..=45, 50..=54, 58..=72]),
    ("N", &[1..=18]),
    ("Q", &[1..=14]),
];
/// What the second cell of a row may say.
const TESTED: &str = "tested";
const STATES: &[&str] = &[TESTED, "differs", "missing"];

/// Rows that tests cite.
#[derive(Debug, Default)]
pub(super) struct Cited(BTreeSet<String>);

impl Cited {
    /// Takes the citations of a source. Those outside of tests prove nothing and do not count.
    pub(super) fn read(&mut self, file: &Path, text: &str) {
        let is_test = file
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        let unit_tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let tests = if is_test { text } else { &text[unit_tests..] };
        for line in tests.lines() {
            if let Some((_, rows)) = line.split_once(MARK) {
                let rows = rows.split(',').map(|row| row.trim().to_owned());
                self.0.extend(rows);
            }
        }
    }

    /// Compares the document with what was read.
    pub(super) fn check(&self, breaches: &mut Vec<String>) -> Outcome {
        let text = fs::read_to_string(root().join(DOCUMENT))
            .map_err(|error| format!("{DOCUMENT}: {error}"))?;
        self.compare(&text, breaches);
        Ok(())
    }

    fn compare(&self, text: &str, breaches: &mut Vec<String>) {
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, row, state, what, _] = cells[..] else {
                continue;
            };
            if !is_row(row) {
                continue;
            }
            let mut report = |why: &str| {
                breaches.push(format!("{DOCUMENT}:{}: {row}: {why}", index + 1));
            };
            if rows.insert(row.to_owned(), index).is_some() {
                report("is there twice");
            }
            if !STATES.contains(&state) {
                report(&format!("is {state}, which is none of {STATES:?}"));
            }
            if what.is_empty() {
                report("says nothing");
            }
            if state == TESTED && !self.0.contains(row) {
                report("no test cites it");
            }
        }
        let required = ROWS.iter().flat_map(|(letter, ranges)| {
            let numbers = ranges.iter().cloned().flatten();
            numbers.map(move |number| format!("{letter}{number}"))
        });
        for row in required.filter(|row| !rows.contains_key(row)) {
            breaches.push(format!("{DOCUMENT}: 1: {row} is not there"));
        }
    }
}

/// A letter and a number.
fn is_row(cell: &str) -> bool {
    let number = cell.strip_prefix(|first: char| first.is_ascii_uppercase());
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(cited: &Cited, text: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        cited.compare(text, &mut breaches);
        breaches.retain(|breach| !breach.ends_with("is not there"));
        breaches
    }

    #[test]
    fn a_tested_row_needs_a_test_and_another_one_a_reason() {
        let mut cited = Cited::default();
        cited.read(Path::new("core/x/tests/a.rs"), "// qnx: P1, P2\n");
        cited.read(
            Path::new("core/x/src/b.rs"),
            "// qnx: P3\n#[cfg(test)]\n// qnx: P4\n",
        );
        let row = |row: &str, state: &str, what: &str| format!("| {row} | {state} | {what} |\n");
        assert_eq!(breaches(&cited, &row("P1", "tested", "a")), [""; 0]);
        assert_eq!(breaches(&cited, &row("P4", "tested", "a")), [""; 0]);
        assert_eq!(breaches(&cited, &row("P3", "tested", "a")).len(), 1);
        assert_eq!(breaches(&cited, &row("P3", "differs", "why")), [""; 0]);
        assert_eq!(breaches(&cited, &row("P3", "differs", "")).len(), 1);
        assert_eq!(breaches(&cited, &row("P3", "done", "a")).len(), 1);
        let twice = row("P1", "tested", "a").repeat(2);
        assert_eq!(breaches(&cited, &twice).len(), 1);
    }

    #[test]
    fn every_row_must_be_there() {
        let mut breaches = Vec::new();
        Cited::default().compare("", &mut breaches);
        assert!(breaches.contains(&format!("{DOCUMENT}: 1: P33 is not there")));
    }
}
