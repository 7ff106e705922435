//! A port of one node as a terminal on another; the test is the device on the line and the program at the terminal.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use abi::devctl::{CHR_INPUT_COUNT, CHR_USERS, PortAccess, PortUser};
use abi::{Errno, OpenFlags};
use client::Namespace;
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::termios::{
    ControlModes, LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr,
    tcsetattr,
};
use serial_manager::Serving;
use serial_manager::terminal::{Terminal, TerminalEvent, TerminalOptions};
use slashnet_scenarios::line::{plug_in, take};
use slashnet_scenarios::{PATIENCE, until};
use tempfile::TempDir;
use testkit::Cluster;

const PORT: &str = "/net/lab2/dev/ser1";

/// lab2 offers a serial port as `/dev/ser1`; programs are on lab1.
struct Lab {
    place: TempDir,
    device: Option<File>,
    far: Namespace,
    serving: Option<Serving>,
    cluster: Cluster,
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let place = tempfile::tempdir().unwrap();
        let device = plug_in(&place.path().join("tty"));
        let far = Namespace::of(&cluster["lab1"].endpoint());
        let mut lab = Self {
            place,
            device: Some(device),
            far,
            serving: None,
            cluster,
        };
        lab.serve();
        lab
    }

    fn serve(&mut self) {
        self.offer("115200");
    }

    fn offer(&mut self, options: &str) {
        let port = format!(
            "{}=/dev/ser1,mode=666,{options}",
            self.path("tty").display()
        );
        let endpoint = self.cluster["lab2"].endpoint();
        let serving = serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap();
        self.serving = Some(serving);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn device(&self) -> &File {
        self.device.as_ref().unwrap()
    }

    /// The device takes so many bytes.
    fn take(&self, count: usize) -> Vec<u8> {
        take(self.device(), count)
    }

    fn unplug(&mut self) {
        // The name first: its pseudo terminal may be another test's as soon as it is free.
        fs::remove_file(self.path("tty")).unwrap();
        self.device = None;
    }

    fn plug_in(&mut self) {
        self.device = Some(plug_in(&self.path("tty")));
    }

    fn options(&self) -> TerminalOptions {
        TerminalOptions {
            namespace: self.far.clone(),
            port: PORT.into(),
            link: Some(self.path("ttyNET0")),
            frame: None,
            hold: false,
            keep: false,
        }
    }

    fn terminal(&self, options: TerminalOptions) -> (Terminal, Events) {
        let (tell, told) = channel();
        let terminal = Terminal::start(options, move |event| {
            let _ = tell.send(event);
        });
        let events = Events(told);
        let terminal = terminal.unwrap();
        assert_eq!(
            events.next(),
            TerminalEvent::Ready(self.path("ttyNET0")),
            "it is told by its link"
        );
        (terminal, events)
    }

    fn refusal(&self, change: impl FnOnce(&mut TerminalOptions)) -> Errno {
        let mut options = self.options();
        change(&mut options);
        Terminal::start(options, drop).map(drop).unwrap_err().errno
    }
}

struct Events(Receiver<TerminalEvent>);

