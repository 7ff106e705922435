//! Every operation through the whole framework, without a daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::connect::{Connect, ConnectType, Extra};
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS, CHR_DRAIN};
use abi::io::{Chmod, Chown, Lseek, Pathconf, Read, Request, SetTime, TimeSpec, Utime, Whence};
use abi::{Decode, Encode, Errno, Gid, Handle, OpenFlags, Uid};
use resmgr::testing::{TestFile, TestManager};
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource};

const READ: OpenFlags = OpenFlags::READ;
const WRITE: OpenFlags = OpenFlags::WRITE;
const TEXT: &[u8] = b"hello, world\n";

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(TEXT)
    }
}

fn hello() -> TestManager {
    TestManager::new(Attributes::device(0o444).owner(Uid(1), Gid(1)), Hello)
}

fn read_at(file: &TestFile, nbytes: u32, offset: u64) -> abi::Result<Vec<u8>> {
    file.ask(&Request::Read(Read {
        nbytes,
        offset: Some(offset),
    }))
    .map(|(_, bytes)| bytes)
}

#[test]
fn a_slice_is_read_in_pieces_and_the_offset_moves() {
    let file = hello().client(5, 5).open("", READ).unwrap();
    assert_eq!(file.read(5).unwrap(), b"hello");
    assert_eq!(file.read(100).unwrap(), b", world\n");
    assert_eq!(file.read(100).unwrap(), b"");
    assert_eq!(read_at(&file, 3, 7).unwrap(), b"wor");
    assert_eq!(read_at(&file, 3, u64::MAX / 4).unwrap(), b"");
    assert_eq!(
        file.read(100).unwrap(),
        b"",
        "reading elsewhere does not move the offset"
    );
}

#[test]
fn a_read_never_returns_more_than_the_client_has_room_for() {
    let file = hello().client(5, 5).open("", READ).unwrap();
    let message = Request::Read(Read {
        nbytes: 100,
        offset: None,
    })
    .to_bytes()
    .unwrap();
    let reply = file.send_with_room(&message, 4).wait().unwrap();
    assert_eq!(reply, (4, b"hell".to_vec()));
    assert_eq!(file.read(100).unwrap(), b"o, world\n");
}

// qnx: R45
#[test]
fn a_duplicate_shares_the_offset_and_closes_by_itself() {
    let manager = hello();
    let file = manager.client(5, 5).open("", READ).unwrap();
    let other = file.dup().unwrap();
    assert_eq!(file.read(5).unwrap(), b"hello");
    assert_eq!(other.read(2).unwrap(), b", ");
    file.close().unwrap();
    assert_eq!(other.read(5).unwrap(), b"world");
    assert_eq!(file.read(1), Err(Errno::EBADF));
    assert_eq!(manager.open_connections(), 1);
}

// qnx: R12
#[test]
fn a_second_open_of_a_connection_closes_the_first() {
    struct Counter(Arc<AtomicUsize>);
    impl Resource for Counter {
        fn close(&self, _file: &OpenFile) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let closed = Arc::new(AtomicUsize::new(0));
    let manager = TestManager::new(Attributes::device(0o444), Counter(Arc::clone(&closed)));
    let file = manager.client(5, 5).open("", READ).unwrap();
    let again = Connect::open(Handle(1), b"", READ).to_bytes().unwrap();
    assert_eq!(file.send(&again).wait().unwrap().0, 0);
    assert_eq!(closed.load(Ordering::SeqCst), 1);
    assert_eq!(manager.open_connections(), 1);
    file.close().unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 2);
}

// qnx: R12
#[test]
fn a_connection_without_an_open_file_is_refused() {
    let client = hello().client(5, 5);
    let nothing = client.connection();
    assert_eq!(nothing.read(1), Err(Errno::EBADF));
    assert_eq!(nothing.close(), Err(Errno::EBADF));
    assert_eq!(nothing.dup().err(), Some(Errno::EBADF));
}

#[test]
fn no_client_takes_the_connections_of_all_others() {
    let manager = hello();
    let greedy = manager.client(5, 5);
    for _ in 0..65_536 {
        greedy.open("", READ).unwrap();
    }
    assert_eq!(greedy.open("", READ).map(drop), Err(Errno::EMFILE));
    let other = manager.client(5, 5).open("", READ).unwrap();
    assert_eq!(other.read(5).unwrap(), b"hello");
    greedy.die();
    assert_eq!(manager.open_connections(), 1);
}

