//! The demo, run as a user runs it: what it says, and that nothing of it stays behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn demo(temporary: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_slashnet"))
        .arg("demo")
        .env("TMPDIR", temporary)
        .env_remove("SLASHNET_DIR")
        .env_remove("SLASHNET_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// The command lines of processes that have to do with `directory`.
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("plain text");
    let entries = fs::read_dir("/proc").expect("a process table").flatten();
    let command_lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = command_lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|line| line.contains(directory)).collect()
}

fn assert_nothing_stays(temporary: &Path) {
    assert_eq!(processes_of(temporary), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a mount table");
    assert!(
        !mounts.contains(temporary.to_str().expect("plain text")),
        "{mounts}"
    );
    let left: Vec<_> = fs::read_dir(temporary)
        .expect("a directory")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_whole_demo_holds_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(temporary.path()).wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    let checks: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ok ")
                .or_else(|| line.strip_prefix("skip "))
        })
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "nodes",
        "trust",
        "trust.once",
        "managers",
        "a.open",
        "b.echo",
        "c.mount",
        "c.verbs",
        "d.kill",
        "d.file",
        "d.port",
        "d.restart",
        "e.times",
    ];
    for check in expected {
        assert!(checks.contains(&check), "{check} is missing: {text}");
    }
    // What can be mounted here is decided by the machine; the demo must not skip what would work.
    let skipped = text.lines().any(|line| line.starts_with("skip"));
    let usable = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    assert!(
        !(skipped && usable && rustix::process::geteuid().is_root()),
        "{text}"
    );
    assert_nothing_stays(temporary.path());
}

#[test]
fn an_interrupted_demo_cleans_up() {
    for signal in [Signal::INT, Signal::TERM] {
        let temporary = tempfile::tempdir().expect("a directory");
        let mut demo = demo(temporary.path());
        let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
        let begun = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.starts_with("ok    managers"));
        assert!(begun, "it ended before its managers ran");
        assert!(!processes_of(temporary.path()).is_empty());
        kill_process(Pid::from_child(&demo), signal).expect("it runs");
        lines.for_each(drop);
        assert_eq!(demo.wait().expect("it ends").code(), Some(130));
        assert_nothing_stays(temporary.path());
    }
}
