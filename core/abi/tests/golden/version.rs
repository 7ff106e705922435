//! The protocol between programs, nodes and other nodes keeps its bytes for as long as it keeps its version.

use slashnet_abi::system::{self, Lookup, Notice, Request, Traffic, VERSION};
use slashnet_abi::{Decode, NodeName};

/// What the definitions of all messages come to, and the version of which that holds.
///
/// Whoever changes a message writes the digest that the test names. If the version on the left has been released, it is
/// raised as well, here and in `abi::system`.
const DEFINED: (u16, u64) = (2, 0x6dca_e54f_fd31_b193);

const DEFINITIONS: [&str; 8] = [
    include_str!("../../src/system/link.rs"),
    include_str!("../../src/system/page.rs"),
    include_str!("../../src/system/peer.rs"),
    include_str!("../../src/system/reply.rs"),
    include_str!("../../src/system/request.rs"),
    include_str!("../../src/system/rights.rs"),
    include_str!("../../src/system/session.rs"),
    include_str!("../../src/system/table.rs"),
];

/// FNV-1a of the definitions without documentation, attributes and space: these are no part of the format. A definition
/// begins with the first of these words of its file.
fn digest() -> u64 {
    let begins = |text: &str| {
        let words = ["messages! {", "record! {", "choice! {", "pub const"];
        words
            .iter()
            .filter_map(|word| text.find(word))
            .min()
            .unwrap()
    };
    let code = DEFINITIONS.map(|text| text[begins(text)..].split("#[cfg(test)]").next().unwrap());
    let lines = code.iter().flat_map(|text| text.lines()).map(str::trim);
    let said = lines.filter(|line| !line.starts_with("//") && !line.starts_with("#["));
    let bytes = said
        .flat_map(str::bytes)
        .filter(|byte| !byte.is_ascii_whitespace());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_message_that_changes_changes_the_version() {
    let now = (VERSION, digest());
    assert_eq!(
        now, DEFINED,
        "the messages of abi::system are others: is the version another one, too? (digest {:#x})",
        now.1
    );
}

#[test]
fn packets_of_this_version_have_these_bytes() {
    let lookup = Request::Lookup(Lookup {
        node: NodeName::parse("lab2").unwrap(),
    });
    let traffic = Request::Traffic(Traffic { rows: vec![] });
    let rows: [(Vec<u8>, &[u8]); 3] = [
        (system::packet(7, &lookup).unwrap(), b"\x07\0\0\0\x14\0"),
        (system::packet(0, &traffic).unwrap(), b"\0\0\0\0\x16\0"),
        (
            system::packet(0, &Notice::Lanes).unwrap(),
            b"\0\0\0\0\x05\x02",
        ),
    ];
    for (packet, begins) in rows {
        assert!(packet.starts_with(begins), "{packet:02x?}");
    }
    let (serial, notice) = system::unpack::<Notice>(b"\0\0\0\0\x05\x02").unwrap();
    assert_eq!((serial, notice), (0, Ok(Notice::Lanes)));
    assert!(
        Request::from_bytes(&VERSION.to_le_bytes()).is_err(),
        "a number alone is no request"
    );
}
