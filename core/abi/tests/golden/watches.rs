use abi::io::{Events, NotifyAction, Request, Watch, Watches};
use abi::{ConnectionId, Decode, Malformed};

use super::hex;
use super::io::tailed;

#[test]
fn several_descriptors_are_watched_in_one_message() {
    let list = [
        Watch {
            connection: ConnectionId(3),
            events: Events::INPUT,
        },
        Watch {
            connection: ConnectionId(7),
            events: Events::OUTPUT | Events::INVALID,
        },
    ];
    let bytes = Watches::encode_all(&list).unwrap();
    let watches = Watches::new(NotifyAction::Transition, &bytes).unwrap();
    tailed(
        Request::NotifyMany(watches),
        "0501 0100 | 0200 | 03000000 01000000 | 07000000 22000000",
    );
    assert_eq!(watches.iter().collect::<Vec<_>>(), list);
    for (text, expected) in [
        ("0501 0100 | 0100", Malformed::Invalid),
        ("0501 0100 | 0100 | 03000000 010000", Malformed::Truncated),
        ("0501 0100 | 0100 | 03000000 40000000", Malformed::Unknown),
        ("0501 0100 | 0300 | 03000000 01000000", Malformed::Unknown),
        ("0501 0200 | 0100 | 03000000 01000000", Malformed::Unknown),
    ] {
        assert_eq!(Request::from_bytes(&hex(text)), Err(expected), "{text}");
    }
    let many = vec![list[0]; abi::limits::WATCHES_MAX + 1];
    assert!(Watches::encode_all(&many).is_err());
}

#[test]
fn a_managers_own_message_names_its_protocol() {
    tailed(
        Request::Message {
            manager: 0x0201,
            number: 3,
            data: b"abc",
        },
        "1301 0000 | 0102 0300 | 616263",
    );
}
