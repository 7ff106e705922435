//! Programs that know nothing of Slashnet, at a port of another node; the test is the device on the line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use client::Namespace;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serial_manager::Serving;
use serial_manager::rfc2217::{self, Place};
use serial_manager::terminal::{Terminal, TerminalOptions};
use slashnet_scenarios::line::{join, plug_in, read_exactly, take};
use slashnet_scenarios::{Ended, until};
use tempfile::TempDir;
use testkit::Cluster;

/// Debian's own: another Python does not know its modules.
const PYTHON: &str = "/usr/bin/python3";
const PORT: &[u8] = b"/net/lab2/dev/ser1";

/// lab2 offers a serial port; on lab1 it is the terminal `ttyNET0`.
struct Lab {
    place: TempDir,
    device: File,
    _terminal: Terminal,
    _serving: Serving,
    cluster: Cluster,
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let place = tempfile::tempdir().unwrap();
        let device = plug_in(&place.path().join("tty"));
        let port = format!("{}=/dev/ser1,mode=666", place.path().join("tty").display());
        let endpoint = cluster["lab2"].endpoint();
        let serving = serial_manager::serve(&endpoint, &[port.parse().unwrap()]).unwrap();
        let options = TerminalOptions {
            namespace: Namespace::of(&cluster["lab1"].endpoint()),
            port: PORT.into(),
            link: Some(place.path().join("ttyNET0")),
            frame: None,
            hold: false,
            keep: false,
        };
        let mut terminal = None;
        // Beside many others a node may be taken for lost for a moment.
        until("there is a terminal", || {
            terminal = Terminal::start(options.clone(), drop).ok();
            terminal.is_some()
        });
        Self {
            device,
            _terminal: terminal.unwrap(),
            _serving: serving,
            cluster,
            place,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn terminal(&self) -> String {
        self.path("ttyNET0").display().to_string()
    }

    fn speed(&self) -> u32 {
        tcgetattr(&self.device).unwrap().output_speed()
    }

    /// Runs a script with `s`, the port as pyserial opens it, while `device` plays the device.
    fn python(&self, port: &str, script: &str, device: impl FnOnce()) {
        let head = format!(
            "import serial, time\ns = serial.serial_for_url('{port}', 19200, timeout=20)\n"
        );
        let running = start(Command::new(PYTHON).args(["-c", &format!("{head}{script}")]));
        device();
        running.ends_well();
    }

    fn answer(&self, bytes: &[u8]) {
        (&self.device).write_all(bytes).unwrap();
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Running {
    fn ends_well(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    let said = format!("{command:?}");
    Running(
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{said}: {error}")),
    )
}

/// A TCP port that nobody uses at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn picocom_talks_to_the_port_at_the_speed_it_is_told() {
    let lab = Lab::new();
    let mut command = Command::new("picocom");
    command.args(["-q", "-b", "9600", &lab.terminal()]);
    let mut running = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut keyboard = running.0.stdin.take().unwrap();
    keyboard.write_all(b"AT\r").unwrap();
    assert_eq!(take(&lab.device, 3), b"AT\r");
    assert_eq!(lab.speed(), 9600);
    lab.answer(b"\r\nOK\r\n");
    let mut screen = [0; 6];
    running
        .0
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut screen)
        .unwrap();
    assert_eq!(&screen, b"\r\nOK\r\n");
    // Control-A Control-Q leaves it.
    keyboard.write_all(b"\x01\x11").unwrap();
    running.ends_well();
}

#[test]
fn minicom_shows_what_the_port_sends_and_sends_what_is_typed() {
    let lab = Lab::new();
    let human = plug_in(&lab.path("console"));
    let console = || {
        File::options()
            .read(true)
            .write(true)
            .open(lab.path("console"))
            .unwrap()
    };
    let mut command = Command::new("minicom");
    command.args(["-o", "-b", "38400", "-D", &lab.terminal()]);
    command.env("TERM", "vt100").env("HOME", lab.place.path());
    command
        .stdin(console())
        .stdout(console())
        .stderr(Stdio::null());
    let _running = start(&mut command);
    until("it has opened the port", || lab.speed() == 38_400);
    (&human).write_all(b"typed").unwrap();
    assert_eq!(take(&lab.device, 5), b"typed");
    lab.answer(b"received");
    let mut screen = Vec::new();
    while !screen.windows(8).any(|part| part == b"received") {
        screen.extend(take(&human, 1));
    }
}

#[test]
fn pyserial_sets_reads_waits_and_flushes() {
    let lab = Lab::new();
    let script = "
s.write(bytes(range(256)))
assert s.read(256) == bytes(range(256))
assert s.in_waiting == 0
s.timeout = 0.05
assert s.read(1) == b''
s.write(b'?')
while s.in_waiting < 3: time.sleep(0.001)
s.reset_input_buffer()
assert s.in_waiting == 0
s.stopbits, s.xonxoff = 2, True
s.write(b'!')
s.flush()
";
    lab.python(&lab.terminal(), script, || {
        let all = take(&lab.device, 256);
        lab.answer(&all);
        assert_eq!(take(&lab.device, 1), b"?");
        lab.answer(b"old");
        assert_eq!(take(&lab.device, 1), b"!");
        let line = tcgetattr(&lab.device).unwrap();
        assert!(
            line.control_modes
                .contains(rustix::termios::ControlModes::CSTOPB)
        );
        assert!(line.input_modes.contains(rustix::termios::InputModes::IXON));
    });
}

#[test]
fn modes_are_at_the_device_before_the_bytes_that_are_written_after_them() {
    let lab = Lab::new();
    let speeds = [1200, 250_000, 9600, 460_800, 300, 57_600];
    let script = "
for speed in [1200, 250000, 9600, 460800, 300, 57600]:
    s.baudrate = speed
    s.write(b'x')
    assert s.read(1) == b'y'
";
    lab.python(&lab.terminal(), script, || {
        for speed in speeds {
            assert_eq!(take(&lab.device, 1), b"x");
            assert_eq!(lab.speed(), speed);
            lab.answer(b"y");
        }
    });
}

#[test]
fn zmodem_carries_a_mebibyte_both_ways() {
    let lab = Lab::new();
    let far = lab.path("far");
    let device = plug_in(&far);
    // Open all the time, or the line would end with its first program.
    let held = File::open(&far).unwrap();
    let mut settings = tcgetattr(&held).unwrap();
    settings.make_raw();
    tcsetattr(&held, OptionalActions::Now, &settings).unwrap();
    join(lab.device.try_clone().unwrap(), device);
    let content: Vec<u8> = (0..1_u32 << 20)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let near = lab.path("ttyNET0");
    for (from, to) in [(&near, &far), (&far, &near)] {
        let place = tempfile::tempdir().unwrap();
        let (sent, received) = (place.path().join("sent"), place.path().join("in"));
        fs::write(&sent, &content).unwrap();
        fs::create_dir(&received).unwrap();
        let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
        let mut receiver = Command::new("rz");
        receiver
            .args(["--quiet", "--binary"])
            .current_dir(&received);
        let (from, to) = (open(from), open(to));
        let receiver = start(receiver.stdin(to.try_clone().unwrap()).stdout(to));
        let mut sender = Command::new("sz");
        sender.args(["--quiet", "--binary"]).arg(&sent);
        start(sender.stdin(from.try_clone().unwrap()).stdout(from)).ends_well();
        // The receiver need not end: sz drains and flushes its last two bytes, "over and out", and on a pseudo terminal the
        // first does not wait and the second throws them away.
        until("the same bytes have arrived", || {
            fs::read(received.join("sent")).is_ok_and(|have| have == content)
        });
        drop(receiver);
    }
}

/// A sentence of a GPS receiver, with its checksum.
fn sentence(text: &str) -> String {
    let sum = text.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${text}*{sum:02X}\r\n")
}

#[test]
fn gpsd_has_a_fix_from_a_receiver_at_the_port() {
    let lab = Lab::new();
    let (port, ended) = (free_port().to_string(), AtomicBool::new(false));
    // What the daemon asks of the receiver is of no interest, but must leave.
    let mut asked = lab.device.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut asked, &mut std::io::sink()));
    let mut daemon = Command::new("gpsd");
    daemon.args(["-N", "-n", "-S", &port, &lab.terminal()]);
    let _daemon = start(daemon.stdout(Stdio::null()).stderr(Stdio::null()));
    std::thread::scope(|scope| {
        let _ended = Ended(&ended);
        scope.spawn(|| {
            for second in 0_u32.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let time = format!("12{:02}{:02}.00", second / 60 % 60, second % 60);
                let cycle = sentence(&format!(
                    "GPGGA,{time},4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
                )) + &sentence("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1")
                    + &sentence(&format!(
                        "GPRMC,{time},A,4807.038,N,01131.000,E,022.4,084.4,230326,003.1,W"
                    ));
                lab.answer(cycle.as_bytes());
                // The pace of the receiver.
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        until("a fix", || {
            let mut pipe = Command::new("gpspipe");
            pipe.args(["-w", "-n", "10", &format!("localhost:{port}")]);
            let said = pipe.stderr(Stdio::null()).output().unwrap().stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            said.contains("\"mode\":3") && said.contains("48.1173")
        });
    });
}

#[test]
fn a_port_of_ser2net_is_a_port_like_any_other() {
    let lab = Lab::new();
    let device = plug_in(&lab.path("theirs"));
    let (config, port) = (lab.path("ser2net.yaml"), free_port());
    let text = format!(
        "connection: &a\n  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n  \
         connector: serialdev,{},9600n81,local\n",
        lab.path("theirs").display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("ser2net");
    command.args(["-n", "-d", "-c"]).arg(&config);
    let _running = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let options = format!("rfc2217://127.0.0.1:{port}=/dev/ser2,57600")
        .parse()
        .unwrap();
    let endpoint = lab.cluster["lab2"].endpoint();
    let mut serving = None;
    until("it listens", || {
        serving = serial_manager::serve(&endpoint, std::slice::from_ref(&options)).ok();
        serving.is_some()
    });
    let far = Namespace::of(&lab.cluster["lab1"].endpoint());
    let port = far
        .open("/net/lab2/dev/ser2", abi::OpenFlags::READ_WRITE)
        .unwrap();
    let all: Vec<u8> = (0..=255).cycle().take(4096).collect();
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let bytes = take(&device, all.len());
            (&device).write_all(&bytes).unwrap();
            bytes
        });
        assert_eq!(port.write(&all), Ok(all.len()));
        assert_eq!(echo.join().unwrap(), all);
    });
    assert_eq!(read_exactly(&port, all.len()), all);
    assert_eq!(tcgetattr(&device).unwrap().output_speed(), 57_600);
}

#[test]
fn pyserial_reaches_a_port_by_its_own_rfc_2217() {
    let lab = Lab::new();
    let namespace = Namespace::of(&lab.cluster["lab1"].endpoint());
    let address = "127.0.0.1:0".parse().unwrap();
    let place = Place {
        port: PORT.into(),
        address,
    };
    let shared = rfc2217::serve(&namespace, &[place]).unwrap();
    let url = format!("rfc2217://{}", shared.addresses()[0]);
    let script = "
s.write(bytes(range(256)))
assert s.read(256) == bytes(range(256))
s.baudrate = 9600
s.write(b'x')
assert s.read(1) == b'y'
s.send_break(0.01)
s.rts = False
s.reset_output_buffer()
s.close()
";
    lab.python(&url, script, || {
        let all = take(&lab.device, 256);
        assert_eq!(lab.speed(), 19_200);
        lab.answer(&all);
        assert_eq!(take(&lab.device, 1), b"x");
        assert_eq!(lab.speed(), 9600);
        lab.answer(b"y");
    });
}
