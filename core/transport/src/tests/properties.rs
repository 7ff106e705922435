//! Properties of the leaves, for all inputs.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Reader, Writer};
use proptest::prelude::*;

use super::pair::{Pair, address, lossy, reliable};
use crate::cipher::PacketCipher;
use crate::event::Meta;
use crate::frame::{
    ACK_WORDS, Ack, Data, FIRST, Frame, Head, LAST, ONE_WAY, OpState, POLICY, QUIET, REFUSED,
    REPLY, WireOp,
};
use crate::outflow::Outflow;
use crate::packet::Header;
use crate::ranges::RangeSet;
use crate::replay::{ReplayWindow, WINDOW};
use crate::{LinkIndex, Policy, Request};

fn any_op() -> impl Strategy<Value = WireOp> + Clone {
    (any::<u16>(), 1_u32..).prop_map(|(slot, seq)| WireOp { slot, seq })
}

/// Offsets and sizes on both sides of what 32 bits hold.
fn any_size() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0_u64..5_000_000_000, 0_u64..1_000_000]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::LoadBalance),
        (0_u8..16).prop_map(Policy::Preferred),
        (0_u8..16, any::<bool>()).prop_map(|(lane, wait)| Policy::Exclusive { lane, wait }),
    ]
}

fn any_head() -> impl Strategy<Value = Head> {
    let meta = prop::collection::vec(any::<u8>(), 0..=Meta::LEN_MAX)
        .prop_map(|bytes| Meta::new(&bytes).unwrap());
    prop_oneof![
        Just(Head::None),
        (any_size(), any_size(), any_policy(), meta).prop_map(
            |(total, reply_max, policy, meta)| Head::Request {
                total,
                reply_max,
                policy,
                meta
            }
        ),
        (any_size(), any::<i64>(), any::<u32>()).prop_map(|(total, status, worked)| Head::Reply {
            total,
            status,
            worked
        }),
    ]
}

fn any_data() -> impl Strategy<Value = Frame<'static>> {
    (any_op(), any_head(), any_size(), any::<u32>(), any::<u8>()).prop_map(
        |(op, head, offset, unscheduled, flags)| {
            let flags = flags & (LAST | QUIET | ONE_WAY | REFUSED);
            let reply = matches!(head, Head::Reply { .. });
            let first = !matches!(head, Head::None);
            let policed = head.policy() != Policy::LoadBalance;
            Frame::Data(Data {
                flags: flags
                    | if reply { REPLY } else { 0 }
                    | if first { FIRST } else { 0 }
                    | if policed { POLICY } else { 0 },
                op,
                offset: if first { 0 } else { offset },
                unscheduled: if reply { 0 } else { unscheduled },
                head,
                bytes: &[],
            })
        },
    )
}

fn any_control() -> impl Strategy<Value = Frame<'static>> {
    let ack = (
        any::<u8>(),
        any::<u64>(),
        any::<u16>(),
        any::<[u64; ACK_WORDS]>(),
        0..=ACK_WORDS,
    )
        .prop_map(|(lane, largest, delay, mut bitmap, words)| {
            bitmap[words..].fill(0);
            Frame::Ack(Ack {
                lane,
                largest,
                delay,
                words: words as u8,
                bitmap,
            })
        });
    let state = prop_oneof![
        Just(OpState::Receiving),
        Just(OpState::Executing),
        Just(OpState::Unknown),
        Just(OpState::Gone),
        Just(OpState::Cancelled)
    ];
    prop_oneof![
        ack,
        (any_op(), state).prop_map(|(op, state)| Frame::OpStat { op, state }),
        any_op().prop_map(|op| Frame::Query { op }),
        any::<(u16, u64)>().prop_map(|(slots, bytes)| Frame::Credit { slots, bytes }),
        (any_op(), any::<u32>(), any_size(), any_size()).prop_map(|(op, id, offset, len)| {
            Frame::Pull {
                op,
                id,
                offset,
                len,
            }
        }),
        (any_op(), any::<(u8, u32)>()).prop_map(|(op, (reason, charge))| Frame::Cancel {
            op,
            reason,
            charge
        }),
        any::<(u32, u64)>().prop_map(|(id, time)| Frame::Ping { id, time }),
        any::<(u32, u64)>().prop_map(|(id, time)| Frame::Pong { id, time }),
        any::<u16>().prop_map(|code| Frame::Close { code }),
        any::<u8>().prop_map(|lane| Frame::LaneLeft { lane }),
    ]
}

