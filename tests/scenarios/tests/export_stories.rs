//! A directory of one node, used from another.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use abi::io::SetTime;
use abi::{Errno, OpenFlags};
use client::{File, Namespace};
use export_manager::ExportOptions;
use resmgr::Running;
use slashnet_scenarios::until;
use tempfile::TempDir;
use testkit::Cluster;

const READ: OpenFlags = OpenFlags::READ;
const WRITE: OpenFlags = OpenFlags::WRITE;
const BOTH: OpenFlags = OpenFlags::READ_WRITE;
const CREATE: OpenFlags = OpenFlags::CREATE;

/// lab2 exports `tree` as `/srv` and, read-only, as `/frozen`; `far` is a program on lab1.
struct Lab {
    tree: TempDir,
    far: Namespace,
    near: Namespace,
    export: Running,
    cluster: Cluster,
}

fn lab() -> Lab {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let tree = tempfile::tempdir().unwrap();
    // Who is root on lab1 is nobody on lab2.
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let offer = |prefix: &str, read_only| ExportOptions {
        directory: tree.path().to_owned(),
        prefix: prefix.to_owned(),
        read_only,
    };
    let offers = [offer("/srv", false), offer("/frozen", true)];
    let export = export_manager::serve(&cluster["lab2"].endpoint(), &offers).unwrap();
    let far = Namespace::of(&cluster["lab1"].endpoint());
    let near = Namespace::of(&cluster["lab2"].endpoint());
    Lab {
        tree,
        far,
        near,
        export,
        cluster,
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn write_all(file: &File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = file.write(&bytes[..bytes.len().min(1 << 20)]).unwrap();
        assert!(written > 0);
        bytes = &bytes[written..];
    }
}

fn read_all(file: &File) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

fn names(namespace: &Namespace, path: &str) -> Vec<String> {
    let mut directory = namespace.read_directory(path).unwrap();
    let mut entries = Vec::new();
    while directory
        .read_into(&mut entries, &Default::default())
        .unwrap()
    {}
    let mut names: Vec<_> = entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.name).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_remote_tree_is_used_like_a_local_one() {
    let lab = lab();
    let bytes = pattern(5_000_000);
    for (namespace, root) in [(&lab.far, "/net/lab2/srv"), (&lab.near, "/srv")] {
        let path = |name: &str| format!("{root}/{name}");
        namespace.mkdir(path("dir"), 0o755).unwrap();
        let file = namespace.open(path("dir/file"), BOTH | CREATE).unwrap();
        write_all(&file, &bytes);
        file.sync_all().unwrap();
        file.close().unwrap();
        let on_disk = fs::read(lab.tree.path().join("dir/file")).unwrap();
        assert!(on_disk == bytes, "what was written is on the disk");
        let file = namespace.open(path("dir/file"), READ).unwrap();
        assert!(read_all(&file) == bytes, "what is on the disk is read");
        assert_eq!(file.stat().unwrap().size, 5_000_000);
        drop(file);
        namespace.rename(path("dir/file"), path("moved")).unwrap();
        namespace.link(path("moved"), path("dir/again")).unwrap();
        assert_eq!(namespace.stat(path("moved")).unwrap().nlink, 2);
        namespace.symlink("dir/again", path("link")).unwrap();
        assert_eq!(namespace.readlink(path("link")).unwrap(), b"dir/again");
        assert_eq!(names(namespace, root), ["dir", "link", "moved"]);
        namespace.chmod(path("moved"), 0o600).unwrap();
        namespace.truncate(path("moved"), 10).unwrap();
        namespace
            .utimens(path("moved"), SetTime::Now, SetTime::Keep)
            .unwrap();
        let stat = namespace.stat(path("dir/again")).unwrap();
        assert_eq!((stat.mode & 0o777, stat.size), (0o600, 10));
        assert!(namespace.statvfs(path("moved")).unwrap().blocks > 0);
        assert_eq!(namespace.rmdir(path("dir")), Err(Errno::ENOTEMPTY));
        for name in ["dir/again", "moved", "link"] {
            namespace.unlink(path(name)).unwrap();
        }
        namespace.rmdir(path("dir")).unwrap();
        assert_eq!(
            namespace.open(path("moved"), READ).map(drop),
            Err(Errno::ENOENT)
        );
    }
}

#[test]
fn a_directory_of_thousands_is_listed_whole_from_far_away() {
    let lab = lab();
    let mut expected: Vec<_> = (0..3000).map(|index| format!("entry-{index}")).collect();
    for name in &expected {
        fs::write(lab.tree.path().join(name), b"").unwrap();
    }
    expected.sort();
    assert_eq!(names(&lab.far, "/net/lab2/srv"), expected);
}

#[test]
fn a_read_only_export_answers_erofs_from_far_away_too() {
    let lab = lab();
    fs::write(lab.tree.path().join("file"), b"content").unwrap();
    let frozen = "/net/lab2/frozen";
    let open = |name: &str, flags| lab.far.open(format!("{frozen}/{name}"), flags).map(drop);
    assert_eq!(open("file", BOTH), Err(Errno::EROFS));
    assert_eq!(open("new", WRITE | CREATE), Err(Errno::EROFS));
    assert_eq!(open("file", READ), Ok(()));
    assert_eq!(
        lab.far.mkdir(format!("{frozen}/new"), 0o755),
        Err(Errno::EROFS)
    );
    assert_eq!(lab.far.unlink(format!("{frozen}/file")), Err(Errno::EROFS));
    assert_eq!(
        lab.far.chmod(format!("{frozen}/file"), 0o777),
        Err(Errno::EROFS)
    );
}

#[test]
fn no_client_gets_out_of_the_tree() {
    let lab = lab();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), b"secret").unwrap();
    std::os::unix::fs::symlink(secret.path(), lab.tree.path().join("absolute")).unwrap();
    std::os::unix::fs::symlink("/", lab.tree.path().join("root")).unwrap();
    std::os::unix::fs::symlink("..", lab.tree.path().join("parent")).unwrap();
    for path in [
        "absolute",
        "root/etc/passwd",
        "parent/",
        "parent/../etc/passwd",
    ] {
        let opened = lab
            .far
            .open(format!("/net/lab2/srv/{path}"), READ)
            .map(drop);
        assert!(
            matches!(opened, Err(Errno::EACCES | Errno::ENOENT)),
            "{path}: {opened:?}"
        );
    }
}

