//! Full disks and full tables, each in a process of its own that can be limited.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::process::Command;

use abi::io::Request;
use abi::{Errno, OpenFlags};
use export_manager::{Export, Tree};
use resmgr::Attributes;
use resmgr::testing::{TestClient, TestManager};
use testkit::rerun::inside;

const READ: OpenFlags = OpenFlags::READ;
const BOTH: OpenFlags = OpenFlags::READ_WRITE;
const CREATE: OpenFlags = OpenFlags::CREATE;

fn serve(directory: &Path) -> TestClient {
    let tree = Tree::open(directory, false).unwrap();
    let manager = TestManager::new(Attributes::directory(0o755), Export::new(tree));
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    manager.client(uid.as_raw(), gid.as_raw())
}

#[test]
fn a_full_disk_answers_enospc_and_keeps_what_was_written() {
    // Root of a namespace of its own may mount, whoever the user is outside.
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    inside(
        "a_full_disk_answers_enospc_and_keeps_what_was_written",
        &unshare,
        || {
            let directory = tempfile::tempdir().unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=256k,nr_inodes=8", "full"])
                .arg(directory.path())
                .status()
                .unwrap();
            assert!(mounted.success());
            let client = serve(directory.path());
            let file = client.open("big", BOTH | CREATE).unwrap();
            let bytes = vec![7; 200 * 1024];
            assert_eq!(file.write(&bytes), Ok(200 * 1024));
            let part = file.write(&bytes).unwrap();
            assert!(
                part > 0 && part < 200 * 1024,
                "the rest of the room is used: {part}"
            );
            assert_eq!(file.write(&bytes), Err(Errno::ENOSPC));
            assert_eq!(file.stat().unwrap().size, 200 * 1024 + part as u64);
            let space = abi::io::Space {
                len: 1 << 20,
                ..Default::default()
            };
            assert_eq!(file.ask(&Request::Space(space)), Err(Errno::ENOSPC));
            let made =
                (0..10).map(|index| client.open(&format!("f{index}"), BOTH | CREATE).map(drop));
            assert_eq!(
                made.collect::<Result<Vec<_>, _>>(),
                Err(Errno::ENOSPC),
                "no more files"
            );
            let read = client.open("big", READ).unwrap().read(4).unwrap();
            assert_eq!(read, [7; 4], "what is there can be read");
            // The directory cannot be removed while it is mounted on.
            let mut unmount = Command::new("umount");
            let status = unmount.arg("-l").arg(directory.path()).status();
            assert!(status.unwrap().success());
        },
    );
}

#[test]
fn ten_thousand_files_are_open_at_once_and_one_too_many_is_emfile() {
    let limited = ["prlimit", "--nofile=10100:10100"];
    inside(
        "ten_thousand_files_are_open_at_once_and_one_too_many_is_emfile",
        &limited,
        || {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("file"), b"content").unwrap();
            let client = serve(directory.path());
            let mut open: Vec<_> = (0..10_000)
                .map(|_| client.open("file", READ).unwrap())
                .collect();
            let refused = loop {
                match client.open("file", READ) {
                    Ok(file) => open.push(file),
                    Err(errno) => break errno,
                }
                assert!(open.len() < 10_200);
            };
            assert_eq!(refused, Errno::EMFILE);
            assert_eq!(open[9_999].read(9).unwrap(), b"content", "the others go on");
            for file in &open[..10] {
                file.close().unwrap();
            }
            assert!(client.open("file", READ).is_ok(), "closed files make room");
        },
    );
}
