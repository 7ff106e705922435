//! What stands in a frame, and the kernel's program that picks the frames of one port.

use socket2::SockFilter;

/// The EtherType of the frames: "local experimental 1" of IEEE 802, which nobody else may use on a network for good.
pub const ETHER_TYPE: u16 = 0x88b5;

/// What stands before each packet, in little-endian order. Frames shorter than 60 bytes are padded on the wire, so
/// only the header knows where the packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Port of the receiver.
    pub to: u16,
    /// Port of the sender.
    pub from: u16,
    /// Bytes of the packet.
    pub len: u16,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 6;

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let (to, from, len) = (
            self.to.to_le_bytes(),
            self.from.to_le_bytes(),
            self.len.to_le_bytes(),
        );
        [to[0], to[1], from[0], from[1], len[0], len[1]]
    }

    /// From the bytes on the wire.
    #[must_use]
    pub fn decode(bytes: [u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            to: word(0),
            from: word(2),
            len: word(4),
        }
    }

    /// The length of the packet in a frame with `behind` bytes behind the header, if the frame is whole and for `port`.
    #[must_use]
    pub fn packet_len(&self, port: u16, behind: usize) -> Option<usize> {
        let len = usize::from(self.len);
        (self.to == port && len <= behind).then_some(len)
    }
}

/// Passes frames for `port` that are addressed to this machine or to everybody, in the classic form of BPF.
///
/// The payload of the frame starts at 0. The kernel reads numbers as big-endian, the wire is little-endian.
pub(super) fn filter(port: u16) -> [SockFilter; 6] {
    let op = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let load_half = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    [
        op(load_half, 0, 0, 0),
        op(equal, 0, 3, u32::from(port.swap_bytes())),
        op(load_half, 0, 0, PACKET_TYPE),
        // A card that is listened to hears frames for others, too.
        op(equal, 1, 0, u32::from(libc::PACKET_OTHERHOST)),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}

/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: for whom the frame was.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_little_endian_and_says_where_the_packet_ends() {
        let header = Header {
            to: 0x1234,
            from: 0xabcd,
            len: 40,
        };
        let bytes = header.encode();
        assert_eq!(bytes, [0x34, 0x12, 0xcd, 0xab, 40, 0]);
        assert_eq!(Header::decode(bytes), header);
        assert_eq!(header.packet_len(0x1234, 40), Some(40));
        assert_eq!(header.packet_len(0x1234, 46), Some(40));
        assert_eq!(header.packet_len(0x1234, 39), None);
        assert_eq!(header.packet_len(0x3412, 40), None);
    }
}
