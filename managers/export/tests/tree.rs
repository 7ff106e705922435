//! Every operation on a real directory, without a daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use abi::connect::{ConnectType, Extra};
use abi::devctl::ALL_SETFLAGS;
use abi::flags::mode::{S_IFDIR, S_IFLNK};
use abi::io::{
    Chmod, Chown, Entries, Lseek, ReadDirectory, Request, SetTime, Space, SpaceFlags, Statvfs,
    Sync, TimeSpec, Truncate, Utime, Whence, Xattr, XattrFlags,
};
use abi::{Decode, Errno, Gid, Handle, OpenFlags, Uid};

mod exported;

use exported::*;

#[test]
fn a_file_is_made_written_read_shortened_and_removed() {
    let (directory, client) = exported();
    assert_eq!(client.open("a", READ).map(drop), Err(Errno::ENOENT));
    let file = client.open_with("a", BOTH | CREATE, 0o640).unwrap();
    assert_eq!(file.write(b"hello, world"), Ok(12));
    assert_eq!(file.read(10).unwrap(), b"", "the offset is at the end");
    assert_eq!(read_at(&file, 7, 100).unwrap(), b"world");
    let write = Request::Write {
        offset: Some(0),
        data: b"J",
    };
    file.ask(&write).unwrap();
    file.ask(&Request::Truncate(Truncate { size: 5 })).unwrap();
    file.ask(&Request::Sync(Sync { data_only: true })).unwrap();
    file.ask(&Request::Sync(Sync { data_only: false })).unwrap();
    let on_disk = directory.path().join("a");
    assert_eq!(fs::read(&on_disk).unwrap(), b"Jello");
    assert_eq!(
        fs::metadata(&on_disk).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let stat = file.stat().unwrap();
    assert_eq!((stat.size, stat.nlink), (5, 1));
    assert_eq!(stat.ino, fs::metadata(&on_disk).unwrap().ino());
    unlink(&client, "a").unwrap();
    assert!(!on_disk.exists());
    assert_eq!(
        read_at(&file, 0, 9).unwrap(),
        b"Jello",
        "an open file outlives its name"
    );
    assert_eq!(unlink(&client, "a"), Err(Errno::ENOENT));
}

#[test]
fn open_flags_mean_what_they_mean_on_a_local_disk() {
    let (directory, client) = exported();
    fs::write(directory.path().join("full"), b"content").unwrap();
    fs::create_dir(directory.path().join("dir")).unwrap();
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let cases = [
        ("full", READ | exclusive, Err(Errno::EEXIST)),
        ("new", WRITE | exclusive, Ok(())),
        ("full", READ | OpenFlags::DIRECTORY, Err(Errno::ENOTDIR)),
        ("full/", READ, Ok(())),
        ("dir", READ, Ok(())),
        ("dir", WRITE, Err(Errno::EISDIR)),
        ("dir", BOTH | CREATE, Err(Errno::EISDIR)),
        ("full/below", READ, Err(Errno::ENOTDIR)),
        ("none/below", READ | CREATE, Err(Errno::ENOENT)),
        ("", READ | OpenFlags::DIRECTORY, Ok(())),
        ("dir", READ | OpenFlags::TMPFILE, Err(Errno::EOPNOTSUPP)),
        ("full", READ | OpenFlags::TRUNCATE, Ok(())),
    ];
    for (path, flags, expected) in cases {
        // The walk in the client strips slashes and says so in the path flags.
        let path = path.trim_end_matches('/');
        assert_eq!(
            client.open(path, flags).map(drop),
            expected,
            "'{path}' {flags:?}"
        );
    }
    assert_eq!(fs::read(directory.path().join("full")).unwrap(), b"content");
    client.open("full", WRITE | OpenFlags::TRUNCATE).unwrap();
    assert_eq!(fs::read(directory.path().join("full")).unwrap(), b"");
}

#[test]
fn appends_go_to_the_end_whatever_the_offset_is() {
    let (directory, client) = exported();
    let (one, two) = (
        client
            .open("log", BOTH | CREATE | OpenFlags::APPEND)
            .unwrap(),
        client.open("log", WRITE | CREATE).unwrap(),
    );
    one.write(b"one ").unwrap();
    two.devctl(ALL_SETFLAGS, &OpenFlags::APPEND).unwrap();
    two.write(b"two ").unwrap();
    one.ask(&Request::Write {
        offset: Some(0),
        data: b"three",
    })
    .unwrap();
    assert_eq!(
        fs::read(directory.path().join("log")).unwrap(),
        b"one two three"
    );
}

#[test]
fn a_megabyte_goes_in_and_out_in_one_message() {
    let (_directory, client) = exported();
    let file = client.open("big", BOTH | CREATE).unwrap();
    let bytes: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 253) as u8).collect();
    assert_eq!(file.write(&bytes), Ok(1 << 20));
    assert!(read_at(&file, 0, 1 << 20).unwrap() == bytes);
    assert_eq!(
        read_at(&file, (1 << 20) - 3, 10).unwrap(),
        &bytes[(1 << 20) - 3..]
    );
}

