use abi::connect::{
    Candidate, CombinedReply, Connect, ConnectStatus, ConnectType, Extra, Opened, Redirect,
    SymlinkReply,
};
use abi::flags::mode;
use abi::{
    AttachFlags, ChannelId, Decode, Encode, FileType, Handle, Malformed, Nd, OpenFlags, PathFlags,
    Pid,
};

use super::{fixed, hex};

fn request<'a>(subtype: ConnectType, extra: Extra<'a>) -> Connect<'a> {
    Connect {
        subtype,
        extra,
        ..Connect::open(Handle(7), b"a", OpenFlags::empty())
    }
}

fn same(connect: Connect<'_>, text: &str) {
    let bytes = hex(text);
    assert_eq!(connect.to_bytes().unwrap(), bytes, "{connect:?}");
    assert_eq!(Connect::from_bytes(&bytes), Ok(connect));
    for cut in 0..bytes.len() {
        assert_eq!(
            Connect::from_bytes(&bytes[..cut]),
            Err(Malformed::Truncated)
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Connect::from_bytes(&longer), Err(Malformed::Trailing));
}

#[test]
fn an_open_has_every_field_of_the_header() {
    let open = Connect {
        file_type: FileType::MQUEUE,
        mode: mode::S_IFREG | 0o644,
        umask: 0o022,
        path_flags: PathFlags::DIR | PathFlags::DOT,
        ..Connect::open(
            Handle(0x0102_0304),
            b"ser1",
            OpenFlags::READ_WRITE | OpenFlags::CREATE | OpenFlags::NONBLOCK,
        )
    };
    same(
        open,
        "0001 0200 | 04030201 06000000 47000000 a4810000 12000000 0300 | 0400 73657231 | 0000",
    );
}

// qnx: R20
#[test]
fn a_combined_message_carries_the_io_message_whole() {
    same(
        request(ConnectType::CombineClose, Extra::Combined(&[4, 1, 0, 0])),
        "0001 0100 | 07000000 00000000 00000000 00000000 00000000 0000 | 0100 61 | 0500 0400 04010000",
    );
    same(
        request(ConnectType::Combine, Extra::Combined(b"")),
        "0001 0000 | 07000000 00000000 00000000 00000000 00000000 0000 | 0100 61 | 0500 0000",
    );
}

#[test]
fn requests_about_names_have_their_numbers_and_extras() {
    let head = "07000000 00000000 00000000 00000000 00000000 0000 | 0100 61 |";
    let rows = [
        (ConnectType::Unlink, Extra::None, "0300", "0000"),
        (
            ConnectType::Rename,
            Extra::Rename {
                path: b"old",
                handle: Handle(9),
            },
            "0400",
            "0100 09000000 0300 6f6c64",
        ),
        (
            ConnectType::Mknod,
            Extra::Mknod { rdev: 0x0105 },
            "0500",
            "0400 0501000000000000",
        ),
        (ConnectType::Readlink, Extra::None, "0600", "0000"),
        (
            ConnectType::Link,
            Extra::Link {
                path: b"old",
                handle: Handle(9),
            },
            "0700",
            "0200 09000000 0300 6f6c64",
        ),
        (
            ConnectType::Mount,
            Extra::Mount {
                special: b"/dev/hd0",
                kind: b"tar",
                options: b"ro",
            },
            "0900",
            "0600 0800 2f6465762f686430 0300 746172 0200 726f",
        ),
        (
            ConnectType::Symlink,
            Extra::Symlink { target: b"../x" },
            "8000",
            "0300 0400 2e2e2f78",
        ),
    ];
    for (subtype, extra, number, tail) in rows {
        same(
            request(subtype, extra),
            &format!("0001 {number} | {head} {tail}"),
        );
    }
}

#[test]
fn statuses_are_0_to_3() {
    let all = [
        ConnectStatus::Ok,
        ConnectStatus::Redirect,
        ConnectStatus::Symlink,
        ConnectStatus::FileType,
    ];
    for (number, status) in (0..).zip(all) {
        assert_eq!(status.status(), number);
        assert_eq!(ConnectStatus::from_status(number), Ok(status));
    }
    assert_eq!(ConnectStatus::from_status(4), Err(Malformed::Unknown));
    assert_eq!(ConnectStatus::from_status(-1), Err(Malformed::Unknown));
    fixed(&FileType::MATCHED, "ffffffff");
}

const SERIAL: Candidate = Candidate {
    nd: Nd(0x0001_0002),
    pid: Pid(0x30),
    chid: ChannelId(4),
    handle: Handle(5),
    file_type: FileType::FILE,
    flags: AttachFlags::DIR,
    prefix_len: 9,
};

#[test]
fn a_candidate_has_26_bytes() {
    fixed(
        &SERIAL,
        "02000100 30000000 04000000 05000000 01000000 00010000 0900",
    );
}

// qnx: P31
#[test]
fn a_redirect_lists_candidates_and_the_path_they_see() {
    let redirect = Redirect {
        candidates: vec![SERIAL],
        path: b"/dev/ser1".to_vec(),
        path_flags: PathFlags::empty(),
    };
    fixed(
        &redirect,
        "0100 | 02000100 30000000 04000000 05000000 01000000 00010000 0900 |
         0900 2f6465762f73657231 | 0000",
    );
    let outside = Redirect {
        path: b"/dev/ser".to_vec(),
        ..redirect
    };
    assert_eq!(
        Redirect::from_bytes(&outside.to_bytes().unwrap()),
        Err(Malformed::Invalid)
    );
}

// qnx: P31
#[test]
fn more_than_256_candidates_are_refused() {
    let mut many = Redirect {
        candidates: vec![
            Candidate {
                prefix_len: 0,
                ..SERIAL
            };
            256
        ],
        ..Redirect::default()
    };
    assert_eq!(
        Redirect::from_bytes(&many.to_bytes().unwrap()).as_ref(),
        Ok(&many)
    );
    many.candidates.push(Candidate::default());
    assert_eq!(
        Redirect::from_bytes(&many.to_bytes().unwrap()),
        Err(Malformed::TooMany)
    );
}

#[test]
fn a_symlink_reply_is_two_texts() {
    let reply = SymlinkReply {
        target: b"../b".to_vec(),
        rest: b"c/d".to_vec(),
    };
    fixed(&reply, "0400 2e2e2f62 0300 632f64");
}

#[test]
fn an_opened_file_is_described() {
    let opened = Opened {
        file_type: FileType::FILE,
        mode: mode::S_IFCHR | 0o666,
        size: 0x0807_0605_0403_0201,
        ino: 42,
        direct: true,
        block_size: 4096,
    };
    fixed(
        &opened,
        "01000000 b6210000 0102030405060708 2a00000000000000 01 00100000",
    );
}

#[test]
fn a_combined_reply_has_both_answers() {
    let opened = Opened {
        mode: mode::S_IFREG,
        ..Opened::default()
    };
    let kept = CombinedReply {
        opened: Some(opened),
        status: 2,
        body: b"hi",
    };
    let bytes = hex(
        "01 | 00000000 00800000 0000000000000000 0000000000000000 00 00000000 |
         0200000000000000 | 6869",
    );
    assert_eq!(kept.to_bytes().unwrap(), bytes);
    assert_eq!(CombinedReply::from_bytes(&bytes), Ok(kept));
    let closed = CombinedReply {
        opened: None,
        status: -1,
        body: b"",
    };
    let bytes = hex("00 | ffffffffffffffff");
    assert_eq!(closed.to_bytes().unwrap(), bytes);
    assert_eq!(CombinedReply::from_bytes(&bytes), Ok(closed));
}

#[test]
fn paths_beyond_4095_bytes_are_refused() {
    let longest = vec![b'a'; 4095];
    let open = Connect::open(Handle(0), &longest, OpenFlags::READ);
    assert_eq!(Connect::from_bytes(&open.to_bytes().unwrap()), Ok(open));
    let longer = vec![b'a'; 4096];
    let open = Connect::open(Handle(0), &longer, OpenFlags::READ)
        .to_bytes()
        .unwrap();
    assert_eq!(Connect::from_bytes(&open), Err(Malformed::NameTooLong));
    let target = Connect {
        subtype: ConnectType::Symlink,
        extra: Extra::Symlink { target: &longer },
        ..Connect::open(Handle(0), b"l", OpenFlags::empty())
    };
    assert_eq!(
        Connect::from_bytes(&target.to_bytes().unwrap()),
        Err(Malformed::NameTooLong)
    );
}

#[test]
fn numbers_that_are_not_known_are_refused() {
    let good =
        hex("0001 0200 | 07000000 00000000 00000000 00000000 00000000 0000 | 0100 61 | 0000");
    assert!(Connect::from_bytes(&good).is_ok());
    // Kind, subtype (8 is not a message), open flags, path flags, kind of extra.
    for (at, byte) in [(0, 1), (2, 8), (2, 10), (13, 0x80), (24, 8), (29, 7)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(
            Connect::from_bytes(&bad),
            Err(Malformed::Unknown),
            "byte {at}"
        );
    }
}

#[test]
fn paths_in_replies_are_bounded_too() {
    let longest = vec![b'a'; 4095];
    let longer = vec![b'a'; 4096];
    let redirect = |path: &[u8]| Redirect {
        path: path.to_vec(),
        ..Redirect::default()
    };
    assert!(Redirect::from_bytes(&redirect(&longest).to_bytes().unwrap()).is_ok());
    let bytes = redirect(&longer).to_bytes().unwrap();
    assert_eq!(Redirect::from_bytes(&bytes), Err(Malformed::NameTooLong));
    for (target, rest) in [(&longer, &longest), (&longest, &longer)] {
        let reply = SymlinkReply {
            target: target.clone(),
            rest: rest.clone(),
        };
        let bytes = reply.to_bytes().unwrap();
        assert_eq!(
            SymlinkReply::from_bytes(&bytes),
            Err(Malformed::NameTooLong)
        );
    }
    for extra in [
        Extra::Rename {
            path: &longer,
            handle: Handle(1),
        },
        Extra::Link {
            path: &longer,
            handle: Handle(1),
        },
    ] {
        let bytes = extra.to_bytes().unwrap();
        assert_eq!(Extra::from_bytes(&bytes), Err(Malformed::NameTooLong));
    }
}

#[test]
fn opens_that_stay_open_are_known() {
    let stays: Vec<_> = ConnectType::ALL.iter().filter(|t| t.stays_open()).collect();
    assert_eq!(stays, [&ConnectType::Combine, &ConnectType::Open]);
    let opens: Vec<_> = ConnectType::ALL.iter().filter(|t| t.opens()).collect();
    assert_eq!(
        opens,
        [
            &ConnectType::Combine,
            &ConnectType::CombineClose,
            &ConnectType::Open
        ]
    );
}
