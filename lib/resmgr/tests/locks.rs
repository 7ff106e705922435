//! Locks that every manager has: conflicts, waiting, circles, and what becomes of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;

use abi::io::{Lock, LockCommand, LockKind, LockRange, LockStyle, Request};
use abi::{Credentials, Decode, Errno, Gid, Nd, OpenFlags, Pid, Result, Uid};
use resmgr::testing::{Sent, TestClient, TestFile, TestManager};
use resmgr::{Answer, Attributes, OpenRequest, Opening, Resource, posix};

/// Paths `a` and `b` are one file each, with attributes made anew by every open.
struct TwoFiles;

impl Resource for TwoFiles {
    fn open(&self, open: OpenRequest) -> Answer {
        let inode = match open.path() {
            b"a" => 1,
            b"b" => 2,
            _ => return posix::open::default(open),
        };
        let attributes = Arc::new(Attributes::file(0o666));
        open.accept_as(Opening::new().attributes(attributes).identity(7, inode))
    }
}

struct Bench {
    manager: TestManager,
}

impl Bench {
    fn new() -> Self {
        Self {
            manager: TestManager::new(Attributes::directory(0o777), TwoFiles),
        }
    }

    fn client(&self) -> TestClient {
        self.manager.client(5, 5)
    }

    fn open(&self, path: &str) -> TestFile {
        open(&self.client(), path)
    }
}

fn open(client: &TestClient, path: &str) -> TestFile {
    client.open(path, OpenFlags::READ_WRITE).unwrap()
}

fn message(command: LockCommand, style: LockStyle, range: LockRange) -> Lock {
    Lock {
        command,
        style,
        range,
    }
}

fn range(kind: LockKind, start: u64, len: u64) -> LockRange {
    LockRange {
        kind,
        start,
        len,
        ..LockRange::default()
    }
}

fn start(file: &TestFile, kind: LockKind, start: u64, len: u64) -> Sent {
    let lock = message(
        LockCommand::SetWait,
        LockStyle::Process,
        range(kind, start, len),
    );
    file.start(&Request::Lock(lock))
}

fn set(file: &TestFile, kind: LockKind, start: u64, len: u64) -> Result {
    set_as(file, LockStyle::Process, range(kind, start, len))
}

fn set_as(file: &TestFile, style: LockStyle, range: LockRange) -> Result {
    let lock = message(LockCommand::Set, style, range);
    file.ask(&Request::Lock(lock)).map(drop)
}

fn who(file: &TestFile, kind: LockKind, start: u64, len: u64) -> LockRange {
    let lock = message(
        LockCommand::Get,
        LockStyle::Process,
        range(kind, start, len),
    );
    let (_, body) = file.ask(&Request::Lock(lock)).unwrap();
    LockRange::from_bytes(&body).unwrap()
}

const DONE: Option<Result<(i64, Vec<u8>)>> = Some(Ok((0, Vec::new())));

// qnx: R45
#[test]
fn readers_share_and_writers_exclude_by_range() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a"), bench.open("a"));
    set(&one, LockKind::Read, 0, 10).unwrap();
    set(&two, LockKind::Read, 5, 10).unwrap();
    assert_eq!(set(&two, LockKind::Write, 9, 1), Err(Errno::EAGAIN));
    set(&two, LockKind::Write, 10, 5).unwrap();
    assert_eq!(set(&one, LockKind::Read, 0, 0), Err(Errno::EAGAIN));
    set(&one, LockKind::Unlock, 0, 0).unwrap();
    set(&two, LockKind::Write, 0, 0).unwrap();
    set(&bench.open("b"), LockKind::Write, 0, 0).unwrap();
}

// qnx: R45
#[test]
fn who_is_in_the_way_is_told_with_process_and_node() {
    let bench = Bench::new();
    let far = Credentials::new(Nd(3), Pid(77), Uid(5), Gid(5));
    let holder = open(&bench.manager.client_with(far), "a");
    set(&holder, LockKind::Write, 100, 50).unwrap();
    let other = bench.open("a");
    let told = who(&other, LockKind::Read, 0, 0);
    let expected = LockRange {
        kind: LockKind::Write,
        start: 100,
        len: 50,
        pid: Pid(77),
        node: Nd(3),
        owner: 0,
    };
    assert_eq!(told, expected);
    let free = who(&other, LockKind::Read, 0, 100);
    assert_eq!(free, range(LockKind::Unlock, 0, 100));
    assert_eq!(who(&holder, LockKind::Write, 0, 0).kind, LockKind::Unlock);
}

