//! `slashnet run`: programs that open a serial port by its path, in C and in Python, behind the library that is loaded
//! into them.

mod machine;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use machine::{PATIENCE, Up, command, run, text};
use tempfile::TempDir;

/// Debian's own: another Python does not know its modules.
const PYTHON: &str = "/usr/bin/python3";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device that says again what it hears.
fn plug_in(tty: &Path) -> Running {
    let device = Command::new("socat")
        .arg(format!("PTY,link={},rawer,wait-slave", tty.display()))
        .arg("EXEC:cat")
        .spawn();
    let device = device.map(Running).expect("socat runs");
    await_file(tty);
    device
}

/// A node with two ports, `/dev/ser0` and `/dev/ser1`, whose devices say again what they hear.
struct Bench {
    place: TempDir,
    _up: Up,
    _devices: Vec<Running>,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let (mut offers, mut devices) = (Vec::new(), Vec::new());
        for number in 0..2 {
            let tty = place.path().join(format!("tty{number}"));
            devices.push(plug_in(&tty));
            offers.push("--serial".to_owned());
            offers.push(format!("{}=/dev/ser{number}", tty.display()));
        }
        let mut options = vec!["--name", "lab"];
        options.extend(offers.iter().map(String::as_str));
        let up = Up::start(&place.path().join("node"), &options);
        up.wait_for("node lab is up");
        Self {
            place,
            _up: up,
            _devices: devices,
        }
    }

    fn node(&self) -> PathBuf {
        self.place.path().join("node")
    }

    /// Runs a program to its end, for which `/dev/ttyS99` is the port.
    fn run(&self, program: &[&str]) -> Output {
        let map = ["run", "--map", "/dev/ttyS99=/net/lab/dev/ser1"];
        run(&self.node(), &[&map, program].concat())
    }

    /// Shares the other port by RFC 2217 and offers that as `/dev/ser2`, which so has wires.
    fn with_wires(&self) -> [Running; 2] {
        let mut sharing = command(&self.node());
        sharing.args(["serve", "rfc2217", "/dev/ser0", "--listen", "127.0.0.1:0"]);
        let mut sharing = sharing.stderr(Stdio::piped()).spawn().expect("it runs");
        let mut log = BufReader::new(sharing.stderr.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("rfc2217://") {
            assert!(log.read_line(&mut said).expect("read") > 0, "{said}");
        }
        let address = said.split("rfc2217://").nth(1).expect("an address").trim();
        let offer = format!("rfc2217://{address}=/dev/ser2");
        let mut offering = command(&self.node());
        offering
            .args(["serve", "serial", &offer])
            .stderr(Stdio::null());
        let all = [
            Running(sharing),
            Running(offering.spawn().expect("it runs")),
        ];
        // Nobody reads the log from here on, and a full pipe would hold the program up.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
        let deadline = Instant::now() + PATIENCE;
        while !run(&self.node(), &["stat", "/dev/ser2"]).status.success() {
            assert!(Instant::now() < deadline, "no second port");
        }
        all
    }

    /// Makes a program of the C source.
    fn build(&self, source: &str, arguments: &[&str]) -> String {
        let (code, program) = (self.place.path().join("p.c"), self.place.path().join("p"));
        fs::write(&code, source).expect("written");
        let made = Command::new("cc")
            .args(arguments)
            .arg("-o")
            .arg(&program)
            .arg(&code)
            .status();
        assert!(made.expect("cc runs").success());
        program.display().to_string()
    }
}

fn await_file(path: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < deadline, "no {}", path.display());
        std::thread::yield_now();
    }
}

const IN_C: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#define MUST(what) do { if (!(what)) { fprintf(stderr, "%d: %s: %s\n", __LINE__, #what, strerror(errno)); exit(1); } } while (0)

static void echo(int fd, const char *text) {
    char got[16];
    size_t length = strlen(text), have = 0;
    MUST(write(fd, text, length) == (ssize_t)length);
    while (have < length) {
        ssize_t count = read(fd, got + have, sizeof got - have);
        MUST(count > 0);
        have += (size_t)count;
    }
    MUST(memcmp(got, text, length) == 0);
}

