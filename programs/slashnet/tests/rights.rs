//! `slashnet rights` and `slashnet why`: rules from the command line and the config file.

mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use machine::{Up, own_address, run, text};
use rustix::process::Signal;
use serde_json::Value;

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed(dir: &Path) -> Vec<String> {
    let rows = json(&run(dir, &["rights", "--json"]));
    let rows = rows.as_array().expect("rows").iter();
    let field = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    rows.map(|row| {
        let words = ["verdict", "who", "operations", "path", "from"].map(|name| field(row, name));
        words.join(" ")
    })
    .collect()
}

#[test]
fn rules_are_added_listed_and_removed_and_outlive_the_node() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let mut up = Up::start(&dir, &["--name", "lab1"]);
    up.wait_for("node lab1 is up");
    assert_eq!(listed(&dir), ["allow *@* all / default"]);
    let add = |rule: &[&str]| run(&dir, &[&["rights", "add"][..], rule].concat());
    let added = add(&["allow", "1000@lab2", "read,write", "/dev/ser1"]);
    assert_eq!(
        text(&added),
        "rule 1: allow 1000@lab2 read,write /dev/ser1\n"
    );
    text(&add(&["deny *@* all /dev"]));
    text(&add(&["--at", "1", "deny", "7@*", "write", "/"]));
    let rules = [
        "deny 7@* write / running",
        "allow 1000@lab2 read,write /dev/ser1 running",
        "deny *@* all /dev running",
        "allow *@* all / default",
    ];
    assert_eq!(listed(&dir), rules);
    // A rule that never decides is taken, with a word about it.
    let shadowed = add(&["allow", "9@*", "read", "/dev/x"]);
    let said = String::from_utf8_lossy(&shadowed.stderr).into_owned();
    assert!(
        shadowed.status.success() && said.contains("rule 3 is tried first"),
        "{said}"
    );
    assert_eq!(
        text(&run(&dir, &["rights", "remove", "4"])),
        "removed: allow 9@* read /dev/x\n"
    );
    for (arguments, expected) in [
        (&["rights", "remove", "9"][..], "rule 9: there are 3 rules"),
        (
            &["rights", "add", "allow", "pi"],
            "found 'pi', expected USER@NODE",
        ),
        (
            &["rights", "add", "allow", "1@lab2", "reed", "/"],
            "found 'reed', expected operations",
        ),
        (
            &["rights", "add", "--at", "9", "deny", "1@lab2", "read", "/"],
            "found 9, expected 1 to 4",
        ),
    ] {
        let said = refusal(&run(&dir, arguments));
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    up.stop(Signal::TERM);
    let up = Up::start(&dir, &["--name", "lab1", "--right", "deny 8@* read /"]);
    up.wait_for("node lab1 is up");
    assert_eq!(listed(&dir)[..3], rules[..3]);
    assert_eq!(listed(&dir)[3], "deny 8@* read / config");
    let said = refusal(&run(&dir, &["rights", "remove", "4"]));
    assert!(said.contains("in the config file"), "{said}");
}

#[test]
fn rules_of_a_config_file_are_checked_and_taken_again_while_the_node_runs() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let config = temporary.path().join("slashnet.toml");
    let write = |rules: &str| {
        let (dir, link) = (dir.display(), own_address());
        let text = format!(
            "name = 'lab1'\ndir = '{dir}'\nlink = ['{link}']\nmount = false\nrights = [\n{rules}]\n"
        );
        fs::write(&config, text).expect("written");
    };
    write("'deny *@* all /dev',\n");
    let up = Up::start_as_configured(&config);
    up.wait_for("node lab1 is up");
    assert_eq!(listed(&dir)[0], "deny *@* all /dev config");
    let path = config.to_str().expect("text");
    write("'allow root@lab2 list /dev',\n'deny *@* all /dev',\n");
    let said = text(&run(&dir, &["rights", "check", path]));
    assert!(said.contains("2 rules, all good"), "{said}");
    assert_eq!(listed(&dir).len(), 2, "checked is not taken");
    text(&run(&dir, &["rights", "reload", path]));
    assert_eq!(listed(&dir)[0], "allow 0@lab2 list /dev config");
    write("'deny *@* all /dev',\n'deny *@* some /dev',\n");
    for verb in ["check", "reload"] {
        let output = run(&dir, &["rights", verb, path]);
        assert_eq!(output.status.code(), Some(2));
        let said = refusal(&output);
        assert!(
            said.contains("slashnet.toml:7: found 'some', expected operations"),
            "{said}"
        );
    }
    assert_eq!(listed(&dir).len(), 3, "a bad file changes nothing");
    let rules = temporary.path().join("rules");
    fs::write(&rules, "# mine\ndeny *@* all /\nallow\n").expect("written");
    let said = refusal(&run(
        &dir,
        &["rights", "check", rules.to_str().expect("text")],
    ));
    assert!(
        said.contains("rules:3: found nothing, expected USER@NODE"),
        "{said}"
    );
    fs::write(&rules, "# mine\ndeny *@* all /\n").expect("written");
    let rules = rules.to_str().expect("text");
    let said = text(&run(&dir, &["rights", "check", rules]));
    assert_eq!(said, format!("{rules}: 1 rule, all good\n"));
    let said = text(&run(&dir, &["rights", "reload", rules]));
    assert_eq!(said, format!("1 rule of {rules}\n"));
    assert_eq!(listed(&dir)[0], "deny *@* all / config");
}