impl Events {
    fn next(&self) -> TerminalEvent {
        self.0.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_for(&self, wanted: impl Fn(&TerminalEvent) -> bool) -> TerminalEvent {
        loop {
            let event = self.next();
            if wanted(&event) {
                return event;
            }
        }
    }
}

/// A program opens a terminal.
fn open(path: &Path) -> File {
    let flags = OFlags::NOCTTY.bits().cast_signed();
    let mut how = OpenOptions::new();
    how.read(true).write(true).custom_flags(flags);
    how.open(path).unwrap()
}

fn set(file: impl AsFd, change: impl FnOnce(&mut Termios)) {
    let mut termios = tcgetattr(&file).unwrap();
    change(&mut termios);
    tcsetattr(&file, OptionalActions::Now, &termios).unwrap();
}

fn speed(file: impl AsFd) -> u32 {
    tcgetattr(file).unwrap().output_speed()
}

#[test]
fn bytes_pass_unchanged_and_settings_are_at_the_port_before_the_bytes_after_them() {
    let lab = Lab::new();
    let (terminal, events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    assert_eq!(events.next(), TerminalEvent::Opened);
    let all: Vec<u8> = (0..=255).collect();
    (&program).write_all(&all).unwrap();
    assert_eq!(lab.take(256), all, "raw from the start, as the port is");
    lab.device().write_all(&all).unwrap();
    assert_eq!(take(&program, 256), all);
    for round in 0..20 {
        for wanted in [9600, 250_000, 57_600, 12_345] {
            set(&program, |termios| {
                termios.set_speed(wanted).unwrap();
                termios
                    .control_modes
                    .set(ControlModes::CSTOPB, wanted == 9600);
            });
            (&program).write_all(b"x").unwrap();
            lab.take(1);
            let line = tcgetattr(lab.device()).unwrap();
            assert_eq!(line.output_speed(), wanted, "round {round}");
            assert_eq!(
                line.control_modes.contains(ControlModes::CSTOPB),
                wanted == 9600
            );
        }
    }
    drop(program);
    let (out, r#in) = (256 + 80, 256);
    assert_eq!(events.next(), TerminalEvent::Closed { out, r#in });
    drop(terminal);
    assert!(
        fs::symlink_metadata(lab.path("ttyNET0")).is_err(),
        "the link is removed"
    );
}

#[test]
fn settings_reach_the_port_though_no_byte_follows_them_whatever_flags_the_program_clears() {
    let lab = Lab::new();
    let (_terminal, _events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    set(&program, |termios| {
        // As programs do that make their settings from nothing.
        termios.local_modes = LocalModes::empty();
        termios.set_speed(19_200).unwrap();
    });
    until("the first change", || speed(lab.device()) == 19_200);
    set(&program, |termios| termios.set_speed(4800).unwrap());
    until("a change that nobody is told of", || {
        speed(lab.device()) == 4800
    });
}

#[test]
fn settings_stay_for_the_next_program_as_those_of_a_serial_line_do() {
    let lab = Lab::new();
    let (_terminal, events) = lab.terminal(lab.options());
    set(open(&lab.path("ttyNET0")), |termios| {
        termios.set_speed(300).unwrap();
    });
    events.wait_for(|event| matches!(event, TerminalEvent::Closed { .. }));
    let program = open(&lab.path("ttyNET0"));
    assert_eq!(speed(&program), 300);
    (&program).write_all(b"x").unwrap();
    lab.take(1);
    assert_eq!(speed(lab.device()), 300);
}

#[test]
fn a_program_finds_nothing_that_arrived_while_nobody_had_the_port() {
    let lab = Lab::new();
    let (_terminal, _events) = lab.terminal(lab.options());
    let look = lab.far.open(PORT, OpenFlags::READ).unwrap();
    lab.device().write_all(b"the end of the last one").unwrap();
    until("it has arrived", || {
        look.devctl(CHR_INPUT_COUNT, ()) == Ok(23)
    });
    drop(look);
    let program = open(&lab.path("ttyNET0"));
    (&program).write_all(b"?").unwrap();
    assert_eq!(lab.take(1), b"?");
    lab.device().write_all(b"!").unwrap();
    assert_eq!(take(&program, 1), b"!");
}

#[test]
fn a_terminal_ends_while_it_waits_for_its_turn() {
    let mut lab = Lab::new();
    lab.serving = None;
    lab.offer("share=queue");
    let first = lab.far.open(PORT, OpenFlags::READ_WRITE).unwrap();
    let (terminal, _events) = lab.terminal(lab.options());
    let _program = open(&lab.path("ttyNET0"));
    until("it waits", || {
        let users = first.devctl(CHR_USERS, ()).unwrap().0;
        let waits = |user: &PortUser| user.access.contains(PortAccess::WAITING);
        users.iter().any(waits)
    });
    let (tell, told) = channel();
    std::thread::spawn(move || {
        drop(terminal);
        tell.send(()).unwrap();
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn a_terminal_that_edits_lines_does_so_for_its_programs() {
    let lab = Lab::new();
    let (_terminal, _events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    set(&program, |termios| {
        termios.local_modes |= LocalModes::ICANON;
    });
    until("the terminal edits lines", || {
        let now = tcgetattr(&program).unwrap();
        !now.local_modes.contains(LocalModes::EXTPROC)
    });
    lab.device().write_all(b"wrong\x15right\n").unwrap();
    assert_eq!(take(&program, 6), b"right\n", "a killed line is gone");
}

#[test]
fn what_has_arrived_is_thrown_away_when_the_program_says_so_and_nothing_later() {
    let lab = Lab::new();
    let (_terminal, events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    assert_eq!(events.next(), TerminalEvent::Opened);
    for round in 0..20 {
        lab.device().write_all(b"old").unwrap();
        until("it has arrived", || ioctl_fionread(&program).unwrap() == 3);
        tcflush(&program, QueueSelector::IFlush).unwrap();
        (&program).write_all(b"?").unwrap();
        lab.take(1);
        lab.device().write_all(b"new").unwrap();
        assert_eq!(take(&program, 3), b"new", "round {round}");
    }
}

#[test]
fn a_lost_device_hangs_up_the_terminal_and_the_link_leads_to_a_new_one() {
    let mut lab = Lab::new();
    let (_terminal, events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    assert_eq!(events.next(), TerminalEvent::Opened);
    lab.unplug();
    assert_eq!(events.next(), TerminalEvent::Lost(Errno::EIO));
    assert!(matches!(events.next(), TerminalEvent::Ready(_)));
    let end = (&program).read(&mut [0; 10]);
    assert!(
        matches!(&end, Ok(0)) || end.is_err(),
        "the program sees the end: {end:?}"
    );
    lab.plug_in();
    let program = open(&lab.path("ttyNET0"));
    (&program).write_all(b"back").unwrap();
    assert_eq!(lab.take(4), b"back");
}

#[test]
fn a_terminal_that_holds_goes_on_when_the_device_or_the_server_is_back() {
    let mut lab = Lab::new();
    let mut options = lab.options();
    options.hold = true;
    let (_terminal, events) = lab.terminal(options);
    let program = open(&lab.path("ttyNET0"));
    set(&program, |termios| termios.set_speed(9600).unwrap());
    assert_eq!(events.next(), TerminalEvent::Opened);
    lab.unplug();
    assert_eq!(events.next(), TerminalEvent::Lost(Errno::EIO));
    lab.plug_in();
    events.wait_for(|event| *event == TerminalEvent::Opened);
    (&program).write_all(b"hello").unwrap();
    assert_eq!(lab.take(5), b"hello");
    assert_eq!(
        speed(lab.device()),
        9600,
        "the program's settings, not the port's first ones"
    );

    lab.serving = None;
    events.wait_for(|event| matches!(event, TerminalEvent::Lost(_)));
    lab.serve();
    events.wait_for(|event| *event == TerminalEvent::Opened);
    lab.device().write_all(b"again").unwrap();
    assert_eq!(take(&program, 5), b"again");
}

#[test]
fn what_is_no_port_or_no_place_for_a_link_is_refused() {
    let lab = Lab::new();
    let missing = lab.refusal(|options| options.port = b"/net/lab2/dev/ser9".to_vec());
    assert_eq!(missing, Errno::ENOENT);
    fs::write(lab.path("ttyNET0"), "mine").unwrap();
    assert_eq!(lab.refusal(|_| ()), Errno::EEXIST);
    assert_eq!(fs::read(lab.path("ttyNET0")).unwrap(), b"mine");
    let nowhere = lab.refusal(|options| options.link = Some(PathBuf::from("/no/such/place")));
    assert_eq!(nowhere, Errno::ENOENT);
}

#[test]
fn what_was_passed_on_before_a_flush_arrives_whole() {
    let lab = Lab::new();
    let (_terminal, _events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    let all: Vec<u8> = (0..8192_u32).map(|place| (place % 251) as u8).collect();
    for round in 0..50 {
        (&program).write_all(&all).unwrap();
        tcflush(&program, QueueSelector::OFlush).unwrap();
        (&program).write_all(&[END]).unwrap();
        let mut came = Vec::new();
        while came.last() != Some(&END) {
            came.extend(lab.take(1));
        }
        came.pop();
        // The kernel throws away what the terminal had not taken from it.
        assert!(
            all.starts_with(&came),
            "round {round}: {} bytes",
            came.len()
        );
    }
}

#[test]
fn neither_way_waits_for_the_other() {
    let lab = Lab::new();
    let (_terminal, events) = lab.terminal(lab.options());
    let program = open(&lab.path("ttyNET0"));
    // What came before that is not for this program.
    events.wait_for(|event| *event == TerminalEvent::Opened);
    let (out, back): (Vec<u8>, Vec<u8>) = (vec![b'o'; MUCH], vec![b'i'; MUCH]);
    // Neither the line nor the program reads: both ways are full, in every buffer between.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (&program).write_all(&out).unwrap());
        let sender = scope.spawn(|| lab.device().write_all(&back).unwrap());
        until("the line and the program have all they can", || {
            let waiting = ioctl_fionread(&program).unwrap();
            let sent = ioctl_fionread(lab.device()).unwrap();
            waiting > 0 && sent > 0
        });
        // What the program writes leaves although it reads nothing, and what it reads arrives although it waits to write.
        assert_eq!(lab.take(MUCH), out);
        writer.join().unwrap();
        let mut came = vec![0; MUCH];
        (&program).read_exact(&mut came).unwrap();
        assert_eq!(came, back);
        sender.join().unwrap();
    });
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (&program).write_all(&out).unwrap());
        let sender = scope.spawn(|| lab.device().write_all(&back).unwrap());
        until("the line has all it can", || {
            ioctl_fionread(lab.device()).unwrap() > 0
        });
        let mut came = vec![0; MUCH];
        (&program).read_exact(&mut came).unwrap();
        assert_eq!(came, back, "the line takes nothing meanwhile");
        sender.join().unwrap();
        assert_eq!(lab.take(MUCH), out);
        writer.join().unwrap();
    });
}

/// More than all buffers between a program and a device hold: two pseudo terminals, a port, and pieces under way.
const MUCH: usize = 400_000;

/// A byte that is not in what is written before it.
const END: u8 = 255;
