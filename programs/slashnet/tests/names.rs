//! Who serves what, and programs that see a part of the path space.

mod machine;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use machine::{Lab, PATIENCE, open_directory, text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn start() -> Lab {
    let lab = Lab::start();
    open_directory(&lab.path("srv/project"));
    fs::write(lab.path("srv/project/plan"), "the plan\n").expect("written");
    fs::write(lab.path("srv/secret"), "no plan\n").expect("written");
    lab
}

fn rows(lab: &Lab, arguments: &[&str]) -> Vec<Value> {
    let printed = text(&lab.lab1(&[arguments, &["--json"]].concat()));
    serde_json::from_str(&printed).expect("rows")
}

fn own() -> &'static str {
    env!("CARGO_BIN_EXE_slashnet")
}

// qnx: P38, P60
#[test]
fn every_listing_can_show_who_serves_what() {
    let lab = start();
    let who = rows(&lab, &["who", "/net/lab2/srv/project"]);
    assert_eq!(who.len(), 1);
    assert_eq!(who[0]["node"], "lab2");
    assert_eq!(who[0]["prefix"], "/net/lab2/srv");
    let pid = &who[0]["pid"];
    assert!(pid.as_u64() > Some(1), "{pid}");
    let found = rows(&lab, &["find", "/net", "-n", "pl*", "--who"]);
    assert_eq!(found.len(), 1, "once, although lab2 has a /net of its own");
    assert_eq!(found[0]["path"], "/net/lab2/srv/project/plan");
    for verb in ["find", "tree", "ls"] {
        let more: &[&str] = if verb == "ls" { &["-R"] } else { &[] };
        let rows = rows(&lab, &[&[verb, "--who", "/net/lab2"], more].concat());
        let key = if verb == "ls" { "name" } else { "path" };
        let row = rows.iter().find(|row| row[key] == "/net/lab2/srv/secret");
        let row = row.unwrap_or_else(|| panic!("{verb}: {rows:?}"));
        assert_eq!(&row["pid"], pid, "{verb}");
        assert_eq!(row["node"], "lab2", "{verb}");
    }
    let stat = rows(&lab, &["stat", "--who", "/net/lab2/srv"]);
    assert_eq!(&stat[0]["pid"], pid);
    assert_eq!(
        text(&lab.lab1(&["tree", "/net/lab2/srv"])),
        "/net/lab2/srv\n|-- project/\n|   `-- plan\n`-- secret\n"
    );
    assert_eq!(
        text(&lab.lab1(&["ls", "-R", "/net/lab2/srv"])),
        "/net/lab2/srv:\nproject\nsecret\n\n/net/lab2/srv/project:\nplan\n"
    );
    assert_eq!(
        text(&lab.lab1(&["find", "-t", "d", "/net/lab2/srv"])),
        "/net/lab2/srv/project\n"
    );
    let missing = lab.lab1(&["who", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn json_has_every_name_as_it_is_and_one_letter_for_each_type() {
    let lab = start();
    let odd = lab.path("srv/odd");
    fs::create_dir(&odd).expect("made");
    let names: [&[u8]; 4] = [b"back\\nslash", b"new\nline", b"not\xfftext", b"sub"];
    for name in &names[..3] {
        fs::write(odd.join(OsStr::from_bytes(name)), "").expect("written");
    }
    fs::create_dir(odd.join("sub")).expect("made");
    std::os::unix::fs::symlink("sub", odd.join("to")).expect("linked");
    let expected = |prefix: &str| {
        let whole = |name: &[u8]| [prefix.as_bytes(), name].concat();
        [names.as_slice(), &[b"to"]]
            .concat()
            .iter()
            .map(|name| {
                let name = whole(name);
                String::from_utf8(name.clone())
                    .map_or_else(|_| json!({ "bytes": name }), Value::from)
            })
            .collect::<Vec<_>>()
    };
    let column =
        |rows: &[Value], key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    let listed = rows(&lab, &["ls", "/net/lab2/srv/odd"]);
    assert_eq!(column(&listed, "name"), expected(""));
    for verb in ["tree", "find"] {
        let rows = rows(&lab, &[verb, "/net/lab2/srv/odd"]);
        assert_eq!(
            column(&rows, "path"),
            expected("/net/lab2/srv/odd/"),
            "{verb}"
        );
        assert_eq!(column(&rows, "type"), ["f", "f", "f", "d", "l"], "{verb}");
    }
    assert_eq!(
        text(&lab.lab1(&["ls", "/net/lab2/srv/odd"])),
        "back\\\\nslash\nnew\\nline\nnot\\xfftext\nsub\nto\n"
    );
    let path = OsStr::from_bytes(b"/net/lab2/srv/odd/not\xfftext");
    let stat = machine::command(&lab.path("lab1"))
        .args(["stat", "--json"])
        .arg(path)
        .output();
    let stat: Vec<Value> = serde_json::from_str(&text(&stat.expect("it runs"))).expect("rows");
    assert_eq!(stat[0]["path"], json!({ "bytes": path.as_bytes() }));
}

#[test]
fn what_is_made_lacks_the_permissions_that_the_umask_takes() {
    let lab = start();
    let run = |arguments: &[&str]| {
        let own = machine::command(&lab.path("lab1"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 027 && exec \"$0\" \"$@\""]);
        shell.arg(own.get_program()).args(own.get_args());
        text(&shell.args(arguments).output().expect("it runs"));
    };
    let source = lab.path("srv/project").display().to_string();
    run(&["mkdir", "/net/lab2/srv/made"]);
    run(&["cp", "-r", &source, "/net/lab2/srv/copied"]);
    let mode = |path: &str| {
        let metadata = fs::metadata(lab.path(path)).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("srv/made"), 0o750);
    assert_eq!(mode("srv/copied"), 0o750);
    assert_eq!(mode("srv/copied/plan"), 0o640);
}

#[test]
fn a_tree_is_copied_with_its_links_and_without_what_is_no_file() {
    let lab = Lab::start();
    let tree = lab.path("tree");
    fs::create_dir_all(tree.join("sub")).expect("made");
    fs::write(tree.join("sub/file"), "content\n").expect("written");
    fs::write(tree.join("zz"), "last\n").expect("written");
    for (text, link) in [("..", "sub/up"), ("nowhere", "dangling"), ("zz", "to")] {
        std::os::unix::fs::symlink(text, tree.join(link)).expect("linked");
    }
    let pipe = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("pipe"),
        rustix::fs::FileType::Fifo,
        pipe,
        0,
    )
    .expect("made");
    let check = |copy: &Path, output: Output, pipe: &str| {
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with(&format!("slashnet: {pipe}: is a device, pipe")),
            "{said}"
        );
        let link = |name: &str| fs::read_link(copy.join(name)).expect("a link");
        assert_eq!(link("sub/up"), Path::new(".."));
        assert_eq!(link("dangling"), Path::new("nowhere"));
        assert_eq!(
            fs::read_to_string(copy.join("to")).expect("a link"),
            "last\n"
        );
        assert_eq!(
            fs::read_to_string(copy.join("sub/file")).expect("copied"),
            "content\n"
        );
        assert!(!copy.join("pipe").exists());
    };
    let from = tree.display().to_string();
    let (there, back) = (lab.path("srv/tree"), lab.path("back"));
    let forth = ["cp", "-r", &from, "/net/lab2/srv/tree"];
    check(&there, lab.lab1(&forth), &format!("{from}/pipe"));
    // A directory that is there gets it below.
    check(
        &there.join("tree"),
        lab.lab1(&forth),
        &format!("{from}/pipe"),
    );
    check(
        &there.join("tree"),
        lab.lab1(&forth),
        &format!("{from}/pipe"),
    );
    assert!(
        text(&lab.lab1(&[
            "cp",
            "-r",
            "/net/lab2/srv/tree",
            &back.display().to_string()
        ]))
        .is_empty()
    );
    assert_eq!(
        fs::read_link(back.join("dangling")).expect("a link"),
        Path::new("nowhere")
    );
}

// qnx: P42
#[test]
fn holes_of_a_file_are_holes_of_its_copies_on_either_node() {
    let lab = start();
    let (near, far, back) = (lab.path("near"), lab.path("srv/far"), lab.path("back"));
    let length = 64 << 20;
    let file = fs::File::create(&near).expect("made");
    file.write_all_at(b"begin", 0).expect("written");
    file.write_all_at(b"middle", length / 2).expect("written");
    file.set_len(length).expect("a hole at the end");
    let (near, back) = (near.display().to_string(), back.display().to_string());
    for pair in [
        [near.as_str(), "/net/lab2/srv/far"],
        ["/net/lab2/srv/far", &back],
    ] {
        let copied = lab.lab1(&["cp", pair[0], pair[1]]);
        assert!(copied.status.success(), "{copied:?}");
    }
    for copy in [far.as_path(), Path::new(&back)] {
        let stat = fs::metadata(copy).expect("it is there");
        assert!(stat.blocks() * 512 < length / 4, "{}", copy.display());
        assert!(fs::read(copy).expect("read") == fs::read(&near).expect("read"));
    }
}

#[test]
fn a_command_with_a_root_sees_nothing_above_it_and_its_end_is_ours() {
    let mut lab = start();
    let inside = |root: &str, command: &[&str]| {
        let words = ["run", "--no-preload", "--without-namespace", "--root", root];
        lab.lab1(&[&words, command].concat())
    };
    let project = "/net/lab2/srv/project";
    assert_eq!(text(&inside(project, &[own(), "ls", "/"])), "plan\n");
    assert_eq!(
        text(&inside(project, &[own(), "cat", "/../plan"])),
        "the plan\n"
    );
    for path in ["/../secret", "/net/lab2/srv/secret", "/srv/secret"] {
        let refused = inside(project, &[own(), "cat", path]);
        assert_eq!(refused.status.code(), Some(1), "{path}");
    }
    assert_eq!(
        inside("/net", &["sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    let nowhere = inside("/net/lab2/srv/secret", &["true"]);
    let error = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(
        error.contains("/net/lab2/srv/secret: not a directory"),
        "{error}"
    );
    // A door closes with the command it was opened for.
    let views = lab.path("lab1/views");
    let deadline = std::time::Instant::now() + PATIENCE;
    while fs::read_dir(&views).is_ok_and(|mut doors| doors.next().is_some()) {
        assert!(std::time::Instant::now() < deadline, "doors stay");
        std::thread::yield_now();
    }
    lab.lab1.stop(Signal::TERM);
    lab.lab2.stop(Signal::TERM);
}

// qnx: P42
#[test]
fn a_namespace_hides_the_nodes_own_entrance_where_there_can_be_one() {
    let lab = start();
    let lab1 = lab.path("lab1");
    let script = format!("ls {}; {} ls /", lab1.display(), own());
    let words = [
        "run",
        "--no-preload",
        "--root",
        "/net/lab2/srv/project",
        "sh",
        "-c",
    ];
    let output = lab.lab1(&[&words[..], &[&script]].concat());
    if may_have_namespaces() {
        assert_eq!(text(&output), "node.sock\nplan\n");
    } else {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("--without-namespace"), "{error}");
    }
}

// qnx: P42
#[test]
fn a_view_within_a_view_begins_at_the_outer_root() {
    let lab = start();
    let mut ways: Vec<&[&str]> = vec![&["--without-namespace"]];
    if may_have_namespaces() {
        ways.push(&[]);
    }
    for more in ways {
        let view = |root| [&["run", "--no-preload"], more, &["--root", root]].concat();
        let words = [
            view("/net/lab2/srv"),
            vec![own()],
            view("/project"),
            vec![own(), "ls", "/"],
        ];
        let words = words.concat();
        assert_eq!(text(&lab.lab1(&words)), "plan\n", "{words:?}");
    }
}

#[test]
fn a_command_that_is_not_there_or_cannot_run_ends_as_in_a_shell() {
    let lab = start();
    let directory = lab.path("srv").display().to_string();
    let file = lab.path("srv/secret").display().to_string();
    let roots: [&[&str]; 2] = [&[], &["--root", "/net/lab2", "--without-namespace"]];
    for root in roots {
        for preload in [&["--no-preload"][..], &[]] {
            for (command, status) in [
                ("no-such-command", 127),
                ("/no/such/command", 127),
                (&directory, 126),
                (&file, 126),
            ] {
                let words = [&["run"], preload, root, &[command]].concat();
                let ended = lab.lab1(&words);
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                assert_eq!(ended.status.code(), Some(status), "{words:?}: {said}");
                assert!(
                    said.starts_with(&format!("slashnet: {command}: ")),
                    "{said}"
                );
            }
        }
    }
}

/// A running `slashnet mount`.
struct Mounted(Child);

impl Mounted {
    fn at(node: &Path, point: &Path) -> Self {
        let mut mount = machine::command(node);
        let mut mount = mount
            .arg("mount")
            .arg(point)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut ready = [0; 5];
        let said = mount
            .stdout
            .as_mut()
            .expect("a pipe")
            .read_exact(&mut ready);
        said.expect("it mounts");
        Self(mount)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

// qnx: P42
#[test]
fn mounts_of_the_node_show_the_root_and_those_of_other_nodes_are_left_alone() {
    let lab = start();
    let may_mount = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    if !(may_mount && may_have_namespaces()) {
        let refused = lab.lab1(&["mount", "/proc"]);
        assert_eq!(refused.status.code(), Some(1));
        return;
    }
    let (own, other) = (lab.path("own"), lab.path("other"));
    let _mounts = [
        Mounted::at(&lab.path("lab1"), &own),
        Mounted::at(&lab.path("lab2"), &other),
    ];
    let script = format!(
        "ls {0}; cd {0} && cat plan; ls {1}",
        own.display(),
        other.display()
    );
    let words = ["run", "--no-preload", "--root"];
    let seen = |rest: &[&str]| text(&lab.lab1(&[&words[..], rest].concat()));
    let project = "/net/lab2/srv/project";
    let expected = "plan\nthe plan\nlab1\nlab2\n";
    assert_eq!(seen(&[project, "sh", "-c", &script]), expected);
    let inner = ["/net/lab2/srv", self::own()];
    let inner = [&inner[..], &words, &["/project", "sh", "-c", &script]].concat();
    assert_eq!(seen(&inner), expected, "within a view");
}

/// Whether this system lets this user make the namespaces that `run --root` makes.
fn may_have_namespaces() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let users: &[&str] = if is_root { &[] } else { &["--user"] };
    let tried = std::process::Command::new("unshare")
        .args(users)
        .args(["--mount", "true"])
        .status();
    assert!(Path::new("/proc/self/ns/mnt").exists());
    tried.is_ok_and(|status| status.success())
}
