//! What a UDP driver reads keeps its bounds, whether the kernel joins what arrives or not.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use slashnet_drivers::{PacketDriver, ReceiveBatch, UdpDriver};

fn pair() -> (UdpDriver, UdpDriver) {
    let bind = || UdpDriver::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    (bind(), bind())
}

/// Lengths of all packets that are there; what each is filled with tells its place.
fn lengths(driver: &UdpDriver, batch: &mut ReceiveBatch) -> Vec<usize> {
    let mut lengths = Vec::new();
    while driver.receive(batch).unwrap() > 0 {
        for index in 0..batch.len() {
            let (_, bytes) = batch.packet(index).unwrap();
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            lengths.push(bytes.len());
        }
    }
    lengths
}

/// Sends five packets as one train, the last of them shorter.
fn send_train(from: &UdpDriver, to: &UdpDriver, segment: usize) {
    let mut train: Vec<u8> = (0..5).flat_map(|value| vec![value; segment]).collect();
    train.truncate(segment * 5 - SHORT);
    let sent = from.send(&to.local_address(), &train, segment).unwrap();
    assert_eq!(sent, train.len());
}

fn of_train(segment: usize) -> Vec<usize> {
    vec![segment, segment, segment, segment, segment - SHORT]
}

fn send_short(from: &UdpDriver, to: &UdpDriver) {
    let sent = from.send(&to.local_address(), &[7; SHORT], SHORT).unwrap();
    assert_eq!(sent, SHORT);
}

#[test]
fn trains_keep_their_bounds_after_many_packets_that_came_alone() {
    let (near, far) = pair();
    let mut batch = ReceiveBatch::new();
    for segment in [1400, 400, 1400] {
        for _ in 0..1000 {
            send_short(&near, &far);
            assert_eq!(lengths(&far, &mut batch), [SHORT]);
        }
        for _ in 0..3 {
            send_train(&near, &far, segment);
            assert_eq!(lengths(&far, &mut batch), of_train(segment));
        }
    }
}

#[test]
fn a_train_that_waits_behind_any_of_many_short_packets_keeps_its_bounds() {
    let (near, far) = pair();
    let mut batch = ReceiveBatch::new();
    let mut expected = vec![SHORT];
    expected.extend(of_train(400));
    for alone in 0..600 {
        // The one before the train is each of the short ones once, so also that with which joining ends.
        for _ in 0..alone {
            send_short(&near, &far);
            assert_eq!(lengths(&far, &mut batch), [SHORT]);
        }
        send_short(&near, &far);
        send_train(&near, &far, 400);
        assert_eq!(lengths(&far, &mut batch), expected, "after {alone}");
        // Long ones have it join again.
        send_train(&near, &far, 1400);
        assert_eq!(lengths(&far, &mut batch), of_train(1400));
        send_train(&near, &far, 1400);
        assert_eq!(lengths(&far, &mut batch), of_train(1400));
    }
}

const SHORT: usize = 5;
