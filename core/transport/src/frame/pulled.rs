//! Pulled fragments, which are most of what long requests are made of: all fields at once.

use abi::codec::Reader;

use super::encoding::KIND_PULLED;
use super::{PULLED_LEN, WireOp};

/// A [`Frame::Pulled`](super::Frame::Pulled) without its fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PulledHead {
    pub(crate) op: WireOp,
    pub(crate) id: u32,
    pub(crate) offset: u64,
    pub(crate) last: bool,
    pub(crate) len: u16,
}

impl PulledHead {
    /// The bytes before the fragment.
    pub(crate) fn encode(&self) -> [u8; PULLED_LEN] {
        let mut bytes = [0; PULLED_LEN];
        bytes[0] = KIND_PULLED;
        bytes[1] = u8::from(self.last);
        bytes[2..4].copy_from_slice(&self.op.slot.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.op.seq.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.id.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.offset.to_le_bytes());
        bytes[20..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Decodes such a frame and its fragment. `None`, and nothing read, if it is another one, or a bad one.
    pub(crate) fn decode<'a>(r: &mut Reader<'a>) -> Option<(Self, &'a [u8])> {
        let mut rest = r.clone();
        let [
            KIND_PULLED,
            last @ (0 | 1),
            s0,
            s1,
            q0,
            q1,
            q2,
            q3,
            i0,
            i1,
            i2,
            i3,
            offset @ ..,
            l0,
            l1,
        ] = rest.array::<PULLED_LEN>().ok()?
        else {
            return None;
        };
        let len = u16::from_le_bytes([l0, l1]);
        let bytes = rest.bytes(usize::from(len)).ok()?;
        let head = Self {
            op: WireOp {
                slot: u16::from_le_bytes([s0, s1]),
                seq: u32::from_le_bytes([q0, q1, q2, q3]),
            },
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            offset: u64::from_le_bytes(offset),
            last: last == 1,
            len,
        };
        head.offset.checked_add(u64::from(len))?;
        if head.op.seq == 0 {
            return None;
        }
        *r = rest;
        Some((head, bytes))
    }
}

#[cfg(test)]
mod tests {
    use abi::codec::{Decode, Encode};

    use super::*;
    use crate::frame::Frame;

    const HEAD: PulledHead = PulledHead {
        op: WireOp { slot: 258, seq: 9 },
        id: 0x0102_0304,
        offset: 0x0506_0708_090a_0b0c,
        last: true,
        len: 30,
    };

    #[test]
    fn a_pulled_fragment_is_written_and_read_as_any_other_frame() {
        let bytes = [7; 30];
        for last in [false, true] {
            let head = PulledHead { last, ..HEAD };
            let frame = Frame::Pulled {
                op: head.op,
                id: head.id,
                offset: head.offset,
                last,
                bytes: &bytes,
            };
            let mut written = head.encode().to_vec();
            assert_eq!(written, frame.to_bytes().unwrap());
            written.extend_from_slice(&bytes);
            written.push(0);
            let mut reader = Reader::new(&written);
            assert_eq!(PulledHead::decode(&mut reader), Some((head, &bytes[..])));
            assert_eq!(reader.remaining(), 1);
            for cut in 0..written.len() - 1 {
                let mut reader = Reader::new(&written[..cut]);
                assert_eq!(PulledHead::decode(&mut reader), None);
                assert_eq!(reader.remaining(), cut);
            }
        }
    }

    #[test]
    fn a_bad_one_is_left_to_who_refuses_it() {
        let good = HEAD.encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = [&good[..], &[7; 30]].concat();
            bytes[at] = byte;
            bytes
        };
        let mut endless = with(19, 0xff);
        endless[12..20].fill(0xff);
        let mut nobody = with(4, 0);
        nobody[4..8].fill(0);
        for bytes in [with(0, 1), with(1, 2), endless, nobody] {
            let mut reader = Reader::new(&bytes);
            assert_eq!(PulledHead::decode(&mut reader), None);
            assert_eq!(reader.remaining(), bytes.len());
            assert!(Frame::from_bytes(&bytes).is_err());
        }
    }
}
