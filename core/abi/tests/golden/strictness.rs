//! Whatever the bytes are: no panic, no value that encodes to something else.

use abi::connect::{CombinedReply, Connect, ConnectType, Extra, Opened, Redirect, SymlinkReply};
use abi::devctl::{LineStatus, SetTermios, Termios};
use abi::io::{
    Chown, Entries, Entry, Info, Lock, LockRange, Lseek, Read, Request, Stat, Statvfs, Utime,
    Whence, Xattr, XattrFlags,
};
use abi::{
    Candidate, Credentials, Decode, Encode, Errno, FileType, Gid, Handle, LinkAddress, MessageKind,
    Nd, NodeName, OpenFlags, PathFlags, Pid, Pulse, Uid,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// If the bytes are a value, they are the only bytes of that value.
fn canonical<'a, T: Encode + Decode<'a>>(bytes: &'a [u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes().unwrap(), bytes);
    }
}

fn everything(bytes: &[u8]) {
    canonical::<Connect<'_>>(bytes);
    canonical::<Redirect>(bytes);
    canonical::<SymlinkReply>(bytes);
    canonical::<CombinedReply<'_>>(bytes);
    canonical::<Opened>(bytes);
    canonical::<Candidate>(bytes);
    canonical::<Request<'_>>(bytes);
    canonical::<Entry<'_>>(bytes);
    canonical::<Stat>(bytes);
    canonical::<Statvfs>(bytes);
    canonical::<Info>(bytes);
    canonical::<LockRange>(bytes);
    canonical::<Lock>(bytes);
    canonical::<Utime>(bytes);
    canonical::<Termios>(bytes);
    canonical::<SetTermios>(bytes);
    canonical::<LineStatus>(bytes);
    canonical::<Credentials>(bytes);
    canonical::<Pulse>(bytes);
    canonical::<NodeName>(bytes);
    canonical::<LinkAddress>(bytes);
    canonical::<Errno>(bytes);
    let _ = Request::parse(bytes);
    assert!(Entries::new(bytes).count() <= bytes.len());
}

fn open_flags() -> impl Strategy<Value = OpenFlags> {
    any::<u32>().prop_map(OpenFlags::from_bits_truncate)
}

fn connect_type() -> impl Strategy<Value = ConnectType> {
    proptest::sample::select(ConnectType::ALL)
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        everything(&bytes);
    }

    #[test]
    fn any_bytes_after_a_known_kind_are_a_value_or_an_error(
        kind in proptest::sample::select(MessageKind::ALL),
        subkind in 0_u16..10,
        body in vec(prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()], 0..80),
    ) {
        let mut bytes = kind.to_bytes().unwrap();
        bytes.extend(subkind.to_bytes().unwrap());
        bytes.extend(body);
        everything(&bytes);
    }

    #[test]
    fn connects_come_back(
        subtype in connect_type(),
        numbers in any::<[u32; 4]>(),
        flags in open_flags(),
        path_flags in any::<u16>().prop_map(PathFlags::from_bits_truncate),
        path in vec(any::<u8>(), 0..4096),
        text in vec(any::<u8>(), 0..4096),
        extra in 0..7,
    ) {
        let handle = Handle(numbers[0]);
        let connect = Connect {
            subtype,
            handle,
            file_type: FileType(numbers[1]),
            flags,
            mode: numbers[2],
            umask: numbers[3],
            path_flags,
            path: &path,
            extra: match extra {
                0 => Extra::None,
                1 => Extra::Rename { path: &text, handle },
                2 => Extra::Link { path: &text, handle },
                3 => Extra::Symlink { target: &text },
                4 => Extra::Mknod { rdev: u64::from(numbers[2]) << 32 },
                5 => Extra::Mount { special: &text, kind: b"k", options: &path },
                _ => Extra::Combined(&text),
            },
        };
        let bytes = connect.to_bytes().unwrap();
        prop_assert_eq!(Connect::from_bytes(&bytes), Ok(connect));
    }

    #[test]
    fn requests_come_back(
        data in vec(any::<u8>(), 0..2000),
        name in vec(1_u8.., 1..=255),
        offset in proptest::option::of(0..=i64::MAX as u64),
        numbers in any::<[u32; 2]>(),
    ) {
        let read = Read { nbytes: numbers[0], offset };
        let seek = Lseek { offset: i64::from(numbers[0]) - i64::from(numbers[1]), whence: Whence::Data };
        let chown = Chown {
            uid: (numbers[0] != u32::MAX).then_some(Uid(numbers[0])),
            gid: (numbers[1] != u32::MAX).then_some(Gid(numbers[1])),
        };
        for request in [
            Request::Read(read),
            Request::Write { offset, data: &data },
            Request::Devctl { dcmd: numbers[0], data: &data },
            Request::Lseek(seek),
            Request::Chown(chown),
            Request::Xattr(Xattr::Get { name: &name, nbytes: numbers[0] }),
            Request::Xattr(Xattr::Set { name: &name, flags: XattrFlags::REPLACE, value: &data }),
            Request::Xattr(Xattr::Remove { name: &name }),
        ] {
            let bytes = request.to_bytes().unwrap();
            prop_assert_eq!(Request::from_bytes(&bytes), Ok(request));
        }
    }

    #[test]
    fn credentials_come_back(ids in any::<[u32; 4]>(), groups in vec(any::<u32>(), 0..=64)) {
        let credentials = Credentials {
            groups: groups.into_iter().map(Gid).collect(),
            ..Credentials::new(Nd(ids[0]), Pid(ids[1]), Uid(ids[2]), Gid(ids[3]))
        };
        let bytes = credentials.to_bytes().unwrap();
        prop_assert_eq!(Credentials::from_bytes(&bytes), Ok(credentials));
    }
}
