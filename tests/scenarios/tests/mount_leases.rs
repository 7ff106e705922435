//! Leases of directories: a mount believes what it knows for long, and hears at once when it is no longer so.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
        self.lease_on(0);
    }

    fn lease_on(&self, mount: usize) {
        until("the directory is leased", || {
            self.look(mount);
            self.mounts[mount].leased_directories() > 0
        });
        // Under the lease every name is learnt anew.
        self.look(mount);
    }

    fn look(&self, mount: usize) {
        let node = ["lab1", "lab3"][mount];
        for file in 0..FILES {
            // What another node removes may be looked for.
            let _ = fs::metadata(self.of(node, &format!("file{file}")));
        }
        self.names(node);
    }

    fn names(&self, node: &str) -> Vec<String> {
        self.names_in(node, "")
    }

    fn names_in(&self, node: &str, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.of(node, directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
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
fn what_was_told_of_names_that_nobody_has_looked_up_ends_with_the_lease() {
    let lab = Lab::new();
    let seen = |name: &str| fs::metadata(lab.of("lab1", name));
    until("the directory is leased", || {
        assert!(seen("file0").is_ok() && seen("file1").is_ok());
        lab.mounts[0].leased_directories() > 0
    });
    // Told by the listing that came with the lease.
    assert_eq!(seen("file2").unwrap().len(), 3);
    let told = fs::read_dir(lab.of("lab1", "")).unwrap().count();
    assert_eq!(told, FILES as usize);
    fs::write(lab.tree("file3"), "another length").unwrap();
    fs::remove_file(lab.tree("file4")).unwrap();
    fs::rename(lab.tree("file6"), lab.tree("file5")).unwrap();
    fs::set_permissions(lab.tree("file7"), fs::Permissions::from_mode(0o600)).unwrap();
    until("what was told counts no more", || {
        seen("file3").unwrap().len() == 14
            && seen("file4").is_err()
            && seen("file6").is_err()
            && seen("file7").unwrap().mode() & 0o777 == 0o600
            && lab.names("lab1").len() == FILES as usize - 2
    });
}

#[test]
fn where_programs_go_through_directories_side_by_side_one_lookup_is_enough_for_a_lease() {
    let lab = Lab::new();
    let directories = ["walk0", "walk1", "walk2", "walk3"];
    for directory in directories {
        fs::create_dir(lab.tree(directory)).unwrap();
        for file in ["one", "two"] {
            fs::write(lab.tree(directory).join(file), "old").unwrap();
        }
    }
    lab.lease();
    let leased = || lab.mounts[0].leased_directories();
    let before = leased();
    let look = |directory: &str, file: &str| {
        let path = lab.of("lab1", directory).join(file);
        assert_eq!(fs::metadata(path).unwrap().len(), 3);
    };
    look("walk0", "one");
    assert_eq!(leased(), before, "one lookup somewhere is worth no lease");
    look("walk0", "two");
    look("walk1", "one");
    assert_eq!(leased(), before + 1, "nor is one beside a single other one");
    look("walk1", "two");
    look("walk2", "one");
    assert_eq!(leased(), before + 3);
    look("walk3", "one");
    assert_eq!(leased(), before + 4);
}

#[test]
fn attributes_of_directories_that_the_one_above_has_told_end_with_any_change() {
    let lab = Lab::new();
    let directories = ["sub0", "sub1", "sub2", "sub3", "sub4"];
    for directory in directories {
        fs::create_dir(lab.tree(directory)).unwrap();
        fs::set_permissions(lab.tree(directory), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let look = |directory: &str| fs::metadata(lab.of("lab1", directory)).unwrap();
    let lease = || {
        lab.lease();
        for directory in directories {
            lab.names_in("lab1", directory);
        }
        // What was told before the leases is too old by then, and the listing above tells it anew.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1200) {
            assert!(directories.iter().all(|directory| look(directory).is_dir()));
        }
        directories.map(|directory| look(directory).modified().unwrap())
    };
    lease();
    fs::set_permissions(lab.tree("sub1"), fs::Permissions::from_mode(0o711)).unwrap();
    until("the mode is seen", || look("sub1").mode() & 0o777 == 0o711);
    let before = lease();
    fs::write(lab.tree("sub2/new"), "a program of the server").unwrap();
    until("the time is seen", || {
        look("sub2").modified().unwrap() != before[2]
    });
    let before = lease();
    fs::write(lab.of("lab3", "sub3/new"), "another node").unwrap();
    until("the time is seen", || {
        look("sub3").modified().unwrap() != before[3]
    });
    let before = lease();
    fs::write(lab.of("lab1", "sub4/new"), "this node").unwrap();
    assert_ne!(look("sub4").modified().unwrap(), before[4]);
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

#[test]
fn what_a_mount_changes_itself_ends_the_leases_of_others_only() {
    let lab = Lab::new();
    let own = |name: &str| lab.of("lab1", name);
    let changes: [(&str, &dyn Fn()); 7] = [
        ("create", &|| drop(fs::File::create(own("new")).unwrap())),
        ("write", &|| {
            fs::write(own("file1"), "longer than it was").unwrap()
        }),
        ("rename", &|| fs::rename(own("new"), own("newer")).unwrap()),
        ("mkdir", &|| fs::create_dir(own("directory")).unwrap()),
        ("symlink", &|| {
            std::os::unix::fs::symlink("file1", own("link")).unwrap()
        }),
        ("rmdir", &|| fs::remove_dir(own("directory")).unwrap()),
        ("unlink", &|| fs::remove_file(own("newer")).unwrap()),
    ];
    lab.lease();
    for (what, change) in changes {
        lab.lease_on(1);
        change();
        // Both would hear of it at the same time.
        until("the other mount has heard of it", || {
            lab.mounts[1].leased_directories() == 0
        });
        assert!(lab.mounts[0].leased_directories() > 0, "{what}");
    }
    let names = lab.names("lab1");
    assert!(names.contains(&"link".to_owned()) && !names.contains(&"newer".to_owned()));
    let seen = fs::metadata(own("file1")).unwrap();
    assert_eq!(seen.len(), 18);
    fs::write(lab.tree("file1"), "of the server").unwrap();
    until("what a program of the server wrote then is seen", || {
        fs::metadata(own("file1")).unwrap().len() == 13
    });
}

#[test]
fn a_name_that_was_missing_and_a_new_one_in_a_kept_listing_appear() {
    let lab = Lab::new();
    lab.lease();
    for round in 0..3 {
        let name = format!("made later {round}");
        assert!(fs::metadata(lab.of("lab1", &name)).is_err());
        assert!(!lab.names("lab1").contains(&name));
        fs::write(lab.tree(&name), "").unwrap();
        until("it is found", || {
            fs::metadata(lab.of("lab1", &name)).is_ok()
        });
        until("it is listed", || lab.names("lab1").contains(&name));
        fs::remove_file(lab.tree(&name)).unwrap();
        until("it is listed no more", || {
            !lab.names("lab1").contains(&name)
        });
        lab.lease();
    }
}

#[test]
fn a_second_name_elsewhere_is_noticed_where_the_first_one_is_leased() {
    let lab = Lab::new();
    fs::create_dir(lab.tree("elsewhere")).unwrap();
    fs::set_permissions(lab.tree("elsewhere"), fs::Permissions::from_mode(0o777)).unwrap();
    lab.lease();
    assert_eq!(fs::metadata(lab.of("lab1", "file1")).unwrap().nlink(), 1);
    fs::hard_link(lab.of("lab3", "file1"), lab.of("lab3", "elsewhere/second")).unwrap();
    until("it has two names", || {
        fs::metadata(lab.of("lab1", "file1")).unwrap().nlink() == 2
    });
}

#[test]
fn what_a_mount_changes_by_one_path_is_seen_by_every_other_path_of_the_directory() {
    let lab = Lab::new();
    let other = |name: &str| {
        let mount = lab.directory.path().join("lab1");
        mount.join("lab2~loadbalance/srv").join(name)
    };
    let seen = |name: &str| fs::metadata(lab.of("lab1", name));
    lab.lease();
    assert!(seen("made").is_err());
    fs::write(other("made"), "new").unwrap();
    soon("the new name is found", || seen("made").is_ok());
    lab.lease();
    fs::remove_file(other("file1")).unwrap();
    soon("the old name is gone", || seen("file1").is_err());
    lab.lease();
    // Known by both paths, and so by two names in one directory.
    assert!(fs::metadata(other("file2")).is_ok());
    fs::write(other("file2"), "longer").unwrap();
    soon("the length is seen", || seen("file2").unwrap().len() == 6);
    lab.lease();
    fs::rename(other("file3"), other("renamed")).unwrap();
    soon("the name moves", || {
        seen("file3").is_err() && seen("renamed").is_ok()
    });
}

/// Long before a lease would end by itself.
fn soon(what: &str, seen: impl Fn() -> bool) {
    let begin = Instant::now();
    until(what, seen);
    assert!(begin.elapsed() < Duration::from_secs(5), "{what}");
}
