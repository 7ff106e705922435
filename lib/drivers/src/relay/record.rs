//! What stands before the packets of a train in the rings of a relay.

use abi::LinkAddress;
use abi::codec::{Decode, Encode, Reader, Writer};

/// The head of a train of packets: where they go to, or come from.
///
/// On the wire: link (1 byte), the address (its length and 27 bytes, those behind its end zero), a zero, the segment
/// size (2 bytes, little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The node's link.
    pub link: u8,
    /// From the program: where to. From the node: the sender.
    pub address: LinkAddress,
    /// Bytes of each packet but the last, which may be shorter. Not 0.
    pub segment: u16,
}

impl Record {
    /// Bytes of a head.
    pub const LEN: usize = 32;
    /// Most packets behind one head, as many as the kernel takes at once.
    pub const SEGMENTS_MAX: usize = 64;

    /// The bytes of the head.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut w = Writer::fixed(&mut bytes);
        w.u8(self.link);
        self.address.encode(&mut w);
        let rest = &mut bytes[SEGMENT_AT..];
        Writer::fixed(rest).u16(self.segment);
        bytes
    }

    /// Reads the head before `behind` bytes of packets. `None` unless there is at least one and at most
    /// [`Self::SEGMENTS_MAX`] packets, and every byte is as [`Self::encode`] writes it.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::LEN], behind: usize) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let link = r.u8().ok()?;
        let address = LinkAddress::decode(&mut r).ok()?;
        let segment = Reader::new(&bytes[SEGMENT_AT..]).u16().ok()?;
        let record = Self {
            link,
            address,
            segment,
        };
        let packets = behind.div_ceil(usize::from(segment.max(1)));
        let sound = segment != 0 && (1..=Self::SEGMENTS_MAX).contains(&packets);
        (sound && record.encode() == *bytes).then_some(record)
    }
}

const SEGMENT_AT: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_and_a_wrong_one_does_not() {
        let record = Record {
            link: 3,
            address: LinkAddress::ipv4([10, 0, 0, 1], 8192),
            segment: 1200,
        };
        let bytes = record.encode();
        assert_eq!(bytes[..9], [3, 7, 4, 10, 0, 0, 1, 0, 32]);
        assert_eq!(bytes[29..], [0, 0xb0, 4]);
        assert_eq!(Record::decode(&bytes, 1), Some(record));
        assert_eq!(Record::decode(&bytes, 64 * 1200), Some(record));
        assert_eq!(Record::decode(&bytes, 64 * 1200 + 1), None);
        assert_eq!(Record::decode(&bytes, 0), None);
        for (at, value) in [(1, 28), (9, 1), (29, 1)] {
            let mut wrong = bytes;
            wrong[at] = value;
            assert_eq!(Record::decode(&wrong, 1), None, "byte {at}");
        }
        let mut wrong = bytes;
        wrong[30..].fill(0);
        assert_eq!(Record::decode(&wrong, 1), None, "no segment size");
        let longest = LinkAddress::from_raw(&[7; LinkAddress::LEN_MAX]).unwrap();
        let record = Record {
            address: longest,
            ..record
        };
        assert_eq!(Record::decode(&record.encode(), 1), Some(record));
    }
}
