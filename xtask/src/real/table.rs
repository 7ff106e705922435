//! The results: a line for each program, or JSON.

use crate::Outcome;
use std::time::Duration;

/// What came of one program.
pub(crate) struct Row {
    name: &'static str,
    /// Figures, or what went wrong.
    outcome: Outcome<String>,
    took: Duration,
}

impl Row {
    pub(crate) const fn new(name: &'static str, outcome: Outcome<String>, took: Duration) -> Self {
        Self {
            name,
            outcome,
            took,
        }
    }

    /// The state in a word, and the rest.
    fn words(&self) -> (&'static str, &str) {
        match &self.outcome {
            Ok(figures) => ("ok", figures),
            Err(error) => ("FAILED", error),
        }
    }
}

/// Rows, printed as they come.
pub(crate) struct Table {
    json: bool,
    /// The programs print what is wanted themselves.
    silent: bool,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) const fn new(json: bool, silent: bool) -> Self {
        Self {
            json,
            silent,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        if !self.json && !self.silent {
            let (state, text) = row.words();
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            let seconds = row.took.as_secs_f64();
            println!("{:18} {state:8} {seconds:7.1} s  {first}", row.name);
            lines.for_each(|line| println!("{:38}{line}", ""));
        }
        self.rows.push(row);
    }

    /// Prints what is to be printed at the end; an error if anything failed.
    pub(crate) fn finish(self) -> Outcome {
        if self.json {
            let rows: Vec<String> = self.rows.iter().map(json).collect();
            println!("[{}]", rows.join(",\n "));
        }
        let failed: Vec<&str> = self
            .rows
            .iter()
            .filter(|row| row.outcome.is_err())
            .map(|row| row.name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("failed: {}", failed.join(" ")))
        }
    }
}

fn json(row: &Row) -> String {
    let (state, text) = row.words();
    format!(
        "{{\"name\": {}, \"state\": {}, \"seconds\": {:.3}, \"text\": {}}}",
        quoted(row.name),
        quoted(state),
        row.took.as_secs_f64(),
        quoted(text)
    )
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            '\n' => json.push_str("\\n"),
            control if u32::from(control) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_json_object() {
        let row = Row::new("git", Err("said \"no\"\n\ttwice".into()), Duration::ZERO);
        let expected = r#"{"name": "git", "state": "FAILED", "seconds": 0.000, "text": "said \"no\"\n\u0009twice"}"#;
        assert_eq!(json(&row), expected);
    }
}
