//! What was refused because of a rule: the table behind `slashnet rights denials`, and what of it is logged.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use ::rights::Operation;
use ::rights::text::PathText;
use abi::system::DenialRow;
use abi::{Instant, NodeName, Uid};

/// Rows kept; the one that was counted longest ago makes room.
const DENIALS_MAX: usize = 1024;
/// How often one row is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Lines logged in one [`LOG_EVERY`], whatever is refused to whomever: nobody can fill a disk by asking.
const LINES_MAX: u32 = 50;
/// Longest path that is kept, in bytes.
const PATH_MAX: usize = 1024;

/// Who was refused what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused {
    pub(super) node: NodeName,
    pub(super) user: Uid,
    pub(super) operation: Operation,
    pub(super) path: Vec<u8>,
}

#[derive(Debug)]
struct Row {
    rule: Option<u16>,
    count: u64,
    last: Instant,
    logged: Instant,
    /// Not logged since.
    silent: u64,
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Denials {
    rows: BTreeMap<Refused, Row>,
    window: Option<Instant>,
    lines: u32,
}

impl Denials {
    /// Counts; returns the line for the log if there is to be one.
    pub(super) fn count(
        &mut self,
        now: Instant,
        mut refused: Refused,
        rule: Option<u16>,
        times: u32,
    ) -> Option<String> {
        refused.path.truncate(PATH_MAX);
        if self.rows.len() >= DENIALS_MAX && !self.rows.contains_key(&refused) {
            let oldest = self.rows.iter().min_by_key(|(_, row)| row.last);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| self.rows.remove(&key));
        }
        let is_new = !self.rows.contains_key(&refused);
        let may_log = self.may_log(now);
        let row = self.rows.entry(refused.clone()).or_insert(Row {
            rule,
            count: 0,
            last: now,
            logged: now,
            silent: 0,
        });
        row.rule = rule;
        row.count += u64::from(times);
        row.silent += u64::from(times);
        row.last = now;
        if !may_log || !(is_new || now.saturating_since(row.logged) >= LOG_EVERY) {
            return None;
        }
        self.lines += 1;
        row.logged = now;
        let silent = core::mem::take(&mut row.silent);
        Some(line(&refused, rule, silent))
    }

    pub(super) fn rows(&self, now: Instant) -> Vec<DenialRow> {
        let row = |(refused, row): (&Refused, &Row)| DenialRow {
            node: refused.node,
            user: refused.user,
            operation: refused.operation.number(),
            path: refused.path.clone(),
            rule: row.rule,
            count: row.count,
            ago: now.saturating_since(row.last),
        };
        self.rows.iter().map(row).collect()
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let is_over = |since| now.saturating_since(since) >= LOG_EVERY;
        if self.window.is_none_or(is_over) {
            self.window = Some(now);
            self.lines = 0;
        }
        self.lines < LINES_MAX
    }
}

fn line(refused: &Refused, rule: Option<u16>, times: u64) -> String {
    let Refused {
        node,
        user,
        operation,
        path,
    } = refused;
    let path = PathText(path);
    let why = match rule {
        Some(rule) => format!("rule {}", rule + 1),
        None => String::from("no rule allows it"),
    };
    let times = match times {
        1 => String::new(),
        times => format!(", {times} times"),
    };
    format!(
        "denied: {}@{node} {operation} {path} ({why}{times})",
        user.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> Refused {
        Refused {
            node: NodeName::parse("lab1").unwrap(),
            user: Uid(1000),
            operation: Operation::Write,
            path: path.into(),
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_denial_is_logged_at_once_and_then_every_ten_seconds() {
        let mut denials = Denials::default();
        let first = denials.count(at(0), refused("/dev/ser1"), Some(2), 1);
        assert_eq!(first.unwrap(), "denied: 1000@lab1 write /dev/ser1 (rule 3)");
        assert_eq!(denials.count(at(1), refused("/dev/ser1"), Some(2), 5), None);
        let later = denials.count(at(10), refused("/dev/ser1"), None, 1);
        assert!(later.unwrap().ends_with("(no rule allows it, 6 times)"));
        let rows = denials.rows(at(12));
        assert_eq!((rows.len(), rows[0].count, rows[0].rule), (1, 7, None));
        assert_eq!(rows[0].ago, Duration::from_secs(2));
    }

    #[test]
    fn neither_the_log_nor_the_table_can_be_flooded() {
        let mut denials = Denials::default();
        let mut lines = 0;
        for n in 0..3 * DENIALS_MAX {
            let line = denials.count(at(0), refused(&format!("/{n}")), None, 1);
            lines += u32::from(line.is_some());
        }
        assert_eq!(lines, LINES_MAX);
        assert_eq!(denials.rows(at(0)).len(), DENIALS_MAX);
        let later = denials.count(at(10), refused("/new"), None, 1);
        assert!(later.is_some(), "after a while there is room again");
    }
}