/// Any frame, with the bytes of its fragment.
fn any_frame() -> impl Strategy<Value = (Frame<'static>, Vec<u8>)> {
    let pulled =
        (any_op(), any::<(u32, bool)>(), any_size()).prop_map(|(op, (id, last), offset)| {
            Frame::Pulled {
                op,
                id,
                offset,
                last,
                bytes: &[],
            }
        });
    let pushed = (any_op(), any::<(u32, bool)>(), any_size(), any_size()).prop_map(
        |(op, (id, last), start, offset)| {
            let total = offset + 100;
            Frame::Pushed {
                op,
                id,
                start,
                total,
                offset,
                last,
                bytes: &[],
            }
        },
    );
    let bytes = prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        any_control().prop_map(|frame| (frame, vec![])),
        (prop_oneof![any_data(), pulled, pushed], bytes),
    ]
}

/// The frame with this fragment.
fn with_bytes<'a>(frame: &Frame<'static>, fragment: &'a [u8]) -> Frame<'a> {
    match *frame {
        Frame::Data(data) => Frame::Data(Data {
            bytes: fragment,
            ..data
        }),
        Frame::Pulled {
            op,
            id,
            offset,
            last,
            ..
        } => Frame::Pulled {
            op,
            id,
            offset,
            last,
            bytes: fragment,
        },
        Frame::Pushed {
            op,
            id,
            start,
            total,
            offset,
            last,
            ..
        } => Frame::Pushed {
            op,
            id,
            start,
            total,
            offset,
            last,
            bytes: fragment,
        },
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_back_as_they_were(frames in prop::collection::vec(any_frame(), 1..6)) {
        let mut body = vec![];
        for (frame, fragment) in &frames {
            let frame = with_bytes(frame, fragment);
            let start = body.len();
            let mut w = Writer::growing(&mut body);
            frame.encode(&mut w);
            w.finish().unwrap();
            if let Frame::Data(data) = &frame {
                prop_assert_eq!(data.overhead(), body.len() - start);
            }
            body.extend(fragment);
        }
        let mut reader = Reader::new(&body);
        for (frame, fragment) in &frames {
            prop_assert_eq!(Frame::decode(&mut reader), Ok(with_bytes(frame, fragment)));
        }
        prop_assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = Reader::new(&body);
        while reader.remaining() > 0 && Frame::decode(&mut reader).is_ok() {}
    }

    #[test]
    fn a_set_of_ranges_is_a_set_of_numbers(
        steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..20), 1..40),
        asked in (0_u64..60, 0_u64..20),
        taken in 0_u64..20,
    ) {
        let mut set = RangeSet::new();
        let mut model = BTreeSet::new();
        for (insert, start, len) in steps {
            if insert {
                set.insert(start, start + len);
                model.extend(start..start + len);
            } else {
                set.remove(start, start + len);
                model.retain(|n| !(start..start + len).contains(n));
            }
            let numbers: Vec<u64> = set.iter().flat_map(|(from, to)| from..to).collect();
            prop_assert_eq!(&numbers, &model.iter().copied().collect::<Vec<_>>());
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "not joined");
            prop_assert_eq!(set.pieces(), ranges.len());
            prop_assert_eq!(set.bytes(), model.len() as u64);
        }
        let (start, end) = (asked.0, asked.0 + asked.1);
        prop_assert_eq!(set.contains(start, end), (start..end).all(|n| model.contains(&n)));
        let mut gaps = vec![];
        set.gaps(start, end, |from, to| gaps.extend(from..to));
        let missing: Vec<u64> = (start..end).filter(|n| !model.contains(n)).collect();
        prop_assert_eq!(gaps, missing);
        if let Some((from, to)) = set.take(taken) {
            prop_assert!(to - from <= taken && model.first() == Some(&from));
            prop_assert!((from..to).all(|n| model.remove(&n)));
        }
        let numbers: Vec<u64> = set.iter().flat_map(|(from, to)| from..to).collect();
        prop_assert_eq!(numbers, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_replay_window_is_a_set_that_forgets_the_old(
        steps in prop::collection::vec(
            prop_oneof![8 => 0_i64..80, 1 => -5000_i64..5000, 1 => 0_i64..200_000], 1..400)
    ) {
        let mut window = ReplayWindow::new();
        let mut model = BTreeSet::new();
        let mut at = 0_i64;
        for step in steps {
            at = (at + step - 30).max(0);
            let pn = at as u64;
            let oldest = model.last().map_or(0, |largest: &u64| (largest + 1).saturating_sub(WINDOW));
            let fresh = pn >= oldest && !model.contains(&pn);
            prop_assert_eq!(window.check(pn), fresh);
            prop_assert_eq!(window.accept(pn), fresh);
            if fresh {
                model.insert(pn);
            }
            prop_assert_eq!(window.largest(), model.last().copied());
            let largest = *model.last().unwrap();
            let newest = largest.saturating_sub(pn % 300);
            let bits = window.seen_downward(newest);
            for i in 0..64 {
                let seen = newest.checked_sub(i).is_some_and(|pn| {
                    model.contains(&pn) && largest - pn < WINDOW
                });
                prop_assert_eq!(bits >> i & 1 == 1, seen, "bit {} of {}", i, newest);
            }
        }
    }

    /// Whatever is lost, doubled or late: in the end the peer has every byte, and nothing is sent
    /// that it is known to have.
    #[test]
    fn an_outflow_ends_with_every_byte_there(
        len in 0_u64..5000,
        fates in prop::collection::vec((1_u64..900, any::<bool>()), 1..60),
    ) {
        let mut flow = Outflow::default();
        flow.start(len);
        let mut there = BTreeSet::new();
        let mut head = false;
        let mut done = false;
        let mut fates = fates.into_iter().chain(core::iter::repeat((700, true)));
        let mut pieces = 0;
        while flow.pending() {
            let (room, arrives) = fates.next().unwrap();
            let offset = flow.next_offset();
            let piece = flow.take(room);
            prop_assert_eq!(piece.offset, offset);
            prop_assert!(piece.len <= room && piece.offset + piece.len <= len);
            prop_assert_eq!(piece.last, !flow.pending());
            if arrives {
                head |= piece.offset == 0;
                there.extend(piece.offset..piece.offset + piece.len);
                done = flow.acked(piece.offset, piece.len);
            } else {
                flow.lost(piece.offset, piece.len);
            }
            pieces += 1;
            prop_assert!(pieces < 10_000);
        }
        prop_assert!(done && head && flow.all_sent());
        prop_assert_eq!(there.len() as u64, len);
    }

    /// A peer that holds the key may send anything: it never makes us panic.
    #[test]
    fn no_authentic_packet_makes_a_session_panic(
        packets in prop::collection::vec(prop::collection::vec(any_frame(), 1..5), 1..12),
        raw in prop::collection::vec(any::<u8>(), 0..60),
        to_server in any::<bool>(),
        perfect in any::<bool>(),
    ) {
        let mut pair = Pair::new(if perfect { reliable() } else { lossy(2) });
        for len in [0, 10, 3000] {
            pair.send(Request::new(Meta::EMPTY, len, 4000), &vec![1; len as usize]);
        }
        pair.flush();
        let side = if to_server { &mut pair.server } else { &mut pair.client };
        let session = if to_server { 22 } else { 11 };
        for (pn, frames) in packets.iter().enumerate() {
            let mut body = vec![];
            for (frame, fragment) in frames {
                let frame = small(with_bytes(frame, fragment));
                frame.encode(&mut Writer::growing(&mut body));
                body.extend(fragment);
            }
            body.extend(&raw);
            let tag = if perfect { 0 } else { 16 };
            body.resize(body.len() + tag, 0);
            let body_len = body.len() as u16;
            let header = Header { flags: 0, lane: 0, body_len, session, pn: pn as u64 }.encode();
            if !perfect {
                super::pair::Checksum.seal(0, pn as u64, &header, &mut body);
            }
            let mut packet = header.to_vec();
            packet.extend(&body);
            let (link, from) = (LinkIndex(0), address(0));
            side.transport.receive(pair.now, link, &from, &mut packet, &mut side.memory);
        }
        // Replies that were never given have no bytes to load; only the machine is looked at.
        while side.transport.event().is_some() {}
        side.transport.handle_timeout(pair.now + core::time::Duration::from_secs(100));
    }
}

