//! A serial port on a pty pair, without a daemon: the test is the device at the other end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::io::Read as _;

use abi::devctl::{
    ALL_SETFLAGS, CHR_DRAIN, CHR_FLUSH, CHR_INPUT_COUNT, CHR_LINE_STATUS, CHR_MODEM_GET,
    CHR_MODEM_SET, CHR_OUTPUT_COUNT, CHR_SEND_BREAK, CHR_TCGETATTR, CHR_TCSETATTR, CHR_WINDOW_GET,
    CHR_WINDOW_SET, ControlCharacter, ControlModes, FlushQueue, InputModes, LocalModes, ModemLines,
    ModemSet, SetTermios, When, WindowSize,
};
use abi::io::{Events, Lseek, Notify, NotifyAction, Read, Request, Whence};
use abi::{Decode, Errno, OpenFlags};
use resmgr::Attributes;
use resmgr::testing::TestManager;
use testkit::until;

mod bench;

use bench::{BOTH, Bench, options, plug_in};

fn want(nbytes: u32) -> Request<'static> {
    Request::Read(Read {
        nbytes,
        offset: None,
    })
}

#[test]
fn bytes_pass_both_ways_unchanged() {
    let bench = Bench::new();
    let file = bench.open();
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(file.write(&all), Ok(256));
    assert_eq!(
        bench.take(256),
        all,
        "raw: no byte is special on the way out"
    );
    bench.send(&all);
    let mut got = Vec::new();
    while got.len() < 256 {
        got.extend(file.read(1000).unwrap());
    }
    assert_eq!(got, all, "raw: no byte is special on the way in");
}

#[test]
fn a_blocked_read_returns_what_is_there_as_soon_as_something_is() {
    let bench = Bench::new();
    let file = bench.open();
    let waiting = file.start(&want(1000));
    assert_eq!(waiting.answer(), None);
    bench.send(b"abc");
    assert_eq!(waiting.wait(), Ok((3, b"abc".to_vec())));
    bench.send(b"defgh");
    assert_eq!(file.read(2).unwrap(), b"de");
    assert_eq!(file.read(9).unwrap(), b"fgh", "what was not read stays");
    assert_eq!(file.read(0).unwrap(), b"");
}

#[test]
fn readers_of_all_clients_are_served_in_the_order_they_came() {
    let bench = Bench::new();
    let files: Vec<_> = (0..3).map(|_| bench.open()).collect();
    let waiting: Vec<_> = files.iter().map(|file| file.start(&want(1))).collect();
    bench.send(b"xyz");
    for (sent, expected) in waiting.iter().zip([b"x", b"y", b"z"]) {
        assert_eq!(sent.wait(), Ok((1, expected.to_vec())));
    }
}

// qnx: I40
#[test]
fn an_interrupted_read_takes_no_byte_with_it() {
    let bench = Bench::new();
    let file = bench.open();
    let waiting = file.start(&want(10));
    waiting.interrupt();
    assert_eq!(waiting.wait(), Err(Errno::EINTR));
    bench.send(b"kept");
    let mut got = Vec::new();
    while got.len() < 4 {
        got.extend(file.read(10).unwrap());
    }
    assert_eq!(got, b"kept");
}

// qnx: R14
#[test]
fn a_dead_client_leaves_the_bytes_to_the_living() {
    let bench = Bench::new();
    let (dying, living) = (bench.client(), bench.client());
    let lost = dying.open("", BOTH).unwrap().start(&want(10));
    let kept = living.open("", BOTH).unwrap().start(&want(10));
    dying.die();
    assert!(lost.answer().is_some());
    bench.send(b"x");
    assert_eq!(kept.wait(), Ok((1, b"x".to_vec())));
}

#[test]
fn a_nonblocking_read_answers_eagain_until_there_is_something() {
    let bench = Bench::new();
    let file = bench.client().open("", BOTH | OpenFlags::NONBLOCK).unwrap();
    assert_eq!(file.read(10), Err(Errno::EAGAIN));
    bench.send(b"x");
    until("the byte arrives", || file.read(10) == Ok(b"x".to_vec()));
    file.devctl(ALL_SETFLAGS, &OpenFlags::empty()).unwrap();
    let waiting = file.start(&want(10));
    assert_eq!(waiting.answer(), None);
    bench.send(b"y");
    assert_eq!(waiting.wait(), Ok((1, b"y".to_vec())));
}

#[test]
fn writes_that_the_line_cannot_take_wait_and_leave_in_order() {
    let bench = Bench::new();
    let (one, two) = (bench.open(), bench.open());
    let big = vec![b'a'; 50_000];
    let first = one.start(&Request::Write {
        offset: None,
        data: &big,
    });
    let second = two.start(&Request::Write {
        offset: None,
        data: b"end",
    });
    assert_eq!(
        (first.answer(), second.answer()),
        (None, None),
        "nobody has taken anything"
    );
    let nonblocking = bench.client().open("", BOTH | OpenFlags::NONBLOCK).unwrap();
    assert_eq!(nonblocking.write(b"x"), Err(Errno::EAGAIN));
    let got = bench.take(50_003);
    assert!(got[..50_000] == big && &got[50_000..] == b"end");
    assert_eq!(first.wait(), Ok((50_000, vec![])));
    assert_eq!(second.wait(), Ok((3, vec![])));
}