#[test]
fn who_only_names_a_file_neither_reads_writes_nor_makes_it() {
    let private = Attributes::file(0o600).owner(Uid(1), Gid(2));
    let manager = TestManager::new(private, Hello);
    let more = READ | WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
    let named = manager
        .client(5, 5)
        .open("", OpenFlags::PATH | more)
        .unwrap();
    assert_eq!(named.read(5), Err(Errno::EBADF));
    assert_eq!(named.write(b"x"), Err(Errno::EBADF));
    assert_eq!(named.stat().unwrap().mode, 0o100_600);
}

// qnx: R40, R41
#[test]
fn an_open_is_checked_against_the_attributes() {
    let device = TestManager::new(Attributes::device(0o640).owner(Uid(1), Gid(2)), Hello);
    let frozen = TestManager::new(Attributes::file(0o666).read_only(), Hello);
    let directory = TestManager::new(Attributes::directory(0o777), Hello);
    let create = OpenFlags::CREATE;
    let cases = [
        (&device, 1, 9, "", READ | WRITE, Ok(())),
        (&device, 5, 2, "", READ, Ok(())),
        (&device, 5, 2, "", WRITE, Err(Errno::EACCES)),
        (&device, 5, 5, "", READ, Err(Errno::EACCES)),
        (&device, 5, 5, "", OpenFlags::PATH, Ok(())),
        (&device, 0, 0, "", READ | WRITE, Ok(())),
        (&device, 1, 1, "", READ | create, Ok(())),
        (
            &device,
            1,
            1,
            "",
            READ | create | OpenFlags::EXCLUSIVE,
            Err(Errno::EEXIST),
        ),
        (
            &device,
            1,
            1,
            "",
            READ | OpenFlags::DIRECTORY,
            Err(Errno::ENOTDIR),
        ),
        (&device, 1, 1, "below", READ, Err(Errno::ENOTDIR)),
        (&frozen, 1, 1, "", READ, Ok(())),
        (&frozen, 0, 0, "", WRITE, Err(Errno::EROFS)),
        (&directory, 1, 1, "", READ, Ok(())),
        (&directory, 0, 0, "", WRITE, Err(Errno::EISDIR)),
        (&directory, 1, 1, "nothing", READ, Err(Errno::ENOENT)),
    ];
    for (manager, uid, gid, path, flags, expected) in cases {
        let opened = manager.client(uid, gid).open(path, flags).map(|_| ());
        assert_eq!(opened, expected, "uid {uid} gid {gid} '{path}' {flags:?}");
    }
}

#[test]
fn the_wrong_direction_is_a_bad_descriptor() {
    let client = TestManager::new(Attributes::device(0o666), Hello).client(5, 5);
    assert_eq!(client.open("", WRITE).unwrap().read(1), Err(Errno::EBADF));
    assert_eq!(
        client.open("", READ).unwrap().write(b"x"),
        Err(Errno::EBADF)
    );
    assert_eq!(
        client.open("", OpenFlags::PATH).unwrap().read(1),
        Err(Errno::EBADF)
    );
    let directory = TestManager::new(Attributes::directory(0o777), Hello).client(5, 5);
    assert_eq!(
        directory.open("", READ).unwrap().read(1),
        Err(Errno::EISDIR)
    );
}

#[test]
fn attributes_are_told_and_changed_by_those_who_may() {
    let manager = TestManager::new(
        Attributes::file(0o6755).owner(Uid(1), Gid(2)).size(7),
        Hello,
    );
    let (owner, stranger) = (manager.client(1, 2), manager.client(5, 5));
    let root = manager.client(0, 0).open("", READ | WRITE).unwrap();
    let mine = owner.open("", READ | WRITE).unwrap();
    let theirs = stranger.open("", READ).unwrap();
    let stat = theirs.stat().unwrap();
    assert_eq!(
        (stat.uid, stat.gid, stat.size, stat.nlink),
        (Uid(1), Gid(2), 7, 1)
    );
    assert_eq!(stat.mode, 0o106_755);

    let chown = |uid, gid| Request::Chown(Chown { uid, gid });
    assert_eq!(theirs.ask(&chown(Some(Uid(5)), None)), Err(Errno::EPERM));
    assert_eq!(mine.ask(&chown(Some(Uid(5)), None)), Err(Errno::EPERM));
    assert_eq!(mine.ask(&chown(None, Some(Gid(77)))), Err(Errno::EPERM));
    mine.ask(&chown(Some(Uid(1)), Some(Gid(2)))).unwrap();
    assert_eq!(
        mine.stat().unwrap().mode,
        0o100_755,
        "set-id bits do not survive a change"
    );

    let chmod = |mode| Request::Chmod(Chmod { mode });
    assert_eq!(theirs.ask(&chmod(0o777)), Err(Errno::EPERM));
    assert_eq!(
        mine.ask(&chmod(0o1755)),
        Err(Errno::EPERM),
        "sticky files are the superuser's"
    );
    mine.ask(&chmod(0o600)).unwrap();
    assert_eq!(stranger.open("", READ).map(|_| ()), Err(Errno::EACCES));
    assert_eq!(theirs.read(3).unwrap(), b"hel", "what is open stays open");
    root.ask(&chown(Some(Uid(5)), Some(Gid(5)))).unwrap();
    assert_eq!(
        mine.ask(&chmod(0o777)),
        Err(Errno::EPERM),
        "it is not ours any more"
    );
}

