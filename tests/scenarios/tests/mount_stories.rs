//! The mount between real nodes: the machine's own programs on another node's files and devices.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::Namespace;
use export_manager::ExportOptions;
use mount::{Mount, Options};
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server, WaitQueue};
use slashnet_scenarios::until;
use testkit::Cluster;

/// lab1 has a mount, lab2 exports a directory.
struct Lab {
    mount: Option<Mount>,
    _export: Running,
    cluster: Cluster,
    directory: tempfile::TempDir,
}

/// How long the mount believes what it knows: the default.
const FRESH: Duration = Duration::from_secs(1);
/// An ordinary user of both nodes.
const USER: u32 = 61_234;

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path, bits| {
            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
        };
        open(directory.path(), 0o755);
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        open(&tree, 0o777);
        let options = ExportOptions {
            directory: tree,
            prefix: "/srv".into(),
            read_only: false,
        };
        let export = export_manager::serve(&cluster["lab2"].endpoint(), &[options]).unwrap();
        let namespace = Namespace::of(&cluster["lab1"].endpoint());
        let options = Options::new(namespace, directory.path().join("net"));
        let mount = Some(Mount::start(options).unwrap());
        Self {
            mount,
            _export: export,
            cluster,
            directory,
        }
    }

    /// A path in the mount, below lab2.
    fn lab2(&self, path: &str) -> PathBuf {
        self.directory.path().join("net/lab2").join(path)
    }

    /// The same file as lab2 itself sees it.
    fn tree(&self, path: &str) -> PathBuf {
        self.directory.path().join("tree").join(path)
    }

    fn requests(&self) -> usize {
        self.mount.as_ref().unwrap().requests_in_work()
    }
}

fn run(program: &str, arguments: &[&Path]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn works(program: &str, arguments: &[&Path]) {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{program}: {said}"
    );
}

