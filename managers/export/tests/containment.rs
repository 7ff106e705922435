//! What clients must not get, do or open: paths out of the tree, changes of a read-only one, names
//! that are too long, pipes and sockets of the machine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod exported;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use abi::connect::{ConnectType, Extra};
use abi::flags::mode::S_IFIFO;
use abi::io::{Chmod, Chown, Request, SetTime, Statvfs, StatvfsFlags, Truncate, Utime, Xattr};
use abi::{Decode, Errno, Handle, OpenFlags};

use exported::*;

#[test]
fn no_path_leads_out_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    fs::create_dir(outside.path().join("tree")).unwrap();
    let tree = outside.path().join("tree");
    symlink(outside.path().join("secret"), tree.join("absolute")).unwrap();
    symlink("../secret", tree.join("relative")).unwrap();
    symlink("..", tree.join("parent")).unwrap();
    symlink("/", tree.join("root")).unwrap();
    symlink("parent/secret", tree.join("twice")).unwrap();
    let client = me(&serve(&tree, false));
    let paths = [
        "../secret",
        "..",
        "../../etc/passwd",
        "parent/secret",
        "parent",
        "absolute",
        "relative",
        "root/etc/passwd",
        "root",
        "twice",
        "./../secret",
        "/etc/passwd",
        "parent/tree/../secret",
    ];
    for path in paths {
        for flags in [READ, BOTH | CREATE, PATH, READ | OpenFlags::DIRECTORY] {
            let opened = client.open(path, flags).map(drop);
            assert_eq!(opened, Err(Errno::EACCES), "'{path}' {flags:?}");
        }
    }
    for path in ["../new", "parent/new", "root/tmp/new", "/tmp/new"] {
        assert_eq!(mkdir(&client, path, 0o755), Err(Errno::EACCES), "{path}");
        assert_eq!(
            client.open(path, BOTH | CREATE).map(drop),
            Err(Errno::EACCES),
            "{path}"
        );
        fs::write(tree.join("bait"), b"").unwrap();
        assert_eq!(rename(&client, "bait", path), Err(Errno::EACCES), "{path}");
    }
    for path in ["../secret", "parent/secret"] {
        assert_eq!(unlink(&client, path), Err(Errno::EACCES), "{path}");
        assert_eq!(
            rename(&client, path, "stolen"),
            Err(Errno::EACCES),
            "{path}"
        );
        let link = Extra::Link {
            path: path.as_bytes(),
            handle: Handle(1),
        };
        assert_eq!(
            client.path(ConnectType::Link, "stolen", 0, link),
            Err(Errno::EACCES)
        );
    }
    // What ends in dots names no entry; each is refused and nothing outside changes.
    assert!(rmdir(&client, "..").is_err());
    assert!(rename(&client, "..", "stolen").is_err());
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    let mut left: Vec<_> = fs::read_dir(outside.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["secret", "tree"]);
}

#[test]
fn links_of_proc_lead_nowhere() {
    let client = me(&serve(Path::new("/proc"), true));
    for path in ["self/root/etc/passwd", "self/cwd", "self/fd/0", "self/exe"] {
        for flags in [READ, PATH] {
            let refused = client.open(path, flags).map(drop);
            // A link is refused before it is followed; which error depends on the kind of link.
            assert!(
                matches!(refused, Err(Errno::ELOOP | Errno::EACCES)),
                "{path}: {refused:?}"
            );
        }
    }
    assert!(
        client.open("self/status", READ).is_ok(),
        "ordinary links are followed"
    );
}

