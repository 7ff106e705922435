use abi::flags::mode;
use abi::io::{
    Chmod, Chown, Dup, Entries, Entry, Events, Info, Lock, LockCommand, LockKind, LockRange,
    LockStyle, Lseek, Notify, NotifyAction, Pathconf, Read, ReadDirectory, Request, SetTime, Space,
    SpaceFlags, Stat, Statvfs, StatvfsFlags, Sync, TimeSpec, Truncate, Utime, Whence, Xattr,
    XattrFlags, push_entry,
};
use abi::{
    ConnectionId, Decode, Encode, Errno, Gid, Malformed, MessageKind, Nd, OpenFlags, Pid, Uid,
};

use super::{fixed, hex};

/// A request without data at its end: as `fixed`.
pub(crate) fn request(request: Request<'_>, text: &str) {
    tailed(request, text);
    let bytes = hex(text);
    for cut in 0..bytes.len() {
        assert_eq!(
            Request::from_bytes(&bytes[..cut]),
            Err(Malformed::Truncated),
            "{cut}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        Request::from_bytes(&longer),
        Err(Malformed::Trailing),
        "{request:?}"
    );
}

/// A request with data at its end.
pub(crate) fn tailed(request: Request<'_>, text: &str) {
    let bytes = hex(text);
    assert_eq!(request.to_bytes().unwrap(), bytes, "{request:?}");
    assert_eq!(Request::from_bytes(&bytes), Ok(request));
    assert_eq!(MessageKind::of(&bytes), Ok(request.kind()));
}

#[test]
fn reading_and_writing() {
    request(
        Request::Read(Read {
            nbytes: 0x10000,
            offset: None,
        }),
        "0101 0000 | ffffffffffffffff 00000100",
    );
    request(
        Request::Read(Read {
            nbytes: 5,
            offset: Some(0x0102),
        }),
        "0101 0000 | 0201000000000000 05000000",
    );
    tailed(
        Request::Write {
            offset: None,
            data: b"ATZ\r",
        },
        "0201 0000 | ffffffffffffffff | 41545a0d",
    );
    tailed(
        Request::Write {
            offset: Some(7),
            data: b"",
        },
        "0201 0000 | 0700000000000000",
    );
    let header = Request::Write {
        offset: Some(7),
        data: b"",
    }
    .to_bytes()
    .unwrap();
    assert_eq!(header.len(), Request::WRITE_HEADER_LEN);
    let beyond = hex("0201 0000 | 0000000000000080");
    assert_eq!(Request::from_bytes(&beyond), Err(Malformed::Invalid));
}

#[test]
fn requests_without_a_body() {
    request(Request::Close, "1601 0000");
    request(Request::Stat, "0401 0000");
    request(Request::Statvfs, "8101 0000");
    request(Request::Readlink, "8401 0000");
    request(Request::Info, "0e01 0000");
}

#[test]
fn changes_of_attributes() {
    request(
        Request::Chmod(Chmod { mode: 0o4755 }),
        "0a01 0000 | ed090000",
    );
    request(
        Request::Chown(Chown {
            uid: Some(Uid(1000)),
            gid: None,
        }),
        "0b01 0000 | e8030000 ffffffff",
    );
    request(
        Request::Chown(Chown {
            uid: None,
            gid: Some(Gid(100)),
        }),
        "0b01 0000 | ffffffff 64000000",
    );
    let time = TimeSpec {
        seconds: -2,
        nanos: 999_999_999,
    };
    request(
        Request::Utime(Utime {
            atime: SetTime::Now,
            mtime: SetTime::At(time),
        }),
        "0c01 0000 | 0100 | 0200 feffffffffffffff ffc99a3b",
    );
    request(Request::Utime(Utime::default()), "0c01 0000 | 0000 | 0000");
    request(
        Request::Truncate(Truncate {
            size: 0x1_0000_0000,
        }),
        "8301 0000 | 0000000001000000",
    );
    let space = Space {
        flags: SpaceFlags::KEEP_SIZE | SpaceFlags::PUNCH_HOLE,
        offset: 1,
        len: 2,
    };
    request(
        Request::Space(space),
        "1001 0000 | 03000000 0100000000000000 0200000000000000",
    );
    request(Request::Sync(Sync { data_only: true }), "1901 0000 | 01");
}

#[test]
fn nanoseconds_beyond_a_second_are_impossible() {
    let bytes = hex("0000000000000000 00ca9a3b");
    assert_eq!(TimeSpec::from_bytes(&bytes), Err(Malformed::Invalid));
}

#[test]
fn lengths_and_ranges_stay_below_two_to_the_63() {
    let bad = Err(Malformed::Invalid);
    assert_eq!(
        Request::from_bytes(&hex("8301 0000 | 0000000000000080")),
        bad
    );
    let space = "1001 0000 | 00000000";
    let (zero, big) = ("0000000000000000", "0000000000000080");
    assert_eq!(
        Request::from_bytes(&hex(&format!("{space} {big} {zero}"))),
        bad
    );
    assert_eq!(
        Request::from_bytes(&hex(&format!("{space} {zero} {big}"))),
        bad
    );
    assert!(Request::from_bytes(&hex(&format!("{space} {zero} ffffffffffffff7f"))).is_ok());
}

#[test]
fn moving_the_offset() {
    request(
        Request::Lseek(Lseek {
            offset: -1,
            whence: Whence::End,
        }),
        "0901 0000 | ffffffffffffffff 0200",
    );
    let whences = [
        Whence::Set,
        Whence::Current,
        Whence::End,
        Whence::Data,
        Whence::Hole,
    ];
    for (number, whence) in (0..).zip(whences) {
        assert_eq!(whence.to_bytes().unwrap(), [number, 0]);
    }
    assert_eq!(Whence::from_bytes(&[5, 0]), Err(Malformed::Unknown));
}

#[test]
fn control_notice_locks_and_the_rest() {
    tailed(
        Request::Devctl {
            dcmd: 0x4028_0501,
            data: b"",
        },
        "0601 0000 | 01052840",
    );
    tailed(
        Request::Devctl {
            dcmd: 0x8004_0504,
            data: &[1, 2],
        },
        "0601 0000 | 04050480 | 0102",
    );
    let notify = Notify {
        events: Events::INPUT | Events::HANGUP,
        action: NotifyAction::Arm,
    };
    request(Request::Notify(notify), "0501 0000 | 11000000 0100");
    let range = LockRange {
        kind: LockKind::Write,
        start: 1,
        len: 0,
        pid: Pid(2),
        node: Nd(5),
        owner: 0x0304,
    };
    request(
        Request::Lock(Lock {
            command: LockCommand::SetWait,
            style: LockStyle::Flock,
            range,
        }),
        "0f01 0000 | 0200 0200 | 0100 0100000000000000 0000000000000000 02000000 05000000 0403000000000000",
    );
    fixed(
        &range,
        "0100 0100000000000000 0000000000000000 02000000 05000000 0403000000000000",
    );
    request(
        Request::Dup(Dup {
            original: ConnectionId(6),
        }),
        "1501 0000 | 06000000",
    );
    request(Request::Pathconf(Pathconf::SymlinkMax), "0801 0000 | 0c00");
    let directory = ReadDirectory {
        cookie: 9,
        nbytes: 4096,
        with_stat: true,
    };
    request(
        Request::ReadDirectory(directory),
        "8001 0000 | 0900000000000000 00100000 01",
    );
}

#[test]
fn extended_attributes_are_subkinds() {
    request(
        Request::Xattr(Xattr::Get {
            name: b"user.a",
            nbytes: 256,
        }),
        "8201 0000 | 00010000 0600 757365722e61",
    );
    tailed(
        Request::Xattr(Xattr::Set {
            name: b"u",
            flags: XattrFlags::CREATE,
            value: b"v",
        }),
        "8201 0100 | 01000000 0100 75 | 76",
    );
    request(
        Request::Xattr(Xattr::List { nbytes: 1 }),
        "8201 0200 | 01000000",
    );
    request(
        Request::Xattr(Xattr::Remove { name: b"u" }),
        "8201 0300 | 0100 75",
    );
    assert_eq!(
        Request::from_bytes(&hex("8201 0400")),
        Err(Malformed::Unknown)
    );
    assert_eq!(
        Request::from_bytes(&hex("8201 0300 | 0000")),
        Err(Malformed::Invalid)
    );
    assert_eq!(
        Request::from_bytes(&hex("8201 0300 | 0001")),
        Err(Malformed::NameTooLong)
    );
    let big = Xattr::Set {
        name: b"u",
        flags: XattrFlags::empty(),
        value: &[0; 65_537],
    };
    let bytes = Request::Xattr(big).to_bytes().unwrap();
    assert_eq!(Request::from_bytes(&bytes), Err(Malformed::TooMany));
}

#[test]
fn attributes_have_112_bytes() {
    let at = |seconds| TimeSpec { seconds, nanos: 1 };
    let stat = Stat {
        node: Nd(3),
        dev: 1,
        ino: 2,
        mode: mode::S_IFREG | 0o600,
        nlink: 4,
        uid: Uid(5),
        gid: Gid(6),
        rdev: 7,
        size: 8,
        block_size: 9,
        blocks: 10,
        atime: at(11),
        mtime: at(12),
        ctime: at(13),
        btime: at(14),
    };
    fixed(
        &stat,
        "03000000 0100000000000000 0200000000000000 80810000 04000000 05000000 06000000
         0700000000000000 0800000000000000 09000000 0a00000000000000
         0b00000000000000 01000000 | 0c00000000000000 01000000 |
         0d00000000000000 01000000 | 0e00000000000000 01000000",
    );
    assert_eq!(stat.to_bytes().unwrap().len(), Stat::ENCODED_LEN);
}

#[test]
fn facts_about_file_systems_and_open_files() {
    let statvfs = Statvfs {
        block_size: 1,
        fragment_size: 2,
        blocks: 3,
        blocks_free: 4,
        blocks_available: 5,
        files: 6,
        files_free: 7,
        files_available: 8,
        id: 9,
        flags: StatvfsFlags::READ_ONLY,
        name_max: 255,
    };
    fixed(
        &statvfs,
        "01000000 02000000 0300000000000000 0400000000000000 0500000000000000
         0600000000000000 0700000000000000 0800000000000000 0900000000000000 01000000 ff000000",
    );
    let info = Info {
        flags: OpenFlags::READ | OpenFlags::APPEND,
        mode: mode::S_IFREG,
        offset: 5,
        size: 6,
        connections: 2,
    };
    fixed(
        &info,
        "21000000 00800000 0500000000000000 0600000000000000 02000000",
    );
    fixed(&(Events::OUTPUT | Events::ERROR), "0a000000");
}

// qnx: P52
#[test]
fn directory_entries_follow_each_other_until_the_body_ends() {
    let lab2 = Entry {
        ino: 2,
        mode: mode::S_IFDIR,
        next: 1,
        name: b"lab2",
        stat: None,
    };
    let lab3 = Entry {
        ino: 3,
        mode: mode::S_IFDIR,
        next: 2,
        name: b"lab3",
        stat: None,
    };
    let mut body = Vec::new();
    assert_eq!(push_entry(&mut body, 54, &lab2), Ok(true));
    assert_eq!(push_entry(&mut body, 53, &lab3), Ok(false));
    assert_eq!(push_entry(&mut body, 54, &lab3), Ok(true));
    let expected = hex("0200000000000000 00400000 0100000000000000 0400 6c616232 00
         0300000000000000 00400000 0200000000000000 0400 6c616233 00");
    assert_eq!(body, expected);
    assert_eq!(
        Entries::new(&body).collect::<Vec<_>>(),
        [Ok(lab2), Ok(lab3)]
    );
    assert_eq!(Entries::new(b"").next(), None);
    let cut: Vec<_> = Entries::new(&body[..40]).collect();
    assert_eq!(cut, [Ok(lab2), Err(Malformed::Truncated)]);
}

#[test]
fn an_entry_may_bring_its_attributes() {
    let stat = Stat {
        ino: 2,
        ..Stat::default()
    };
    let entry = Entry {
        ino: 2,
        mode: 0,
        next: 1,
        name: b"x",
        stat: Some(stat),
    };
    let bytes = entry.to_bytes().unwrap();
    assert_eq!(bytes.len(), 24 + Stat::ENCODED_LEN);
    assert_eq!(Entry::from_bytes(&bytes), Ok(entry));
}

#[test]
fn names_of_entries_are_one_component_of_at_most_255_bytes() {
    let longest = [b'n'; 255];
    let good = Entry {
        ino: 1,
        mode: 0,
        next: 1,
        name: &longest,
        stat: None,
    };
    assert_eq!(Entry::from_bytes(&good.to_bytes().unwrap()), Ok(good));
    let longer = [b'n'; 256];
    let mut body = Vec::new();
    assert!(
        push_entry(
            &mut body,
            1000,
            &Entry {
                name: &longer,
                ..good
            }
        )
        .is_err()
    );
    for name in [&b"a/b"[..], b"", b"a\0", b".", b".."] {
        let bytes = Entry { name, ..good }.to_bytes().unwrap();
        assert_eq!(
            Entry::from_bytes(&bytes),
            Err(Malformed::Invalid),
            "{name:?}"
        );
    }
    let bytes = Entry {
        name: &longer,
        ..good
    }
    .to_bytes()
    .unwrap();
    assert_eq!(Entry::from_bytes(&bytes), Err(Malformed::NameTooLong));
}

#[test]
fn a_listing_of_too_many_entries_ends_with_an_error() {
    let entry = Entry {
        ino: 1,
        mode: 0,
        next: 1,
        name: b"n",
        stat: None,
    };
    let body = entry.to_bytes().unwrap().repeat(4097);
    let entries: Vec<_> = Entries::new(&body).collect();
    assert_eq!(entries.len(), 4097);
    assert_eq!(entries[4096], Err(Malformed::TooMany));
}

// qnx: R2
#[test]
fn refusals_tell_unknown_messages_from_broken_ones() {
    assert_eq!(Request::parse(&[]), Err(Errno::EINVAL));
    assert_eq!(Request::parse(&[1]), Err(Errno::EINVAL));
    assert_eq!(Request::parse(&hex("0301 0000")), Err(Errno::ENOSYS));
    assert_eq!(Request::parse(&hex("0001 0200")), Err(Errno::ENOSYS));
    assert_eq!(Request::parse(&hex("1601 0100")), Err(Errno::EBADMSG));
    assert_eq!(Request::parse(&hex("1601 0000 00")), Err(Errno::EBADMSG));
    assert_eq!(Request::parse(&hex("1601 0000")), Ok(Request::Close));
}
