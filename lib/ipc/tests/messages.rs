//! What a client and a server may rely on, the same over shared memory and over encrypted UDP.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate slashnet_ipc as ipc;

mod pair;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use abi::{ChannelFlags, ChannelId, Errno, Pid};
use ipc::{Cause, Connection, Delivery, Message, Received, SendOptions};
use pair::{Pair, message, pattern, pulse, soon};
use testkit::until;

over_both! {
    // qnx: I20, I21, I60

    fn messages_of_all_sizes_come_and_go_whole(pair) {
        let (connection, _served) = pair.serve(4 << 20, |message, buffer| {
            let n = message.bytes();
            for byte in &mut buffer[..n] { *byte ^= 0x5a; }
            message.reply(n as i64, &buffer[..n]).unwrap();
        });
        let sizes = [0, 1, 23, 64, 1300, 1500, 4096, 65_535, 65_536, 65_537, 300_000, 1 << 20, (3 << 20) + 7];
        for len in sizes {
            let request = pattern(len, len);
            let mut reply = vec![0; len];
            let answer = connection.send(&request, &mut reply).unwrap();
            assert_eq!((answer.status, answer.len), (len as i64, len));
            assert!(request.iter().zip(&reply).all(|(a, b)| a ^ 0x5a == *b), "{len} bytes");
        }
    }

    // qnx: I20

    fn many_small_messages_follow_each_other(pair) {
        let (connection, _served) = pair.serve(64, |message, buffer| {
            let n = message.bytes();
            message.reply(0, &buffer[..n]).unwrap();
        });
        for number in 0..5000u32 {
            let mut reply = [0; 64];
            let answer = connection.send(&number.to_le_bytes(), &mut reply).unwrap();
            assert_eq!(&reply[..answer.len], number.to_le_bytes());
        }
    }

    // qnx: I21, I28

    fn what_does_not_fit_is_cut_and_stays_readable(pair) {
        let (connection, _served) = pair.serve(10, |message, buffer| {
            assert_eq!(message.bytes(), 10);
            assert_eq!(message.info().len, 200_000);
            assert_eq!(buffer, &pattern(200_000, 3)[..10]);
            let mut part = vec![0; 1000];
            for offset in [0, 5, 60_000, 65_000, 150_000, 199_000] {
                assert_eq!(message.read_at(offset, &mut part), Ok(1000));
                assert_eq!(part, pattern(200_000, 3)[offset as usize..][..1000]);
            }
            assert_eq!(message.read_at(199_999, &mut part), Ok(1));
            assert_eq!(message.read_at(200_000, &mut part), Ok(0));
            assert_eq!(message.read_at(u64::MAX, &mut part), Ok(0));
            assert_eq!(message.info().reply_max, 7);
            message.reply(-5, &pattern(1000, 4)).unwrap();
        });
        let mut reply = [0xee; 7];
        let answer = connection.send(&pattern(200_000, 3), &mut reply).unwrap();
        assert_eq!((answer.status, answer.len), (-5, 7));
        assert_eq!(reply, pattern(7, 4)[..]);
    }

    // qnx: I28, I29

    fn a_server_may_write_before_it_replies(pair) {
        let (connection, _served) = pair.serve(10, |message, _| {
            assert_eq!(message.write_at(100_000, &pattern(100_000, 1)), Ok(100_000));
            assert_eq!(message.write_at(50_000, &pattern(10, 2)), Ok(10));
            assert_eq!(message.write_at(199_990, &pattern(100, 3)), Ok(10), "clipped");
            assert_eq!(message.write_at(200_000, &pattern(100, 3)), Ok(0), "past the end");
            message.reply(1, &pattern(20, 5)).unwrap();
        });
        let mut reply = vec![0; 200_000];
        connection.send(&[], &mut reply).unwrap();
        assert_eq!(reply[..20], pattern(20, 5));
        assert_eq!(reply[50_000..50_010], pattern(10, 2));
        assert_eq!(reply[100_000..199_990], pattern(100_000, 1)[..99_990]);
        assert_eq!(reply[199_990..], pattern(10, 3));
    }

    fn pieces_are_gathered_and_scattered(pair) {
        let (connection, _served) = pair.serve(100_000, |message, buffer| {
            let n = message.bytes();
            message.reply(0, &buffer[..n]).unwrap();
        });
        let request = pattern(80_001, 9);
        let (a, rest) = request.split_at(1);
        let (b, c) = rest.split_at(40_000);
        let (mut x, mut y, mut z) = (vec![0; 30_000], vec![], vec![0; 60_000]);
        let pieces = [a, &[], b, c].map(std::io::IoSlice::new);
        let mut room = [&mut x, &mut y, &mut z].map(|piece| std::io::IoSliceMut::new(piece));
        let answer = connection.send_vectored(&pieces, &mut room, &SendOptions::default()).unwrap();
        assert_eq!(answer.len, 80_001);
        assert_eq!(x, request[..30_000]);
        assert_eq!(z[..50_001], request[30_000..]);
        assert_eq!(z[50_001..], [0; 9_999]);
    }

    // qnx: I22, I30

    fn an_error_answer_arrives_as_that_error(pair) {
        let (connection, _served) = pair.serve(64, |message, _| message.fail(Errno::ENOTTY).unwrap());
        let failure = connection.send(b"x", &mut []).unwrap_err();
        assert_eq!((failure.errno, failure.cause), (Errno::ENOTTY, Cause::Answer));
        assert_eq!(failure.delivery, Delivery::Unknown);
    }

    fn a_message_dropped_without_an_answer_fails(pair) {
        let (connection, _served) = pair.serve(64, |message, _| drop(message));
        assert_eq!(connection.send(b"x", &mut []).unwrap_err().errno, Errno::EIO);
    }

    // qnx: I5, I6, I22

    fn a_channel_that_is_not_there_is_reported(pair) {
        let nowhere = ChannelId(77);
        match Connection::attach(&pair.client, pair.nd, Pid(2), nowhere) {
            Err(errno) => {
                assert_eq!(errno, Errno::ESRCH);
                assert!(pair.nd.is_local(), "another node is not asked");
            }
            Ok(connection) => {
                let failure = connection.send(b"x", &mut []).unwrap_err();
                assert_eq!((failure.errno, failure.delivery), (Errno::EBADF, Delivery::NotDone));
            }
        }
        let unknown = Connection::attach(&pair.client, pair.nd, Pid(3), nowhere).unwrap_err();
        // Without a daemon there is nobody who could introduce.
        let expected = if pair.nd.is_local() { Errno::ENOTCONN } else { Errno::ENOREMOTE };
        assert_eq!(unknown, expected);
    }

    // qnx: I26

    fn a_server_knows_who_sends_and_over_which_connection(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let (one, two) = (pair.connect(&channel), pair.connect(&channel));
        assert_ne!(one.id(), two.id());
        let mut senders = Vec::new();
        for connection in [&one, &two, &one] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let options = SendOptions { priority: Some(33), ..SendOptions::default() };
                    let request = [std::io::IoSlice::new(b"abc")];
                    connection.send_vectored(&request, &mut [], &options).unwrap();
                });
                let message = message(channel.receive_until(&mut [0; 8], soon()).unwrap());
                let info = message.info().clone();
                assert_eq!((info.connection, info.priority), (connection.id(), 33));
                assert_eq!((info.len, info.received, info.reply_max), (3, 3, 0));
                assert_eq!(info.credentials.uid.0, rustix::process::geteuid().as_raw());
                assert_eq!(info.credentials.pid, Pid(1001));
                senders.push(info.sender);
                message.reply(0, &[]).unwrap();
            });
        }
        // qnx: I7
        assert!(senders.iter().all(|sender| *sender == senders[0]), "one attachment: {senders:?}");
    }

    // qnx: I24

    fn waiting_messages_are_received_by_priority(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        thread::scope(|scope| {
            for priority in [5, 50, 20] {
                let connection = &connection;
                scope.spawn(move || {
                    let options = SendOptions { priority: Some(priority), ..SendOptions::default() };
                    let request = [std::io::IoSlice::new(&[])];
                    connection.send_vectored(&request, &mut [], &options).unwrap();
                });
            }
            let operations = || pair.server.session_stats()[0].operations;
            until("three messages wait", || {
                // A look that takes nothing, so that what has arrived is taken in.
                assert_eq!(channel.receive_pulse(Some(Instant::now())), Err(Errno::ETIMEDOUT));
                operations() == 3
            });
            for expected in [50, 20, 5] {
                let message = message(channel.receive_until(&mut [], soon()).unwrap());
                assert_eq!(message.info().priority, expected);
                message.reply(0, &[]).unwrap();
            }
        });
    }

    // qnx: I50, I66

    fn pulses_come_in_order_with_messages_of_their_connection(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        for round in 0..50u64 {
            connection.pulse(-1, 1, round * 2).unwrap();
            connection.pulse(10, 2, round * 2 + 1).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| connection.send(b"x", &mut []).unwrap());
                for expected in [round * 2, round * 2 + 1] {
                    let pulse = pulse(channel.receive_until(&mut [0; 1], soon()).unwrap());
                    assert_eq!((pulse.value, pulse.priority), (expected, 10));
                }
                let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
                message.reply(0, &[]).unwrap();
            });
        }
    }

    // qnx: I50

    fn pulses_are_bounded_and_come_through_again_when_taken(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let mut sent = 0;
        while connection.pulse(-1, 1, sent).is_ok() {
            sent += 1;
            assert!(sent < 100_000, "nothing bounds the pulses");
        }
        assert_eq!(connection.pulse(-1, 1, sent), Err(Errno::EAGAIN));
        for value in 0..sent {
            assert_eq!(channel.receive_pulse(soon()).unwrap().value, value);
        }
        until("a pulse can be sent again", || connection.pulse(-1, 1, sent).is_ok());
        assert_eq!(channel.receive_pulse(soon()).unwrap().value, sent);
        assert_eq!(connection.pulse(0, 1, 0), Err(Errno::EINVAL));
        assert_eq!(connection.pulse(256, 1, 0), Err(Errno::EINVAL));
        assert_eq!(connection.pulse(-1, -33, 0), Err(Errno::EINVAL), "the system's codes");
    }

    fn many_threads_share_connections_and_channels(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let servers: Vec<_> = (0..3).map(|_| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                let mut buffer = vec![0; 3000];
                while let Ok(Received::Message(message)) = channel.receive(&mut buffer) {
                    let n = message.bytes();
                    if n % 7 == 0 { thread::yield_now(); }
                    message.reply(n as i64, &buffer[..n]).unwrap();
                }
            })
        }).collect();
        let connection = pair.connect(&channel);
        thread::scope(|scope| {
            for number in 0..6usize {
                let connection = &connection;
                scope.spawn(move || {
                    for round in 0..300usize {
                        let request = pattern((number * 331 + round * 17) % 3000, number + round);
                        let mut reply = vec![0; 3000];
                        let answer = connection.send(&request, &mut reply).unwrap();
                        assert_eq!(answer.status, request.len() as i64);
                        assert_eq!(reply[..answer.len], request);
                    }
                });
            }
        });
        channel.destroy();
        for server in servers {
            server.join().unwrap();
        }
    }

    fn a_late_answer_from_another_thread_reaches_the_client(pair) {
        let (hand_over, parked) = mpsc::channel::<Message>();
        let (connection, _served) = pair.serve(16, move |message, _| hand_over.send(message).unwrap());
        let answerer = thread::spawn(move || {
            while let Ok(message) = parked.recv() {
                message.reply(9, b"late").unwrap();
            }
        });
        for _ in 0..100 {
            let mut reply = [0; 4];
            assert_eq!(connection.send(b"x", &mut reply).unwrap().status, 9);
            assert_eq!(&reply, b"late");
        }
        drop(_served);
        answerer.join().unwrap();
    }

    fn ten_thousand_connections_are_one_attachment(pair) {
        let (connection, _served) = pair.serve(16, |message, _| message.reply(1, &[]).unwrap());
        let many: Vec<_> = (0..10_000).map(|_| connection.duplicate().unwrap()).collect();
        assert_eq!(pair.client.session_stats()[0].connections, 10_001);
        for connection in many.iter().step_by(1000) {
            assert_eq!(connection.send(b"x", &mut []).unwrap().status, 1);
        }
        assert_eq!(pair.server.session_stats()[0].connections, 1);
    }

    fn more_senders_than_slots_take_turns(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let pulses = (0..).take_while(|n| connection.pulse(-1, 1, *n).is_ok()).count();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| connection.send(b"x", &mut []).unwrap());
            }
            let (mut messages, mut taken) = (0, 0);
            while messages < 8 || taken < pulses {
                match channel.receive_until(&mut [0; 1], soon()).unwrap() {
                    Received::Message(message) => {
                        messages += 1;
                        message.reply(0, &[]).unwrap();
                    }
                    Received::Pulse(_) => taken += 1,
                }
            }
        });
    }
}
