//! What the fuzz targets play with their inputs. Each input is a [`tape::Tape`] from which decisions are read.

pub mod daemon_socket;
mod meddler;
mod messages;
pub mod rings;
pub mod tape;
#[path = "../../../core/node/tests/support/crypto.rs"]
mod toy;
pub mod two_nodes;

pub use messages::messages;

use ::rights::text::{self, NoNames};
use ::rights::{Client, ClientRights, Operation, Rule, Rules};
use abi::{Decode, Encode, NodeName, Uid};
use drivers::ethernet::Header;
use drivers::neighbour::Head;

/// Takes `data` as the payload of a frame: port of the receiver as it opened it, then the frame.
pub fn ethernet(data: &[u8]) {
    let Some((port, frame)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((head, behind)) = frame.split_first_chunk::<{ Header::LEN }>() else {
        return;
    };
    let header = Header::decode(*head);
    assert_eq!(header.encode(), *head);
    let port = u16::from_le_bytes(*port);
    if let Some(len) = header.packet_len(port, behind.len()) {
        assert!(header.to == port && behind.get(..len).is_some());
    }
}

/// Takes `data` as a datagram of another node.
pub fn neighbour(data: &[u8]) {
    if let Some(head) = Head::decode(data) {
        assert_eq!(head.encode(), data[..Head::LEN]);
        let packets = data[Head::LEN..].chunks(head.segment.into());
        assert!((1..=Head::SEGMENTS_MAX).contains(&packets.len()));
    }
}

/// Takes `data` as rules on the wire or as text, then as the rights of one client. What is taken is sound, comes back from
/// either form, and is the same to a client as rule after rule says.
pub fn rights(data: &[u8]) {
    if let Ok(rights) = ClientRights::from_bytes(data) {
        assert_eq!(rights.to_bytes().as_deref(), Ok(data));
        let _ = rights.at(b"/dev/ser1").bits();
    }
    let written = std::str::from_utf8(data).ok();
    let written = written.and_then(|text| text::rules(text, &NoNames).ok());
    let Some(rules) = Rules::from_bytes(data).ok().or(written) else {
        return;
    };
    assert!(rules.list().iter().all(Rule::is_sound));
    let bytes = rules.to_bytes().expect("what was taken can be sent");
    assert_eq!(Rules::from_bytes(&bytes).as_ref(), Ok(&rules));
    let lines: Vec<String> = rules.list().iter().map(Rule::to_string).collect();
    assert_eq!(
        text::rules(&lines.join("\n"), &NoNames).as_ref(),
        Ok(&rules)
    );
    let client = Client {
        node: NodeName::parse("lab1").expect("a name"),
        is_own: false,
        user: Uid(1000),
    };
    let rights = rules.for_client(&client);
    let paths = rules.list().iter().map(|rule| rule.prefix.as_slice());
    for path in paths.chain([&b"/"[..], b"/dev/ser1"]).take(8) {
        let at = rights.at(path);
        for operation in Operation::ALL.into_iter().take(10) {
            let first = rules.list().iter().position(|rule| {
                rule.node.fits(&client.node, false)
                    && rule.user.fits(client.user)
                    && rule.operations.has(operation)
                    && ::rights::path::is_within(path, &rule.prefix)
            });
            let decision = rights.decision(&at, operation);
            assert_eq!(decision.rule.map(usize::from), first);
        }
    }
}