#[test]
fn a_write_longer_than_the_managers_buffer_is_taken_in_part() {
    let bench = Bench::new();
    let file = bench.open();
    let big: Vec<u8> = (0..300_000u32).map(|index| (index % 251) as u8).collect();
    let device = bench.device().try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; 300_000];
        (&device).read_exact(&mut got).unwrap();
        got
    });
    let mut rest = &big[..];
    while !rest.is_empty() {
        let sent = file.start(&Request::Write {
            offset: None,
            data: rest,
        });
        let (count, _) = sent.wait().unwrap();
        assert!(count > 0 && count < 100_000, "{count}");
        rest = &rest[count as usize..];
    }
    assert!(reader.join().unwrap() == big);
}

#[test]
fn a_write_interrupted_halfway_tells_how_much_left() {
    let bench = Bench::new();
    let file = bench.open();
    let big = vec![b'a'; 50_000];
    let write = file.start(&Request::Write {
        offset: None,
        data: &big,
    });
    let waiting = file.start(&Request::Write {
        offset: None,
        data: b"never",
    });
    waiting.interrupt();
    assert_eq!(waiting.wait(), Err(Errno::EINTR), "nothing of it had left");
    write.interrupt();
    let (count, _) = write.wait().unwrap();
    assert!(count > 0 && count < 50_000, "{count}");
    assert_eq!(bench.take(count as usize), vec![b'a'; count as usize]);
    file.write(b"next").unwrap();
    assert_eq!(bench.take(4), b"next");
}

#[test]
fn settings_are_told_and_changed() {
    let bench = Bench::new();
    let file = bench.open();
    let raw = file.devctl(CHR_TCGETATTR, &()).unwrap();
    assert_eq!((raw.input_speed, raw.output_speed), (9600, 9600));
    assert!(
        raw.control
            .contains(ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL)
    );
    assert!(
        !raw.local
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    );
    let mut other = raw;
    (other.input_speed, other.output_speed) = (0, 250_000);
    other.input |= InputModes::IXON;
    other.control |= ControlModes::CSTOPB;
    other.set_character(ControlCharacter::Stop, 7);
    for when in [When::Now, When::Drain, When::Flush] {
        file.devctl(
            CHR_TCSETATTR,
            &SetTermios {
                when,
                termios: other,
            },
        )
        .unwrap();
        let now = file.devctl(CHR_TCGETATTR, &()).unwrap();
        assert_eq!((now.input_speed, now.output_speed), (250_000, 250_000));
        assert!(now.input.contains(InputModes::IXON));
        assert!(now.control.contains(ControlModes::CSTOPB));
        assert_eq!(now.character(ControlCharacter::Stop), 7);
    }
    file.devctl(
        CHR_TCSETATTR,
        &SetTermios {
            when: When::Now,
            termios: raw,
        },
    )
    .unwrap();
    assert_eq!(file.devctl(CHR_TCGETATTR, &()), Ok(raw));
}

#[test]
fn counts_status_flush_drain_and_window_work() {
    let bench = Bench::new();
    let file = bench.open();
    assert_eq!(file.devctl(CHR_INPUT_COUNT, &()), Ok(0));
    bench.send(b"12345");
    until("five bytes arrive", || {
        file.devctl(CHR_INPUT_COUNT, &()) == Ok(5)
    });
    file.devctl(CHR_FLUSH, &FlushQueue::Input).unwrap();
    assert_eq!(file.devctl(CHR_INPUT_COUNT, &()), Ok(0));
    file.write(b"out").unwrap();
    file.devctl(CHR_DRAIN, &()).unwrap();
    assert_eq!(file.devctl(CHR_OUTPUT_COUNT, &()), Ok(0));
    assert_eq!(bench.take(3), b"out");
    assert!(file.devctl(CHR_LINE_STATUS, &()).unwrap().errors.is_empty());
    file.devctl(CHR_SEND_BREAK, &1).unwrap();
    assert_eq!(file.devctl(CHR_SEND_BREAK, &60_000), Err(Errno::EINVAL));
    let size = WindowSize {
        rows: 24,
        columns: 80,
        width: 0,
        height: 0,
    };
    file.devctl(CHR_WINDOW_SET, &size).unwrap();
    assert_eq!(file.devctl(CHR_WINDOW_GET, &()), Ok(size));
    // A pty has no modem lines.
    assert_eq!(file.devctl(CHR_MODEM_GET, &()), Err(Errno::ENOTTY));
    let theirs = ModemSet {
        on: ModemLines::CTS,
        off: ModemLines::empty(),
    };
    assert_eq!(file.devctl(CHR_MODEM_SET, &theirs), Err(Errno::EINVAL));
    let seek = Request::Lseek(Lseek {
        offset: 0,
        whence: Whence::Set,
    });
    assert_eq!(file.ask(&seek), Err(Errno::ESPIPE));
}

