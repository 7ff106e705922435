//! Leases of directories: a mount believes what it knows for long, and hears at once when it is no longer so.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use client::Namespace;
use export_manager::ExportOptions;
use mount::{Mount, Options};
use resmgr::Running;
use slashnet_scenarios::until;
use testkit::Cluster;

/// lab2 exports a directory of the disk; lab1 and lab3 have it mounted.
struct Lab {
    mounts: Vec<Mount>,
    export: Option<Running>,
    _cluster: Cluster,
    directory: tempfile::TempDir,
}

const FILES: u32 = 8;

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2", "lab3"]);
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o777)).unwrap();
        for file in 0..FILES {
            let path = tree.join(format!("file{file}"));
            fs::write(&path, "old").unwrap();
            // Who is root on another node is nobody here.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        let options = ExportOptions {
            directory: tree,
            prefix: "/srv".into(),
            read_only: false,
        };
        let export = export_manager::serve(&cluster["lab2"].endpoint(), &[options]).unwrap();
        let mounts = ["lab1", "lab3"].map(|name| {
            let namespace = Namespace::of(&cluster[name].endpoint());
            let point = directory.path().join(name);
            Mount::start(Options::new(namespace, point)).unwrap()
        });
        Self {
            mounts: mounts.into(),
            export: Some(export),
            _cluster: cluster,
            directory,
        }
    }

    fn of(&self, node: &str, name: &str) -> PathBuf {
        self.directory.path().join(node).join("lab2/srv").join(name)
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.directory.path().join("tree").join(name)
    }

    /// Looks around on lab1 until the directory is leased.
    fn lease(&self) {
        until("the directory is leased", || {
            self.look();
            self.mounts[0].leased_directories() > 0
        });
        // Under the lease every name is learnt anew.
        self.look();
    }

    fn look(&self) {
        for file in 0..FILES {
            // What another node removes may be looked for.
            let _ = fs::metadata(self.of("lab1", &format!("file{file}")));
        }
        let _ = fs::read_dir(self.of("lab1", "")).map(Iterator::count);
    }
}

#[test]
fn whatever_anybody_changes_in_a_leased_directory_is_seen() {
    let lab = Lab::new();
    let seen = |name: &str| fs::metadata(lab.of("lab1", name));
    lab.lease();
    fs::write(lab.tree("file1"), "a program of the server").unwrap();
    until("its content is seen", || {
        fs::read(lab.of("lab1", "file1")).unwrap() == b"a program of the server"
    });
    lab.lease();
    fs::write(lab.of("lab3", "file2"), "another node").unwrap();
    until("the length is seen", || seen("file2").unwrap().len() == 12);
    lab.lease();
    fs::set_permissions(lab.tree("file3"), fs::Permissions::from_mode(0o600)).unwrap();
    until("the mode is seen", || {
        seen("file3").unwrap().mode() & 0o777 == 0o600
    });
    lab.lease();
    fs::rename(lab.tree("file4"), lab.tree("renamed")).unwrap();
    until("the old name is gone", || seen("file4").is_err());
    assert!(seen("renamed").is_ok());
    lab.lease();
    fs::remove_file(lab.of("lab3", "file5")).unwrap();
    until("it is gone", || seen("file5").is_err());
}

#[test]
fn a_lease_ends_with_its_server() {
    let mut lab = Lab::new();
    lab.lease();
    lab.export = None;
    until("nothing is leased", || {
        lab.mounts[0].leased_directories() == 0
    });
    until("its names are gone", || {
        fs::metadata(lab.of("lab1", "file1")).is_err()
    });
}
