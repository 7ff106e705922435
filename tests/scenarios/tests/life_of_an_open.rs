//! The one story: what an open asks of whom, as the documents tell it.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use abi::{Errno, OpenFlags};
use client::{Answered, Asked, Namespace, TraceStep};
use rustix::pty::OpenptFlags;
use serial_manager::Serving;
use testkit::Cluster;

const PORT: &str = "/net/lab2/dev/ser1";

/// lab2 offers a serial port as `/dev/ser1`.
struct Lab {
    _place: tempfile::TempDir,
    _device: std::os::fd::OwnedFd,
    _serving: Serving,
    serial: abi::Pid,
    cluster: Cluster,
}

fn lab() -> Lab {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let place = tempfile::tempdir().unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let device = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&device).unwrap();
    rustix::pty::unlockpt(&device).unwrap();
    let name = rustix::pty::ptsname(&device, Vec::new()).unwrap();
    symlink(name.to_str().unwrap(), place.path().join("tty")).unwrap();
    let port = format!("{}=/dev/ser1,mode=666", place.path().join("tty").display());
    let endpoint = cluster["lab2"].endpoint();
    let serving = serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap();
    Lab {
        _place: place,
        _device: device,
        _serving: serving,
        serial: endpoint.pid(),
        cluster,
    }
}

/// Who is asked, in the words of the documents.
fn asked(step: &TraceStep, lab: &Lab) -> String {
    match &step.asked {
        Asked::Server { node, candidate } if candidate.pid == lab.serial => {
            format!("{node} serial manager")
        }
        other => other.to_string(),
    }
}

/// The steps in ARCHITECTURE.md: number, who is asked, path it sees.
fn architecture() -> Vec<(usize, String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = fs::read_to_string(&file).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let number = cells.get(1)?.parse().ok()?;
        let path = cells.get(3)?;
        let path = if path.starts_with('(') { "" } else { *path };
        Some((number, cells.get(2)?.replace("'s ", " "), path.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn an_open_takes_the_four_steps_that_the_documents_tell() {
    let lab = lab();
    let namespace = Namespace::of(&lab.cluster["lab1"].endpoint());
    let steps = namespace.trace(PORT, OpenFlags::READ_WRITE).unwrap();
    let told: Vec<_> = steps
        .iter()
        .map(|step| {
            let path = String::from_utf8(step.path.clone()).unwrap();
            (step.number, asked(step, &lab), path)
        })
        .collect();
    let expected = [
        (1, "lab1 process manager", "/net/lab2/dev/ser1"),
        (2, "lab1 network manager", "lab2/dev/ser1"),
        (3, "lab2 process manager", "dev/ser1"),
        (4, "lab2 serial manager", ""),
    ];
    let expected = expected.map(|(number, who, path)| (number, who.to_owned(), path.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(told, architecture(), "ARCHITECTURE.md tells it otherwise");
    let answers: Vec<_> = steps.iter().map(|step| step.answer.to_string()).collect();
    assert_eq!(answers[0], "redirect: lab1 network manager");
    assert_eq!(answers[1], "redirect: lab2 process manager");
    let Asked::Server { candidate, .. } = &steps[3].asked else {
        panic!("{:?}", steps[3])
    };
    let (pid, channel, handle) = (candidate.pid, candidate.chid, candidate.handle);
    assert_eq!(candidate.nd, lab.cluster["lab1"].nd_of("lab2"));
    let found = format!("candidate: lab2 pid {pid}, channel {channel}, handle {handle}");
    assert!(answers[2].starts_with(&found), "{}", answers[2]);
    assert_eq!(steps[3].answer, Answered::Opened);
}

#[test]
fn the_last_step_of_an_open_that_fails_says_why() {
    let lab = lab();
    let namespace = Namespace::of(&lab.cluster["lab1"].endpoint());
    let failed = |path: &str| {
        let steps = namespace.trace(path, OpenFlags::READ).unwrap();
        let last = steps.last().unwrap();
        (steps.len(), asked(last, &lab), last.answer.clone())
    };
    let of = |who: &str| (who.to_owned(), Answered::Failed(Errno::ENOENT));
    let (len, who, answer) = failed("/net/lab2/dev/ser2");
    assert_eq!((len, (who, answer)), (3, of("lab2 process manager")));
    let (len, who, answer) = failed("/net/lab9/dev/ser1");
    assert_eq!((len, (who, answer)), (2, of("lab1 network manager")));
}