#[test]
fn readiness_is_told_and_waited_for() {
    let bench = Bench::new();
    let file = bench.client().open("", BOTH | OpenFlags::NONBLOCK).unwrap();
    let ask = |events, action| file.start(&Request::Notify(Notify { events, action }));
    let told = |sent: &resmgr::testing::Sent| {
        let (_, body) = sent.wait().unwrap();
        Events::from_bytes(&body).unwrap()
    };
    let both = Events::INPUT | Events::OUTPUT;
    assert_eq!(told(&ask(both, NotifyAction::Report)), Events::OUTPUT);
    assert_eq!(
        told(&ask(Events::INPUT, NotifyAction::Report)),
        Events::empty()
    );
    let waiting = ask(Events::INPUT, NotifyAction::Arm);
    assert_eq!(waiting.answer(), None, "also for a non-blocking file");
    bench.send(b"x");
    assert_eq!(told(&waiting), Events::INPUT);
    assert_eq!(told(&ask(both, NotifyAction::Arm)), both);
}

#[test]
fn a_device_that_disappears_fails_those_who_wait_and_may_come_back() {
    let mut bench = Bench::new();
    let file = bench.open();
    let big = vec![b'a'; 50_000];
    let reading = file.start(&want(10));
    let writing = file.start(&Request::Write {
        offset: None,
        data: &big,
    });
    let stuck = file.start(&Request::Write {
        offset: None,
        data: b"more",
    });
    let watching = file.start(&Request::Notify(Notify {
        events: Events::INPUT,
        action: NotifyAction::Arm,
    }));
    bench.unplug();
    assert_eq!(reading.wait(), Err(Errno::EIO));
    assert!(
        writing.wait().is_ok_and(|(count, _)| count < 50_000),
        "a part had left"
    );
    assert_eq!(stuck.wait(), Err(Errno::EIO));
    let (_, body) = watching.wait().unwrap();
    assert!(Events::from_bytes(&body).unwrap().contains(Events::HANGUP));
    assert_eq!(bench.client().open("", BOTH).map(drop), Err(Errno::ENXIO));
    assert!(
        bench.client().open("", OpenFlags::PATH).is_ok(),
        "it can be looked at"
    );

    bench.plug_in();
    let new = bench.open();
    new.write(b"hello").unwrap();
    assert_eq!(bench.take(5), b"hello");
    bench.send(b"again");
    until("the new device is heard", || {
        new.devctl(CHR_INPUT_COUNT, &()) == Ok(5)
    });
    assert_eq!(
        file.read(10),
        Err(Errno::EIO),
        "a file of the old device stays dead"
    );
    assert_eq!(file.write(b"x"), Err(Errno::EIO));
    assert_eq!(file.devctl(CHR_DRAIN, &()), Err(Errno::EIO));
    assert_eq!(new.read(10).unwrap(), b"again");
}

#[test]
fn bytes_that_came_before_the_device_disappeared_are_still_read() {
    let mut bench = Bench::new();
    let file = bench.open();
    // The kernel forgets what nobody has taken from the terminal yet; the port says when it has.
    let arriving = file.start(&Request::Notify(Notify {
        events: Events::INPUT,
        action: NotifyAction::Arm,
    }));
    bench.send(b"last words");
    arriving.wait().unwrap();
    bench.unplug();
    until("the loss is seen", || {
        bench.client().open("", BOTH).map(drop) == Err(Errno::ENXIO)
    });
    assert_eq!(file.read(100).unwrap(), b"last words");
    assert_eq!(file.read(100), Err(Errno::EIO));
}

#[test]
fn a_device_that_is_none_or_in_use_is_refused_clearly() {
    let bench = Bench::new();
    let again = serial_manager::open(&options(bench.directory.path())).map(drop);
    assert_eq!(again, Err(Errno::EBUSY));
    let other = tempfile::tempdir().unwrap();
    let missing = serial_manager::open(&options(other.path())).map(drop);
    assert_eq!(missing, Err(Errno::ENOENT));
    std::fs::write(other.path().join("tty"), b"").unwrap();
    let file = serial_manager::open(&options(other.path())).map(drop);
    assert_eq!(file, Err(Errno::ENOTTY));
}

#[test]
fn a_port_is_opened_by_those_whom_its_permissions_allow() {
    let directory = tempfile::tempdir().unwrap();
    let _device = plug_in(&directory.path().join("tty"));
    let (_moving, resource) = serial_manager::open(&options(directory.path())).unwrap();
    let attributes = Attributes::device(0o640).owner(abi::Uid(1), abi::Gid(2));
    let manager = TestManager::new(attributes, resource);
    assert!(manager.client(1, 1).open("", BOTH).is_ok());
    assert!(manager.client(5, 2).open("", OpenFlags::READ).is_ok());
    assert_eq!(
        manager.client(5, 2).open("", BOTH).map(drop),
        Err(Errno::EACCES)
    );
    assert_eq!(
        manager.client(5, 5).open("", OpenFlags::READ).map(drop),
        Err(Errno::EACCES)
    );
    let reader = manager.client(5, 2).open("", OpenFlags::READ).unwrap();
    assert_eq!(reader.write(b"x"), Err(Errno::EBADF));
}
