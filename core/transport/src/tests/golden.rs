//! Frames and packets as the protocol's page has them, byte for byte.

use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Reader, Writer};

use super::pair::{Pair, lossy};
use crate::event::Meta;
use crate::frame::{
    ACK_WORDS, Ack, CONTROL, Data, FIRST, Frame, Head, LAST, ONE_WAY, OpState, POLICY, QUIET,
    REFUSED, REPLY, WireOp,
};
use crate::{Policy, Request};

const OP: WireOp = WireOp {
    slot: 0x0201,
    seq: 0x0605_0403,
};
/// Slot and sequence number of [`OP`].
const OP_BYTES: [u8; 6] = [1, 2, 3, 4, 5, 6];

fn bytes_of(frame: &Frame<'_>, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut Writer::growing(&mut bytes));
    bytes.extend(content);
    bytes
}

/// The frame has these bytes, and these bytes are that frame.
fn check(frame: Frame<'_>, content: &[u8], expected: &[&[u8]]) {
    let expected = expected.concat();
    assert_eq!(bytes_of(&frame, content), expected, "{frame:?}");
    let mut reader = Reader::new(&expected);
    assert_eq!(Frame::decode(&mut reader), Ok(frame));
    assert_eq!(reader.remaining(), 0);
}

fn request(policy: Policy, flags: u8) -> Frame<'static> {
    Frame::Data(Data {
        flags: FIRST | LAST | flags,
        op: OP,
        offset: 0,
        unscheduled: 2,
        head: Head::Request {
            total: 2,
            reply_max: 0x100,
            policy,
            meta: Meta::new(&[9, 8]).unwrap(),
        },
        bytes: b"ab",
    })
}

// The gate runs this on a machine of the other byte order, too.
// qnx: I72
#[test]
fn a_request_has_its_published_bytes() {
    let tail = [2, 9, 8];
    let sizes = [2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0];
    let plain: [&[u8]; 6] = [&[1, 0x06], &OP_BYTES, &[0; 4], &sizes, &tail, b"ab"];
    check(request(Policy::LoadBalance, 0), b"ab", &plain);
    let urgent: [&[u8]; 6] = [&[1, 0x36], &OP_BYTES, &[0; 4], &sizes, &tail, b"ab"];
    check(
        request(Policy::LoadBalance, ONE_WAY | CONTROL),
        b"ab",
        &urgent,
    );
}

#[test]
fn the_policy_of_a_request_is_one_byte_of_its_head() {
    let exclusive = |wait| Policy::Exclusive { lane: 15, wait };
    for (policy, byte) in [
        (Policy::Preferred(3), 0x13),
        (exclusive(false), 0x2f),
        (exclusive(true), 0x3f),
    ] {
        let sizes = [2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0];
        let expected: [&[u8]; 7] = [
            &[1, 0x86],
            &OP_BYTES,
            &[0; 4],
            &sizes,
            &[byte],
            &[2, 9, 8],
            b"ab",
        ];
        check(request(policy, POLICY), b"ab", &expected);
    }
    for byte in [0x00, 0x0f, 0x40, 0xff] {
        let mut bytes = bytes_of(&request(Policy::Preferred(3), POLICY), b"ab");
        bytes[26] = byte;
        assert!(
            Frame::decode(&mut Reader::new(&bytes)).is_err(),
            "{byte:#x}"
        );
    }
}

#[test]
fn a_reply_has_its_published_bytes() {
    let reply = |flags, offset, head, bytes| {
        Frame::Data(Data {
            flags: REPLY | flags,
            op: OP,
            offset,
            unscheduled: 0,
            head,
            bytes,
        })
    };
    let head = |total| Head::Reply {
        total,
        status: -2,
        worked: 0x0403_0201,
    };
    let status: &[u8] = &[0xfe, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4];
    check(
        reply(FIRST | LAST | QUIET | REFUSED, 0, head(1), b"x"),
        b"x",
        &[
            &[1, 0x4f],
            &OP_BYTES,
            &[0; 4],
            &[1, 0],
            &[1, 0, 0, 0],
            status,
            b"x",
        ],
    );
    check(
        reply(FIRST, 0, head(1 << 32), b"x"),
        b"x",
        &[
            &[2, 0x03],
            &OP_BYTES,
            &[0; 8],
            &[1, 0],
            &[0, 0, 0, 0, 1, 0, 0, 0],
            status,
            b"x",
        ],
    );
    check(
        reply(LAST, 0x0102, Head::None, b"xy"),
        b"xy",
        &[&[1, 0x05], &OP_BYTES, &[2, 1, 0, 0], &[2, 0], b"xy"],
    );
}

