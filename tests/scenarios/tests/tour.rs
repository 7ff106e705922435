//! `docs/tour.md` tells the truth: its steps are those of the trace, its functions are where it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use client::{Answered, Asked, Namespace, OpenFlags};
use resmgr::{Attributes, Resource, Server};
use testkit::Cluster;

/// A device that does nothing of its own.
struct Idle;

impl Resource for Idle {}

/// A row of the tour: step and path if it has them, and the functions it leads to.
struct Row {
    step: String,
    sees: String,
    functions: Vec<(String, PathBuf)>,
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(docs().join("tour.md")).unwrap();
    let rows = text.lines().filter(|line| {
        let number = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(' ').next());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    });
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let functions = line.split("[`").skip(1).map(|link| {
            let (name, rest) = link.split_once("`](").unwrap();
            let (file, _) = rest.split_once(')').unwrap();
            (name.to_owned(), docs().join(file))
        });
        Row {
            step: cells[2].trim_matches('*').to_owned(),
            sees: cells[3].trim_matches('`').to_owned(),
            functions: functions.collect(),
        }
    })
    .collect()
}

#[test]
fn the_steps_of_the_tour_are_those_of_the_trace() {
    // qnx: P50
    let cluster = Cluster::start(["lab1", "lab2"]);
    let endpoint = cluster["lab2"].endpoint();
    let server = Server::new(&endpoint).unwrap();
    let serving = server
        .attach("/dev/ser1", Attributes::device(0o666), Idle)
        .unwrap();
    let _running = serving.start().unwrap();
    let lab1 = Namespace::of(&cluster["lab1"].endpoint());
    let steps = lab1.trace("/net/lab2/dev/ser1", OpenFlags::READ).unwrap();
    assert_eq!(steps.last().unwrap().answer, Answered::Opened);
    let traced: Vec<(String, String)> = steps
        .iter()
        .map(|step| {
            let name = match &step.asked {
                Asked::Server { node, .. } => format!("{node} server"),
                manager => manager.to_string(),
            };
            (name, String::from_utf8(step.path.clone()).unwrap())
        })
        .collect();
    let told: Vec<(String, String)> = rows()
        .into_iter()
        .filter(|row| !row.step.is_empty())
        .map(|row| (row.step, row.sees))
        .collect();
    assert_eq!(told, traced);
}

#[test]
fn every_function_of_the_tour_is_in_the_file_it_is_linked_to() {
    let rows = rows();
    assert_eq!(rows.len(), 9);
    for row in rows {
        assert!(!row.functions.is_empty());
        for (name, file) in row.functions {
            let text = fs::read_to_string(&file).unwrap();
            let function = name.rsplit("::").next().unwrap();
            let found = text.contains(&format!("fn {function}("));
            assert!(found, "{name} is not in {}", file.display());
        }
    }
}
