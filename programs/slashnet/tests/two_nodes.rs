//! The verbs between two machines, and what they say when something is not there.

mod machine;

use std::fs;
use std::path::Path;

use machine::{Lab, Up, run, text};

/// What lab1 is told when a command fails.
fn refusal(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.lab1(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("plain text")
}

#[test]
fn files_and_directories_go_to_the_other_machine_and_back() {
    let lab = Lab::start();
    let here = lab.path("here");
    fs::create_dir_all(here.join("deep/er")).expect("made");
    fs::write(here.join("deep/er/file"), vec![7; 3_000_000]).expect("written");
    fs::write(here.join("empty"), "").expect("written");

    text(&lab.lab1(&["cp", "-r", as_text(&here), "/net/lab2/srv"]));
    let there = lab.path("srv/here");
    assert_eq!(
        fs::read(there.join("deep/er/file")).expect("read"),
        vec![7; 3_000_000]
    );
    assert_eq!(
        text(&lab.lab1(&["ls", "/net/lab2/srv/here"])),
        "deep\nempty\n"
    );
    let back = lab.path("back");
    text(&lab.lab1(&["cp", "-r", "/net/lab2/srv/here", as_text(&back)]));
    assert_eq!(
        fs::read(back.join("deep/er/file")).expect("read"),
        vec![7; 3_000_000]
    );
    assert_eq!(fs::read(back.join("empty")).expect("read"), b"");

    text(&lab.lab1(&["mv", "/net/lab2/srv/here/empty", "/net/lab2/srv/notes"]));
    text(&lab.lab1(&["write", "/net/lab2/srv/notes", "one"]));
    text(&lab.lab1(&["write", "-a", "/net/lab2/srv/notes", "two"]));
    assert_eq!(
        text(&lab.lab1(&["cat", "/net/lab2/srv/notes"])),
        "one\ntwo\n"
    );
    assert_eq!(
        text(&lab.lab1(&["cat", "-c", "5", "/net/lab2/srv/notes"])),
        "one\nt"
    );
    let stat = text(&lab.lab1(&["stat", "--json", "/net/lab2/srv/notes"]));
    let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
    assert_eq!((&stat[0]["size"], &stat[0]["nd"]), (&8.into(), &1.into()));

    text(&lab.lab1(&["mkdir", "/net/lab2/srv/new"]));
    assert!(lab.path("srv/new").is_dir());
    text(&lab.lab1(&["rm", "-d", "/net/lab2/srv/new"]));
    text(&lab.lab1(&["rm", "/net/lab2/srv/notes"]));
    assert_eq!(text(&lab.lab1(&["ls", "/net/lab2/srv"])), "here\n");
}

#[test]
fn tables_and_traces_show_both_machines() {
    let lab = Lab::start();
    assert_eq!(text(&lab.lab1(&["ls", "/net"])), "lab1\nlab2\n");
    let nodes = text(&lab.lab1(&["nodes", "--json"]));
    let nodes: serde_json::Value = serde_json::from_str(&nodes).expect("JSON");
    assert_eq!(
        (&nodes[0]["name"], &nodes[0]["state"]),
        (&"lab1".into(), &"this node".into())
    );
    assert_eq!(
        (&nodes[1]["name"], &nodes[1]["nd"]),
        (&"lab2".into(), &1.into())
    );
    assert!(text(&lab.lab1(&["links"])).contains("lab2"));
    assert!(text(&lab.lab1(&["ps"])).contains("slashnet"));
    let prefixes = text(&lab.lab1(&["prefixes", "-n", "lab2"]));
    let line = prefixes
        .lines()
        .find(|line| line.ends_with(" /srv"))
        .expect("the export");
    assert!(line.trim_start().starts_with("1 "), "{line}");

    fs::write(lab.path("srv/file"), "x").expect("written");
    text(&lab.lab1(&["ln", "-sP", "/net/lab2/srv", "/shared"]));
    assert_eq!(text(&lab.lab1(&["cat", "/shared/file"])), "x");
    let steps = text(&lab.lab1(&["trace", "open", "--json", "/shared/file"]));
    let steps: serde_json::Value = serde_json::from_str(&steps).expect("JSON");
    let paths: Vec<_> = steps
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["path"])
        .collect();
    // qnx: P50, P60
    assert_eq!(
        paths,
        [
            "/shared/file",
            "/net/lab2/srv/file",
            "lab2/srv/file",
            "srv/file",
            "file"
        ]
    );
    let failed = lab.lab1(&["trace", "open", "/net/lab2/srv/nothing"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stdout).contains("ENOENT"));
}

