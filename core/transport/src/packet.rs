//! The packet header: 16 bytes, authenticated, never encrypted.

use crate::cipher::HEADER_LEN;

/// Version of the packet format.
pub const VERSION: u8 = 1;
/// Kind of a packet that belongs to a session.
pub const KIND_SESSION: u8 = 5;

/// Key phase: which of two keys seals the packet.
pub const FLAG_PHASE: u8 = 0x01;
/// The receiver is asked to acknowledge at once.
pub const FLAG_ACK_NOW: u8 = 0x02;
/// The content may travel on no other lane than this, nor may its acknowledgement.
pub const FLAG_BOUND: u8 = 0x04;

/// The fields of a session packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `FLAG_*`.
    pub flags: u8,
    /// Lane of the packet, 0 to 15.
    pub lane: u8,
    /// Bytes behind the header, tag included.
    pub body_len: u16,
    /// The receiver's session id.
    pub session: u32,
    /// Packet number, one sequence per session, direction and lane.
    pub pn: u64,
}

impl Header {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let first = u64::from(VERSION << 5 | KIND_SESSION)
            | u64::from((self.flags & 0x0f) | self.lane << 4) << 8
            | u64::from(self.body_len) << 16
            | u64::from(self.session) << 32;
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..].copy_from_slice(&self.pn.to_le_bytes());
        bytes
    }

    /// Splits a packet into header bytes, header and body. `None` if it is no whole session packet
    /// of this version; bytes behind the body are padding of the link and left out.
    pub fn split(packet: &mut [u8]) -> Option<([u8; HEADER_LEN], Self, &mut [u8])> {
        let (raw, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        let raw = *raw;
        let [first, lane_flags, len0, len1, s0, s1, s2, s3, pn @ ..] = raw;
        if first != (VERSION << 5 | KIND_SESSION) {
            return None;
        }
        let header = Self {
            flags: lane_flags & 0x0f,
            lane: lane_flags >> 4,
            body_len: u16::from_le_bytes([len0, len1]),
            session: u32::from_le_bytes([s0, s1, s2, s3]),
            pn: u64::from_le_bytes(pn),
        };
        let body = rest.get_mut(..usize::from(header.body_len))?;
        Some((raw, header, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_published_bytes() {
        let header = Header {
            flags: FLAG_ACK_NOW,
            lane: 3,
            body_len: 2,
            session: 0x0403_0201,
            pn: 0x0c0b_0a09_0807_0605,
        };
        let bytes = header.encode();
        assert_eq!(
            bytes,
            [0x25, 0x32, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
        let mut packet = bytes.to_vec();
        packet.extend([7, 8, 9]);
        let (raw, back, body) = Header::split(&mut packet).unwrap();
        assert_eq!((raw, back, &*body), (bytes, header, &[7, 8][..]));
    }

    #[test]
    fn a_short_or_foreign_packet_is_no_packet() {
        assert!(Header::split(&mut [0x25; 15]).is_none());
        assert!(
            Header::split(&mut [0x25; 16]).is_none(),
            "the body is missing"
        );
        assert!(Header::split(&mut [0x45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
