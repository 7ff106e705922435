//! What the fuzz targets play with their inputs. Each input is a [`tape::Tape`] from which decisions are read.

pub mod daemon_socket;
mod meddler;
pub mod rings;
pub mod tape;
#[path = "../../../core/node/tests/support/crypto.rs"]
mod toy;
pub mod two_nodes;

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
