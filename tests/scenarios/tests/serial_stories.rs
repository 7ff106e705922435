//! A serial port of one node, used from another; the test is the device on the line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::thread;
use std::time::{Duration, Instant};

use abi::devctl::{
    CHR_DRAIN, CHR_INPUT_COUNT, CHR_REFUSE, CHR_SEND_BREAK, CHR_TAKE_OVER, CHR_TCGETATTR,
    CHR_TCSETATTR, CHR_USERS, CHR_WANTED, SetTermios, TakeOver, When,
};
use abi::io::Events;
use abi::{Errno, Gid, OpenFlags, Uid};
use client::{File, Identity, Namespace};
use ipc::{Interrupt, SendOptions};
use serial_manager::Serving;
use slashnet_scenarios::line::{plug_in, read_exactly, take};
use slashnet_scenarios::until;
use tempfile::TempDir;
use testkit::Cluster;

const BOTH: OpenFlags = OpenFlags::READ_WRITE;
const PORT: &str = "/net/lab2/dev/ser1";

/// lab2 offers a serial port as `/dev/ser1`; `far` is a program on lab1.
struct Lab {
    place: TempDir,
    device: Option<fs::File>,
    far: Namespace,
    serving: Serving,
    cluster: Cluster,
}

fn lab() -> Lab {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let place = tempfile::tempdir().unwrap();
    let device = plug_in(&place.path().join("tty"));
    let port = format!(
        "{}=/dev/ser1,115200,8n1,mode=666",
        place.path().join("tty").display()
    );
    let endpoint = cluster["lab2"].endpoint();
    let serving = serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap();
    let far = Namespace::of(&cluster["lab1"].endpoint());
    Lab {
        place,
        device: Some(device),
        far,
        serving,
        cluster,
    }
}

impl Lab {
    fn open(&self) -> File {
        self.far.open(PORT, BOTH).unwrap()
    }

    fn device(&self) -> &fs::File {
        self.device.as_ref().unwrap()
    }

    /// The device answers so many bytes with the same bytes.
    fn echo(&self, count: usize) {
        let bytes = take(self.device(), count);
        self.device().write_all(&bytes).unwrap();
    }
}

#[test]
fn a_remote_port_is_written_read_set_and_drained() {
    let lab = lab();
    let port = lab.open();
    assert!(port.opened().direct);
    assert_eq!(port.write(b"ATZ\r"), Ok(4));
    port.devctl(CHR_DRAIN, ()).unwrap();
    lab.echo(4);
    assert_eq!(read_exactly(&port, 4), b"ATZ\r");
    let mut termios = port.devctl(CHR_TCGETATTR, ()).unwrap();
    assert_eq!(termios.output_speed, 115_200);
    (termios.input_speed, termios.output_speed) = (9600, 9600);
    port.devctl(
        CHR_TCSETATTR,
        SetTermios {
            when: When::Drain,
            termios,
        },
    )
    .unwrap();
    assert_eq!(port.devctl(CHR_TCGETATTR, ()), Ok(termios));
    port.devctl(CHR_SEND_BREAK, 1).unwrap();
    let stat = lab.far.stat(PORT).unwrap();
    assert_eq!(stat.mode, abi::flags::mode::S_IFCHR | 0o666);
    assert_eq!(port.seek(0, abi::io::Whence::Set), Err(Errno::ESPIPE));
}

#[test]
fn a_port_is_for_those_for_whom_its_device_is() {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let place = tempfile::tempdir().unwrap();
    let tty = place.path().join("tty");
    let _device = plug_in(&tty);
    fs::set_permissions(&tty, fs::Permissions::from_mode(0o660)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Group 0 of another node is nobody.
        chown(&tty, None, Some(20)).unwrap();
    }
    let (user, group) = (4242, fs::metadata(&tty).unwrap().gid());
    let endpoint = cluster["lab2"].endpoint();
    let serve = |options: &str| {
        let port = format!("{}=/dev/ser1{options}", tty.display());
        serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap()
    };
    let far = Namespace::of(&cluster["lab1"].endpoint());
    let opened = |groups: &[u32]| {
        let groups = groups.iter().copied().map(Gid).collect();
        let (uid, gid) = (Uid(user), Gid(user));
        let namespace = far.as_user(Identity { uid, gid, groups });
        namespace.open(PORT, BOTH).map(drop)
    };
    let serving = serve("");
    assert_eq!(far.stat(PORT).unwrap().mode & 0o777, 0o660);
    assert_eq!(opened(&[group + 1]), Err(Errno::EACCES));
    assert_eq!(
        opened(&[group]),
        Ok(()),
        "the numbers of groups are the same here"
    );
    drop(serving);
    let _serving = serve(",mode=666");
    assert_eq!(opened(&[group + 1]), Ok(()));
}

#[test]
fn two_nodes_share_one_port() {
    let lab = lab();
    let here = Namespace::of(&lab.cluster["lab2"].endpoint())
        .open("/dev/ser1", BOTH)
        .unwrap();
    let there = lab.open();
    here.write(b"here ").unwrap();
    there.write(b"there").unwrap();
    lab.echo(10);
    assert_eq!(read_exactly(&there, 4), b"here");
    assert_eq!(
        read_exactly(&here, 6),
        b" there",
        "what one did not read is the other's"
    );
    assert_eq!(lab.serving.open_connections(), 2);
}

