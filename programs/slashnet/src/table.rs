//! Tables for people (aligned columns) and for programs (`--json`).

use std::time::Duration;

use serde_json::{Map, Value};

use crate::failure::Outcome;
use crate::notation::{self, duration, exact, printable};
use crate::output;

/// How a table is to be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct TableOptions {
    /// Print an array of JSON objects instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// One value of a row: what a program reads, and what a person reads if that differs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    value: Value,
    text: String,
}

impl Cell {
    /// A value that people read in another form, such as a duration.
    pub(crate) fn shown_as(value: impl Into<Value>, text: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            text: text.into(),
        }
    }
}

impl<V: Into<Value>> From<V> for Cell {
    fn from(value: V) -> Self {
        let value = value.into();
        let text = text_of(&value);
        Self { value, text }
    }
}

/// A path or name: exact for programs, in letters that do no harm for people.
pub(crate) fn name(bytes: &[u8]) -> Cell {
    Cell::shown_as(exact(bytes), printable(bytes))
}

/// A time that passed: nanoseconds for programs.
pub(crate) fn passed(time: Duration) -> Cell {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Cell::shown_as(nanoseconds, duration(time))
}

/// Rows under named columns. A column's name in JSON is its title in lower case with `_` for
/// blanks.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        Self {
            titles: titles.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which must have as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(
            cells.len(),
            self.titles.len(),
            "a row has one cell for each column"
        );
        self.rows.push(cells);
    }

    /// Prints the table to standard output.
    pub(crate) fn print(&self, options: TableOptions) -> Outcome {
        if options.json {
            output::line(self.json())
        } else {
            output::write(self.text().as_bytes())
        }
    }

    /// The table as aligned text; the last column is never padded.
    pub(crate) fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.titles.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].text.chars().count());
                cells
                    .max()
                    .unwrap_or(0)
                    .max(self.titles[column].chars().count())
            })
            .collect();
        let mut text = String::new();
        let titles: Vec<Cell> = self.titles.iter().map(|&title| Cell::from(title)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if column > 0 {
                    line.push_str("  ");
                }
                if cell.value.is_number() {
                    line.push_str(&format!("{:>width$}", cell.text));
                } else {
                    line.push_str(&format!("{:<width$}", cell.text));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The table as a JSON array with one object for each row.
    pub(crate) fn json(&self) -> String {
        notation::json(&self.objects())
    }

    /// The same in one line.
    pub(crate) fn json_line(&self) -> String {
        notation::json_line(&self.objects())
    }

    fn objects(&self) -> Value {
        self.rows
            .iter()
            .map(|row| {
                let members = self.titles.iter().zip(row);
                Value::Object(
                    members
                        .map(|(title, cell)| (key_of(title), cell.value.clone()))
                        .collect::<Map<_, _>>(),
                )
            })
            .collect()
    }
}

fn key_of(title: &str) -> String {
    title.to_lowercase().replace(' ', "_")
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["NODE", "PID", "ROUND TRIP"]);
        table.row(vec!["lab1".into(), 7.into(), Value::Null.into()]);
        table.row(vec![
            "a-long-name".into(),
            1234.into(),
            Cell::shown_as(1500, "1.5 us"),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        assert_eq!(
            sample().text(),
            "NODE         PID   ROUND TRIP\n\
             lab1            7  -\n\
             a-long-name  1234      1.5 us\n"
        );
    }

    #[test]
    fn json_has_one_object_for_each_row_with_plain_values() {
        let parsed: Value = serde_json::from_str(&sample().json()).unwrap();
        assert_eq!(parsed[0]["node"], "lab1");
        assert_eq!(parsed[0]["round_trip"], Value::Null);
        assert_eq!(parsed[1]["round_trip"], 1500);
    }

    #[test]
    fn an_empty_table_is_an_empty_array() {
        assert_eq!(Table::new(&["NODE"]).json(), "[]");
    }
}
