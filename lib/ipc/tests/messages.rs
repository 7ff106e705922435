//! What a client and a server may rely on, the same over shared memory and over encrypted UDP.
#![allow(missing_docs)]

extern crate slashnet_ipc as ipc;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use abi::{ChannelFlags, ChannelId, Errno, Nd, Pid, Pulse};
use ipc::{
    Cause, Channel, Connection, Delivery, Endpoint, Interrupt, Message, Received, SendOptions,
};

/// A client and a server, joined in one of the ways under test.
struct Pair {
    client: Endpoint,
    server: Endpoint,
    nd: Nd,
}

impl Pair {
    fn memory() -> Self {
        let (client, server) = ipc::direct::pair().unwrap();
        Self { client, server, nd: Nd::LOCAL }
    }

    fn udp() -> Self {
        let (client, server) = ipc::direct::udp_pair().unwrap();
        Self { client, server, nd: Nd(1) }
    }

    fn channel(&self, flags: ChannelFlags) -> Arc<Channel> {
        Arc::new(Channel::create(&self.server, flags).unwrap())
    }

    fn connect(&self, channel: &Channel) -> Connection {
        Connection::attach(&self.client, self.nd, Pid(2), channel.id()).unwrap()
    }

    /// A channel, a thread that serves it until it is destroyed, and a connection to it.
    fn serve(
        &self,
        room: usize,
        mut handle: impl FnMut(Message, &mut [u8]) + Send + 'static,
    ) -> (Connection, Served) {
        let channel = self.channel(ChannelFlags::empty());
        let receiver = Arc::clone(&channel);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; room];
            loop {
                match receiver.receive(&mut buffer) {
                    Ok(Received::Message(message)) => handle(message, &mut buffer),
                    Ok(Received::Pulse(_)) => {}
                    Err(errno) => return assert_eq!(errno, Errno::ESRCH),
                }
            }
        });
        (self.connect(&channel), Served { channel, thread: Some(thread) })
    }
}

struct Served {
    channel: Arc<Channel>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.channel.destroy();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server has panicked");
    }
}

fn message(received: Received) -> Message {
    match received {
        Received::Message(message) => message,
        Received::Pulse(pulse) => panic!("a pulse instead of a message: {pulse:?}"),
    }
}

fn pulse(received: Received) -> Pulse {
    match received {
        Received::Pulse(pulse) => pulse,
        Received::Message(message) => panic!("a message instead of a pulse: {message:?}"),
    }
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8).collect()
}

/// Waits until `condition` holds; a test that waits in vain fails.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

