//! Programs, servers and mounts that end while files of another node are in use through the mount.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use client::Namespace;
use export_manager::ExportOptions;
use mount::{Mount, Options};
use resmgr::Running;
use slashnet_scenarios::{PATIENCE, until};
use testkit::Cluster;

/// ESRCH, as the system numbers it.
const NO_SUCH_PROCESS: i32 = 3;

/// lab1 has a mount, lab2 exports a directory.
struct Lab {
    mount: Option<Mount>,
    export: Option<Running>,
    cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Who is root on lab1 is nobody on lab2.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o777)).unwrap();
        let mut lab = Self {
            mount: None,
            export: None,
            cluster,
            directory,
        };
        lab.serve();
        lab.mount = Some(Mount::start(lab.options()).unwrap());
        lab
    }

    fn serve(&mut self) {
        let options = ExportOptions {
            directory: self.directory.path().join("tree"),
            prefix: "/srv".into(),
            read_only: false,
        };
        let endpoint = self.cluster["lab2"].endpoint();
        self.export = Some(export_manager::serve(&endpoint, &[options]).unwrap());
    }

    fn options(&self) -> Options {
        let namespace = Namespace::of(&self.cluster["lab1"].endpoint());
        Options::new(namespace, self.directory.path().join("net"))
    }

    /// A path below the export, through the mount.
    fn far(&self, name: &str) -> PathBuf {
        self.directory.path().join("net/lab2/srv").join(name)
    }

    /// The same file as lab2 itself sees it.
    fn near(&self, name: &str) -> PathBuf {
        self.directory.path().join("tree").join(name)
    }
}

/// The directory through which a mount hears of its leases stays open.
const NEWS: usize = 1;

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_program_killed_while_it_writes_leaves_what_it_wrote_and_nothing_open() {
    let lab = Lab::new();
    let export = lab.export.as_ref().unwrap();
    for round in 0..3 {
        let name = format!("file{round}");
        let mut of = std::ffi::OsString::from("of=");
        of.push(lab.far(&name));
        let mut writer = Command::new("dd")
            .args(["if=/dev/zero", "bs=256k", "count=4000"])
            .arg(of)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("something is written", || len(&lab.near(&name)) > 4 << 20);
        writer.kill().unwrap();
        until("it ends", || writer.try_wait().unwrap().is_some());
        until("its file is closed", || export.open_connections() <= NEWS);
        assert!(
            fs::read(lab.near(&name))
                .unwrap()
                .iter()
                .all(|byte| *byte == 0),
            "{name}"
        );
        fs::remove_file(lab.far(&name)).unwrap();
    }
    fs::write(lab.far("after"), "all goes on").unwrap();
    assert_eq!(fs::read(lab.near("after")).unwrap(), b"all goes on");
}

#[test]
fn a_server_that_ends_under_open_files_gives_errors_and_its_successor_serves_on() {
    let mut lab = Lab::new();
    fs::write(lab.far("file"), vec![1; 1 << 20]).unwrap();
    let mut open = fs::File::options()
        .read(true)
        .write(true)
        .open(lab.far("file"))
        .unwrap();
    let mut head = [0; 4096];
    open.read_exact(&mut head).unwrap();
    lab.export = None;
    // What the kernel has cached may still be read; what has to go to the server cannot.
    let written = open.write_all(&head).and_then(|()| open.sync_all());
    assert!(written.is_err(), "the server is gone");
    for _ in 0..3 {
        let said = open.sync_all().unwrap_err();
        assert_eq!(said.raw_os_error(), Some(NO_SUCH_PROCESS), "{said}");
    }
    until("names are gone, too", || {
        fs::metadata(lab.far("file")).is_err()
    });
    lab.serve();
    until("the successor serves", || {
        fs::read(lab.far("file")).is_ok_and(|bytes| bytes == vec![1; 1 << 20])
    });
}

#[test]
fn a_busy_mount_point_is_refused_and_a_mount_in_use_can_be_stopped() {
    let mut lab = Lab::new();
    fs::write(lab.near("file"), "content").unwrap();
    let refused = Mount::start(lab.options()).unwrap_err().to_string();
    let point = lab.directory.path().join("net");
    assert!(refused.contains(point.to_str().unwrap()), "{refused}");
    assert_eq!(
        fs::read(lab.far("file")).unwrap(),
        b"content",
        "the first one lives"
    );
    let open = fs::File::open(lab.far("file")).unwrap();
    let began = Instant::now();
    lab.mount.take().unwrap().stop().unwrap();
    assert!(began.elapsed() < PATIENCE);
    drop(open);
    assert!(!lab.far("file").exists(), "nothing is mounted any more");
    lab.mount = Some(Mount::start(lab.options()).unwrap());
    assert_eq!(fs::read(lab.far("file")).unwrap(), b"content");
}
