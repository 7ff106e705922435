//! Where the bytes of a message are in a packet, from its first bytes alone.

use abi::codec::{Decode, Malformed, Reader};

use super::encoding::{KIND_DATA, KIND_DATA64, KIND_PULLED, KIND_PUSHED};
use super::{FIRST, POLICY, REPLY, WireOp};

/// Most bytes of a body before the fragment of a lone frame.
pub const FRAGMENT_HEAD_MAX: usize = 128;

/// Where the fragment begins in a body of `len` bytes of which `start` are the first, if the body is one frame
/// with a fragment that reaches to its end. A shell may then leave those bytes where they are until
/// [`Memory::store`](crate::Memory::store) asks for them: nothing else looks at them.
#[must_use]
pub fn lone_fragment(start: &[u8], len: usize) -> Option<usize> {
    let mut r = Reader::new(start);
    let fragment = skip_head(&mut r).ok()?;
    let at = start.len() - r.remaining();
    (at.checked_add(fragment)? == len).then_some(at)
}

/// Steps over everything before the fragment and answers the fragment's length.
fn skip_head(r: &mut Reader<'_>) -> Result<usize, Malformed> {
    match r.u8()? {
        KIND_DATA => skip_data(r, 4),
        KIND_DATA64 => skip_data(r, 8),
        KIND_PULLED => {
            r.bool()?;
            WireOp::decode(r)?;
            r.bytes(4 + 8)?;
            r.u16().map(usize::from)
        }
        KIND_PUSHED => {
            r.bool()?;
            WireOp::decode(r)?;
            r.bytes(4 + 8 + 8 + 8)?;
            r.u16().map(usize::from)
        }
        _ => Err(Malformed::Unknown),
    }
}

fn skip_data(r: &mut Reader<'_>, size: usize) -> Result<usize, Malformed> {
    let flags = r.u8()?;
    WireOp::decode(r)?;
    r.bytes(size)?;
    let len = usize::from(r.u16()?);
    let is_reply = flags & REPLY != 0;
    if !is_reply {
        r.u32()?;
    }
    if flags & FIRST != 0 {
        if is_reply {
            r.bytes(size + 8 + 4)?;
        } else {
            r.bytes(2 * size)?;
            if flags & POLICY != 0 {
                r.u8()?;
            }
            let meta = usize::from(r.u8()?);
            r.bytes(meta)?;
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use abi::codec::Encode;

    use super::*;
    use crate::Policy;
    use crate::event::Meta;
    use crate::frame::{Data, Frame, Head};

    const OP: WireOp = WireOp { slot: 3, seq: 9 };

    fn data(head: Head, offset: u64, bytes: &[u8]) -> Frame<'_> {
        let mut flags = 0;
        if !matches!(head, Head::None) {
            flags |= FIRST;
        }
        if head.policy() != Policy::LoadBalance {
            flags |= POLICY;
        }
        let mut unscheduled = 7;
        if matches!(head, Head::Reply { .. }) {
            flags |= REPLY;
            unscheduled = 0;
        }
        Frame::Data(Data {
            flags,
            op: OP,
            offset,
            unscheduled,
            head,
            bytes,
        })
    }

    fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
        let meta = Meta::new(&[5; Meta::LEN_MAX]).unwrap();
        let request = |total, policy| Head::Request {
            total,
            reply_max: 8,
            policy,
            meta,
        };
        let reply = |total| Head::Reply {
            total,
            status: -1,
            worked: 2,
        };
        let (op, id, offset, last) = (OP, 1, 1 << 40, true);
        let mut frames = Vec::new();
        for total in [500, 1 << 40] {
            frames.push(data(request(total, Policy::LoadBalance), 0, bytes));
            frames.push(data(request(total, Policy::Preferred(1)), 0, bytes));
            frames.push(data(reply(total), 0, bytes));
            frames.push(data(Head::None, total, bytes));
        }
        frames.push(Frame::Pulled {
            op,
            id,
            offset,
            last,
            bytes,
        });
        frames.push(Frame::Pushed {
            op,
            id,
            start: 4,
            total: 1 << 41,
            offset,
            last,
            bytes,
        });
        frames
    }

    #[test]
    fn the_fragment_of_a_lone_frame_is_found_from_its_head() {
        let bytes = [0xaa; 300];
        for frame in frames(&bytes) {
            let head = frame.to_bytes().unwrap();
            assert!(head.len() <= FRAGMENT_HEAD_MAX, "{frame:?}");
            let mut body = head.clone();
            body.extend_from_slice(&bytes);
            assert_eq!(Frame::from_bytes(&body).unwrap(), frame);
            assert_eq!(
                lone_fragment(&body[..FRAGMENT_HEAD_MAX], body.len()),
                Some(head.len())
            );
            // With a frame behind it, the bytes after the fragment matter, too.
            assert_eq!(
                lone_fragment(&body[..FRAGMENT_HEAD_MAX], body.len() + 1),
                None
            );
            assert_eq!(lone_fragment(&head[..head.len() - 1], body.len()), None);
        }
        let ping = Frame::Ping { id: 1, time: 2 }.to_bytes().unwrap();
        assert_eq!(lone_fragment(&ping, ping.len()), None);
        assert_eq!(lone_fragment(&[], 0), None);
    }
}