/// Runs each test over both kinds of session.
macro_rules! over_both {
    ($($(#[$doc:meta])* fn $name:ident($pair:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($pair: Pair) $body)*
        mod memory {
            $(#[test] fn $name() { super::$name(super::Pair::memory()) })*
        }
        mod udp {
            $(#[test] fn $name() { super::$name(super::Pair::udp()) })*
        }
    };
}

over_both! {
    // qnx: I20, I21
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
            eventually("three messages wait", || {
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

    // qnx: I23, I43
    fn a_receive_ends_at_its_deadline(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let past = Instant::now();
        let nothing = channel.receive_until(&mut [], Some(past)).unwrap_err();
        assert_eq!(nothing, Errno::ETIMEDOUT);
        let later = Instant::now() + Duration::from_millis(20);
        let nothing = channel.receive_until(&mut [], Some(later)).unwrap_err();
        assert_eq!(nothing, Errno::ETIMEDOUT);
        assert!(Instant::now() >= later);
    }

    // qnx: I40, I43
    fn a_send_to_nobody_ends_at_its_deadline(pair) {
        let channel = pair.channel(ChannelFlags::UNBLOCK);
        let connection = pair.connect(&channel);
        let deadline = Instant::now() + Duration::from_millis(30);
        let options = SendOptions { deadline: Some(deadline), ..SendOptions::default() };
        let request = [std::io::IoSlice::new(b"x")];
        let failure = connection.send_vectored(&request, &mut [], &options).unwrap_err();
        assert_eq!((failure.errno, failure.cause), (Errno::ETIMEDOUT, Cause::TimedOut));
        assert_eq!(failure.delivery, Delivery::NotDone);
        assert!(Instant::now() >= deadline);
        // The message has been taken back.
        let nothing = channel.receive_until(&mut [], Some(Instant::now())).unwrap_err();
        assert_eq!(nothing, Errno::ETIMEDOUT);
    }

    // qnx: I40, I27
    fn without_unblock_a_received_send_ends_at_its_deadline_and_the_server_hears_it_late(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let deadline = Some(Instant::now() + Duration::from_millis(30));
                let options = SendOptions { deadline, ..SendOptions::default() };
                let request = [std::io::IoSlice::new(b"x")];
                connection.send_vectored(&request, &mut [], &options).unwrap_err()
            });
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            let failure = sender.join().unwrap();
            assert_eq!((failure.errno, failure.delivery), (Errno::ETIMEDOUT, Delivery::Unknown));
            assert_eq!(message.read_at(0, &mut [0; 1]), Err(Errno::ESRCH));
            assert_eq!(message.reply(0, &[]), Err(Errno::ESRCH));
        });
    }

    // qnx: I40, I41, I42
    fn with_unblock_the_server_is_asked_and_decides(pair) {
        let channel = pair.channel(ChannelFlags::UNBLOCK);
        let connection = pair.connect(&channel);
        let interrupt = Interrupt::new();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let options = SendOptions { interrupt: Some(&interrupt), ..SendOptions::default() };
                let request = [std::io::IoSlice::new(b"x")];
                connection.send_vectored(&request, &mut [], &options)
            });
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert!(!message.unblock_requested());
            interrupt.trigger();
            interrupt.trigger();
            let unblock = pulse(channel.receive_until(&mut [], soon()).unwrap());
            assert_eq!((unblock.code, unblock.value), (Pulse::UNBLOCK, message.id().0));
            assert!(message.unblock_requested());
            let nothing = channel.receive_until(&mut [], Some(Instant::now())).unwrap_err();
            assert_eq!(nothing, Errno::ETIMEDOUT, "one pulse is enough");
            assert!(!sender.is_finished(), "the client stays until it is answered");
            message.reply(42, &[]).unwrap();
            assert_eq!(sender.join().unwrap().unwrap().status, 42);
        });
    }

    // qnx: I29
    fn a_reply_takes_back_an_unblock_pulse_that_nobody_received(pair) {
        let channel = pair.channel(ChannelFlags::UNBLOCK);
        let connection = pair.connect(&channel);
        let interrupt = Interrupt::new();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let options = SendOptions { interrupt: Some(&interrupt), ..SendOptions::default() };
                let request = [std::io::IoSlice::new(b"x")];
                connection.send_vectored(&request, &mut [], &options)
            });
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            interrupt.trigger();
            eventually("the request to unblock arrives", || message.unblock_requested());
            message.fail(Errno::EINTR).unwrap();
            assert_eq!(sender.join().unwrap().unwrap_err().errno, Errno::EINTR);
            let nothing = channel.receive_until(&mut [], Some(Instant::now())).unwrap_err();
            assert_eq!(nothing, Errno::ETIMEDOUT);
        });
    }

    // qnx: I40
    fn a_triggered_interrupt_stops_a_send_before_it_starts(pair) {
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let interrupt = Interrupt::new();
        interrupt.trigger();
        let options = SendOptions { interrupt: Some(&interrupt), ..SendOptions::default() };
        let request = [std::io::IoSlice::new(b"x")];
        let failure = connection.send_vectored(&request, &mut [], &options).unwrap_err();
        assert_eq!((failure.errno, failure.cause), (Errno::EINTR, Cause::Interrupted));
        assert_eq!(failure.delivery, Delivery::NotDone);
    }

    // qnx: I3
    fn destroying_a_channel_releases_everybody_blocked_on_it(pair) {
        let channel = pair.channel(ChannelFlags::UNBLOCK | ChannelFlags::DISCONNECT);
        let connection = pair.connect(&channel);
        thread::scope(|scope| {
            let received = scope.spawn(|| connection.send(b"1", &mut []).unwrap_err());
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            let queued = scope.spawn(|| connection.send(b"2", &mut []).unwrap_err());
            eventually("the second message waits", || {
                assert_eq!(channel.receive_pulse(Some(Instant::now())), Err(Errno::ETIMEDOUT));
                pair.server.session_stats()[0].operations == 2
            });
            channel.destroy();
            let (received, queued) = (received.join().unwrap(), queued.join().unwrap());
            assert_eq!((received.errno, received.delivery), (Errno::ESRCH, Delivery::Unknown));
            assert_eq!((queued.errno, queued.delivery), (Errno::ESRCH, Delivery::NotDone));
            assert_eq!(message.reply(0, &[]), Err(Errno::ESRCH));
            assert_eq!(channel.receive(&mut []).unwrap_err(), Errno::ESRCH);
        });
        assert_eq!(connection.send(b"3", &mut []).unwrap_err().errno, Errno::EBADF);
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
        eventually("a pulse can be sent again", || connection.pulse(-1, 1, sent).is_ok());
        assert_eq!(channel.receive_pulse(soon()).unwrap().value, sent);
        assert_eq!(connection.pulse(0, 1, 0), Err(Errno::EINVAL));
        assert_eq!(connection.pulse(256, 1, 0), Err(Errno::EINVAL));
        assert_eq!(connection.pulse(-1, -33, 0), Err(Errno::EINVAL), "the system's codes");
    }

    // qnx: I7, I9, I52
    fn the_last_detach_is_announced_first_and_once(pair) {
        let channel = pair.channel(ChannelFlags::DISCONNECT);
        let one = pair.connect(&channel);
        let two = one.duplicate().unwrap();
        two.pulse(-1, 7, 1).unwrap();
        drop(one);
        drop(two);
        let other = pair.connect(&channel);
        let mut codes = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..2 {
            let pulse = pulse(channel.receive_until(&mut [], soon()).unwrap());
            codes.push(pulse.code);
            senders.push(pulse.sender);
        }
        codes.sort_unstable();
        assert_eq!(codes, [Pulse::DISCONNECT, 7]);
        assert_eq!(senders[0], senders[1]);
        thread::scope(|scope| {
            scope.spawn(|| other.send(b"x", &mut []).unwrap());
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert_ne!(message.info().sender, senders[0], "a new attachment");
            message.reply(0, &[]).unwrap();
        });
    }

    // qnx: I2, I45, I69
    fn the_end_of_a_server_is_told_to_its_clients(pair) {
        let deaths = Channel::create(&pair.client, ChannelFlags::COID_DISCONNECT).unwrap();
        let second = Channel::create(&pair.client, ChannelFlags::COID_DISCONNECT).unwrap_err();
        assert_eq!(second, Errno::EBUSY);
        let channel = pair.channel(ChannelFlags::empty());
        let connection = pair.connect(&channel);
        let another = connection.duplicate().unwrap();
        thread::scope(|scope| {
            let sender = scope.spawn(|| connection.send(b"x", &mut []).unwrap_err());
            let received = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            ipc::direct::shut_down(&pair.server);
            let failure = sender.join().unwrap();
            assert_eq!((failure.errno, failure.delivery), (Errno::ESRCH, Delivery::Unknown));
            assert_eq!(failure.cause, Cause::Server);
            let mut dead: Vec<_> =
                (0..2).map(|_| deaths.receive_pulse(soon()).unwrap()).collect();
            dead.sort_by_key(|pulse| pulse.value);
            assert!(dead.iter().all(|pulse| pulse.code == Pulse::CONNECTION_DEATH));
            let ids = [connection.id(), another.id()].map(|id| u64::from(id.0));
            assert_eq!(dead.iter().map(|pulse| pulse.value).collect::<Vec<_>>(), ids);
            drop(received);
        });
        assert_eq!(connection.send(b"x", &mut []).unwrap_err().errno, Errno::EBADF);
        assert_eq!(connection.pulse(-1, 1, 1), Err(Errno::EBADF));
        assert!(connection.is_dead());
    }

    // qnx: I9, I10
    fn the_end_of_a_client_is_told_to_its_server(pair) {
        let channel = pair.channel(ChannelFlags::DISCONNECT | ChannelFlags::UNBLOCK);
        let connection = pair.connect(&channel);
        thread::scope(|scope| {
            let received = scope.spawn(|| connection.send(&[1; 100], &mut []));
            let held = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            let queued = scope.spawn(|| connection.send(&[2; 100], &mut []));
            eventually("the second message waits", || {
                assert_eq!(channel.receive_pulse(Some(Instant::now())), Err(Errno::ETIMEDOUT));
                pair.server.session_stats()[0].operations == 2
            });
            ipc::direct::shut_down(&pair.client);
            assert!(received.join().unwrap().is_err() && queued.join().unwrap().is_err());
            eventually("the server hears of it", || pair.server.session_stats().is_empty());
            let gone = pulse(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert_eq!((gone.code, gone.sender), (Pulse::DISCONNECT, held.info().sender));
            assert_eq!(held.read_at(0, &mut [0; 4]), Err(Errno::ESRCH));
            assert_eq!(held.reply(0, &[]), Err(Errno::ESRCH));
            let nothing = channel.receive_until(&mut [], Some(Instant::now())).unwrap_err();
            assert_eq!(nothing, Errno::ETIMEDOUT, "what was queued is gone, too");
        });
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
