//! Fragments without a head at low offsets, which are most of what long messages are made of: all fields at once.

use abi::codec::Reader;

use super::encoding::KIND_DATA;
use super::{Data, FIRST, Head, POLICY, REPLY, WireOp};

/// Bytes of such a frame of a reply before its fragment. That of a request has the number of its unscheduled bytes
/// behind them.
const REPLY_LEN: usize = 14;
const REQUEST_LEN: usize = REPLY_LEN + 4;

/// The frame without its fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Middle {
    /// As in [`Data`]; without `FIRST` and `POLICY`.
    pub(crate) flags: u8,
    pub(crate) op: WireOp,
    pub(crate) offset: u32,
    pub(crate) unscheduled: u32,
    pub(crate) len: u16,
}

impl Middle {
    /// Bytes before the fragment.
    pub(crate) const fn overhead(&self) -> usize {
        if self.flags & REPLY == 0 {
            REQUEST_LEN
        } else {
            REPLY_LEN
        }
    }

    /// Writes what is before the fragment to the start of `space`, which must have room for it.
    pub(crate) fn write(&self, space: &mut [u8]) {
        let mut bytes = [0; REQUEST_LEN];
        bytes[0] = KIND_DATA;
        bytes[1] = self.flags;
        bytes[2..4].copy_from_slice(&self.op.slot.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.op.seq.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.len.to_le_bytes());
        bytes[14..].copy_from_slice(&self.unscheduled.to_le_bytes());
        if self.overhead() == REQUEST_LEN {
            space[..REQUEST_LEN].copy_from_slice(&bytes);
        } else {
            space[..REPLY_LEN].copy_from_slice(&bytes[..REPLY_LEN]);
        }
    }
}

impl<'a> Data<'a> {
    /// Decodes a fragment without a head at a low offset, all of it at once. `None`, and nothing read, if it is
    /// anything else.
    pub(crate) fn decode_middle(r: &mut Reader<'a>) -> Option<Self> {
        let mut rest = r.clone();
        let [
            KIND_DATA,
            flags,
            s0,
            s1,
            q0,
            q1,
            q2,
            q3,
            o0,
            o1,
            o2,
            o3,
            l0,
            l1,
        ] = rest.array::<REPLY_LEN>().ok()?
        else {
            return None;
        };
        let seq = u32::from_le_bytes([q0, q1, q2, q3]);
        if flags & (FIRST | POLICY) != 0 || seq == 0 {
            return None;
        }
        let unscheduled = if flags & REPLY == 0 {
            rest.u32().ok()?
        } else {
            0
        };
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        let bytes = rest.bytes(len).ok()?;
        *r = rest;
        let slot = u16::from_le_bytes([s0, s1]);
        Some(Self {
            flags,
            op: WireOp { slot, seq },
            offset: u64::from(u32::from_le_bytes([o0, o1, o2, o3])),
            unscheduled,
            head: Head::None,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use abi::codec::{Decode, Encode, Reader};

    use super::*;
    use crate::event::Meta;
    use crate::frame::{Frame, LAST};
    use crate::policy::Policy;

    const OP: WireOp = WireOp { slot: 258, seq: 9 };

    fn data(flags: u8, offset: u64, head: Head, bytes: &[u8]) -> Data<'_> {
        Data {
            flags,
            op: OP,
            offset,
            unscheduled: if flags & REPLY == 0 { 70_000 } else { 0 },
            head,
            bytes,
        }
    }

    #[test]
    fn a_middle_is_written_and_read_as_any_other_frame() {
        let bytes = [7; 30];
        for flags in [0, LAST, REPLY, REPLY | LAST] {
            let data = data(flags, 0x0102_0304, Head::None, &bytes);
            let middle = Middle {
                flags,
                op: OP,
                offset: 0x0102_0304,
                unscheduled: data.unscheduled,
                len: 30,
            };
            let mut written = vec![0; middle.overhead()];
            middle.write(&mut written);
            assert_eq!(written, Frame::Data(data).to_bytes().unwrap());
            written.extend_from_slice(&bytes);
            written.push(0);
            let mut reader = Reader::new(&written);
            assert_eq!(Data::decode_middle(&mut reader), Some(data));
            assert_eq!(reader.remaining(), 1);
            for cut in 0..written.len() - 1 {
                let mut reader = Reader::new(&written[..cut]);
                assert_eq!(Data::decode_middle(&mut reader), None);
                assert_eq!(reader.remaining(), cut);
                assert!(Frame::decode(&mut reader).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_middle_is_left_to_others() {
        let head = Head::Request {
            total: 8,
            reply_max: 8,
            policy: Policy::LoadBalance,
            meta: Meta::EMPTY,
        };
        let frames = [
            Frame::Data(data(FIRST, 0, head, &[])),
            Frame::Data(data(0, 1 << 32, Head::None, &[])),
            Frame::Query { op: OP },
        ];
        for frame in frames {
            let bytes = frame.to_bytes().unwrap();
            let mut reader = Reader::new(&bytes);
            assert_eq!(Data::decode_middle(&mut reader), None);
            assert_eq!(reader.remaining(), bytes.len());
        }
        // No operation has the number 0.
        let mut bytes = Frame::Data(data(0, 1, Head::None, &[])).to_bytes().unwrap();
        bytes[4..8].fill(0);
        assert_eq!(Data::decode_middle(&mut Reader::new(&bytes)), None);
    }
}