#[test]
fn transfers_have_their_published_bytes() {
    check(
        Frame::Pulled {
            op: OP,
            id: 7,
            offset: 8,
            last: true,
            bytes: b"p",
        },
        b"p",
        &[
            &[3, 1],
            &OP_BYTES,
            &[7, 0, 0, 0],
            &[8, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0],
            b"p",
        ],
    );
    check(
        Frame::Pushed {
            op: OP,
            id: 7,
            start: 1,
            total: 4,
            offset: 3,
            last: false,
            bytes: b"q",
        },
        b"q",
        &[
            &[4, 0],
            &OP_BYTES,
            &[7, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[4, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0],
            b"q",
        ],
    );
    check(
        Frame::Pull {
            op: OP,
            id: 7,
            offset: 8,
            len: 9,
        },
        b"",
        &[
            &[9],
            &OP_BYTES,
            &[7, 0, 0, 0],
            &[8, 0, 0, 0, 0, 0, 0, 0],
            &[9, 0, 0, 0, 0, 0, 0, 0],
        ],
    );
}

#[test]
fn an_acknowledgement_has_its_published_bytes() {
    let mut bitmap = [0; ACK_WORDS];
    bitmap[0] = 0x8000_0000_0000_0001;
    let ack = Ack {
        lane: 2,
        largest: 0x0807_0605_0403_0201,
        delay: 0x0a09,
        words: 1,
        bitmap,
    };
    check(
        Frame::Ack(ack),
        b"",
        &[
            &[5, 2],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[9, 10],
            &[1],
            &[1, 0, 0, 0, 0, 0, 0, 0x80],
        ],
    );
}

#[test]
fn frames_without_content_have_their_published_bytes() {
    let states = [
        OpState::Receiving,
        OpState::Executing,
        OpState::Unknown,
        OpState::Gone,
        OpState::Cancelled,
    ];
    for (n, state) in states.into_iter().enumerate() {
        let expected: [&[u8]; 3] = [&[6], &OP_BYTES, &[n as u8 + 1]];
        check(Frame::OpStat { op: OP, state }, b"", &expected);
    }
    check(Frame::Query { op: OP }, b"", &[&[7], &OP_BYTES]);
    let (slots, bytes) = (0x0102, 3);
    check(
        Frame::Credit { slots, bytes },
        b"",
        &[&[8, 2, 1], &[3, 0, 0, 0, 0, 0, 0, 0]],
    );
    let (reason, charge) = (254, 0x0100);
    let cancel = Frame::Cancel {
        op: OP,
        reason,
        charge,
    };
    check(cancel, b"", &[&[10], &OP_BYTES, &[254, 0, 1, 0, 0]]);
    let (id, time) = (1, 2);
    let numbers: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    check(Frame::Ping { id, time }, b"", &[&[11], numbers]);
    check(Frame::Pong { id, time }, b"", &[&[12], numbers]);
    check(Frame::LaneLeft { lane: 9 }, b"", &[&[13, 9]]);
    check(Frame::Close { code: 1 }, b"", &[&[14, 1, 0]]);
}

/// Flags of the header, as a pair of ends sends them.
#[test]
fn packets_with_what_is_exclusive_to_a_lane_are_bound_and_others_are_not() {
    let only = Policy::Exclusive {
        lane: 1,
        wait: false,
    };
    for (policy, lane, bound) in [
        (Policy::LoadBalance, 0, 0),
        (Policy::Preferred(1), 1, 0),
        (only, 1, 0x04),
    ] {
        let mut pair = Pair::new(lossy(2));
        let request = Request {
            policy,
            ..Request::new(Meta::EMPTY, 1, 0)
        };
        pair.send(request, b"x");
        pair.flush();
        let bytes = &pair.wire.front().unwrap().bytes;
        assert_eq!(bytes[0], 0x25);
        assert_eq!(
            (bytes[1] >> 4, bytes[1] & 0x04),
            (lane, bound),
            "{policy:?}"
        );
    }
}
