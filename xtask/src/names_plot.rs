//! What names cost against how many there are, as a picture for the documents.

use crate::Outcome;
use crate::command::cargo;
use crate::svg::{Chart, Series};

/// Relative to the repository.
const FILE: &str = "docs/figures/names.svg";
/// Hundredfold on the horizontal axis begins at this power of ten.
const FIRST_POWER: f64 = 2.0;

/// One line of the measurement.
#[derive(Debug, PartialEq)]
struct Row {
    prefixes: f64,
    /// Nanoseconds.
    question: f64,
    registration: f64,
    bytes: f64,
}

/// Measures and draws [`FILE`].
pub(crate) fn run() -> Outcome {
    let said = cargo([
        "run",
        "--release",
        "--quiet",
        "--package",
        "slashnet-node",
        "--example",
        "names",
    ])
    .output()?;
    print!("prefixes programs ns/question ns/registration bytes/prefix\n{said}");
    let rows: Vec<Row> = said.lines().filter_map(row).collect();
    let greatest = rows.last().ok_or("the measurement said nothing")?;
    let points = |value: fn(&Row) -> f64| {
        let point = |row: &Row| (row.prefixes.log10() - FIRST_POWER, value(row));
        rows.iter().map(point).collect()
    };
    let chart = Chart {
        title: "What a name costs a node, against the prefixes that are registered".into(),
        end: greatest.prefixes.log10() - FIRST_POWER,
        step: |at| format!("{}", 10_f64.powf(at + FIRST_POWER)),
        unit: "ns, bytes",
        grid: 500.0,
        events: Vec::new(),
        series: vec![
            Series::new("ns for a question", "#2f7ed8", points(|row| row.question)),
            Series::new(
                "ns for a registration",
                "#e8871e",
                points(|row| row.registration),
            ),
            Series::new("bytes for a prefix", "#222222", points(|row| row.bytes)),
        ],
    };
    println!("plot: {}", chart.write(FILE)?.display());
    Ok(())
}

fn row(line: &str) -> Option<Row> {
    let numbers: Option<Vec<f64>> = line.split(' ').map(|word| word.parse().ok()).collect();
    let [prefixes, _, question, registration, bytes] = numbers?[..] else {
        return None;
    };
    Some(Row {
        prefixes,
        question,
        registration,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_other_things_are_no_points() {
        let point = Row {
            prefixes: 100.0,
            question: 731.0,
            registration: 1373.0,
            bytes: 225.0,
        };
        assert_eq!(row("100 1 731 1373 225"), Some(point));
        assert_eq!(row("page 1000 74743 1000"), None);
    }
}