#[test]
fn names_of_255_bytes_work_and_longer_ones_are_refused() {
    let (_directory, client) = exported();
    let (fits, too_long) = ("n".repeat(255), "n".repeat(256));
    client.open(&fits, WRITE | CREATE).unwrap();
    assert_eq!(names_in(&client, "", 4096), [fits.as_str()]);
    unlink(&client, &fits).unwrap();
    mkdir(&client, &fits, 0o755).unwrap();
    rename(&client, &fits, "short").unwrap();
    assert_eq!(
        client.open(&too_long, WRITE | CREATE).map(drop),
        Err(Errno::ENAMETOOLONG)
    );
    assert_eq!(
        client.open(&too_long, READ).map(drop),
        Err(Errno::ENAMETOOLONG)
    );
    assert_eq!(mkdir(&client, &too_long, 0o755), Err(Errno::ENAMETOOLONG));
    assert_eq!(
        rename(&client, "short", &too_long),
        Err(Errno::ENAMETOOLONG)
    );
    let deep = "d/".repeat(2047) + "d";
    assert_eq!(client.open(&deep, READ).map(drop), Err(Errno::ENOENT));
    let deeper = "d/".repeat(2048);
    assert_eq!(
        client.open(&deeper, READ).map(drop),
        Err(Errno::ENAMETOOLONG)
    );
    assert_eq!(
        client.open("zero\0byte", READ).map(drop),
        Err(Errno::EINVAL)
    );
}

#[test]
fn a_read_only_tree_refuses_every_change_and_allows_every_look() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), b"content").unwrap();
    fs::create_dir(directory.path().join("dir")).unwrap();
    let client = me(&serve(directory.path(), true));
    let refused = Err(Errno::EROFS);
    for flags in [WRITE, BOTH, WRITE | OpenFlags::TRUNCATE, WRITE | CREATE] {
        assert_eq!(client.open("file", flags).map(drop), refused, "{flags:?}");
    }
    assert_eq!(client.open("new", READ | CREATE).map(drop), refused);
    assert_eq!(client.open("new", WRITE).map(drop), Err(Errno::ENOENT));
    assert!(client.open("file", READ | CREATE).is_ok());
    assert_eq!(unlink(&client, "file"), refused);
    assert_eq!(rmdir(&client, "dir"), refused);
    assert_eq!(mkdir(&client, "new", 0o755), refused);
    assert_eq!(rename(&client, "file", "new"), refused);
    let link = Extra::Link {
        path: b"file",
        handle: Handle(1),
    };
    assert_eq!(
        client.path(ConnectType::Link, "new", 0, link).map(drop),
        refused
    );
    let symlink = Extra::Symlink { target: b"file" };
    assert_eq!(
        client
            .path(ConnectType::Symlink, "new", 0, symlink)
            .map(drop),
        refused
    );
    let file = client.open("file", READ).unwrap();
    for request in [
        Request::Chmod(Chmod { mode: 0o600 }),
        Request::Chown(Chown {
            uid: None,
            gid: None,
        }),
        Request::Utime(Utime {
            atime: SetTime::Now,
            mtime: SetTime::Now,
        }),
        Request::Truncate(Truncate { size: 0 }),
        Request::Xattr(Xattr::Remove { name: b"user.x" }),
    ] {
        assert_eq!(file.ask(&request).map(drop), refused, "{request:?}");
    }
    assert_eq!(file.read(99).unwrap(), b"content");
    let mut names = names_in(&client, "", 4096);
    names.sort();
    assert_eq!(names, ["dir", "file"]);
    let (_, body) = client.combined("", PATH, &Request::Statvfs).unwrap();
    assert!(
        Statvfs::from_bytes(&body)
            .unwrap()
            .flags
            .contains(StatvfsFlags::READ_ONLY)
    );
}

#[test]
fn pipes_and_sockets_are_seen_but_not_opened() {
    let (directory, client) = exported();
    client
        .path(ConnectType::Mknod, "pipe", S_IFIFO | 0o644, Extra::None)
        .unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(directory.path().join("sock")).unwrap();
    for path in ["pipe", "sock"] {
        // Neither blocks: the answer comes although nobody has the other end.
        assert_eq!(
            client.open(path, READ).map(drop),
            Err(Errno::ENXIO),
            "{path}"
        );
        assert_eq!(
            client.open(path, WRITE).map(drop),
            Err(Errno::ENXIO),
            "{path}"
        );
        assert!(stat_of(&client, path, NOFOLLOW).is_ok());
    }
    assert_eq!(
        stat_of(&client, "pipe", NOFOLLOW).unwrap().mode,
        S_IFIFO | 0o644
    );
}
