//! `docs/protocol` says the same as the code: numbers, names, sections, and bytes.

use abi::connect::{CombinedReply, Connect, Opened, Redirect, SymlinkReply};
use abi::io::{Entry, Events, Info, LockRange, Request, Stat, Statvfs};
use abi::{Decode, Encode, Errno, FileType, MessageKind};

use super::hex;

const ERRNO: &str = include_str!("../../../../docs/protocol/errno.md");
const CONNECT: &str = include_str!("../../../../docs/protocol/connect.md");
const IO: &str = include_str!("../../../../docs/protocol/io.md");

#[test]
fn the_table_of_errors_is_complete_and_right() {
    let rows: Vec<_> = ERRNO.lines().filter(|line| line.contains(" | E")).collect();
    let expected: Vec<_> = Errno::ALL
        .iter()
        .map(|errno| {
            format!(
                "| {} | {} | {} |",
                errno.number(),
                errno.name(),
                errno.text()
            )
        })
        .collect();
    assert_eq!(rows, expected);
}

/// The C library's words for every number it knows start with a capital letter and are ours else.
#[cfg(target_env = "gnu")]
#[test]
fn the_numbers_are_those_of_the_c_library() {
    for errno in Errno::ALL.iter().filter(|errno| errno.number() < 1000) {
        let theirs = std::io::Error::from_raw_os_error(i32::from(errno.number())).to_string();
        let words = theirs.split(" (os error").next().unwrap().to_lowercase();
        assert_eq!(errno.text().to_lowercase(), words, "{errno:?}");
    }
}

/// Heading and text of every second-level section.
pub(super) fn sections(document: &str) -> Vec<(&str, &str)> {
    document
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .collect()
}

/// What a block is, and its bytes.
pub(super) fn blocks(text: &str) -> Vec<(&str, Vec<u8>)> {
    let after_fence = text.split("```hex ").skip(1);
    after_fence
        .map(|block| {
            let (what, rest) = block.split_once('\n').unwrap();
            (what, hex(rest.split("```").next().unwrap()))
        })
        .collect()
}

fn same<'a, T: Encode + Decode<'a>>(bytes: &'a [u8]) {
    let value = T::from_bytes(bytes).unwrap_or_else(|cause| panic!("{cause}: {bytes:02x?}"));
    assert_eq!(value.to_bytes().unwrap(), bytes);
}

fn check(what: &str, bytes: &[u8]) {
    match what {
        "Opened" => same::<Opened>(bytes),
        "CombinedReply" => same::<CombinedReply<'_>>(bytes),
        "Redirect" => same::<Redirect>(bytes),
        "SymlinkReply" => same::<SymlinkReply>(bytes),
        "FileType" => same::<FileType>(bytes),
        "Stat" => same::<Stat>(bytes),
        "Statvfs" => same::<Statvfs>(bytes),
        "Info" => same::<Info>(bytes),
        "LockRange" => same::<LockRange>(bytes),
        "Events" => same::<Events>(bytes),
        "Entry" => same::<Entry<'_>>(bytes),
        _ => panic!("a block of a kind that no test knows: {what}"),
    }
}

#[test]
fn every_io_message_has_a_section_with_its_parts_and_real_bytes() {
    let documented = sections(IO);
    let kinds = MessageKind::ALL
        .iter()
        .filter(|kind| **kind != MessageKind::Connect);
    let headings: Vec<_> = kinds
        .clone()
        .map(|k| format!("{k:?} ({:#x})", k.number()))
        .collect();
    assert_eq!(
        documented
            .iter()
            .map(|(heading, _)| *heading)
            .collect::<Vec<_>>(),
        headings
    );
    for (&kind, (heading, text)) in kinds.zip(documented) {
        for part in ["**Request.**", "**Reply.**", "**Errors.**", "**Notes.**"] {
            assert!(text.contains(part), "{heading} has no {part}");
        }
        let blocks = blocks(text);
        assert_eq!(
            blocks.first().map(|(what, _)| *what),
            Some("request"),
            "{heading}"
        );
        for (what, bytes) in blocks {
            if what == "request" {
                same::<Request<'_>>(&bytes);
                assert_eq!(MessageKind::of(&bytes), Ok(kind), "{heading}");
            } else {
                check(what, &bytes);
            }
        }
    }
}

#[test]
fn every_connect_reply_has_a_section_with_real_bytes() {
    let mut seen = Vec::new();
    for (heading, text) in sections(CONNECT) {
        for (what, bytes) in blocks(text) {
            if what == "request" {
                same::<Connect<'_>>(&bytes);
            } else {
                assert_eq!(heading, format!("Reply: {what}"));
                check(what, &bytes);
            }
            seen.push(what);
        }
    }
    let expected = [
        "request",
        "request",
        "Opened",
        "CombinedReply",
        "Redirect",
        "SymlinkReply",
        "FileType",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_bounds_are_those_of_the_code() {
    use abi::limits as l;
    for (document, sentence) in [
        (CONNECT, format!("path, link text {} bytes", l::PATH_MAX)),
        (
            CONNECT,
            format!(
                "name {} bytes; candidates {}",
                l::NAME_MAX,
                l::CANDIDATES_MAX
            ),
        ),
        (IO, format!("at most {} bytes", l::DEVCTL_MAX)),
        (IO, format!("at most {} bytes", l::XATTR_VALUE_MAX)),
        (IO, format!("Names have 1 to {} bytes", l::XATTR_NAME_MAX)),
        (IO, format!("At most {} entries", l::DIRECTORY_ENTRIES_MAX)),
        (IO, format!("{} bytes: node", Stat::ENCODED_LEN)),
        (
            IO,
            format!("start at byte {} of the message", Request::WRITE_HEADER_LEN),
        ),
    ] {
        assert!(document.contains(&sentence), "{sentence}");
    }
}