// qnx: I40, I43
#[test]
fn a_blocked_remote_read_ends_at_once_when_interrupted_or_out_of_time_and_loses_nothing() {
    let lab = lab();
    let port = lab.open();
    let interrupt = Interrupt::new();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let options = SendOptions {
                interrupt: Some(&interrupt),
                ..Default::default()
            };
            port.read_with(&mut [0; 10], &options)
        });
        // Wherever the read is when this comes, it ends.
        interrupt.trigger();
        assert_eq!(waiting.join().unwrap(), Err(Errno::EINTR));
    });
    let deadline = Some(Instant::now() + Duration::from_millis(100));
    let options = SendOptions {
        deadline,
        ..Default::default()
    };
    assert_eq!(
        port.read_with(&mut [0; 10], &options),
        Err(Errno::ETIMEDOUT)
    );
    lab.device().write_all(b"kept").unwrap();
    assert_eq!(read_exactly(&port, 4), b"kept");
}

#[test]
fn a_nonblocking_remote_port_never_waits_and_tells_when_it_is_ready() {
    let lab = lab();
    let port = lab.far.open(PORT, BOTH | OpenFlags::NONBLOCK).unwrap();
    assert_eq!(port.read(&mut [0; 10]), Err(Errno::EAGAIN));
    assert_eq!(
        port.events(Events::INPUT | Events::OUTPUT),
        Ok(Events::OUTPUT)
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| port.wait_for(Events::INPUT, &SendOptions::default()));
        lab.device().write_all(b"x").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(Events::INPUT));
    });
    assert_eq!(port.read(&mut [0; 10]), Ok(1));
    port.set_nonblocking(false).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| port.read(&mut [0; 10]));
        lab.device().write_all(b"y").unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(1));
    });
}

#[test]
fn a_device_that_disappears_fails_the_remote_reader_and_comes_back_for_the_next() {
    let mut lab = lab();
    let port = lab.open();
    let far = lab.far.clone();
    let device = lab.device.take();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| port.read(&mut [0; 10]));
        fs::remove_file(lab.place.path().join("tty")).unwrap();
        drop(device);
        assert_eq!(waiting.join().unwrap(), Err(Errno::EIO));
    });
    assert_eq!(port.write(b"x"), Err(Errno::EIO));
    assert_eq!(far.open(PORT, BOTH).map(drop), Err(Errno::ENXIO));
    lab.device = Some(plug_in(&lab.place.path().join("tty")));
    let again = lab.open();
    again.write(b"hello").unwrap();
    lab.echo(5);
    assert_eq!(read_exactly(&again, 5), b"hello");
}

#[test]
fn bytes_flow_on_without_loss_while_both_daemons_die_and_come_back() {
    let mut lab = lab();
    let port = lab.open();
    let mut far_end = lab.device().try_clone().unwrap();
    let rounds = 60;
    let echo = thread::spawn(move || {
        let mut line = [0; 64];
        for _ in 0..rounds {
            far_end.read_exact(&mut line).unwrap();
            far_end.write_all(&line).unwrap();
        }
    });
    for round in 0..rounds {
        match round {
            10 => lab.cluster.get_mut("lab1").kill(),
            20 => lab.cluster.get_mut("lab2").kill(),
            30 => lab.cluster.get_mut("lab2").restart(),
            40 => lab.cluster.get_mut("lab1").restart(),
            _ => {}
        }
        let line = [round as u8; 64];
        assert_eq!(port.write(&line), Ok(64));
        assert_eq!(read_exactly(&port, 64), line, "round {round}");
    }
    echo.join().unwrap();
    lab.cluster["lab1"].wait_for("lab2");
    until("the port can be opened again", || {
        lab.far.open(PORT, BOTH).is_ok()
    });
}

#[test]
fn who_has_a_port_and_who_wants_it_is_told_with_the_names_of_their_nodes() {
    let lab = lab();
    let held = lab.far.open(PORT, BOTH | OpenFlags::EXCLUSIVE).unwrap();
    let here = Namespace::of(&lab.cluster["lab2"].endpoint());
    let there = Namespace::of(&lab.cluster["lab1"].endpoint());
    for (asker, node) in [(&here, "lab2"), (&there, "lab1")] {
        let look = &asker.open(PORT, OpenFlags::PATH).unwrap();
        let users = look.devctl(CHR_USERS, ()).unwrap().0;
        assert_eq!(users[0].node_name, b"lab1", "as {node} sees it");
        thread::scope(|scope| {
            let wish = TakeOver {
                force: false,
                patience_ms: 60_000,
            };
            let refused = scope.spawn(move || look.devctl(CHR_TAKE_OVER, wish));
            let wanted = held.devctl(CHR_WANTED, ()).unwrap();
            held.devctl(CHR_REFUSE, ()).unwrap();
            assert_eq!(wanted.node_name, node.as_bytes());
            assert_eq!(refused.join().unwrap(), Err(Errno::EBUSY));
        });
    }
}

// qnx: R14
#[test]
fn a_reader_that_vanishes_leaves_the_bytes_to_others() {
    let lab = lab();
    let kept = lab.open();
    let doomed = Namespace::of(&lab.cluster["lab1"].endpoint());
    let endpoint = doomed.endpoint().unwrap().clone();
    let lost = doomed.open(PORT, BOTH).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lost.read(&mut [0; 10]));
        ipc::direct::shut_down(&endpoint);
        assert!(waiting.join().unwrap().is_err());
    });
    until("its file is closed", || lab.serving.open_connections() == 1);
    lab.device().write_all(b"for you").unwrap();
    assert_eq!(read_exactly(&kept, 7), b"for you");
    assert_eq!(kept.devctl(CHR_INPUT_COUNT, ()), Ok(0));
}