/// Brings a frame's operation and offsets near to what exists, so that more than the checks of
/// bounds is reached.
fn small(frame: Frame<'_>) -> Frame<'_> {
    let near = |op: WireOp| WireOp {
        slot: op.slot % 4,
        seq: 1 + op.seq % 2,
    };
    match frame {
        Frame::Data(data) => Frame::Data(Data {
            op: near(data.op),
            offset: data.offset % 3000,
            unscheduled: data.unscheduled % 4000,
            ..data
        }),
        Frame::Pulled {
            op,
            id,
            offset,
            last,
            bytes,
        } => Frame::Pulled {
            op: near(op),
            id: id % 4,
            offset: offset % 3000,
            last,
            bytes,
        },
        Frame::OpStat { op, state } => Frame::OpStat {
            op: near(op),
            state,
        },
        Frame::Query { op } => Frame::Query { op: near(op) },
        Frame::Pull {
            op,
            id,
            offset,
            len,
        } => Frame::Pull {
            op: near(op),
            id: id % 4,
            offset: offset % 3000,
            len: len % 3000,
        },
        Frame::Cancel { op, reason, charge } => Frame::Cancel {
            op: near(op),
            reason,
            charge: charge % 4000,
        },
        Frame::Ack(ack) => Frame::Ack(Ack {
            lane: ack.lane % 3,
            largest: ack.largest % 5,
            ..ack
        }),
        other => other,
    }
}