int main(void) {
    char byte;
    int fd = open("/dev/ttyS99", O_RDWR | O_NOCTTY | O_NONBLOCK);
    MUST(fd >= 0 && isatty(fd));
    MUST(read(fd, &byte, 1) == -1 && errno == EAGAIN);
    struct termios line;
    MUST(tcgetattr(fd, &line) == 0);
    cfmakeraw(&line);
    cfsetspeed(&line, B9600);
    line.c_cflag = (line.c_cflag & ~CSIZE) | CS7 | PARENB | CLOCAL | CREAD;
    MUST(tcsetattr(fd, TCSADRAIN, &line) == 0);
    MUST(tcgetattr(fd, &line) == 0);
    MUST((line.c_cflag & (CSIZE | PARENB)) == (CS7 | PARENB) && cfgetospeed(&line) == B9600);

    struct pollfd waited = { .fd = fd, .events = POLLIN };
    MUST(poll(&waited, 1, 0) == 0);
    MUST(write(fd, "a", 1) == 1);
    MUST(poll(&waited, 1, 10000) == 1 && waited.revents == POLLIN);
    MUST(read(fd, &byte, 1) == 1 && byte == 'a');

    MUST(write(fd, "b", 1) == 1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    struct timeval limit = { .tv_sec = 10 };
    MUST(select(fd + 1, &set, NULL, NULL, &limit) == 1);
    MUST(read(fd, &byte, 1) == 1 && byte == 'b');

    int poller = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    MUST(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    MUST(write(fd, "c", 1) == 1);
    MUST(epoll_wait(poller, &event, 1, 10000) == 1);
    MUST(read(fd, &byte, 1) == 1 && byte == 'c');

    int flags = fcntl(fd, F_GETFL);
    MUST(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0);
    int again = dup(fd);
    MUST(close(fd) == 0);
    echo(again, "dup");

    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        dup2(again, 7);
        execl("/bin/sh", "sh", "-c", "printf exec >&7", NULL);
        _exit(1);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    char got[4];
    for (size_t have = 0; have < 4; have++) MUST(read(again, got + have, 1) == 1);
    MUST(memcmp(got, "exec", 4) == 0);

    int wires;
    MUST(ioctl(again, TIOCMGET, &wires) == -1 && errno == ENOTTY);
    MUST(tcsendbreak(again, 0) == 0 && tcdrain(again) == 0);
    MUST(ioctl(again, TIOCEXCL) == 0);
    int other = open("/dev/ttyS99", O_RDWR | O_NOCTTY);
    MUST(other == -1 && errno == EBUSY);
    MUST(ioctl(again, TIOCNXCL) == 0);
    MUST(tcflush(again, TCIOFLUSH) == 0);
    MUST(close(again) == 0);

    int wired = open("/net/lab/dev/ser2", O_RDWR | O_NOCTTY);
    MUST(wired >= 0);
    MUST(ioctl(wired, TIOCMGET, &wires) == 0 && (wires & TIOCM_DTR) && (wires & TIOCM_RTS));
    int rts = TIOCM_RTS;
    MUST(ioctl(wired, TIOCMBIC, &rts) == 0);
    MUST(ioctl(wired, TIOCMGET, &wires) == 0 && !(wires & TIOCM_RTS));
    MUST(ioctl(wired, TIOCMBIS, &rts) == 0);
    MUST(ioctl(wired, TIOCMGET, &wires) == 0 && (wires & TIOCM_RTS));
    MUST(close(wired) == 0);
    puts("fine");
    return 0;
}
"#;

const IN_PYTHON: &str = "
import select, serial
s = serial.Serial('/dev/ttyS99', 9600, bytesize=7, parity='E', stopbits=2, timeout=10)
s.write(b'hello')
assert s.read(5) == b'hello'
s.baudrate, s.rtscts = 57600, True
s.write(b'x')
s.flush()
assert select.select([s], [], [], 10)[0] == [s]
assert s.in_waiting == 1
s.reset_input_buffer()
s.timeout = 0.05
assert s.read(1) == b''
s.send_break(0.01)
s.close()
s = serial.Serial('/net/lab/dev/ser2', timeout=10)
s.cts
s.rts = s.dtr = False
s.write(b'y')
assert s.read(1) == b'y'
print('fine')
";

#[test]
fn a_program_in_c_and_one_in_python_have_everything_of_a_port() {
    let bench = Bench::new();
    let _shared = bench.with_wires();
    let program = bench.build(IN_C, &["-Wall", "-Werror", "-O2", "-D_FORTIFY_SOURCE=2"]);
    assert_eq!(text(&bench.run(&[&program])), "fine\n");
    assert_eq!(text(&bench.run(&[PYTHON, "-c", IN_PYTHON])), "fine\n");
}

#[test]
fn a_program_that_cannot_load_the_library_is_refused_with_the_reason() {
    let bench = Bench::new();
    let program = bench.build("int main(void) { return 0; }", &["-static"]);
    let refused = bench.run(&[&program]);
    assert_eq!(refused.status.code(), Some(126));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("statically linked"), "{said}");
}

#[test]
fn a_port_that_is_not_for_all_says_at_its_start_for_whom_it_is() {
    let place = tempfile::tempdir().expect("a directory");
    let tty = place.path().join("tty");
    let _device = plug_in(&tty);
    fs::set_permissions(&tty, fs::Permissions::from_mode(0o660)).expect("it is ours");
    let offer = format!("{}=/dev/ser1", tty.display());
    let node = place.path().join("node");
    let up = Up::start(&node, &["--name", "lab", "--serial", &offer]);
    let said = up.wait_for("/dev/ser1 is for user ");
    assert!(said.contains("(crw-rw----)"), "{said}");
    assert!(said.contains("mode=666 lets all users"), "{said}");
}

#[test]
fn an_ordinary_user_is_told_why_a_setuid_program_is_not_run_and_what_to_do() {
    let place = tempfile::tempdir().expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(), open).expect("others may enter");
    // Where the tests were built, others may not look.
    let program = place.path().join("slashnet");
    fs::copy(env!("CARGO_BIN_EXE_slashnet"), &program).expect("copied");
    let mut command = Command::new(&program);
    command.args(["run", "su", "--version"]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let refused = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(126), "{said}");
    for part in [
        "/su: it runs with its owner's rights (setuid)",
        "'slashnet tty'",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(refused.stdout.is_empty(), "it was not run");
}

const NOBODY: u32 = 65_534;
