//! Who may use a port, and how it changes hands; with a device that is unplugged and comes back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::sync::mpsc::channel;

use abi::devctl::{
    CHR_EXCLUSIVE, CHR_REFUSE, CHR_TAKE_OVER, CHR_TCGETATTR, CHR_TCSETATTR, CHR_USERS, CHR_WANTED,
    PortAccess, SetTermios, TakeOver, When,
};
use abi::io::{Read, Request};
use abi::{Errno, OpenFlags};
use bench::{BOTH, Bench};
use resmgr::testing::{TestClient, TestFile};
use testkit::until;

const READ: OpenFlags = OpenFlags::READ;
const ALONE: OpenFlags = BOTH.union(OpenFlags::EXCLUSIVE);
const ASK: TakeOver = TakeOver {
    force: false,
    patience_ms: 60_000,
};
const NOW: TakeOver = TakeOver {
    force: false,
    patience_ms: 0,
};
const FORCE: TakeOver = TakeOver {
    force: true,
    patience_ms: 0,
};

fn open(client: &TestClient, flags: OpenFlags) -> Result<TestFile, Errno> {
    client.open("", flags)
}

fn read_one() -> Request<'static> {
    Request::Read(Read {
        nbytes: 1,
        offset: None,
    })
}

#[test]
fn a_port_for_one_writer_has_one_and_any_number_of_readers() {
    let bench = Bench::with("share=one-writer");
    let (one, two) = (bench.client(), bench.client());
    let writer = open(&one, BOTH).unwrap();
    assert_eq!(open(&two, BOTH).map(drop), Err(Errno::EBUSY));
    let reader = open(&two, READ).unwrap();
    bench.send(b"x");
    assert_eq!(reader.read(1), Ok(b"x".to_vec()));
    writer.close().unwrap();
    open(&two, BOTH).unwrap();
}

#[test]
fn writers_of_a_queue_get_the_port_in_the_order_they_came() {
    let bench = Bench::with("share=queue");
    let first = open(&bench.client(), BOTH).unwrap();
    let nonblocking = BOTH | OpenFlags::NONBLOCK;
    assert_eq!(
        open(&bench.client(), nonblocking).map(drop),
        Err(Errno::EBUSY),
        "who does not want to wait is told"
    );
    let (told, order) = channel();
    let clients: Vec<_> = (0..2).map(|_| bench.client()).collect();
    let waiting = |count: usize| {
        let look = open(&bench.client(), OpenFlags::PATH).unwrap();
        until("the next one waits", || {
            let users = look.devctl(CHR_USERS, &()).unwrap().0;
            let waits = |user: &&abi::devctl::PortUser| user.access.contains(PortAccess::WAITING);
            users.iter().filter(waits).count() == count
        });
    };
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            let told = told.clone();
            scope.spawn(move || {
                let file = open(client, BOTH).unwrap();
                told.send(number).unwrap();
                file.close().unwrap();
            });
            waiting(number + 1);
        }
        first.close().unwrap();
        assert_eq!([order.recv(), order.recv()], [Ok(0), Ok(1)]);
    });
}

#[test]
fn a_port_for_one_has_one_user() {
    let bench = Bench::with("share=one");
    let user = open(&bench.client(), READ).unwrap();
    assert_eq!(open(&bench.client(), READ).map(drop), Err(Errno::EBUSY));
    assert!(open(&bench.client(), OpenFlags::PATH).is_ok());
    user.close().unwrap();
    open(&bench.client(), READ).unwrap();
}

#[test]
fn an_exclusive_user_keeps_others_out_until_it_lets_them() {
    let bench = Bench::new();
    let other = bench.client();
    let user = open(&bench.client(), ALONE).unwrap();
    assert_eq!(open(&other, BOTH).map(drop), Err(Errno::EBUSY));
    user.devctl(CHR_EXCLUSIVE, &false).unwrap();
    let second = open(&other, BOTH).unwrap();
    assert_eq!(
        open(&bench.client(), ALONE).map(drop),
        Err(Errno::EBUSY),
        "it is not alone"
    );
    second.devctl(CHR_EXCLUSIVE, &true).unwrap();
    assert_eq!(user.devctl(CHR_EXCLUSIVE, &true), Err(Errno::EBUSY));
    assert_eq!(open(&bench.client(), BOTH).map(drop), Err(Errno::EBUSY));
    second.close().unwrap();
    open(&bench.client(), BOTH).unwrap();
}

#[test]
fn who_has_the_port_is_told_to_anybody_who_looks() {
    let bench = Bench::new();
    let look = open(&bench.manager.client(9, 9), OpenFlags::PATH).unwrap();
    assert!(look.devctl(CHR_USERS, &()).unwrap().0.is_empty());
    let _user = open(&bench.manager.client(7, 7), ALONE).unwrap();
    let users = look.devctl(CHR_USERS, &()).unwrap().0;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].uid, abi::Uid(7));
    let access = PortAccess::READ | PortAccess::WRITE | PortAccess::EXCLUSIVE;
    assert_eq!(users[0].access, access);
}