#[test]
fn a_directory_is_listed_in_many_messages_without_losing_or_repeating_a_name() {
    let (directory, client) = exported();
    let mut expected: Vec<String> = (0..1000).map(|index| format!("file-{index}")).collect();
    for name in &expected {
        fs::write(directory.path().join(name), b"").unwrap();
    }
    expected.sort();
    for nbytes in [300, 4096, 1 << 20] {
        let mut names = names_in(&client, "", nbytes);
        names.sort();
        assert_eq!(names, expected, "with room for {nbytes} bytes");
    }
    let listing = client.open("", READ).unwrap();
    let tiny = ReadDirectory {
        cookie: 0,
        nbytes: 10,
        with_stat: false,
    };
    assert_eq!(
        listing.ask(&Request::ReadDirectory(tiny)),
        Err(Errno::EINVAL)
    );
}

#[test]
fn a_listing_can_bring_attributes() {
    let (directory, client) = exported();
    fs::write(directory.path().join("file"), b"12345").unwrap();
    symlink("nowhere", directory.path().join("link")).unwrap();
    let list = ReadDirectory {
        cookie: 0,
        nbytes: 4096,
        with_stat: true,
    };
    let (_, body) = client
        .open("", READ)
        .unwrap()
        .ask(&Request::ReadDirectory(list))
        .unwrap();
    let mut entries: Vec<_> = Entries::new(&body).map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.name);
    let [file, link] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    assert_eq!((file.name, file.stat.unwrap().size), (&b"file"[..], 5));
    assert_eq!(file.stat.unwrap().ino, file.ino);
    assert_eq!(
        link.stat.unwrap().mode & 0o170_000,
        S_IFLNK,
        "a link's own attributes"
    );
}

#[test]
fn names_are_made_moved_linked_and_removed() {
    let (directory, client) = exported();
    mkdir(&client, "dir", 0o751).unwrap();
    assert_eq!(mkdir(&client, "dir", 0o755), Err(Errno::EEXIST));
    assert_eq!(mkdir(&client, "", 0o755), Err(Errno::EEXIST));
    let made = fs::metadata(directory.path().join("dir")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o751);
    client
        .open("dir/a", WRITE | CREATE)
        .unwrap()
        .write(b"a")
        .unwrap();
    assert_eq!(rmdir(&client, "dir"), Err(Errno::ENOTEMPTY));
    assert_eq!(rmdir(&client, "dir/a"), Err(Errno::ENOTDIR));
    assert_eq!(unlink(&client, "dir"), Err(Errno::EISDIR));
    assert_eq!(unlink(&client, ""), Err(Errno::EBUSY));
    rename(&client, "dir/a", "b").unwrap();
    assert_eq!(names_in(&client, "dir", 4096), Vec::<String>::new());
    let link = Extra::Link {
        path: b"b",
        handle: Handle(1),
    };
    client.path(ConnectType::Link, "dir/c", 0, link).unwrap();
    assert_eq!(stat_of(&client, "b", OpenFlags::empty()).unwrap().nlink, 2);
    assert_eq!(
        client.path(ConnectType::Link, "dir/c", 0, link),
        Err(Errno::EEXIST)
    );
    unlink(&client, "dir/c").unwrap();
    rmdir(&client, "dir").unwrap();
    assert_eq!(names_in(&client, "", 4096), ["b"]);
}

#[test]
fn symbolic_links_are_made_read_and_followed_within_the_tree() {
    let (directory, client) = exported();
    fs::create_dir(directory.path().join("dir")).unwrap();
    fs::write(directory.path().join("dir/file"), b"inside").unwrap();
    let make = |path, target: &[u8]| {
        client
            .path(ConnectType::Symlink, path, 0, Extra::Symlink { target })
            .map(drop)
    };
    make("dir/up", b"../dir/./file").unwrap();
    make("short", b"dir").unwrap();
    assert_eq!(make("short", b"dir"), Err(Errno::EEXIST));
    assert_eq!(
        client.open("short/up", READ).unwrap().read(99).unwrap(),
        b"inside"
    );
    let (_, text) = client
        .path(ConnectType::Readlink, "dir/up", 0, Extra::None)
        .unwrap();
    assert_eq!(text, b"../dir/./file");
    let readlink = |path| {
        client
            .path(ConnectType::Readlink, path, 0, Extra::None)
            .map(drop)
    };
    assert_eq!(readlink("dir"), Err(Errno::EINVAL));
    assert_eq!(readlink(""), Err(Errno::EINVAL));
    assert_eq!(
        stat_of(&client, "short", OpenFlags::empty()).unwrap().mode & 0o170_000,
        S_IFDIR
    );
    assert_eq!(
        stat_of(&client, "short", NOFOLLOW).unwrap().mode & 0o170_000,
        S_IFLNK
    );
    let link = client.open("short", PATH | NOFOLLOW).unwrap();
    assert_eq!(link.ask(&Request::Readlink).unwrap(), (3, b"dir".to_vec()));
    assert_eq!(
        client.open("short", READ | NOFOLLOW).map(drop),
        Err(Errno::ELOOP)
    );
    make("loop", b"loop").unwrap();
    assert_eq!(client.open("loop", READ).map(drop), Err(Errno::ELOOP));
}

