//! The file system in memory, used from another node: names, bytes, rights, locks.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::example::Example;
use client::{Errno, File, OpenFlags, Result, SendOptions};
use resmgr::abi::flags::mode;
use resmgr::abi::io::{Lock, LockCommand, LockKind, LockRange, LockStyle, SpaceFlags, Whence};

const RAM: &str = env!("CARGO_BIN_EXE_slashnet-ram");
const NEW: OpenFlags = OpenFlags::READ_WRITE
    .union(OpenFlags::CREATE)
    .union(OpenFlags::EXCLUSIVE);

fn start() -> Example {
    Example::start(RAM, &[], "/ram")
}

fn path(name: &str) -> String {
    format!("/net/lab2/ram/{name}")
}

impl Example {
    fn make(&self, name: &str, content: &[u8]) -> File {
        let file = self.far.open_with_mode(path(name), NEW, 0o666).unwrap();
        assert_eq!(file.write(content), Ok(content.len()));
        file
    }

    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let mut space = vec![0; 1 << 16];
        let count = self.near.read(format!("/ram/{name}"), &mut space)?;
        space.truncate(count);
        Ok(space)
    }

    fn names(&self, name: &str) -> BTreeSet<String> {
        let directory = self.far.read_directory(path(name)).unwrap();
        let names = directory.map(|entry| String::from_utf8(entry.unwrap().name).unwrap());
        names.collect()
    }
}

// qnx: R22, R47
#[test]
fn names_are_made_linked_moved_and_removed() {
    let ram = start();
    let far = &ram.far;
    far.mkdir(path("d"), 0o755).unwrap();
    ram.make("d/a", b"one");
    far.link(path("d/a"), path("b")).unwrap();
    assert_eq!(far.stat(path("b")).unwrap().nlink, 2);
    far.symlink("d/a", path("s")).unwrap();
    assert_eq!(far.readlink(path("s")).unwrap(), b"d/a");
    assert_eq!(far.lstat(path("s")).unwrap().mode, mode::S_IFLNK | 0o777);
    assert_eq!(ram.content("s").unwrap(), b"one", "the client follows");
    far.symlink("../d", path("d/up")).unwrap();
    assert_eq!(ram.content("d/up/up/a").unwrap(), b"one");
    let all = ["b", "d", "s"].map(String::from);
    assert_eq!(ram.names(""), BTreeSet::from(all));

    far.rename(path("b"), path("d/c")).unwrap();
    assert_eq!(ram.content("b"), Err(Errno::ENOENT));
    assert_eq!(far.rename(path("d"), path("d/e")), Err(Errno::EINVAL));
    far.mkdir(path("e"), 0o755).unwrap();
    assert_eq!(far.rename(path("e"), path("d")), Err(Errno::ENOTEMPTY));
    assert_eq!(far.rename(path("s"), path("d")), Err(Errno::EISDIR));
    assert_eq!(far.rename(path("d"), path("s")), Err(Errno::ENOTDIR));
    far.rename(path("d"), path("e")).unwrap();
    assert_eq!(far.stat(path("")).unwrap().nlink, 3, "one directory below");

    assert_eq!(far.rmdir(path("e")), Err(Errno::ENOTEMPTY));
    assert_eq!(far.rmdir(path("e/a")), Err(Errno::ENOTDIR));
    assert_eq!(far.unlink(path("e")), Err(Errno::EISDIR));
    for name in ["e/a", "e/c", "e/up", "s"] {
        far.unlink(path(name)).unwrap();
    }
    far.rmdir(path("e")).unwrap();
    assert_eq!(ram.names(""), BTreeSet::new());
}

#[test]
fn a_file_that_is_open_outlives_its_name_and_its_replacement() {
    let ram = start();
    let old = ram.make("f", b"old content");
    ram.make("g", b"new");
    ram.far.rename(path("g"), path("f")).unwrap();
    assert_eq!(ram.content("f").unwrap(), b"new");
    let mut space = [0; 20];
    assert_eq!(old.read_at(0, &mut space), Ok(11));
    assert_eq!(old.stat().unwrap().nlink, 0);
    assert_eq!(old.write_at(4, b"words"), Ok(5));
    assert_eq!(old.read_at(0, &mut space), Ok(11));
    assert_eq!(&space[..11], b"old wordsnt");
}