#[test]
fn what_is_not_there_or_not_allowed_is_said_plainly() {
    let mut lab = Lab::start();
    let missing = "no such file or directory";
    fs::create_dir(lab.path("srv/dir")).expect("made");
    for (arguments, path, reason) in [
        (&["cat", "/net/nobody/x"][..], "/net/nobody/x", missing),
        (&["cat", "/net/lab2/nothing"], "/net/lab2/nothing", missing),
        (
            &["cat", "/net/lab2/srv/nothing"],
            "/net/lab2/srv/nothing",
            missing,
        ),
        (
            &["cat", "/net/lab2/srv/dir"],
            "/net/lab2/srv/dir",
            "is a directory",
        ),
        (
            &["rm", "/net/lab2/srv/dir"],
            "/net/lab2/srv/dir",
            "is a directory",
        ),
        (
            &["cat", "/net/lab2/srv/../../etc/passwd"],
            "/net/lab2/srv/../../etc/passwd",
            missing,
        ),
    ] {
        assert_eq!(
            refusal(&lab, arguments),
            format!("slashnet: {path}: {reason}\n")
        );
    }
    assert!(refusal(&lab, &["prefixes", "-n", "nobody"]).starts_with("slashnet: nobody: "));
    assert!(refusal(&lab, &["cp", "/net/lab2/srv", "/net/lab2/srv/dir"]).contains("onto itself"));
    assert!(refusal(&lab, &["cp", "/net/lab2/srv/dir", "x"]).contains("give -r"));

    lab.lab2.stop(rustix::process::Signal::TERM);
    let said = refusal(&lab, &["cat", "/net/lab2/srv/x"]);
    let down = ["host is down", "no route to host"]
        .iter()
        .any(|reason| said.contains(reason));
    assert!(down, "{said}");
}

#[test]
fn trust_begins_with_a_good_code_and_ends_when_forgotten() {
    let lab = Lab::start();
    let wrong = refusal(&lab, &["join", "ABCDEF-GHJKMN"]);
    assert!(wrong.starts_with("slashnet: join: "), "{wrong}");
    let code = text(&lab.lab1(&["invite", "--ttl", "60"]));
    let (first, second) = (lab.path("third"), lab.path("fourth"));
    let third = Up::start(&first, &["--name", "third"]);
    let fourth = Up::start(&second, &["--name", "fourth"]);
    third.wait_for("node third is up");
    fourth.wait_for("node fourth is up");
    text(&run(&first, &["join", code.trim()]));
    let refused = run(&second, &["join", code.trim()]);
    assert_eq!(refused.status.code(), Some(1));
    let known = text(&lab.lab1(&["nodes"]));
    assert!(
        known.contains("third") && !known.contains("fourth"),
        "{known}"
    );

    assert_eq!(text(&lab.lab1(&["forget", "third"])), "forgot third\n");
    assert!(!text(&lab.lab1(&["nodes"])).contains("third"));
    assert!(refusal(&lab, &["forget", "third"]).starts_with("slashnet: third: "));
}

#[test]
fn links_have_a_row_for_a_peer_that_has_not_answered_since_the_start() {
    let mut lab = Lab::start();
    for node in [&mut lab.lab2, &mut lab.lab1] {
        node.stop(rustix::process::Signal::TERM);
    }
    let dir = lab.path("lab1");
    let lab1 = Up::start(&dir, &["--name", "lab1"]);
    lab1.wait_for("node lab1 is up");
    // Somebody asks for it.
    assert_eq!(run(&dir, &["ls", "/net/lab2/srv"]).status.code(), Some(1));
    let printed = text(&run(&dir, &["links", "--json"]));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&printed).expect("rows");
    let row = rows
        .iter()
        .find(|row| row["peer"] == "lab2")
        .expect("a row");
    assert_eq!(
        (&row["state"], &row["why"]),
        (&"down".into(), &"no answer".into())
    );
}