#[test]
fn times_are_set_by_the_owner_and_touched_by_writers() {
    let manager = TestManager::new(Attributes::file(0o646).owner(Uid(1), Gid(2)), Hello);
    let at = SetTime::At(TimeSpec {
        seconds: 12,
        nanos: 34,
    });
    let set = |atime, mtime| Request::Utime(Utime { atime, mtime });
    let owner = manager.client(1, 1).open("", READ).unwrap();
    let writer = manager.client(5, 5).open("", READ).unwrap();
    owner.ask(&set(at, SetTime::Keep)).unwrap();
    assert_eq!(
        owner.stat().unwrap().atime,
        TimeSpec {
            seconds: 12,
            nanos: 34
        }
    );
    assert_eq!(writer.ask(&set(at, at)), Err(Errno::EPERM));
    writer.ask(&set(SetTime::Now, SetTime::Now)).unwrap();
    assert_ne!(
        owner.stat().unwrap().atime,
        TimeSpec {
            seconds: 12,
            nanos: 34
        }
    );
    let member = manager.client(9, 2).open("", READ).unwrap();
    assert_eq!(
        member.ask(&set(SetTime::Now, SetTime::Now)),
        Err(Errno::EACCES)
    );
}

#[test]
fn seeks_answer_the_new_offset_and_reads_go_on_there() {
    let file = hello().client(5, 5).open("", READ).unwrap();
    let seek = |offset, whence| {
        let (_, body) = file.ask(&Request::Lseek(Lseek { offset, whence }))?;
        Ok(u64::from_bytes(&body).unwrap())
    };
    assert_eq!(seek(7, Whence::Set), Ok(7));
    assert_eq!(seek(2, Whence::Current), Ok(9));
    assert_eq!(file.read(3).unwrap(), b"rld");
    assert_eq!(seek(-1, Whence::Set), Err(Errno::EINVAL));
    assert_eq!(seek(-1, Whence::Current), Ok(11));
}

#[test]
fn every_open_file_tells_and_changes_its_flags() {
    let file = hello().client(5, 5).open("", READ).unwrap();
    assert_eq!(file.devctl(ALL_GETFLAGS, &()), Ok(READ));
    file.devctl(ALL_SETFLAGS, &(OpenFlags::NONBLOCK | WRITE))
        .unwrap();
    assert_eq!(
        file.devctl(ALL_GETFLAGS, &()),
        Ok(READ | OpenFlags::NONBLOCK)
    );
    assert_eq!(file.devctl(CHR_DRAIN, &()), Err(Errno::ENOTTY));
    let cut = Request::Devctl {
        dcmd: ALL_SETFLAGS.dcmd(),
        data: &[1],
    };
    assert_eq!(file.ask(&cut), Err(Errno::EINVAL));
}

#[test]
fn limits_and_facts_are_told_by_default() {
    let file = hello().client(5, 5).open("", READ).unwrap();
    let (_, body) = file.ask(&Request::Pathconf(Pathconf::NameMax)).unwrap();
    assert_eq!(i64::from_bytes(&body), Ok(255));
    file.read(5).unwrap();
    let duplicate = file.dup().unwrap();
    let (_, body) = duplicate.ask(&Request::Info).unwrap();
    let info = abi::io::Info::from_bytes(&body).unwrap();
    assert_eq!((info.flags, info.offset, info.connections), (READ, 5, 2));
}

