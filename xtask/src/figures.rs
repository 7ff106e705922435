//! The measured tables of docs/performance.md, taken and written there: all in one run, or one of them again.

use crate::Outcome;
use crate::command::{Program, root};
use clap::builder::PossibleValuesParser;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const DOCUMENT: &str = "docs/performance.md";
/// What makes lines of the page a table.
const INDENT: &str = "    ";
const BENCH: &str = "bench";

/// A table: the name behind `measured:` in the document, and how it is made.
const PARTS: &[(&str, &[&str])] = &[
    ("sum", &["lab", "sum"]),
    ("cuts", &["lab", "cuts"]),
    ("exclusive", &["lab", "exclusive"]),
    ("loss", &["lab", "loss"]),
    (BENCH, &["bench", "--rounds", "3", "--milliseconds", "150"]),
    ("mount", &["real", "--figures", "speed", "speed-split"]),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Take only these tables, by the names of their marks in the page; all else stays as it is
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    #[arg(value_parser = PossibleValuesParser::new(PARTS.iter().map(|(name, _)| *name)))]
    only: Vec<String>,
    /// Of the bench, take only the groups whose name contains this
    #[arg(long, value_name = "TEXT")]
    groups: Option<String>,
}

/// Takes the figures asked for. A missed bound is written down like any other row and ends nothing.
pub(crate) fn take(options: &Options) -> Outcome {
    let all = options.only.is_empty();
    let wanted = |name: &str| all || options.only.iter().any(|only| only == name);
    if options.groups.is_some() && !wanted(BENCH) {
        return Err("only the bench has groups: add it to --only".to_owned());
    }
    // They take minutes to build, and seldom change.
    if wanted(BENCH) && !root().join("tests/peers/target/release/peer").exists() {
        run(&["bench", "--peers", "--list"])?;
    }
    let mut missed = Vec::new();
    if all && !run(&["plot"])?.1 {
        missed.push("plot");
    }
    for (name, arguments) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        let groups = options.groups.as_deref().filter(|_| *name == BENCH);
        let filter = groups.map(|groups| ["--only", groups]);
        let arguments = arguments.iter().copied();
        let arguments: Vec<_> = arguments.chain(filter.into_iter().flatten()).collect();
        let (said, passed) = run(&arguments)?;
        if !passed {
            missed.push(*name);
        }
        if said.trim().is_empty() {
            // Rather the figures of before than none.
            eprintln!("xtask: {name} has said nothing; its table stays as it is");
            continue;
        }
        change(|text| {
            let new = match groups {
                Some(_) => with_groups(&table(text, name)?, &said),
                None => said,
            };
            with_table(text, name, &new)
        })?;
    }
    change(|text| with_table(text, "missed", &missed_in(text)?))?;
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

/// The rows of all tables of `text` whose bounds are missed.
fn missed_in(text: &str) -> Outcome<String> {
    let mut rows = String::new();
    for (name, _) in PARTS {
        rows.push_str(&missed_rows(name, &table(text, name)?));
    }
    if rows.is_empty() {
        rows.push_str("nothing\n");
    }
    Ok(rows)
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

/// Replaces the page by what `change` makes of it.
fn change(change: impl FnOnce(&str) -> Outcome<String>) -> Outcome {
    let file = root().join(DOCUMENT);
    let text = fs::read_to_string(&file).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    fs::write(&file, change(&text)?).map_err(|error| format!("{DOCUMENT}: {error}"))
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

/// What stands before the table of that name, its mark included, and what stands behind the mark.
fn at_mark<'a>(text: &'a str, name: &str) -> Outcome<(&'a str, &'a str)> {
    let mark = format!("<!-- measured: {name} -->\n");
    let at = text
        .find(&mark)
        .ok_or_else(|| format!("{DOCUMENT} lacks {}", mark.trim()))?;
    Ok(text.split_at(at + mark.len()))
}

/// Whether a line behind a mark belongs to the table.
fn is_in_table(line: &&str) -> bool {
    line.is_empty() || line.starts_with(INDENT)
}

/// The table of that name, as it was printed.
fn table(text: &str, name: &str) -> Outcome<String> {
    let (_, after) = at_mark(text, name)?;
    let lines = after.lines().take_while(is_in_table);
    let lines: Vec<_> = lines
        .map(|line| line.strip_prefix(INDENT).unwrap_or(line))
        .collect();
    Ok(lines.join("\n").trim_matches('\n').to_owned())
}

/// `text` with `table` in the place of the indented block behind the mark of that name.
fn with_table(text: &str, name: &str, table: &str) -> Outcome<String> {
    let (before, after) = at_mark(text, name)?;
    let rest = after.lines().skip_while(is_in_table);
    let rest: String = rest.map(|line| format!("{line}\n")).collect();
    let indented = table.trim_matches('\n').lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{INDENT}{line}\n"),
    });
    let block: String = indented.collect();
    Ok(format!("{before}\n{block}\n{rest}"))
}

/// `table` with those of its groups replaced that were taken anew, by their titles; new ones stand at the end.
fn with_groups(table: &str, anew: &str) -> String {
    fn groups(table: &str) -> impl Iterator<Item = &str> {
        table.trim_matches('\n').split("\n\n")
    }
    let titled = |group: &str, other: &str| group.lines().next() == other.lines().next();
    let kept = groups(table).map(|old| {
        let same = groups(anew).find(|new| titled(old, new));
        same.unwrap_or(old)
    });
    let added = groups(anew).filter(|new| !groups(table).any(|old| titled(old, new)));
    kept.chain(added).collect::<Vec<_>>().join("\n\n")
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

    #[test]
    fn groups_taken_anew_take_the_places_of_those_of_their_titles() -> Outcome {
        let text = "a\n<!-- measured: x -->\n\n    b [us]\n      own   1\n\n    c [us]\n      own   2\n\nd\n";
        let old = table(text, "x")?;
        assert_eq!(old, "b [us]\n  own   1\n\nc [us]\n  own   2");
        let new = with_groups(&old, "c [us]\n  own   3\n\ne [us]\n  own   4\n\n");
        assert_eq!(
            new,
            "b [us]\n  own   1\n\nc [us]\n  own   3\n\ne [us]\n  own   4"
        );
        let written = with_table(text, "x", &new)?;
        assert_eq!(table(&written, "x")?, new);
        assert!(written.ends_with("own   4\n\nd\n"), "{written}");
        Ok(())
    }

    #[test]
    fn every_table_of_the_page_can_be_taken_and_read() -> Outcome {
        let text = fs::read_to_string(root().join(DOCUMENT)).map_err(|error| error.to_string())?;
        let marks: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("<!-- measured: ")?.strip_suffix(" -->"))
            .filter(|name| *name != "missed")
            .collect();
        for name in &marks {
            assert!(PARTS.iter().any(|(part, _)| part == name), "{name}");
        }
        assert_eq!(marks.len(), PARTS.len());
        assert!(!missed_in(&text)?.is_empty());
        Ok(())
    }
}
