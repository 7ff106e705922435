//! The command as a user meets it: help, refusals, exit statuses, generated pages.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `slashnet` without anything of this machine's environment that it looks at.
fn slashnet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slashnet"))
        .args(arguments)
        .env_remove("SLASHNET_DIR")
        .env_remove("SLASHNET_LOG")
        .output()
        .expect("the program runs")
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const VERBS: [&str; 35] = [
    "up",
    "down",
    "status",
    "node",
    "serve",
    "mount",
    "invite",
    "join",
    "forget",
    "nodes",
    "links",
    "sessions",
    "ps",
    "prefixes",
    "ls",
    "tree",
    "find",
    "who",
    "cat",
    "cp",
    "stat",
    "write",
    "rm",
    "mkdir",
    "mv",
    "ln",
    "port",
    "tty",
    "run",
    "rights",
    "why",
    "trace",
    "demo",
    "completion",
    "version",
];

#[test]
fn every_verb_explains_itself_and_the_whole_lists_them_all() {
    let whole = slashnet(&["--help"]);
    assert_eq!(whole.status.code(), Some(0));
    for verb in VERBS {
        let listed = text(&whole)
            .lines()
            .any(|line| line.trim_start().starts_with(verb));
        assert!(listed, "{verb} is not listed");
        let help = slashnet(&[verb, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{verb}");
        let usage = format!("Usage: slashnet {verb}");
        assert!(text(&help).contains(&usage), "{verb}: {}", text(&help));
        assert!(help.stderr.is_empty(), "{verb}");
        // What clap breaks by itself is text of its own; below it, lines come broken for terminals of 80 columns.
        let notes = text(&help)
            .split_once("(see a summary with '-h')")
            .map_or_else(String::new, |(_, notes)| notes.to_owned());
        let is_text = |line: &&str| !line.starts_with(' ') && line.len() > 80;
        assert_eq!(notes.lines().find(is_text), None, "{verb}");
    }
}

#[test]
fn wrong_use_has_status_2_and_is_said_on_standard_error() {
    let cases: [(&[&str], &str); 16] = [
        (&[], "Usage: slashnet"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["ls", "--colour"], "unexpected argument '--colour'"),
        (&["up", "--serial", "/dev/ttyS0"], "expected DEVICE=PATH"),
        (&["up", "--export", "/srv=srv"], "begins with '/'"),
        (&["up", "--port", "0"], "0 is not in 1..=65535"),
        (
            &["up", "--mount", "/x", "--no-mount"],
            "cannot be used with",
        ),
        (
            &["node", "--name", "lab 1"],
            "--name: found name 'lab 1', expected",
        ),
        (
            &["node", "--link", "no/such"],
            "--link: found link 'no/such', expected",
        ),
        (
            &["up", "--link", "eth0,cipher=off"],
            "--link: link 'eth0': found 'cipher=off' on a link that is not declared trusted",
        ),
        (
            &["up", "--link", "ethernet:eth0,ack=off"],
            "ethernet may lose packets",
        ),
        (&["up", "--link", "eth0,mtu=500"], "expected 1280 to 65535"),
        (
            &["up", "--detect", "quick"],
            "[possible values: fast, default, relaxed]",
        ),
        (&["links", "--watch=0"], "0 is not in 1..=3600"),
        (&["ln", "-s", "/a", "/b"], "give -sP"),
        (
            &["ls", "--log", "host=loud"],
            "found 'host=loud', expected error, warn, info",
        ),
    ];
    for (arguments, expected) in cases {
        let output = slashnet(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            error_text(&output)
        );
        assert!(
            error_text(&output).contains(expected),
            "{arguments:?}: {}",
            error_text(&output)
        );
        assert!(text(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_is_not_for_people_is_not_proposed_to_them() {
    for (typed, proposed) in [("confine", false), ("peerr", false), ("linkss", true)] {
        let said = error_text(&slashnet(&[typed]));
        assert_eq!(said.contains("similar subcommand"), proposed, "{said}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&slashnet(&["completion", shell]));
        for hidden in ["preload-broker", "confined", "supervised", "detached"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
        assert!(
            script.contains("prefixes") && script.contains("take-over"),
            "{shell}"
        );
    }
}

#[test]
fn a_verb_without_a_node_says_where_it_looked_and_what_to_do() {
    let empty = tempfile::tempdir().expect("a directory");
    let dir = empty.path().to_str().expect("plain text");
    let verbs: [&[&str]; 7] = [
        &["nodes"],
        &["links", "--json"],
        &["sessions"],
        &["ps"],
        &["prefixes", "-n", "lab2"],
        &["invite"],
        &["join", "CODE"],
    ];
    for verb in verbs {
        let output = slashnet(&[&["--dir", dir], verb].concat());
        assert_eq!(output.status.code(), Some(1), "{verb:?}");
        let expected = format!("slashnet: {dir}/node.sock: no node daemon there");
        assert!(
            error_text(&output).starts_with(&expected),
            "{verb:?}: {}",
            error_text(&output)
        );
    }
}

#[test]
fn a_bad_config_file_is_refused_with_file_line_found_and_expected() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        (
            "name = 'lab1'\nport = 'x'\n",
            2,
            "found string \"x\", expected a whole number",
        ),
        (
            "nmae = 'lab1'\n",
            1,
            "found unknown key `nmae`, expected one of `name`",
        ),
        (
            "\n\n[[serial]]\npath = '/dev/ser1'\n",
            3,
            "found a table without the key `device`",
        ),
        (
            "[[export]]\ndirectory = '/srv'\npath = 'srv'\n",
            3,
            "found 'srv', expected a path",
        ),
        (
            "mount = true\n",
            1,
            "found boolean `true`, expected a directory or false",
        ),
        ("name = \n", 1, "expected"),
    ];
    for (number, (file, line, expected)) in cases.into_iter().enumerate() {
        let path = dir.path().join(format!("{number}.toml"));
        std::fs::write(&path, file).expect("written");
        let path = path.to_str().expect("plain text");
        for verb in ["up", "node"] {
            let output = slashnet(&[verb, "--config", path]);
            let said = error_text(&output);
            assert_eq!(output.status.code(), Some(2), "{file:?}: {said}");
            assert!(
                said.starts_with(&format!("slashnet: {path}:{line}: ")),
                "{file:?}: {said}"
            );
            assert!(said.contains(expected), "{file:?}: {said}");
        }
    }
    let missing = slashnet(&["up", "--config", "/nonexistent.toml"]);
    assert_eq!(
        error_text(&missing),
        "slashnet: /nonexistent.toml: no such file or directory\n"
    );
}

#[test]
fn there_is_a_page_for_every_verb_and_nothing_in_it_depends_on_this_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("plain text");
    let output = slashnet(&["man", path]);
    assert_eq!(output.status.code(), Some(0), "{}", error_text(&output));
    let page = |name: &str| {
        std::fs::read_to_string(dir.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("slashnet.1").contains(".TH SLASHNET 1"));
    for verb in VERBS {
        let name = format!("slashnet-{verb}");
        let text = page(&format!("{name}.1"));
        let title = format!(".TH {} 1", name.to_uppercase());
        assert!(text.contains(&title), "{name}: {text}");
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{name}");
    }
    assert!(page("slashnet-serve-serial.1").contains("115200"));
    assert!(!dir.path().join("slashnet-peer.1").exists());
    assert!(!dir.path().join("slashnet-man.1").exists());
}

#[test]
fn completions_are_scripts_that_their_shell_accepts() {
    for shell in ["bash", "zsh", "fish"] {
        let output = slashnet(&["completion", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("prefixes"), "{shell}");
    }
    let script = slashnet(&["completion", "bash"]).stdout;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), script).expect("written");
    let checked = Command::new("bash")
        .arg("-n")
        .arg(file.path())
        .output()
        .expect("bash runs");
    assert!(checked.status.success(), "{}", error_text(&checked));
}

#[test]
fn a_reader_that_goes_away_ends_a_table_quietly() {
    let command = format!("{} completion bash | true", env!("CARGO_BIN_EXE_slashnet"));
    let output = Command::new("sh")
        .args(["-c", &command])
        .output()
        .expect("sh runs");
    assert_eq!(error_text(&output), "");
}

#[test]
fn the_version_is_the_package_version() {
    let expected = format!("slashnet {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&slashnet(&["version"])), expected);
    assert_eq!(text(&slashnet(&["--version"])), expected);
}

#[test]
fn the_pages_in_the_documentation_are_those_of_this_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("plain text");
    assert_eq!(slashnet(&["man", path]).status.code(), Some(0));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
    for entry in std::fs::read_dir(dir.path()).expect("a directory") {
        let made = entry.expect("an entry").path();
        let name = made.file_name().expect("a name");
        let new = std::fs::read_to_string(&made).expect("read");
        let old = std::fs::read_to_string(kept.join(name)).unwrap_or_default();
        assert!(
            new == old,
            "docs/man/{} is out of date: slashnet man docs/man",
            name.display()
        );
    }
}