#[test]
fn a_user_who_says_nothing_loses_the_port_and_one_who_refuses_keeps_it() {
    let bench = Bench::with("share=one");
    let (holder, asker) = (bench.manager.client(5, 5), bench.manager.client(6, 6));
    let held = open(&holder, BOTH).unwrap();
    let look = open(&asker, OpenFlags::PATH).unwrap();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| look.devctl(CHR_TAKE_OVER, &ASK));
        let wanted = held.devctl(CHR_WANTED, &()).unwrap();
        assert_eq!(wanted.uid, abi::Uid(6));
        held.devctl(CHR_REFUSE, &()).unwrap();
        assert_eq!(refused.join().unwrap(), Err(Errno::EBUSY));
    });
    assert_eq!(held.devctl(CHR_REFUSE, &()), Err(Errno::EAGAIN));
    assert_eq!(held.write(b"x"), Ok(1));

    let reading = held.start(&read_one());
    look.devctl(CHR_TAKE_OVER, &NOW).unwrap();
    assert_eq!(reading.wait(), Err(Errno::EIO));
    assert_eq!(held.write(b"x"), Err(Errno::EIO));
    assert_eq!(
        open(&holder, BOTH).map(drop),
        Err(Errno::EBUSY),
        "it is kept for the asker"
    );
    open(&asker, BOTH).unwrap().write(b"y").unwrap();
    assert_eq!(bench.take(2), b"xy");
}

#[test]
fn a_user_who_leaves_when_asked_lets_the_asker_in_at_once() {
    let bench = Bench::with("share=one");
    let (holder, asker) = (bench.manager.client(5, 5), bench.manager.client(6, 6));
    let held = open(&holder, BOTH).unwrap();
    let look = open(&asker, OpenFlags::PATH).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| look.devctl(CHR_TAKE_OVER, &ASK));
        held.devctl(CHR_WANTED, &()).unwrap();
        held.close().unwrap();
        assert_eq!(asked.join().unwrap(), Ok(()));
    });
    open(&asker, BOTH).unwrap();
}

#[test]
fn force_is_for_the_owner_and_for_who_takes_from_himself() {
    let bench = Bench::with("share=one");
    let held = open(&bench.manager.client(5, 5), BOTH).unwrap();
    let stranger = open(&bench.manager.client(6, 6), OpenFlags::PATH).unwrap();
    assert_eq!(stranger.devctl(CHR_TAKE_OVER, &FORCE), Err(Errno::EPERM));
    assert_eq!(held.write(b"x"), Ok(1));
    let same = bench.manager.client(5, 5);
    let look = open(&same, OpenFlags::PATH).unwrap();
    look.devctl(CHR_TAKE_OVER, &FORCE).unwrap();
    assert_eq!(held.write(b"x"), Err(Errno::EIO));
    open(&same, BOTH).unwrap();
}

#[test]
fn files_that_outlive_the_device_go_on_with_their_settings_when_it_is_back() {
    let mut bench = Bench::with("9600,replug=wait");
    let file = bench.open();
    let mut termios = file.devctl(CHR_TCGETATTR, &()).unwrap();
    (termios.input_speed, termios.output_speed) = (1200, 1200);
    let when = When::Now;
    file.devctl(CHR_TCSETATTR, &SetTermios { when, termios })
        .unwrap();
    let reading = file.start(&read_one());
    bench.unplug();
    until("the loss is seen", || {
        file.devctl(CHR_TCGETATTR, &()) == Err(Errno::EIO)
    });
    assert_eq!(reading.answer(), None, "it waits");
    let writing = file.start(&Request::Write {
        offset: None,
        data: b"later",
    });
    bench.plug_in();
    assert_eq!(bench.take(5), b"later");
    assert_eq!(writing.wait(), Ok((5, vec![])));
    bench.send(b"x");
    assert_eq!(reading.wait(), Ok((1, b"x".to_vec())));
    assert_eq!(file.devctl(CHR_TCGETATTR, &()), Ok(termios));
}

#[test]
fn a_write_in_the_moment_of_the_loss_leaves_when_the_device_is_back() {
    let mut bench = Bench::with("replug=wait");
    let file = bench.open();
    for round in 0..5 {
        bench.unplug();
        // Nobody has told the manager yet.
        let writing = file.start(&Request::Write {
            offset: None,
            data: b"later",
        });
        bench.plug_in();
        assert_eq!(writing.wait(), Ok((5, vec![])), "round {round}");
        assert_eq!(bench.take(5), b"later");
    }
}

#[test]
fn a_device_that_comes_back_is_seen_without_anybody_opening_the_port() {
    let mut bench = Bench::with("replug=wait");
    let file = bench.open();
    for round in 0..3 {
        bench.unplug();
        until("the loss is seen", || {
            file.devctl(CHR_TCGETATTR, &()) == Err(Errno::EIO)
        });
        bench.plug_in();
        until("it is back", || file.devctl(CHR_TCGETATTR, &()).is_ok());
        file.write(b"x").unwrap();
        assert_eq!(bench.take(1), b"x", "round {round}");
    }
}
