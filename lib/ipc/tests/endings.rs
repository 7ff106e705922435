//! How sends, receives and whole processes end, the same over shared memory and over encrypted UDP.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate slashnet_ipc as ipc;

mod pair;

use std::thread;
use std::time::{Duration, Instant};

use abi::{ChannelFlags, Errno, Pulse};
use ipc::{Cause, Channel, Delivery, Interrupt, SendOptions};
use pair::{Pair, message, pulse, soon};
use testkit::until;

over_both! {
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
                // The server has the message before, also on a busy machine.
                let deadline = Some(Instant::now() + Duration::from_millis(500));
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
            until("the request to unblock arrives", || message.unblock_requested());
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
        let deaths = Channel::create(&pair.client, ChannelFlags::COID_DISCONNECT).unwrap();
        let channel = pair.channel(ChannelFlags::UNBLOCK | ChannelFlags::DISCONNECT);
        let connection = pair.connect(&channel);
        let another = connection.duplicate().unwrap();
        thread::scope(|scope| {
            let received = scope.spawn(|| connection.send(b"1", &mut []).unwrap_err());
            let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
            let queued = scope.spawn(|| connection.send(b"2", &mut []).unwrap_err());
            until("the second message waits", || {
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
        assert!(connection.is_dead() && another.is_dead());
        assert_eq!(connection.send(b"3", &mut []).unwrap_err().errno, Errno::EBADF);
        for connection in [&connection, &another] {
            let death = deaths.receive_pulse(soon()).unwrap();
            assert_eq!((death.code, death.value), (Pulse::CONNECTION_DEATH, connection.id().0.into()));
        }
        assert_eq!(deaths.receive_pulse(Some(Instant::now())), Err(Errno::ETIMEDOUT), "told once");
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
            until("the second message waits", || {
                assert_eq!(channel.receive_pulse(Some(Instant::now())), Err(Errno::ETIMEDOUT));
                pair.server.session_stats()[0].operations == 2
            });
            ipc::direct::shut_down(&pair.client);
            assert!(received.join().unwrap().is_err() && queued.join().unwrap().is_err());
            until("the server hears of it", || pair.server.session_stats().is_empty());
            let gone = pulse(channel.receive_until(&mut [0; 1], soon()).unwrap());
            assert_eq!((gone.code, gone.sender), (Pulse::DISCONNECT, held.info().sender));
            assert_eq!(held.read_at(0, &mut [0; 4]), Err(Errno::ESRCH));
            assert_eq!(held.reply(0, &[]), Err(Errno::ESRCH));
            let nothing = channel.receive_until(&mut [], Some(Instant::now())).unwrap_err();
            assert_eq!(nothing, Errno::ETIMEDOUT, "what was queued is gone, too");
        });
    }
}
