//! `docs/protocol/transport.md` shows frames as they are.

use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Reader, Writer};

use crate::frame::{Data, Frame, Head};

const PAGE: &str = include_str!("../../../../docs/protocol/transport.md");

/// Name and bytes of each frame that the page shows.
fn shown() -> Vec<(&'static str, Vec<u8>)> {
    let blocks = PAGE.split("```hex ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').unwrap();
        let digits = rest.split("```").next().unwrap();
        let digits: Vec<char> = digits
            .chars()
            .filter(|digit| digit.is_ascii_hexdigit())
            .collect();
        let bytes = digits.chunks(2).map(|pair| {
            let [high, low] = [pair[0], pair[1]].map(|digit| digit.to_digit(16).unwrap());
            (high * 16 + low) as u8
        });
        (name, bytes.collect())
    });
    blocks.filter(|(name, _)| *name != "packet").collect()
}

/// What the page calls a frame, and the content behind it.
fn name_of<'a>(frame: &Frame<'a>) -> (&'static str, &'a [u8]) {
    match *frame {
        Frame::Data(Data {
            head: Head::Request { total, .. },
            bytes,
            ..
        }) if total >> 32 != 0 => ("DATA64", bytes),
        Frame::Data(Data {
            head: Head::Request { .. },
            bytes,
            ..
        }) => ("DATA", bytes),
        Frame::Data(Data { bytes, .. }) => ("REPLY", bytes),
        Frame::Pulled { bytes, .. } => ("PULLED", bytes),
        Frame::Pushed { bytes, .. } => ("PUSHED", bytes),
        Frame::Ack(_) => ("ACK", b""),
        Frame::OpStat { .. } => ("OPSTAT", b""),
        Frame::Query { .. } => ("QUERY", b""),
        Frame::Credit { .. } => ("CREDIT", b""),
        Frame::Pull { .. } => ("PULL", b""),
        Frame::Cancel { .. } => ("CANCEL", b""),
        Frame::Ping { .. } => ("PING", b""),
        Frame::Pong { .. } => ("PONG", b""),
        Frame::LaneLeft { .. } => ("LANE_LEFT", b""),
        Frame::Close { .. } => ("CLOSE", b""),
        Frame::Padding => ("PADDING", b""),
    }
}

#[test]
fn every_frame_of_the_page_is_one_and_is_what_it_is_called() {
    let shown = shown();
    assert_eq!(shown.len(), 16);
    for (name, bytes) in shown {
        let mut reader = Reader::new(&bytes);
        let frame = Frame::decode(&mut reader).unwrap();
        assert_eq!(reader.remaining(), 0, "{name}");
        let (called, content) = name_of(&frame);
        assert_eq!(called, name);
        let mut again = Vec::new();
        frame.encode(&mut Writer::growing(&mut again));
        again.extend(content);
        assert_eq!(again, bytes, "{name}");
    }
}
