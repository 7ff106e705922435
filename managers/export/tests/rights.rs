//! What other users may do: the same answers whether the manager runs as root and becomes them, or
//! runs as an ordinary user and checks them itself.
//!
//! Each test runs as the user who runs the tests; as root it runs once more in a child process of an
//! ordinary user, so that both ways are always tested where both are possible.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(unsafe_code)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use abi::connect::{ConnectType, Extra};
use abi::credentials::Credentials;
use abi::devctl::DIRECTORY_LEASE;
use abi::flags::mode::{S_IFDIR, S_IFREG};
use abi::io::{Chmod, Chown, ReadDirectory, Request, SetTime, TimeSpec, Truncate, Utime, Xattr};
use abi::{Errno, Gid, Handle, Nd, OpenFlags, Pid, Result, Uid};
use export_manager::{Export, Tree};
use resmgr::Attributes;
use resmgr::testing::{TestClient, TestManager};

const READ: OpenFlags = OpenFlags::READ;
const WRITE: OpenFlags = OpenFlags::WRITE;
const CREATE: OpenFlags = OpenFlags::CREATE;
const PATH: OpenFlags = OpenFlags::PATH;

/// An ordinary user of Debian who owns nothing.
const NOBODY: u32 = 65_534;
/// Somebody who is neither the manager's user nor root.
const STRANGER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// Runs `body` here, and once more as an ordinary user if this is root.
fn as_root_and_as_an_ordinary_user(test: &str, body: fn()) {
    body();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    // The build directory may be closed to others; a copy in a place of theirs is not.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("test");
    let running = {
        // A program cannot be started while a child that another thread is just making still has it
        // open for writing.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        fs::copy(program, &copy).unwrap();
        Command::new(&copy)
            .args(["--exact", test])
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .env("TMPDIR", "/tmp")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let output = running.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "as an ordinary user: {text}"
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn serve(directory: &Path) -> TestManager {
    let tree = Tree::open(directory, false).unwrap();
    TestManager::new(Attributes::directory(0o755), Export::new(tree))
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// A tree of the user who runs the test, a stranger to it, and that user itself.
fn tree() -> (tempfile::TempDir, TestClient, TestClient) {
    let directory = tempfile::tempdir().unwrap();
    mode(directory.path(), 0o755);
    let manager = serve(directory.path());
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let owner = manager.client(uid.as_raw(), gid.as_raw());
    (directory, manager.client(STRANGER, GROUP), owner)
}

fn mkdir(client: &TestClient, path: &str) -> Result {
    client
        .path(ConnectType::Mknod, path, S_IFDIR | 0o777, Extra::None)
        .map(drop)
}

fn unlink(client: &TestClient, path: &str) -> Result {
    client
        .path(ConnectType::Unlink, path, 0, Extra::None)
        .map(drop)
}

fn rename(client: &TestClient, old: &str, new: &str) -> Result {
    let extra = Extra::Rename {
        path: old.as_bytes(),
        handle: Handle(1),
    };
    client.path(ConnectType::Rename, new, 0, extra).map(drop)
}

#[test]
fn a_directory_that_is_only_named_tells_nobody_what_happens_in_it() {
    let (directory, stranger, _) = tree();
    fs::create_dir(directory.path().join("closed")).unwrap();
    mode(&directory.path().join("closed"), 0o711);
    let lease = Request::Devctl {
        dcmd: DIRECTORY_LEASE.dcmd(),
        data: &[],
    };
    let asked = |path: &str, flags: OpenFlags| {
        let open = stranger.open(path, flags | OpenFlags::DIRECTORY)?;
        open.start(&lease).wait().map(drop)
    };
    assert_eq!(asked("closed", PATH), Err(Errno::EBADF));
    assert_eq!(asked("closed", READ), Err(Errno::EACCES));
    assert_eq!(asked("", PATH), Err(Errno::EBADF));
    assert_ne!(asked("", READ), Err(Errno::EBADF));
}

#[test]
fn permission_bits_decide_what_a_stranger_opens() {
    as_root_and_as_an_ordinary_user("permission_bits_decide_what_a_stranger_opens", || {
        let (directory, stranger, owner) = tree();
        for (name, bits) in [("closed", 0o600), ("readable", 0o604), ("open", 0o606)] {
            fs::write(directory.path().join(name), b"content").unwrap();
            mode(&directory.path().join(name), bits);
        }
        let denied = Err(Errno::EACCES);
        for (name, flags, expected) in [
            ("closed", READ, denied),
            ("closed", WRITE, denied),
            ("closed", PATH, Ok(())),
            ("readable", READ, Ok(())),
            ("readable", WRITE, denied),
            ("readable", READ | WRITE, denied),
            ("open", READ | WRITE | OpenFlags::TRUNCATE, Ok(())),
            ("new", WRITE | CREATE, denied),
        ] {
            let opened = stranger.open(name, flags).map(drop);
            assert_eq!(opened, expected, "{name} {flags:?} as root: {}", is_root());
            if name != "new" {
                assert!(owner.open(name, flags).is_ok(), "{name} {flags:?}");
            }
        }
    });
}

#[test]
fn a_directory_without_the_search_right_hides_all_below_it() {
    as_root_and_as_an_ordinary_user(
        "a_directory_without_the_search_right_hides_all_below_it",
        || {
            let (directory, stranger, owner) = tree();
            let closed = directory.path().join("closed");
            fs::create_dir_all(closed.join("deeper")).unwrap();
            fs::write(closed.join("deeper/file"), b"secret").unwrap();
            mode(&closed.join("deeper/file"), 0o666);
            std::os::unix::fs::symlink("closed/deeper", directory.path().join("way-in")).unwrap();
            fs::create_dir(directory.path().join("public")).unwrap();
            std::os::unix::fs::symlink("../public", closed.join("way-out")).unwrap();
            mode(&closed, 0o700);
            for path in [
                "closed/deeper/file",
                "closed/none",
                "way-in/file",
                "closed/way-out",
                "public/../closed/deeper/file",
            ] {
                for flags in [READ, PATH] {
                    let opened = stranger.open(path, flags).map(drop);
                    assert_eq!(
                        opened,
                        Err(Errno::EACCES),
                        "{path} {flags:?} root: {}",
                        is_root()
                    );
                }
            }
            assert_eq!(stranger.open("closed", READ).map(drop), Err(Errno::EACCES));
            assert!(stranger.open("closed", PATH).is_ok());
            assert_eq!(mkdir(&stranger, "closed/new"), Err(Errno::EACCES));
            assert_eq!(unlink(&stranger, "closed/deeper/file"), Err(Errno::EACCES));
            let readlink = |client: &TestClient, path| {
                client
                    .path(ConnectType::Readlink, path, 0, Extra::None)
                    .map(drop)
            };
            assert_eq!(readlink(&stranger, "closed/way-out"), Err(Errno::EACCES));
            assert!(readlink(&owner, "closed/way-out").is_ok());
            assert_eq!(
                owner.open("way-in/file", READ).unwrap().read(9).unwrap(),
                b"secret"
            );
        },
    );
}

#[test]
fn entries_are_made_and_removed_by_those_who_may_write_the_directory() {
    as_root_and_as_an_ordinary_user(
        "entries_are_made_and_removed_by_those_who_may_write_the_directory",
        || {
            let (directory, stranger, _) = tree();
            let denied = Err(Errno::EACCES);
            fs::write(directory.path().join("mine"), b"").unwrap();
            assert_eq!(mkdir(&stranger, "new"), denied);
            assert_eq!(unlink(&stranger, "mine"), denied);
            assert_eq!(rename(&stranger, "mine", "yours"), denied);
            let symlink = Extra::Symlink { target: b"x" };
            assert_eq!(
                stranger
                    .path(ConnectType::Symlink, "l", 0, symlink)
                    .map(drop),
                denied
            );

            let sticky = directory.path().join("sticky");
            fs::create_dir(&sticky).unwrap();
            mode(&sticky, 0o1777);
            fs::write(sticky.join("mine"), b"").unwrap();
            assert_eq!(unlink(&stranger, "sticky/mine"), Err(Errno::EPERM));
            assert_eq!(
                rename(&stranger, "sticky/mine", "sticky/x"),
                Err(Errno::EPERM)
            );
            assert_eq!(
                stranger.open("sticky/theirs", WRITE | CREATE).map(drop),
                Ok(())
            );

            let open = directory.path().join("open");
            fs::create_dir(&open).unwrap();
            mode(&open, 0o777);
            mkdir(&stranger, "open/new").unwrap();
            fs::write(open.join("mine"), b"").unwrap();
            rename(&stranger, "open/mine", "open/new/moved").unwrap();
            unlink(&stranger, "open/new/moved").unwrap();
        },
    );
}

#[test]
fn attributes_are_the_owners_to_change() {
    as_root_and_as_an_ordinary_user("attributes_are_the_owners_to_change", || {
        let (directory, stranger, owner) = tree();
        let path = directory.path().join("file");
        fs::write(&path, b"content").unwrap();
        mode(&path, 0o644);
        let at = SetTime::At(TimeSpec {
            seconds: 5,
            nanos: 0,
        });
        let chmod = Request::Chmod(Chmod { mode: 0o777 });
        let chown = Request::Chown(Chown {
            uid: Some(Uid(STRANGER)),
            gid: None,
        });
        let utime = Request::Utime(Utime {
            atime: at,
            mtime: at,
        });
        let touch = Request::Utime(Utime {
            atime: SetTime::Now,
            mtime: SetTime::Now,
        });
        let truncate = Request::Truncate(Truncate { size: 0 });
        for (request, expected) in [
            (chmod, Errno::EPERM),
            (chown, Errno::EPERM),
            (utime, Errno::EPERM),
            (touch, Errno::EACCES),
            (truncate, Errno::EACCES),
        ] {
            let answer = stranger.combined("file", PATH, &request).map(drop);
            assert_eq!(answer, Err(expected), "{request:?} root: {}", is_root());
        }
        mode(&path, 0o646);
        stranger.combined("file", PATH, &touch).unwrap();
        stranger.combined("file", PATH, &truncate).unwrap();
        owner.combined("file", PATH, &chmod).unwrap();
        owner.combined("file", PATH, &utime).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mtime(), 5);
    });
}

#[test]
fn groups_of_the_caller_count() {
    as_root_and_as_an_ordinary_user("groups_of_the_caller_count", || {
        let directory = tempfile::tempdir().unwrap();
        mode(directory.path(), 0o755);
        let manager = serve(directory.path());
        let path = directory.path().join("file");
        fs::write(&path, b"content").unwrap();
        mode(&path, 0o640);
        let group = fs::metadata(&path).unwrap().gid();
        let mut member = Credentials::new(Nd::LOCAL, Pid(9), Uid(STRANGER), Gid(GROUP));
        let stranger = manager.client_with(member.clone());
        member.groups.push(Gid(group));
        let member = manager.client_with(member);
        assert_eq!(stranger.open("file", READ).map(drop), Err(Errno::EACCES));
        assert_eq!(
            member.open("file", READ).unwrap().read(99).unwrap(),
            b"content"
        );
        assert_eq!(member.open("file", WRITE).map(drop), Err(Errno::EACCES));
        mode(&path, 0o604);
        assert_eq!(
            member.open("file", READ).map(drop),
            Err(Errno::EACCES),
            "the group decides"
        );
    });
}

#[test]
fn a_listing_tells_attributes_only_to_those_who_may_search() {
    as_root_and_as_an_ordinary_user(
        "a_listing_tells_attributes_only_to_those_who_may_search",
        || {
            let (directory, stranger, _) = tree();
            let half = directory.path().join("half");
            fs::create_dir(&half).unwrap();
            fs::write(half.join("file"), b"content").unwrap();
            mode(&half, 0o704);
            let list = ReadDirectory {
                cookie: 0,
                nbytes: 4096,
                with_stat: true,
            };
            let listing = stranger.open("half", READ).unwrap();
            let (_, body) = listing.ask(&Request::ReadDirectory(list)).unwrap();
            let entries: Vec<_> = abi::io::Entries::new(&body)
                .map(|entry| entry.unwrap())
                .collect();
            assert_eq!((entries.len(), entries[0].name), (1, &b"file"[..]));
            assert_eq!(entries[0].stat, None);
        },
    );
}

#[test]
fn attributes_of_the_system_are_not_for_ordinary_users() {
    as_root_and_as_an_ordinary_user(
        "attributes_of_the_system_are_not_for_ordinary_users",
        || {
            let (directory, stranger, _) = tree();
            let path = directory.path().join("file");
            fs::write(&path, b"").unwrap();
            mode(&path, 0o666);
            let file = stranger.open("file", READ | WRITE).unwrap();
            let set = |name| {
                file.ask(&Request::Xattr(Xattr::Set {
                    name,
                    flags: abi::io::XattrFlags::empty(),
                    value: b"x",
                }))
            };
            assert_eq!(set(b"trusted.x"), Err(Errno::EPERM));
            assert_eq!(set(b"security.capability"), Err(Errno::EPERM));
            let get = Request::Xattr(Xattr::Get {
                name: b"trusted.x",
                nbytes: 9,
            });
            assert_eq!(file.ask(&get), Err(Errno::ENODATA));
            set(b"user.x").unwrap();
        },
    );
}

#[test]
fn who_may_write_a_file_may_not_change_its_access_list() {
    as_root_and_as_an_ordinary_user(
        "who_may_write_a_file_may_not_change_its_access_list",
        || {
            let (directory, stranger, _) = tree();
            let path = directory.path().join("letterbox");
            fs::write(&path, b"").unwrap();
            mode(&path, 0o622);
            let file = stranger.open("letterbox", WRITE).unwrap();
            // Version 2; the owner, the group and all others may do everything.
            let mut all = vec![2, 0, 0, 0];
            for tag in [1, 4, 0x20] {
                all.extend([tag, 0, 7, 0, 0xff, 0xff, 0xff, 0xff]);
            }
            let set = Request::Xattr(Xattr::Set {
                name: b"system.posix_acl_access",
                flags: abi::io::XattrFlags::empty(),
                value: &all,
            });
            assert!(file.ask(&set).is_err());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o622);
        },
    );
}

#[test]
fn nobody_makes_a_program_that_runs_as_the_manager() {
    as_root_and_as_an_ordinary_user("nobody_makes_a_program_that_runs_as_the_manager", || {
        let (directory, stranger, _) = tree();
        mode(directory.path(), 0o777);
        stranger
            .path(ConnectType::Mknod, "made", S_IFREG | 0o6755, Extra::None)
            .unwrap();
        let made = fs::metadata(directory.path().join("made")).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert!(made.uid() != own || made.mode() & 0o6000 == 0);
    });
}

/// Needs root: only root can make files of others.
#[test]
fn files_belong_to_the_caller_when_the_manager_is_root_and_else_to_the_manager() {
    as_root_and_as_an_ordinary_user(
        "files_belong_to_the_caller_when_the_manager_is_root_and_else_to_the_manager",
        || {
            let (directory, stranger, _) = tree();
            mode(directory.path(), 0o777);
            stranger.open("file", WRITE | CREATE).unwrap();
            mkdir(&stranger, "dir").unwrap();
            let symlink = Extra::Symlink { target: b"x" };
            stranger
                .path(ConnectType::Symlink, "link", 0, symlink)
                .unwrap();
            let manager = (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            );
            let expected = if is_root() {
                (STRANGER, GROUP)
            } else {
                manager
            };
            for name in ["file", "dir", "link"] {
                let made = fs::symlink_metadata(directory.path().join(name)).unwrap();
                assert_eq!((made.uid(), made.gid()), expected, "{name}");
            }
        },
    );
}

#[test]
fn a_write_by_a_stranger_clears_the_set_id_bits() {
    let (directory, stranger, _) = tree();
    let path = directory.path().join("tool");
    fs::write(&path, b"tool").unwrap();
    mode(&path, 0o6777);
    stranger
        .open("tool", WRITE)
        .unwrap()
        .write(b"evil")
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o6000,
        0
    );
}