#[test]
fn those_who_wait_are_served_in_their_order_when_the_range_is_free() {
    let bench = Bench::new();
    let files: Vec<_> = (0..4).map(|_| bench.open("a")).collect();
    set(&files[0], LockKind::Write, 0, 0).unwrap();
    let waits = [
        start(&files[1], LockKind::Read, 0, 5),
        start(&files[2], LockKind::Write, 3, 1),
        start(&files[3], LockKind::Read, 0, 2),
    ];
    assert!(waits.iter().all(|wait| wait.answer().is_none()));
    set(&files[0], LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(waits[0].answer(), DONE);
    assert_eq!(waits[1].answer(), None, "the first reader has byte 3");
    assert_eq!(waits[2].answer(), DONE);
    set(&files[1], LockKind::Unlock, 3, 1).unwrap();
    assert_eq!(waits[1].answer(), DONE);
    assert_eq!(who(&files[0], LockKind::Write, 0, 0).start, 0);
    assert_eq!(bench.manager.held_locks(), 4, "0-2, 3, 4 and the other 0-1");
}

#[test]
fn a_write_lock_that_becomes_a_read_lock_lets_readers_in() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a"), bench.open("a"));
    set(&one, LockKind::Write, 0, 0).unwrap();
    let waits = start(&two, LockKind::Read, 0, 0);
    set(&one, LockKind::Read, 0, 0).unwrap();
    assert_eq!(waits.answer(), DONE);
}

// qnx: R15
#[test]
fn a_client_that_gives_up_waiting_has_no_lock() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a"), bench.open("a"));
    set(&one, LockKind::Write, 0, 0).unwrap();
    let waits = start(&two, LockKind::Write, 0, 0);
    waits.interrupt();
    assert_eq!(waits.wait(), Err(Errno::EINTR));
    set(&one, LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(bench.manager.held_locks(), 0);
}