#[test]
fn attributes_are_changed_through_open_files_and_by_path() {
    let (directory, client) = exported();
    let on_disk = directory.path().join("file");
    fs::write(&on_disk, b"content").unwrap();
    let open = client.open("file", READ).unwrap();
    let by_path = client.open("file", PATH).unwrap();
    for (file, bits) in [(&open, 0o600), (&by_path, 0o755)] {
        file.ask(&Request::Chmod(Chmod { mode: bits })).unwrap();
        assert_eq!(
            fs::metadata(&on_disk).unwrap().permissions().mode() & 0o7777,
            bits
        );
        let at = TimeSpec {
            seconds: i64::from(bits),
            nanos: 123_456_789,
        };
        let utime = Utime {
            atime: SetTime::Keep,
            mtime: SetTime::At(at),
        };
        file.ask(&Request::Utime(utime)).unwrap();
        assert_eq!(file.stat().unwrap().mtime, at);
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let same = Chown {
            uid: Some(Uid(uid.as_raw())),
            gid: Some(Gid(gid.as_raw())),
        };
        file.ask(&Request::Chown(same)).unwrap();
    }
    by_path
        .ask(&Request::Truncate(Truncate { size: 3 }))
        .unwrap();
    assert_eq!(fs::read(&on_disk).unwrap(), b"con");
    assert_eq!(
        open.ask(&Request::Truncate(Truncate { size: 0 })),
        Err(Errno::EINVAL)
    );
    assert_eq!(by_path.read(1), Err(Errno::EBADF));
    let (_, body) = client.combined("", PATH, &Request::Statvfs).unwrap();
    let facts = Statvfs::from_bytes(&body).unwrap();
    assert!(facts.blocks > 0 && facts.name_max == 255, "{facts:?}");
}

#[test]
fn holes_are_made_found_and_skipped() {
    let (_directory, client) = exported();
    let file = client.open("sparse", BOTH | CREATE).unwrap();
    let seek = |offset, whence| {
        let (_, body) = file.ask(&Request::Lseek(Lseek { offset, whence }))?;
        Ok(u64::from_bytes(&body).unwrap())
    };
    file.ask(&Request::Write {
        offset: Some(1 << 20),
        data: b"end",
    })
    .unwrap();
    assert_eq!(seek(0, Whence::End), Ok((1 << 20) + 3));
    assert_eq!(seek(0, Whence::Data), Ok(1 << 20));
    assert_eq!(seek(0, Whence::Hole), Ok(0));
    assert_eq!(seek(2 << 20, Whence::Data), Err(Errno::ENXIO));
    assert_eq!(seek(-1, Whence::Set), Err(Errno::EINVAL));
    let space = |flags, len| {
        Request::Space(Space {
            flags,
            offset: 0,
            len,
        })
    };
    file.ask(&space(SpaceFlags::empty(), 2 << 20)).unwrap();
    assert_eq!(file.stat().unwrap().size, 2 << 20);
    file.ask(&space(
        SpaceFlags::KEEP_SIZE | SpaceFlags::PUNCH_HOLE,
        2 << 20,
    ))
    .unwrap();
    assert_eq!(read_at(&file, 1 << 20, 3).unwrap(), [0, 0, 0]);
    let reader = client.open("sparse", READ).unwrap();
    assert_eq!(
        reader.ask(&space(SpaceFlags::empty(), 1)),
        Err(Errno::EBADF)
    );
}

#[test]
fn extended_attributes_are_set_listed_read_and_removed() {
    let (_directory, client) = exported();
    let file = client.open("file", BOTH | CREATE).unwrap();
    let set = |name, flags| {
        Request::Xattr(Xattr::Set {
            name,
            flags,
            value: b"value",
        })
    };
    let get = |name, nbytes| Request::Xattr(Xattr::Get { name, nbytes });
    file.ask(&set(b"user.one", XattrFlags::CREATE)).unwrap();
    assert_eq!(
        file.ask(&set(b"user.one", XattrFlags::CREATE)),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        file.ask(&set(b"user.two", XattrFlags::REPLACE)),
        Err(Errno::ENODATA)
    );
    assert_eq!(file.ask(&get(b"user.one", 0)), Ok((5, vec![])));
    assert_eq!(file.ask(&get(b"user.one", 4)), Err(Errno::ERANGE));
    assert_eq!(file.ask(&get(b"user.one", 5)), Ok((5, b"value".to_vec())));
    let by_path = client.open("file", PATH).unwrap();
    let (_, names) = by_path
        .ask(&Request::Xattr(Xattr::List { nbytes: 100 }))
        .unwrap();
    assert!(
        names
            .split(|&byte| byte == 0)
            .any(|name| name == b"user.one"),
        "{names:?}"
    );
    by_path
        .ask(&Request::Xattr(Xattr::Remove { name: b"user.one" }))
        .unwrap();
    assert_eq!(file.ask(&get(b"user.one", 5)), Err(Errno::ENODATA));
}
