//! The measured tables of docs/performance.md, taken and written there in one run.

use crate::Outcome;
use crate::command::{Program, root};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const DOCUMENT: &str = "docs/performance.md";

/// A table: the name behind `measured:` in the document, and how it is made.
const PARTS: &[(&str, &[&str])] = &[
    ("sum", &["lab", "sum"]),
    ("cuts", &["lab", "cuts"]),
    ("exclusive", &["lab", "exclusive"]),
    ("loss", &["lab", "loss"]),
    (
        "bench",
        &["bench", "--rounds", "3", "--milliseconds", "150"],
    ),
    ("mount", &["real", "speed"]),
];

/// Takes every figure. A missed bound is written down like any other row and ends nothing.
pub(crate) fn take() -> Outcome {
    // They take minutes to build, and seldom change.
    if !root().join("tests/peers/target/release/peer").exists() {
        run(&["bench", "--peers", "--list"])?;
    }
    let mut missed = Vec::new();
    if !run(&["plot"])?.1 {
        missed.push("plot");
    }
    let mut rows = String::new();
    for (name, arguments) in PARTS {
        let (said, passed) = run(arguments)?;
        if !passed {
            missed.push(*name);
        }
        if said.trim().is_empty() {
            // Rather the figures of before than none.
            eprintln!("xtask: {name} has said nothing; its table stays as it is");
            continue;
        }
        rows.push_str(&missed_rows(name, &said));
        write_table(name, &said)?;
    }
    if rows.is_empty() {
        rows.push_str("nothing\n");
    }
    write_table("missed", &rows)?;
    let head = Program::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()?;
    println!("{DOCUMENT} has the figures of {}", head.trim());
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("bounds are missed in: {}", missed.join(", ")))
    }
}

/// The rows of a table whose bound is missed, each under the title that it stands below.
fn missed_rows(name: &str, said: &str) -> String {
    let mut rows = String::new();
    let (mut title, mut written) = ("", "");
    for line in said.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with(' ') {
            title = line;
        } else if line.contains("MISS") {
            if written != title {
                rows.push_str(&format!("{name}: {title}\n"));
                written = title;
            }
            rows.push_str(&format!("  {}\n", line.trim()));
        }
    }
    rows
}

fn write_table(name: &str, table: &str) -> Outcome {
    let file = root().join(DOCUMENT);
    let text = fs::read_to_string(&file).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    let text = with_table(&text, name, table)?;
    fs::write(&file, text).map_err(|error| format!("{DOCUMENT}: {error}"))
}

/// What a verb of this program prints, shown as it comes, and whether it succeeded.
fn run(arguments: &[&str]) -> Outcome<(String, bool)> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(own)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = String::new();
    let stdout = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok((said, status.success()))
}

/// `text` with `table` in the place of the indented block behind the mark of that name.
fn with_table(text: &str, name: &str, table: &str) -> Outcome<String> {
    let mark = format!("<!-- measured: {name} -->\n");
    let (before, after) = text
        .split_once(&mark)
        .ok_or_else(|| format!("{DOCUMENT} lacks {}", mark.trim()))?;
    let rest = after
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{line}\n"));
    let indented = table.trim_matches('\n').lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    });
    let block: String = indented.collect();
    Ok(format!(
        "{before}{mark}\n{block}\n{}",
        rest.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_miss_are_listed_below_their_titles() {
        let said = "a [us]\n  fast   1.0   <= 2 x (1.0): pass\n  slow   3.0   <= 2 x (3.0): MISS\n\nb [us]\n  own   1.0\n";
        assert_eq!(
            missed_rows("bench", said),
            "bench: a [us]\n  slow   3.0   <= 2 x (3.0): MISS\n"
        );
        assert_eq!(missed_rows("bench", "b\n  own   1.0\n"), "");
    }

    #[test]
    fn a_table_takes_the_place_of_the_one_before() -> Outcome {
        let text = "a\n<!-- measured: x -->\n\n    old\n\n    older\n\nb\n";
        let new = "a\n<!-- measured: x -->\n\n    new\n\n      row\n\nb\n";
        assert_eq!(with_table(text, "x", "\nnew\n\n  row\n")?, new);
        assert_eq!(with_table(new, "x", "new\n\n  row")?, new);
        assert!(with_table(text, "y", "").is_err());
        Ok(())
    }
}