#[test]
fn holes_read_as_zeros_take_no_room_and_are_found() {
    let ram = start();
    let file = ram.make("sparse", b"start");
    let far_out = 1_u64 << 40;
    assert_eq!(file.write_at(far_out, b"end"), Ok(3));
    let stat = file.stat().unwrap();
    assert_eq!((stat.size, stat.blocks), (far_out + 3, 16));
    assert_eq!(file.seek(0, Whence::Hole), Ok(4096));
    assert_eq!(file.seek(4096, Whence::Data), Ok(far_out));
    assert_eq!(file.seek(far_out as i64, Whence::Hole), Ok(far_out + 3));
    assert_eq!(
        file.seek(far_out as i64 + 3, Whence::Data),
        Err(Errno::ENXIO)
    );
    let mut space = [1; 4];
    assert_eq!(file.read_at(far_out - 2, &mut space), Ok(4));
    assert_eq!(&space, b"\0\0en");

    let punch = SpaceFlags::KEEP_SIZE | SpaceFlags::PUNCH_HOLE;
    file.allocate(punch, 1, 3).unwrap();
    assert_eq!(file.read_at(0, &mut space), Ok(4));
    assert_eq!(&space, b"s\0\0\0");
    file.allocate(SpaceFlags::empty(), far_out, 8192).unwrap();
    assert_eq!(file.stat().unwrap().size, far_out + 8192);
    file.truncate(2).unwrap();
    file.truncate(4).unwrap();
    assert_eq!(ram.content("sparse").unwrap(), b"s\0\0\0");
    let full = file.allocate(SpaceFlags::empty(), 0, 1 << 50);
    assert_eq!(full, Err(Errno::ENOSPC));
    let space_left = ram.far.open(path(""), OpenFlags::PATH).unwrap().statvfs();
    let told = space_left.unwrap();
    assert_eq!(told.blocks - told.blocks_free, 1);
}

#[test]
fn two_nodes_append_to_one_file_and_nothing_is_lost() {
    let ram = start();
    ram.make("log", b"");
    let line = |who: usize, number: usize| format!("{who} {number}\n");
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (namespace, path) = if who == 0 {
                (&ram.near, "/ram/log".to_owned())
            } else {
                (&ram.far, path("log"))
            };
            scope.spawn(move || {
                let flags = OpenFlags::WRITE | OpenFlags::APPEND;
                let file = namespace.open(path, flags).unwrap();
                for number in 0..200 {
                    file.write(line(who, number).as_bytes()).unwrap();
                }
            });
        }
    });
    let content = String::from_utf8(ram.content("log").unwrap()).unwrap();
    for who in 0..2 {
        let own = content
            .lines()
            .filter(|text| text.starts_with(&who.to_string()));
        let expected: Vec<_> = (0..200).map(|number| line(who, number)).collect();
        assert_eq!(
            own.map(|text| format!("{text}\n")).collect::<Vec<_>>(),
            expected
        );
    }
    assert_eq!(content.lines().count(), 400);
}

// qnx: R45
#[test]
fn locks_hold_across_nodes_wait_and_vanish_with_their_owner() {
    let ram = start();
    ram.make("db", b"0123456789");
    let open = |namespace: &client::Namespace, path: String| {
        namespace.open(path, OpenFlags::READ_WRITE).unwrap()
    };
    let near = open(&ram.near, "/ram/db".to_owned());
    let far = open(&ram.far, path("db"));
    let lock = |command, kind, start, len| Lock {
        command,
        style: LockStyle::Process,
        range: LockRange {
            kind,
            start,
            len,
            ..LockRange::default()
        },
    };
    let set = |file: &File, kind| {
        let lock = lock(LockCommand::Set, kind, 0, 5);
        file.lock(lock, &SendOptions::default()).map(drop)
    };
    set(&near, LockKind::Write).unwrap();
    assert_eq!(set(&far, LockKind::Read), Err(Errno::EAGAIN));
    let ask = lock(LockCommand::Get, LockKind::Read, 0, 0);
    let told = far.lock(ask, &SendOptions::default()).unwrap().unwrap();
    assert_eq!((told.kind, told.start, told.len), (LockKind::Write, 0, 5));
    assert_eq!(told.node, far.node(), "its node, as this one calls it");
    let wait = lock(LockCommand::SetWait, LockKind::Write, 3, 1);
    let soon = Instant::now() + Duration::from_millis(20);
    let options = SendOptions {
        deadline: Some(soon),
        ..SendOptions::default()
    };
    assert_eq!(far.lock(wait, &options).map(drop), Err(Errno::ETIMEDOUT));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| far.lock(wait, &SendOptions::default()));
        drop(near);
        assert_eq!(waiting.join().unwrap().map(drop), Ok(()));
    });
    let again = open(&ram.near, "/ram/db".to_owned());
    assert_eq!(set(&again, LockKind::Write), Err(Errno::EAGAIN));
    let elsewhere = open(&ram.other, path("db"));
    drop(far);
    set(&elsewhere, LockKind::Write).unwrap();
}

#[test]
fn a_large_directory_is_listed_with_attributes_in_few_answers() {
    let ram = start();
    ram.near.mkdir("/ram/many", 0o755).unwrap();
    for number in 0..2000 {
        let path = format!("/ram/many/file-{number}");
        ram.near.mknod(path, mode::S_IFREG | 0o600, 0).unwrap();
    }
    let mut directory = ram.far.read_directory(path("many")).unwrap();
    let (mut answers, mut entries) = (0, Vec::new());
    while directory
        .read_into(&mut entries, &SendOptions::default())
        .unwrap()
    {
        answers += 1;
    }
    assert_eq!(entries.len(), 2000);
    assert!(answers <= 3, "{answers} answers");
    let has_stat = |entry: &client::DirectoryEntry| {
        entry
            .stat
            .is_some_and(|stat| stat.mode == mode::S_IFREG | 0o600)
    };
    assert!(entries.iter().all(has_stat));
}
