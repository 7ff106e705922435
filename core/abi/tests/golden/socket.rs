//! `docs/protocol/socket.md` says the same as the code: the numbers and names of all packets, and the bytes of some.

use abi::Encode;
use abi::system::{FromNode, Notice, Reply, Request, unpack};

use super::documents::{blocks, sections};

const SOCKET: &str = include_str!("../../../../docs/protocol/socket.md");

/// Number and name of each row of the table in a section.
fn rows(section: &str) -> Vec<(u16, String)> {
    let sections = sections(SOCKET);
    let (_, text) = sections.iter().find(|(name, _)| *name == section).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (kind, name) = (cells.next()?, cells.next()?);
        let kind = kind.strip_prefix("0x").map_or_else(
            || kind.parse().ok(),
            |digits| u16::from_str_radix(digits, 16).ok(),
        )?;
        Some((kind, name.to_owned()))
    });
    rows.collect()
}

fn owned(kinds: &[(u16, &str)]) -> Vec<(u16, String)> {
    let owned = kinds.iter().map(|(kind, name)| (*kind, (*name).to_owned()));
    owned.collect()
}

#[test]
fn every_packet_of_the_daemon_socket_is_listed_with_its_number() {
    assert_eq!(rows("Requests"), owned(Request::KINDS));
    assert_eq!(rows("Replies"), owned(Reply::KINDS));
    assert_eq!(rows("Notices"), owned(Notice::KINDS));
}

#[test]
fn packets_are_shown_as_they_are() {
    let shown = blocks(SOCKET);
    assert_eq!(shown.len(), 15);
    for (name, bytes) in shown {
        let (kind, again) = if Request::KINDS.iter().any(|(_, known)| *known == name) {
            let request = unpack::<Request>(&bytes).unwrap().1.unwrap();
            (request.kind_name(), request.to_bytes().unwrap())
        } else {
            match unpack::<FromNode>(&bytes).unwrap().1.unwrap() {
                FromNode::Reply(reply) => (reply.kind_name(), reply.to_bytes().unwrap()),
                FromNode::Notice(notice) => (notice.kind_name(), notice.to_bytes().unwrap()),
            }
        };
        assert_eq!(kind, name);
        assert_eq!(again, bytes[4..], "{name}");
    }
}