#[test]
fn names_of_255_bytes_pass_and_longer_ones_are_refused() {
    let lab = lab();
    let path = |len| format!("/net/lab2/srv/{}", "n".repeat(len));
    lab.far.open(path(255), WRITE | CREATE).unwrap();
    assert_eq!(names(&lab.far, "/net/lab2/srv"), ["n".repeat(255)]);
    assert_eq!(
        lab.far.open(path(256), WRITE | CREATE).map(drop),
        Err(Errno::ENAMETOOLONG)
    );
    assert_eq!(lab.far.mkdir(path(256), 0o755), Err(Errno::ENAMETOOLONG));
}

#[test]
fn ten_thousand_files_are_open_at_once_and_close_when_their_client_goes() {
    let lab = lab();
    fs::write(lab.tree.path().join("file"), b"content").unwrap();
    let files: Vec<_> = (0..10_000)
        .map(|_| lab.far.open("/net/lab2/srv/file", READ).unwrap())
        .collect();
    assert_eq!(lab.export.open_connections(), 10_000);
    let mut content = [0; 10];
    assert_eq!(files[9_999].read(&mut content), Ok(7));
    drop(files);
    until("all are closed", || lab.export.open_connections() == 0);
}

#[test]
fn a_copy_goes_on_while_both_daemons_are_dead_and_after_they_are_back() {
    let mut lab = lab();
    let bytes = pattern(3 << 20);
    let file = lab.far.open("/net/lab2/srv/file", BOTH | CREATE).unwrap();
    write_all(&file, &bytes[..1 << 20]);
    lab.cluster.get_mut("lab1").kill();
    lab.cluster.get_mut("lab2").kill();
    write_all(&file, &bytes[1 << 20..2 << 20]);
    lab.cluster.get_mut("lab1").restart();
    lab.cluster.get_mut("lab2").restart();
    write_all(&file, &bytes[2 << 20..]);
    assert_eq!(file.seek(0, abi::io::Whence::Set), Ok(0));
    assert!(read_all(&file) == bytes);
    lab.cluster["lab1"].wait_for("lab2");
    until("the prefix is registered again", || {
        lab.far.stat("/net/lab2/srv/file").is_ok()
    });
}