#[test]
fn a_circle_of_waits_over_several_files_is_refused_and_ends() {
    let bench = Bench::new();
    let clients: Vec<_> = (0..3).map(|_| bench.client()).collect();
    let a: Vec<_> = clients.iter().map(|client| open(client, "a")).collect();
    let b: Vec<_> = clients.iter().map(|client| open(client, "b")).collect();
    set(&a[0], LockKind::Write, 0, 1).unwrap();
    set(&a[1], LockKind::Write, 1, 1).unwrap();
    set(&b[2], LockKind::Write, 0, 1).unwrap();
    let first = start(&a[0], LockKind::Write, 1, 1);
    let second = start(&b[1], LockKind::Read, 0, 0);
    let third = start(&a[2], LockKind::Read, 0, 1);
    assert_eq!(third.wait(), Err(Errno::EDEADLK));
    assert_eq!((first.answer(), second.answer()), (None, None));
    // The one that was refused goes back, and the others go on.
    set(&b[2], LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(second.answer(), DONE);
    set(&a[1], LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(first.answer(), DONE);
    // Nobody waits any more, so the same wait is no circle now.
    let third = start(&a[2], LockKind::Read, 0, 1);
    assert_eq!(third.answer(), None);
    set(&a[0], LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(third.answer(), DONE);
}

#[test]
fn closing_any_descriptor_of_a_file_frees_the_locks_of_its_process() {
    let bench = Bench::new();
    let client = bench.client();
    let (one, two) = (open(&client, "a"), open(&client, "a"));
    let elsewhere = open(&client, "b");
    set(&one, LockKind::Write, 0, 0).unwrap();
    set(&elsewhere, LockKind::Write, 0, 0).unwrap();
    let waits = start(&bench.open("a"), LockKind::Write, 0, 0);
    two.close().unwrap();
    assert_eq!(waits.answer(), DONE);
    assert_eq!(
        set(&bench.open("b"), LockKind::Read, 0, 0),
        Err(Errno::EAGAIN),
        "locks of another file stay"
    );
}

#[test]
fn owners_behind_one_client_are_kept_apart_until_their_own_close() {
    let bench = Bench::new();
    let mount = bench.client();
    let (one, two) = (open(&mount, "a"), open(&mount, "a"));
    let owned = |owner| LockRange {
        owner,
        ..range(LockKind::Write, 0, 0)
    };
    set_as(&one, LockStyle::Process, owned(11)).unwrap();
    assert_eq!(
        set_as(&two, LockStyle::Process, owned(12)),
        Err(Errno::EAGAIN)
    );
    set_as(&two, LockStyle::Process, owned(11)).unwrap();
    two.close().unwrap();
    assert_eq!(
        bench.manager.held_locks(),
        0,
        "the last to set it was the second descriptor"
    );
    set_as(&one, LockStyle::Process, owned(11)).unwrap();
    open(&mount, "a").close().unwrap();
    assert_eq!(bench.manager.held_locks(), 1, "another program's close");
    one.close().unwrap();
    assert_eq!(bench.manager.held_locks(), 0);
}

#[test]
fn locks_of_open_files_are_shared_by_duplicates_and_meet_those_of_processes() {
    let bench = Bench::new();
    let client = bench.client();
    let one = open(&client, "a");
    let same = one.dup().unwrap();
    let other = open(&client, "a");
    let whole = range(LockKind::Write, 0, 0);
    set_as(&one, LockStyle::OpenFile, whole).unwrap();
    set_as(&same, LockStyle::OpenFile, whole).unwrap();
    assert_eq!(
        set_as(&other, LockStyle::OpenFile, whole),
        Err(Errno::EAGAIN)
    );
    assert_eq!(
        set_as(&other, LockStyle::Process, whole),
        Err(Errno::EAGAIN)
    );
    one.close().unwrap();
    assert_eq!(
        set_as(&other, LockStyle::OpenFile, whole),
        Err(Errno::EAGAIN)
    );
    same.close().unwrap();
    set_as(&other, LockStyle::OpenFile, whole).unwrap();
}

#[test]
fn flocks_meet_only_flocks_and_need_no_rights_to_write() {
    let bench = Bench::new();
    let one = bench.client().open("a", OpenFlags::READ).unwrap();
    let two = bench.open("a");
    let exclusive = range(LockKind::Write, 3, 4);
    set_as(&one, LockStyle::Flock, exclusive).unwrap();
    assert_eq!(
        set_as(&two, LockStyle::Flock, range(LockKind::Read, 0, 1)),
        Err(Errno::EAGAIN),
        "always the whole file"
    );
    set_as(&two, LockStyle::Process, exclusive).unwrap();
    let lock = message(LockCommand::SetWait, LockStyle::Flock, exclusive);
    let waits = two.start(&Request::Lock(lock));
    one.close().unwrap();
    assert_eq!(waits.answer(), DONE);
}

#[test]
fn a_lock_needs_a_file_that_is_open_for_it_and_a_range_that_exists() {
    let bench = Bench::new();
    let reader = bench.client().open("a", OpenFlags::READ).unwrap();
    let writer = bench.client().open("a", OpenFlags::WRITE).unwrap();
    let looker = bench.client().open("a", OpenFlags::PATH).unwrap();
    assert_eq!(set(&reader, LockKind::Write, 0, 0), Err(Errno::EBADF));
    assert_eq!(set(&writer, LockKind::Read, 0, 0), Err(Errno::EBADF));
    assert_eq!(set(&looker, LockKind::Unlock, 0, 0), Err(Errno::EBADF));
    assert_eq!(
        set(&reader, LockKind::Read, u64::MAX, 1),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        set(&reader, LockKind::Read, 1, i64::MAX as u64 + 1),
        Err(Errno::EINVAL)
    );
    set(&reader, LockKind::Read, 0, i64::MAX as u64).unwrap();
}

// qnx: R14
#[test]
fn a_client_that_dies_leaves_no_lock_and_no_wait() {
    let bench = Bench::new();
    let (dying, staying) = (bench.client(), bench.client());
    let (one, two) = (open(&dying, "a"), open(&staying, "a"));
    set(&one, LockKind::Write, 0, 10).unwrap();
    set_as(&one, LockStyle::Flock, range(LockKind::Write, 0, 0)).unwrap();
    set(&two, LockKind::Write, 20, 10).unwrap();
    let _waits = start(&one, LockKind::Write, 20, 1);
    let waits = start(&two, LockKind::Write, 0, 1);
    assert_eq!(waits.wait(), Err(Errno::EDEADLK));
    let waits = start(&bench.open("a"), LockKind::Write, 5, 1);
    dying.die();
    assert_eq!(waits.answer(), DONE);
    set(&two, LockKind::Unlock, 0, 0).unwrap();
    assert_eq!(bench.manager.held_locks(), 1);
}

// qnx: R13
#[test]
fn a_descriptor_that_is_closed_ends_the_wait_behind_it() {
    let bench = Bench::new();
    let (one, two) = (bench.open("a"), bench.open("a"));
    set(&one, LockKind::Write, 0, 0).unwrap();
    let waits = start(&two, LockKind::Write, 0, 0);
    two.close().unwrap();
    assert_eq!(waits.wait(), Err(Errno::EBADF));
    one.close().unwrap();
    assert_eq!(bench.manager.held_locks(), 0);
    assert_eq!(bench.manager.open_connections(), 0);
}

#[test]
fn open_files_of_one_prefix_are_one_file_without_a_word() {
    struct Plain;
    impl Resource for Plain {}
    let manager = TestManager::new(Attributes::file(0o666), Plain);
    let open = || {
        manager
            .client(5, 5)
            .open("", OpenFlags::READ_WRITE)
            .unwrap()
    };
    let (one, two) = (open(), open());
    set(&one, LockKind::Write, 0, 1).unwrap();
    assert_eq!(set(&two, LockKind::Write, 0, 0), Err(Errno::EAGAIN));
}
