//! Ports shared by RFC 2217, with our server and our device talking to each other; the test is the device on the line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;

use abi::devctl::{
    CHR_DRAIN, CHR_FLUSH, CHR_MODEM_SET, CHR_OUTPUT_COUNT, CHR_SEND_BREAK, CHR_TCGETATTR,
    CHR_TCSETATTR, CHR_USERS, ControlModes, FlushQueue, InputModes, ModemLines, ModemSet,
    PortAccess, PortUser, SetTermios, When,
};
use abi::{Errno, OpenFlags};
use client::Namespace;
use resmgr::{Attributes, Resource};
use rustix::termios::tcgetattr;
use serial_manager::rfc2217::{self, Place};
use serial_manager::{PortOptions, Serving};
use slashnet_scenarios::line::{plug_in, read_exactly, take};
use slashnet_scenarios::{PATIENCE, until};
use tempfile::TempDir;
use testkit::Cluster;

const BOTH: OpenFlags = OpenFlags::READ_WRITE;

/// lab2 has a device and shares it by TCP; lab1 offers that as a port of its own.
struct Lab {
    place: TempDir,
    device: Option<File>,
    shared: Option<rfc2217::Serving>,
    near: Option<Serving>,
    _far: Serving,
    cluster: Cluster,
}

impl Lab {
    fn new() -> Self {
        Self::sharing("many")
    }

    /// With this policy of the device's port.
    fn sharing(policy: &str) -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let place = tempfile::tempdir().unwrap();
        let device = plug_in(&place.path().join("tty"));
        let tty = place.path().join("tty");
        let port = format!("{}=/dev/ser1,mode=666,share={policy}", tty.display());
        let far = serve(&cluster, "lab2", &port);
        let shared = share(&cluster, "127.0.0.1:0");
        let address = shared.addresses()[0];
        let near = serve(
            &cluster,
            "lab1",
            &format!("rfc2217://{address}=/dev/ser2,9600,8n2"),
        );
        Self {
            place,
            device: Some(device),
            shared: Some(shared),
            near: Some(near),
            _far: far,
            cluster,
        }
    }

    fn namespace(&self) -> Namespace {
        Namespace::of(&self.cluster["lab1"].endpoint())
    }

    /// A Telnet client that waits for its turn, because lab1 has the port.
    fn waiting_client(&self) -> TcpStream {
        let look = Namespace::of(&self.cluster["lab2"].endpoint());
        let look = look.open("/dev/ser1", OpenFlags::PATH).unwrap();
        let is_waiting = |user: &PortUser| user.access.contains(PortAccess::WAITING);
        let users = || look.devctl(CHR_USERS, ()).unwrap().0;
        until("lab1 has the port", || {
            users().iter().any(|user| !is_waiting(user))
        });
        let address = self.shared.as_ref().unwrap().addresses()[0];
        let client = TcpStream::connect(address).unwrap();
        until("it waits", || users().iter().any(is_waiting));
        client
    }

    fn device(&self) -> &File {
        self.device.as_ref().unwrap()
    }

    fn take(&self, count: usize) -> Vec<u8> {
        take(self.device(), count)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

fn serve(cluster: &Cluster, node: &str, port: &str) -> Serving {
    let port: PortOptions = port.parse().unwrap();
    serial_manager::serve(&cluster[node].endpoint(), &[port]).unwrap()
}

/// Shares the port of lab2.
fn share(cluster: &Cluster, address: &str) -> rfc2217::Serving {
    let namespace = Namespace::of(&cluster["lab2"].endpoint());
    let port = b"/dev/ser1".to_vec();
    let address = address.parse().unwrap();
    rfc2217::serve(&namespace, &[Place { port, address }]).unwrap()
}

#[test]
fn a_shared_port_is_a_port_like_any_other() {
    let lab = Lab::new();
    let port = lab.namespace().open("/dev/ser2", BOTH).unwrap();
    let all: Vec<u8> = (0..=255).chain([255, 255, 13, 0]).collect();
    assert_eq!(port.write(&all), Ok(all.len()));
    assert_eq!(lab.take(all.len()), all);
    lab.device().write_all(&all).unwrap();
    assert_eq!(read_exactly(&port, all.len()), all);
    // From the options of the port that shares it.
    assert_eq!(tcgetattr(lab.device()).unwrap().output_speed(), 9600);

    let mut termios = port.devctl(CHR_TCGETATTR, ()).unwrap();
    assert!(
        termios
            .control
            .contains(ControlModes::CS8 | ControlModes::CSTOPB)
    );
    for (speed, software) in [(115_200, true), (300, false)] {
        (termios.input_speed, termios.output_speed) = (speed, speed);
        termios
            .input
            .set(InputModes::IXON | InputModes::IXOFF, software);
        termios.control.set(ControlModes::CSTOPB, software);
        let when = When::Drain;
        port.devctl(CHR_TCSETATTR, SetTermios { when, termios })
            .unwrap();
        port.write(b"x").unwrap();
        lab.take(1);
        let line = tcgetattr(lab.device()).unwrap();
        assert_eq!(line.output_speed(), speed);
        let stop = rustix::termios::ControlModes::CSTOPB;
        assert_eq!(line.control_modes.contains(stop), software);
    }
    // The line at the end is a pseudo terminal, which has no parity: that is told, not hidden.
    termios.control |= ControlModes::PARENB;
    let when = When::Now;
    let refused = port.devctl(CHR_TCSETATTR, SetTermios { when, termios });
    assert_eq!(refused, Err(Errno::EINVAL));
    port.devctl(CHR_DRAIN, ()).unwrap();
    assert_eq!(port.devctl(CHR_OUTPUT_COUNT, ()), Ok(0));
    port.devctl(CHR_SEND_BREAK, 1).unwrap();
    let off = ModemLines::DTR;
    let on = ModemLines::empty();
    port.devctl(CHR_MODEM_SET, ModemSet { on, off }).unwrap();
    port.devctl(CHR_FLUSH, FlushQueue::Both).unwrap();
}

#[test]
fn much_passes_both_ways_at_once_without_loss() {
    let lab = Lab::new();
    let port = lab.namespace().open("/dev/ser2", BOTH).unwrap();
    let bytes: Vec<u8> = (0..200_000u32).map(|index| (index % 256) as u8).collect();
    std::thread::scope(|scope| {
        let device = lab.device();
        scope.spawn(|| (&*device).write_all(&bytes).unwrap());
        let taken = scope.spawn(|| lab.take(bytes.len()));
        scope.spawn(|| {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = &rest[port.write(rest).unwrap()..];
            }
        });
        assert!(read_exactly(&port, bytes.len()) == bytes);
        assert!(taken.join().unwrap() == bytes);
    });
}

