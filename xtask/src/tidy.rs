//! House rules that no compiler checks. Quick: it reads every source once.

mod porting;

use crate::Outcome;
use crate::command::{Program, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file is one noun.
const FILE_LINES_MAX: usize = 500;
/// Files that may be longer, each with its bound and the reason. This list may only shrink.
const EXCUSED: &[(&str, usize, &str)] = &[];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "misc", "helper", "helpers"];
/// Marks of unfinished work.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
/// First words of comments that tell the history instead of the reason.
const HISTORY: &[&str] = &["Now ", "Changed ", "Fixed ", "Previously "];

/// What each room may depend on; a crate of a room may use crates of the same room further left.
const ROOMS: &[(&str, &[&str])] = &[
    ("core", &["core"]),
    ("lib", &["core", "lib"]),
    (
        "managers",
        &[
            "core/abi",
            "core/preload",
            "core/telnet",
            "lib/resmgr",
            "lib/client",
            "lib/ipc",
        ],
    ),
    (
        "programs",
        &[
            "core/abi",
            "core/paths",
            "core/preload",
            "core/rights",
            "lib",
            "managers",
            "programs",
        ],
    ),
    ("tests", &["core", "lib", "managers", "programs"]),
    ("xtask", &[]),
];

/// Checks all rules and prints every breach.
pub(crate) fn run() -> Outcome {
    let mut breaches = Vec::new();
    let mut cited = porting::Cited::default();
    let listed = Program::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()?;
    for file in listed.lines().map(Path::new) {
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        let breach = |line: usize, what: &str| format!("{}:{line}: {what}", file.display());
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                cited.read(file, &text);
                source(file, &text, &mut |line, what| {
                    breaches.push(breach(line, what))
                });
            }
            Some("md") => links(file, &text, &mut |line, what| {
                breaches.push(breach(line, what))
            }),
            _ if file.ends_with("Cargo.toml") => {
                manifest(file, &text, &mut |line, what| {
                    breaches.push(breach(line, what))
                });
            }
            _ => {}
        }
    }
    pure(&mut breaches)?;
    cited.check(&mut breaches)?;
    for breach in &breaches {
        println!("{breach}");
    }
    if breaches.is_empty() {
        Ok(())
    } else {
        Err(format!("{} breaches", breaches.len()))
    }
}

type Report<'a> = &'a mut dyn FnMut(usize, &str);

fn source(file: &Path, text: &str, report: Report<'_>) {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        report(1, "a name that says nothing about what is inside");
    }
    let lines_max = EXCUSED
        .iter()
        .find(|(excused, ..)| file == Path::new(excused))
        .map_or(FILE_LINES_MAX, |(_, lines, _)| *lines);
    let lines = text.lines().count();
    if lines > lines_max {
        report(
            lines,
            &format!("longer than {lines_max} lines: more than one noun?"),
        );
    }
    let own = file == Path::new("xtask/src/tidy.rs");
    for (index, line) in text.lines().enumerate() {
        if !line.is_ascii() {
            report(index + 1, "not ASCII");
        }
        let Some((_, comment)) = line.split_once("//") else {
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if !own && UNFINISHED.iter().any(|mark| comment.contains(mark)) {
            report(index + 1, "unfinished");
        }
        if HISTORY.iter().any(|word| comment.starts_with(word)) {
            report(
                index + 1,
                "a comment that tells history instead of a reason",
            );
        }
    }
}

/// Relative links of a document must lead somewhere.
fn links(file: &Path, text: &str, report: Report<'_>) {
    let directory = root().join(file.parent().unwrap_or(Path::new("")));
    for (index, line) in text.lines().enumerate() {
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.contains(' ');
            if !elsewhere && !directory.join(path).exists() {
                report(index + 1, &format!("dead link {target}"));
            }
        }
    }
}

/// Dependencies point only downwards, and each outside one says why it is not our own code.
fn manifest(file: &Path, text: &str, report: Report<'_>) {
    if file == Path::new("Cargo.toml") {
        let dependencies = text
            .lines()
            .enumerate()
            .skip_while(|(_, line)| *line != "[workspace.dependencies]");
        for (index, line) in dependencies
            .skip(1)
            .take_while(|(_, line)| !line.starts_with('['))
        {
            let ours = line.contains("path = ");
            if !line.trim().is_empty() && !line.starts_with('#') && !ours && !line.contains(" # ") {
                report(index + 1, "a dependency without a reason");
            }
        }
        return;
    }
    let room = file
        .iter()
        .next()
        .and_then(|room| room.to_str())
        .unwrap_or_default();
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return;
    };
    let places = workspace_places();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let Some(place) = places.get(name) else {
            continue;
        };
        let dependency = section == "[dependencies]";
        if dependency && !allowed.iter().any(|allowed| place.starts_with(allowed)) {
            report(
                index + 1,
                &format!("{room}/ may not use {}", place.display()),
            );
        }
    }
}

/// Our crates by the name that manifests use, with their folders.
fn workspace_places() -> BTreeMap<String, PathBuf> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" = { path = \"")?;
            Some((name.to_owned(), PathBuf::from(rest.split('"').next()?)))
        })
        .collect()
}

/// Every crate of core/ is pure by construction.
fn pure(breaches: &mut Vec<String>) -> Outcome {
    let core = root().join("core");
    for entry in fs::read_dir(&core).map_err(|error| format!("{}: {error}", core.display()))? {
        let library = entry
            .map_err(|error| error.to_string())?
            .path()
            .join("src/lib.rs");
        let text = fs::read_to_string(&library)
            .map_err(|error| format!("{}: {error}", library.display()))?;
        for law in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            let stated = text.contains(law) || law == "#![no_std]" && text.contains("no_std)]");
            if !stated {
                breaches.push(format!("{}: 1: lacks {law}", library.display()));
            }
        }
    }
    Ok(())
}