/// Bytes that no part of repeats soon.
fn data(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn the_machines_own_programs_work_on_another_nodes_files() {
    let lab = Lab::new();
    let source = lab.directory.path().join("source");
    fs::create_dir_all(source.join("sub/deeper")).unwrap();
    fs::write(source.join("large"), data(5 << 20)).unwrap();
    fs::write(source.join("sub/deeper/small"), "small\n").unwrap();
    works("cp", &[Path::new("-r"), &source, &lab.lab2("srv/copy")]);
    works("diff", &[Path::new("-r"), &source, &lab.lab2("srv/copy")]);
    works("diff", &[Path::new("-r"), &source, &lab.tree("copy")]);
    works("mv", &[&lab.lab2("srv/copy/sub"), &lab.lab2("srv/moved")]);
    assert_eq!(
        fs::read_to_string(lab.tree("moved/deeper/small")).unwrap(),
        "small\n"
    );
    let listed = run("ls", &[&lab.lab2("srv")]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "copy\nmoved\n");
    works(
        "rm",
        &[
            Path::new("-r"),
            &lab.lab2("srv/copy"),
            &lab.lab2("srv/moved"),
        ],
    );
    assert_eq!(fs::read_dir(lab.tree("")).unwrap().count(), 0);
}

#[test]
fn every_caller_speaks_with_its_own_rights() {
    let lab = Lab::new();
    let own = rustix::process::geteuid();
    let mut touch = Command::new("touch");
    touch.arg(lab.lab2("srv/made"));
    if own.is_root() {
        touch.uid(USER).gid(USER);
    }
    assert!(touch.status().unwrap().success());
    let owner = if own.is_root() { USER } else { own.as_raw() };
    assert_eq!(fs::metadata(lab.tree("made")).unwrap().uid(), owner);
    // What only the owner may, nobody else may: root of another node is nobody (the trust's default).
    fs::set_permissions(lab.tree("made"), fs::Permissions::from_mode(0o600)).unwrap();
    if own.is_root() {
        let refused = fs::read(lab.lab2("srv/made")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        let mut cat = Command::new("cat");
        cat.arg(lab.lab2("srv/made")).uid(USER).gid(USER);
        assert!(cat.status().unwrap().success());
    }
}

#[test]
fn what_another_node_has_written_is_seen_in_time() {
    let lab = Lab::new();
    fs::write(lab.tree("file"), "old").unwrap();
    assert_eq!(fs::read_to_string(lab.lab2("srv/file")).unwrap(), "old");
    fs::write(lab.tree("file"), "newer").unwrap();
    fs::write(lab.tree("another"), "").unwrap();
    let written = Instant::now();
    until("the new length", || {
        fs::metadata(lab.lab2("srv/file")).unwrap().len() == 5
    });
    assert_eq!(fs::read_to_string(lab.lab2("srv/file")).unwrap(), "newer");
    until("the new name", || lab.lab2("srv/another").exists());
    // Twice the promise, so that a busy machine does not fail the test.
    assert!(written.elapsed() < 2 * FRESH + Duration::from_secs(3));
}

#[test]
fn data_flows_on_while_both_daemons_die_and_come_back() {
    let mut lab = Lab::new();
    let bytes = data(24 << 20);
    let source = lab.directory.path().join("source");
    fs::write(&source, &bytes).unwrap();
    let mut target = fs::File::create(lab.lab2("srv/target")).unwrap();
    let (before, behind) = bytes.split_at(8 << 20);
    target.write_all(before).unwrap();
    lab.cluster.get_mut("lab1").kill();
    lab.cluster.get_mut("lab2").kill();
    target.write_all(behind).unwrap();
    target.sync_all().unwrap();
    drop(target);
    lab.cluster.get_mut("lab1").restart();
    lab.cluster.get_mut("lab2").restart();
    lab.cluster["lab1"].wait_for("lab2");
    assert!(fs::read(lab.tree("target")).unwrap() == bytes);
    until("a new open", || {
        let copy = run("cmp", &[&source, &lab.lab2("srv/target")]);
        copy.status.success()
    });
}

/// A device that never has anything to read.
struct Silent {
    readers: &'static WaitQueue<ReadRequest>,
    waiting: &'static AtomicUsize,
}

impl Resource for Silent {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.readers.park(read)
    }
}

#[test]
fn a_reader_of_a_silent_device_is_interrupted_and_killed_at_once() {
    static READERS: OnceLock<WaitQueue<ReadRequest>> = OnceLock::new();
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let lab = Lab::new();
    let readers = READERS.get_or_init(WaitQueue::new);
    let silent = Silent {
        readers,
        waiting: &WAITING,
    };
    let server = Server::new(&lab.cluster["lab2"].endpoint()).unwrap();
    let _running = server
        .attach("/dev/silent", Attributes::device(0o666), silent)
        .unwrap()
        .start()
        .unwrap();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let before = WAITING.load(Ordering::SeqCst);
        // A shell that starts these tests in the background has SIGINT ignored, and that is inherited.
        let mut cat = Command::new("env");
        cat.args(["--default-signal=INT", "cat"]);
        cat.arg(lab.lab2("dev/silent")).stdout(Stdio::null());
        let mut cat = cat.spawn().unwrap();
        until("the read", || WAITING.load(Ordering::SeqCst) > before);
        // Nobody else waits for it meanwhile.
        fs::write(lab.lab2("srv/meanwhile"), "x").unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&cat), signal).unwrap();
        until("the end of the reader", || {
            cat.try_wait().unwrap().is_some()
        });
        until("the end of its request", || lab.requests() == 0);
        until("the end of the wait in the server", || readers.is_empty());
    }
}

#[test]
fn a_node_that_is_gone_gives_an_error_and_comes_back() {
    let mut lab = Lab::new();
    fs::write(lab.lab2("srv/file"), "x").unwrap();
    lab.cluster.get_mut("lab2").kill();
    let unknown = fs::metadata(lab.directory.path().join("net/lab9")).unwrap_err();
    assert_eq!(unknown.kind(), std::io::ErrorKind::NotFound);
    lab.cluster.get_mut("lab2").restart();
    lab.cluster["lab1"].wait_for("lab2");
    until("the way back", || {
        fs::read(lab.lab2("srv/file")).is_ok_and(|data| data == b"x")
    });
}