#[test]
fn a_port_whose_server_ends_is_back_when_the_server_is() {
    let mut lab = Lab::new();
    let namespace = lab.namespace();
    let port = namespace.open("/dev/ser2", BOTH).unwrap();
    let address = lab.shared.as_ref().unwrap().addresses()[0].to_string();
    lab.shared = None;
    assert_eq!(port.read(&mut [0; 10]), Err(Errno::EIO));
    until("the loss is seen", || {
        namespace.open("/dev/ser2", BOTH).map(drop) == Err(Errno::ENXIO)
    });
    lab.shared = Some(share(&lab.cluster, &address));
    let mut again = None;
    until("the port is back", || {
        again = namespace.open("/dev/ser2", BOTH).ok();
        again.is_some()
    });
    again.unwrap().write(b"back").unwrap();
    assert_eq!(lab.take(4), b"back");
}

#[test]
fn a_device_that_is_lost_ends_the_connection() {
    let mut lab = Lab::new();
    let port = lab.namespace().open("/dev/ser2", BOTH).unwrap();
    port.write(b"x").unwrap();
    lab.take(1);
    // The name first: its pseudo terminal may be another test's as soon as it is free.
    fs::remove_file(lab.path("tty")).unwrap();
    lab.device = None;
    assert_eq!(port.read(&mut [0; 10]), Err(Errno::EIO));
}

#[test]
fn a_client_that_waits_for_its_turn_gets_the_port_when_the_one_before_has_gone() {
    let mut lab = Lab::sharing("queue");
    let mut client = lab.waiting_client();
    lab.near = None;
    client.write_all(b"my turn").unwrap();
    assert_eq!(lab.take(7), b"my turn");
}

#[test]
fn a_server_ends_though_a_client_waits_for_its_turn() {
    let mut lab = Lab::sharing("queue");
    let mut client = lab.waiting_client();
    let shared = lab.shared.take();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        drop(shared);
        tell.send(()).unwrap();
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok(()));
    // The connections end one after the other: the port may be its own for a moment.
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .read_to_end(&mut Vec::new())
        .expect("the client sees the end");
}

#[test]
fn what_does_not_speak_the_protocol_is_no_port() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let options: PortOptions = format!("rfc2217://{address}=/dev/ser2").parse().unwrap();
    let refuser = std::thread::spawn(move || {
        let (mut connection, _) = silent.accept().unwrap();
        // Refuses everything it is asked, as a plain Telnet server does.
        connection.read_exact(&mut [0; 3]).unwrap();
        connection.write_all(&[255, 254, 44, 255, 252, 44]).unwrap();
        let _ = connection.read_to_end(&mut Vec::new());
    });
    assert_eq!(serial_manager::open(&options).map(drop), Err(Errno::ENOTTY));
    refuser.join().unwrap();
    assert_eq!(
        serial_manager::open(&options).map(drop),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn what_is_no_serial_port_is_not_served() {
    let cluster = Cluster::start(["lab1"]);
    let endpoint = cluster["lab1"].endpoint();
    let _files = resmgr::Server::new(&endpoint)
        .unwrap()
        .attach("/plain", Attributes::file(0o666), Nothing)
        .unwrap()
        .attach("/device", Attributes::device(0o666), Nothing)
        .unwrap()
        .start()
        .unwrap();
    let namespace = Namespace::of(&cluster["lab1"].endpoint());
    for path in ["/plain", "/device"] {
        let place = Place {
            port: path.into(),
            address: "127.0.0.1:0".parse().unwrap(),
        };
        let refused = rfc2217::serve(&namespace, &[place]).map(drop).unwrap_err();
        assert_eq!(refused.to_string(), format!("{path}: not a serial port"));
    }
}

/// A resource that can do nothing but be there.
struct Nothing;

impl Resource for Nothing {}

#[test]
fn a_client_that_sends_nonsense_is_served_on() {
    let lab = Lab::new();
    let address = lab.shared.as_ref().unwrap().addresses()[0];
    let mut client = TcpStream::connect(address).unwrap();
    let nonsense: Vec<u8> = [255, 250, 44, 1, 0, 255, 240]
        .into_iter()
        .chain([
            255, 250, 44, 99, 255, 240, 255, 250, 255, 240, 255, 251, 99, 255, 1,
        ])
        .chain(*b"ok")
        .collect();
    client.write_all(&nonsense).unwrap();
    assert_eq!(lab.take(2), b"ok");
}
