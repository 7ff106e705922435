//! What stands before the packets of a train in a datagram.

use abi::codec::{Reader, Writer};
use abi::link_address::Neighbour;

/// The head of a train: who sent it (8 bytes and a port), and the segment size, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sender, as he says.
    pub from: Neighbour,
    /// Bytes of each packet but the last, which may be shorter. Not 0.
    pub segment: u16,
}

impl Head {
    /// Bytes of a head.
    pub const LEN: usize = 12;
    /// Most bytes of packets behind it.
    pub const TRAIN_MAX: usize = 65_472;
    /// Most packets behind it.
    pub const SEGMENTS_MAX: usize = 64;

    /// The bytes of the head.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut w = Writer::fixed(&mut bytes);
        w.bytes(&self.from.host);
        w.u16(self.from.port);
        w.u16(self.segment);
        bytes
    }

    /// The head of a datagram. `None` unless there is at least one and at most [`Self::SEGMENTS_MAX`] packets.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let mut r = Reader::new(datagram);
        let from = Neighbour {
            host: r.array().ok()?,
            port: r.u16().ok()?,
        };
        let segment = r.u16().ok()?;
        let packets = r.remaining().div_ceil(usize::from(segment.max(1)));
        let sound = segment != 0 && (1..=Self::SEGMENTS_MAX).contains(&packets);
        sound.then_some(Self { from, segment })
    }
}