#[test]
fn what_a_manager_does_not_offer_is_refused_with_the_usual_error() {
    let client = hello().client(0, 0);
    let file = client.open("", READ).unwrap();
    assert_eq!(file.ask(&Request::Readlink), Err(Errno::EINVAL));
    assert_eq!(file.ask(&Request::Statvfs), Err(Errno::ENOSYS));
    let list = abi::io::ReadDirectory {
        nbytes: 99,
        ..Default::default()
    };
    assert_eq!(file.ask(&Request::ReadDirectory(list)), Err(Errno::ENOTDIR));
    for (subtype, extra) in [
        (ConnectType::Unlink, Extra::None),
        (ConnectType::Mknod, Extra::None),
        (ConnectType::Symlink, Extra::Symlink { target: b"x" }),
        (
            ConnectType::Rename,
            Extra::Rename {
                path: b"x",
                handle: Handle(1),
            },
        ),
        (
            ConnectType::Link,
            Extra::Link {
                path: b"x",
                handle: Handle(1),
            },
        ),
    ] {
        assert_eq!(
            client.path(subtype, "y", 0, extra),
            Err(Errno::ENOSYS),
            "{subtype:?}"
        );
    }
    assert_eq!(
        client.path(ConnectType::Readlink, "", 0, Extra::None),
        Err(Errno::EINVAL)
    );
    // qnx: P37
    let elsewhere = Extra::Rename {
        path: b"x",
        handle: Handle(2),
    };
    assert_eq!(
        client.path(ConnectType::Rename, "y", 0, elsewhere),
        Err(Errno::EXDEV)
    );
}

// qnx: R20
#[test]
fn a_combined_message_opens_asks_and_closes_in_one() {
    let manager = hello();
    let client = manager.client(5, 5);
    let (status, body) = client
        .combined("", OpenFlags::PATH, &Request::Stat)
        .unwrap();
    assert_eq!(status, 0);
    assert_eq!(
        abi::io::Stat::from_bytes(&body).unwrap().mode & 0o777,
        0o444
    );
    let (status, body) = client
        .combined(
            "",
            READ,
            &Request::Read(Read {
                nbytes: 5,
                offset: None,
            }),
        )
        .unwrap();
    assert_eq!((status, body.as_slice()), (5, &b"hello"[..]));
    assert_eq!(
        client.combined("x", OpenFlags::PATH, &Request::Stat),
        Err(Errno::ENOTDIR)
    );
    assert_eq!(manager.open_connections(), 0);
}

// qnx: R20, R21
#[test]
fn a_combined_open_stays_open_only_if_its_io_message_succeeds() {
    let manager = hello();
    let client = manager.client(5, 5);
    let combine = |request: Option<Request<'_>>| {
        let message = request.map_or_else(Vec::new, |request| request.to_bytes().unwrap());
        let mut connect = Connect::open(Handle(1), b"", READ);
        connect.subtype = ConnectType::Combine;
        connect.extra = Extra::Combined(&message);
        let file = client.connection();
        let answer = file.send(&connect.to_bytes().unwrap()).wait();
        (file, answer)
    };
    let (file, answer) = combine(Some(Request::Read(Read {
        nbytes: 5,
        offset: None,
    })));
    let (_, body) = answer.unwrap();
    let reply = abi::connect::CombinedReply::from_bytes(&body).unwrap();
    assert_eq!((reply.status, reply.body), (5, &b"hello"[..]));
    assert_eq!(reply.opened.map(|opened| opened.direct), Some(true));
    assert_eq!(file.read(2).unwrap(), b", ");
    let (file, answer) = combine(Some(Request::Statvfs));
    assert_eq!(answer, Err(Errno::ENOSYS));
    assert_eq!(file.read(1), Err(Errno::EBADF));
    let (file, answer) = combine(None);
    assert!(answer.is_ok(), "a pure probe");
    assert_eq!(file.read(1).unwrap(), b"h");
}

// qnx: R2
#[test]
fn messages_that_are_none_are_refused_and_change_nothing() {
    let manager = hello();
    let file = manager.client(5, 5).open("", READ).unwrap();
    assert_eq!(file.send(&[]).wait(), Err(Errno::EINVAL));
    assert_eq!(file.send(&[1]).wait(), Err(Errno::EINVAL));
    assert_eq!(file.send(&[0xff, 0xff, 0, 0]).wait(), Err(Errno::ENOSYS));
    let read = Request::Read(Read {
        nbytes: 5,
        offset: None,
    })
    .to_bytes()
    .unwrap();
    for cut in 2..read.len() {
        assert_eq!(
            file.send(&read[..cut]).wait(),
            Err(Errno::EBADMSG),
            "cut to {cut}"
        );
    }
    let mut connect = Connect::open(Handle(9), b"", READ);
    assert_eq!(
        file.send(&connect.to_bytes().unwrap()).wait(),
        Err(Errno::ENXIO)
    );
    connect.handle = Handle(1);
    connect.extra = Extra::Symlink { target: b"x" };
    assert_eq!(
        file.send(&connect.to_bytes().unwrap()).wait(),
        Err(Errno::EBADMSG)
    );
    assert_eq!(file.read(5).unwrap(), b"hello");
}