/// A node with a directory `/srv`, in which only the owner may read `mine`: where the node is, the directory, the node.
fn exporting(place: &Path) -> (PathBuf, PathBuf, Up) {
    let (dir, srv) = (place.join("node"), place.join("srv"));
    fs::create_dir(&srv).expect("made");
    fs::write(srv.join("mine"), "x").expect("written");
    mode(&srv, 0o755);
    mode(&srv.join("mine"), 0o600);
    let export = format!("{}=/srv", srv.display());
    let up = Up::start(&dir, &["--name", "lab1", "--export", &export]);
    up.wait_for("node lab1 is up");
    (dir, srv, up)
}

fn mode(path: &Path, mode: u32) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).expect("changed");
}

fn stranger() -> String {
    (rustix::process::geteuid().as_raw() + 4321).to_string()
}

#[test]
fn why_names_the_rule_and_then_what_file_permissions_say() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv, _up) = exporting(temporary.path());
    let stranger = stranger();
    let why =
        |operation: &str, path: &str| run(&dir, &["why", &stranger, operation, path, "--json"]);
    let denied = why("read", "/srv/mine");
    assert_eq!(denied.status.code(), Some(1));
    let said = json(&denied);
    assert_eq!(
        (&said["rule"], &said["rule_allows"]),
        (&Value::Null, &Value::Bool(true))
    );
    assert_eq!(said["permissions"]["allowed"], false);
    let listing = why("list", "/net/lab1/srv");
    assert_eq!(listing.status.code(), Some(0));
    assert_eq!(json(&listing)["allowed"], true);
    mode(&srv.join("mine"), 0o644);
    let rule = format!("deny {stranger}@lab1 write /srv");
    text(&run(&dir, &["rights", "add", &rule]));
    assert_eq!(json(&why("read", "/srv/mine"))["allowed"], true);
    let said = json(&why("write", "/srv/mine"));
    assert_eq!(
        (&said["rule"], &said["permissions"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(said["rule_text"], rule.as_str());
    let words = run(&dir, &["why", &stranger, "write", "/srv/mine"]);
    assert_eq!(words.status.code(), Some(1));
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        words.contains(&format!("denied by rule 1: {rule}")),
        "{words}"
    );
    assert_eq!(
        json(&why("read", "/srv/mine"))["groups"],
        serde_json::json!([65_534])
    );
}

#[test]
fn why_calls_nothing_allowed_that_is_not_there_and_answers_no_senseless_question() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv, _up) = exporting(temporary.path());
    mode(&srv.join("mine"), 0o644);
    let why = |path: &str| run(&dir, &["why", &stranger(), "read", path, "--json"]);
    for (missing, expected) in [
        ("/srv/nothing", "no such file"),
        ("/srv/mine/below", "not a directory"),
        ("/nothing", "no such file"),
    ] {
        let output = why(missing);
        assert_eq!(output.status.code(), Some(1), "{missing}");
        let said = json(&output);
        assert_eq!(
            (&said["allowed"], &said["rule_allows"]),
            (&false.into(), &true.into())
        );
        let reason = said["permissions"]["why"].as_str().expect("a reason");
        assert!(reason.contains(expected), "{reason}");
    }
    for (arguments, expected) in [
        (
            &["why", "7@lab9", "read", "/srv"][..],
            "no node is called lab9",
        ),
        (&["why", "7", "eat", "/srv"], "found 'eat', expected look"),
        (
            &["why", "no-such-user", "read", "/srv"],
            "expected a user of this machine",
        ),
        (&["why", "7", "read", "srv"], "expected an absolute path"),
    ] {
        let output = run(&dir, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = refusal(&output);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
