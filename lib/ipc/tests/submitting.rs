//! One thread with many messages under way.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate slashnet_ipc as ipc;

mod pair;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use abi::{ChannelFlags, Errno, Pulse};
use ipc::{Cause, First, Interrupt, Readable, SendOptions};
use pair::{Pair, message, pattern, pulse, soon};

/// More than a test of a condition that holds needs.
const PATIENCE: Duration = Duration::from_secs(10);

over_both! {
    fn each_of_many_gets_its_own_answer_and_its_memory_back(pair) {
        let (connection, _served) = pair.serve(200_000, |message, buffer| {
            let n = message.bytes();
            for byte in &mut buffer[..n] { *byte ^= 0x5a; }
            message.reply(n as i64, &buffer[..n]).unwrap();
        });
        let options = SendOptions::default();
        for round in 0..20usize {
            let pending: Vec<_> = (0..40usize).map(|number| {
                let len = [0, 1, 16, 100, 1300, 2000, 70_000, 200_000][(number * 7 + round) % 8];
                connection.submit(pattern(len, number), vec![0; len], &options).unwrap()
            }).collect();
            for (number, pending) in pending.into_iter().enumerate() {
                let ended = pending.wait().unwrap();
                let len = ended.request.len();
                assert_eq!((ended.answer.status, ended.answer.len, ended.reply.len()), (len as i64, len, len));
                assert_eq!(ended.request, pattern(len, number));
                assert!(ended.request.iter().zip(ended.bytes()).all(|(a, b)| a ^ 0x5a == *b));
            }
        }
    }

    fn it_leaves_although_its_thread_waits_for_nothing(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        for flushes in [false, true] {
            let pending = connection.submit(b"x".to_vec(), Vec::new(), &SendOptions::default()).unwrap();
            if flushes {
                pair.client.flush();
            }
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert!(!pending.is_ended());
            message.reply(3, &[]).unwrap();
            testkit::until("the answer comes by itself", || pending.is_ended());
            assert_eq!(pending.wait().unwrap().answer.status, 3);
        }
    }

    fn one_that_is_dropped_is_given_up_and_leaves_its_slot(pair) {
        let channel = pair.channel(ChannelFlags::UNBLOCK);
        let connection = pair.connect(&channel);
        let options = SendOptions::default();
        for number in 0..100 {
            let pending = connection.submit(pattern(100_000, number), vec![0; 8], &options).unwrap();
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            drop(pending);
            let pulse = pulse(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert_eq!(pulse.code, Pulse::UNBLOCK);
            // What was sent is still there for a server that reads it before it lets go.
            let mut rest = vec![0; 100_000];
            assert_eq!(message.read_at(0, &mut rest), Ok(100_000));
            assert_eq!(rest, pattern(100_000, number));
            message.fail(Errno::EINTR).unwrap();
        }
        let pending = connection.submit(Vec::new(), Vec::new(), &options).unwrap();
        message(channel.receive_until(&mut [0; 1], soon()).unwrap()).reply(5, &[]).unwrap();
        assert_eq!(pending.wait().unwrap().answer.status, 5);
    }

    fn a_deadline_and_an_interrupt_end_the_wait(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let deadline = Some(Instant::now() + Duration::from_millis(20));
        let late = connection.submit(Vec::new(), Vec::new(), &SendOptions { deadline, ..SendOptions::default() });
        let failure = late.unwrap().wait().unwrap_err();
        assert_eq!((failure.errno, failure.cause), (Errno::ETIMEDOUT, Cause::TimedOut));
        let interrupt = Interrupt::new();
        let options = SendOptions { interrupt: Some(&interrupt), ..SendOptions::default() };
        let pending = connection.submit(Vec::new(), Vec::new(), &options).unwrap();
        interrupt.trigger();
        assert_eq!(pending.wait().unwrap_err().errno, Errno::EINTR);
        assert_eq!(connection.submit(Vec::new(), Vec::new(), &options).unwrap_err().errno, Errno::EINTR);
    }

    fn an_answer_does_not_wait_for_the_next_one_that_takes_long(pair) {
        let (release, released) = mpsc::channel::<()>();
        let (connection, _served) = pair.serve(16, move |message, buffer| {
            if buffer[0] == 1 {
                released.recv_timeout(PATIENCE).expect("the answer before this one was kept back");
            }
            message.reply(0, &[]).unwrap();
        });
        let options = SendOptions::default();
        for _ in 0..50 {
            // Quick ones, so that the server's end has reason to expect another.
            let quick: Vec<_> = (0..30).map(|_| connection.submit(vec![0], Vec::new(), &options).unwrap()).collect();
            let long = connection.submit(vec![1], Vec::new(), &options).unwrap();
            for pending in quick {
                pending.wait().unwrap();
            }
            release.send(()).unwrap();
            long.wait().unwrap();
        }
    }

    fn a_descriptor_is_waited_for_beside_an_answer(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let (mut far, mut near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let readable = Readable::new(&pair.client, &near).unwrap();
        let options = SendOptions::default();
        for round in 0..50 {
            let pending = connection.submit(Vec::new(), Vec::new(), &options).unwrap();
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            thread::scope(|scope| {
                // Before and while it is waited for; after a wait of many milliseconds, too.
                if round % 2 == 0 {
                    far.write_all(b"x").unwrap();
                } else {
                    scope.spawn(|| far.write_all(b"x").unwrap());
                }
                assert_eq!(pending.wait_beside(&readable), First::Readable);
                assert_eq!(near.read(&mut [0; 9]).unwrap(), 1);
                scope.spawn(|| message.reply(3, &[]).unwrap());
                assert_eq!(pending.wait_beside(&readable), First::Ended);
            });
            assert_eq!(pending.wait().unwrap().answer.status, 3);
        }
        let pending = connection.submit(Vec::new(), Vec::new(), &options).unwrap();
        drop(far);
        assert_eq!(pending.wait_beside(&readable), First::Readable, "the other side is gone");
        channel.destroy();
        assert_eq!(pending.wait_beside(&readable), First::Ended);
        assert!(pending.wait().is_err());
    }

    fn a_descriptor_is_heard_by_whoever_polls(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let (mut far, near) = UnixStream::pair().unwrap();
        let readable = Readable::new(&pair.client, &near).unwrap();
        let options = SendOptions::default();
        let pending = connection.submit(Vec::new(), Vec::new(), &options).unwrap();
        let first = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
        thread::scope(|scope| {
            // It has the role, and hands what comes to the descriptor on.
            let caller = scope.spawn(|| connection.submit(Vec::new(), Vec::new(), &options).unwrap().wait());
            let second = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            let beside = scope.spawn(|| pending.wait_beside(&readable));
            far.write_all(b"x").unwrap();
            assert_eq!(beside.join().unwrap(), First::Readable);
            second.reply(0, &[]).unwrap();
            caller.join().unwrap().unwrap();
        });
        first.reply(0, &[]).unwrap();
        assert_eq!(pending.wait_beside(&readable), First::Ended);
        pending.wait().unwrap();
    }

    fn more_than_there_are_slots_take_turns(pair) {
        let (connection, _served) = pair.serve(16, |message, _| message.reply(7, &[]).unwrap());
        let options = SendOptions::default();
        let pending: Vec<_> = (0..3000).map(|_| connection.submit(Vec::new(), Vec::new(), &options).unwrap()).collect();
        for pending in pending {
            assert_eq!(pending.wait().unwrap().answer.status, 7);
        }
    }

    fn the_end_of_the_server_ends_all(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let options = SendOptions::default();
        let pending: Vec<_> = (0..20).map(|_| connection.submit(vec![1; 100], Vec::new(), &options).unwrap()).collect();
        let first = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
        drop(first);
        channel.destroy();
        for pending in pending {
            assert!(pending.wait().is_err());
        }
    }
}
