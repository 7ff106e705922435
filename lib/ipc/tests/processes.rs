//! Two processes: what one of them may rely on when the other dies, and what a forked child may not do.
//!
//! The peer is this very program, started again, so the test brings its own main.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic
)]

extern crate slashnet_ipc as ipc;

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use abi::{ChannelFlags, ChannelId, Errno, Nd, Pid, Pulse};
use drivers::{MemoryDriver, MemoryParts};
use ipc::direct::{self, Introduction};
use ipc::{Cause, Channel, Connection, Delivery, Endpoint, Message, Received, SendOptions};

const CASES: &[(&str, fn())] = &[
    (
        "a_killed_server_fails_what_it_had_in_work_and_in_its_queue",
        killed_server,
    ),
    (
        "a_client_killed_in_mid_send_is_gone_and_others_go_on",
        killed_client,
    ),
    (
        "pulses_of_a_client_that_has_exited_still_arrive",
        exited_client,
    ),
    (
        "a_forked_child_is_refused_and_its_parent_goes_on",
        forked_child,
    ),
    (
        "a_forked_child_may_have_an_endpoint_of_its_own",
        forked_anew,
    ),
    ("a_gigabyte_passes_through_a_small_server", large_echo),
    ("signals_do_not_disturb_a_blocked_send", signals),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "peer") {
        return peer(&arguments[1..]);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in CASES {
            println!("{name}: test");
        }
        return;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = CASES
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)));
    let mut failed = 0;
    for (name, case) in chosen {
        let passed = std::panic::catch_unwind(case).is_ok();
        failed += usize::from(!passed);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    }
    assert_eq!(failed, 0, "cases failed");
}

/// The other process; killed when dropped.
struct Peer {
    process: Child,
    control: UnixStream,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    /// Waits for the peer's word that it has come so far.
    fn ready(&mut self) {
        self.control.set_read_timeout(Some(PATIENCE)).unwrap();
        self.control.read_exact(&mut [0]).unwrap();
    }
}

/// Starts the peer in the role of the named scene, joined to `endpoint` by session `number`. The peer is the server
/// if `peer_serves`.
fn start(scene: &str, endpoint: &Endpoint, number: u32, peer_serves: bool) -> Peer {
    let (driver, parts) = MemoryDriver::create().unwrap();
    let (control, far_control) = UnixStream::pair().unwrap();
    let (lifeline, far_lifeline) = UnixStream::pair().unwrap();
    let passed: Vec<OwnedFd> = vec![
        parts.memfd,
        parts.rings,
        parts.hears,
        far_control.into(),
        far_lifeline.into(),
    ];
    for fd in &passed {
        // SAFETY: the descriptor is open; only its close-on-exec mark is changed.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) };
    }
    let process = Command::new(std::env::current_exe().unwrap())
        .args([
            "peer",
            scene,
            &number.to_string(),
            if peer_serves { "serves" } else { "asks" },
        ])
        .args(passed.iter().map(|fd| fd.as_raw_fd().to_string()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop(passed);
    let introduction = Introduction::new(number);
    let lifeline = Some(lifeline.into());
    if peer_serves {
        direct::client_over_memory(endpoint, &introduction, driver, lifeline).unwrap();
    } else {
        direct::server_over_memory(endpoint, &introduction, driver, lifeline).unwrap();
    }
    Peer { process, control }
}

fn peer(arguments: &[String]) {
    let number: u32 = arguments[1].parse().unwrap();
    let fd = |at: usize| -> OwnedFd {
        // SAFETY: the parent has passed these descriptors on for this process alone.
        unsafe { OwnedFd::from_raw_fd(arguments[at].parse().unwrap()) }
    };
    let parts = MemoryParts {
        memfd: fd(3),
        rings: fd(4),
        hears: fd(5),
    };
    let mut control = UnixStream::from(fd(6));
    let endpoint = direct::endpoint(Pid(2)).unwrap();
    let driver = direct::attach_memory(parts).unwrap();
    let introduction = Introduction::new(number);
    let lifeline = Some(fd(7));
    let channel = Channel::create(&endpoint, ChannelFlags::empty()).unwrap();
    if arguments[2] == "serves" {
        direct::server_over_memory(&endpoint, &introduction, driver, lifeline).unwrap();
    } else {
        direct::client_over_memory(&endpoint, &introduction, driver, lifeline).unwrap();
    }
    let connect = || Connection::attach(&endpoint, Nd::LOCAL, Pid(2), ChannelId(1)).unwrap();
    match arguments[0].as_str() {
        "receive one and sit" => {
            let held = channel.receive(&mut [0; 16]).unwrap();
            control.write_all(b"1").unwrap();
            let _ = control.read_exact(&mut [0]);
            drop(held);
        }
        "send much" => {
            let much = vec![7; 64 << 20];
            let _ = connect().send(&much, &mut []);
        }
        "send pulses and exit" => {
            let connection = connect();
            for value in 0..100 {
                connection.pulse(-1, 3, value).unwrap();
            }
            std::process::exit(0);
        }
        "echo through a small buffer" => echo(&channel),
        other => panic!("unknown scene {other}"),
    }
}

/// Answers every message with its bytes, complemented, moving a little at a time.
fn echo(channel: &Channel) {
    let mut buffer = vec![0; 128 * 1024];
    while let Ok(Received::Message(message)) = channel.receive(&mut buffer) {
        let (len, mut at, mut n) = (message.info().len, 0, message.bytes());
        while at < len {
            for byte in &mut buffer[..n] {
                *byte = !*byte;
            }
            assert_eq!(message.write_at(at, &buffer[..n]), Ok(n));
            at += n as u64;
            n = message.read_at(at, &mut buffer).unwrap();
        }
        message.reply(0, &[]).unwrap();
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

fn client() -> Endpoint {
    direct::endpoint(Pid(1)).unwrap()
}

fn message(received: Received) -> Message {
    match received {
        Received::Message(message) => message,
        Received::Pulse(pulse) => panic!("a pulse instead of a message: {pulse:?}"),
    }
}

// qnx: I22, I45, I69
fn killed_server() {
    let endpoint = client();
    let deaths = Channel::create(&endpoint, ChannelFlags::COID_DISCONNECT).unwrap();
    let mut peer = start("receive one and sit", &endpoint, 1, true);
    let connection = Connection::attach(&endpoint, Nd::LOCAL, Pid(2), ChannelId(1)).unwrap();
    std::thread::scope(|scope| {
        let in_work = scope.spawn(|| connection.send(b"in work", &mut []).unwrap_err());
        peer.ready();
        let queued = scope.spawn(|| connection.send(b"queued", &mut []).unwrap_err());
        while endpoint.session_stats()[0].operations < 2 {
            std::thread::yield_now();
        }
        peer.process.kill().unwrap();
        for failure in [in_work.join().unwrap(), queued.join().unwrap()] {
            assert_eq!(
                (failure.errno, failure.cause),
                (Errno::ESRCH, Cause::Server)
            );
            assert_eq!(failure.delivery, Delivery::Unknown);
        }
    });
    let death = deaths.receive_pulse(soon()).unwrap();
    assert_eq!(
        (death.code, death.value),
        (Pulse::CONNECTION_DEATH, connection.id().0.into())
    );
    let later = connection.send(b"later", &mut []).unwrap_err();
    assert_eq!(
        (later.errno, later.delivery),
        (Errno::EBADF, Delivery::NotDone)
    );
}

// qnx: I10, I27
fn killed_client() {
    let endpoint = direct::endpoint(Pid(2)).unwrap();
    let channel = Channel::create(&endpoint, ChannelFlags::DISCONNECT).unwrap();
    let mut peer = start("send much", &endpoint, 1, false);
    let mut part = [0; 1000];
    let held = message(channel.receive_until(&mut part, soon()).unwrap());
    assert_eq!((held.info().len, part), (64 << 20, [7; 1000]));
    peer.process.kill().unwrap();
    let mut rest = vec![0; 32 << 20];
    let result = held.read_at(1 << 20, &mut rest);
    if let Ok(n) = result {
        assert_eq!(n, rest.len(), "all of it or an error");
    }
    let gone = channel.receive_pulse(soon()).unwrap();
    assert_eq!(
        (gone.code, gone.sender),
        (Pulse::DISCONNECT, held.info().sender)
    );
    assert_eq!(held.read_at(1 << 20, &mut rest), Err(Errno::ESRCH));
    assert_eq!(held.reply(0, &[]), Err(Errno::ESRCH));
    let _other = start("send pulses and exit", &endpoint, 2, false);
    // Its end may be told before its pulses (I52).
    while channel.receive_pulse(soon()).unwrap().code != 3 {}
}

// qnx: I50, I52
fn exited_client() {
    let endpoint = direct::endpoint(Pid(2)).unwrap();
    let channel = Channel::create(&endpoint, ChannelFlags::DISCONNECT).unwrap();
    let mut peer = start("send pulses and exit", &endpoint, 1, false);
    assert!(peer.process.wait().unwrap().success());
    let mut values = Vec::new();
    let mut gone = 0;
    while values.len() < 100 || gone == 0 {
        let pulse = channel.receive_pulse(soon()).unwrap();
        match pulse.code {
            Pulse::DISCONNECT => gone += 1,
            code => {
                assert_eq!(code, 3);
                values.push(pulse.value);
            }
        }
    }
    assert_eq!(values, (0..100).collect::<Vec<_>>());
}

/// Runs `child` in a forked child and returns its exit status.
fn in_forked_child(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs `child` and leaves by `_exit`; what it calls takes no lock that another thread of
    // the parent could have held at this moment.
    let process = unsafe { libc::fork() };
    if process == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: `_exit` runs no destructors.
        unsafe { libc::_exit(i32::from(!matches!(status, Ok(true)))) };
    }
    let mut status = 0;
    // SAFETY: waits for the child forked above, with a valid place for its status.
    let waited = unsafe { libc::waitpid(process, &raw mut status, 0) };
    assert_eq!(waited, process);
    status
}

fn served() -> (Channel, Connection, Endpoint) {
    let (client, server) = direct::udp_pair().unwrap();
    let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
    let connection = Connection::attach(&client, Nd(1), Pid(2), channel.id()).unwrap();
    (channel, connection, client)
}

// qnx: I14
fn forked_child() {
    let (channel, connection, client) = served();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            for _ in 0..2 {
                let message = message(channel.receive_until(&mut [0; 8], soon()).unwrap());
                message.reply(5, &[]).unwrap();
            }
        });
        assert_eq!(connection.send(b"before", &mut []).unwrap().status, 5);
        let status = in_forked_child(|| {
            let refused = connection.send(b"child", &mut []).is_err_and(|failure| {
                failure.errno == Errno::EBADF && failure.delivery == Delivery::NotDone
            });
            let refused = refused && connection.pulse(-1, 1, 1) == Err(Errno::EBADF);
            let refused = refused && connection.duplicate().is_err_and(|e| e == Errno::EBADF);
            let refused = refused && Channel::create(&client, ChannelFlags::empty()).is_err();
            let refused = refused && channel.receive(&mut []).is_err_and(|e| e == Errno::EBADF);
            // Dropping must not tell the server anything either.
            // SAFETY: the child leaves without dropping the original.
            drop(unsafe { std::ptr::read(&raw const connection) });
            refused
        });
        assert_eq!(status, 0, "the child was not refused");
        assert_eq!(connection.send(b"after", &mut []).unwrap().status, 5);
        server.join().unwrap();
    });
}

fn forked_anew() {
    let _parents = served();
    let status = in_forked_child(|| {
        let (client, server) = direct::pair().unwrap();
        let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
        let connection = Connection::attach(&client, Nd::LOCAL, Pid(2), channel.id()).unwrap();
        connection.pulse(-1, 9, 9).unwrap();
        channel.receive_pulse(soon()).unwrap().code == 9
    });
    assert_eq!(status, 0, "the child could not talk over its own endpoint");
}

// qnx: I21, I28
fn large_echo() {
    let endpoint = client();
    let _peer = start("echo through a small buffer", &endpoint, 1, true);
    let connection = Connection::attach(&endpoint, Nd::LOCAL, Pid(2), ChannelId(1)).unwrap();
    let len = 1 << 30;
    let mut request = vec![0u8; len];
    for (at, chunk) in request.chunks_exact_mut(4096).enumerate() {
        chunk.fill(at as u8);
        chunk[..8].copy_from_slice(&(at as u64).to_le_bytes());
    }
    let mut reply = vec![0; len];
    connection.send(&request, &mut reply).unwrap();
    for at in (0..len).step_by(4096) {
        let same = (0..16).all(|k| reply[at + k] == !request[at + k]);
        assert!(
            same && reply[at + 4095] == !request[at + 4095],
            "page at {at}"
        );
    }
}

fn signals() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing, and without SA_RESTART every blocked call of the thread ends with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
    let (client, server) = direct::pair().unwrap();
    let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
    let connection = Connection::attach(&client, Nd::LOCAL, Pid(2), channel.id()).unwrap();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let sender = scope.spawn(move || {
            // SAFETY: has no arguments and always succeeds.
            tell.send(unsafe { libc::pthread_self() }).unwrap();
            let deadline = soon();
            let options = SendOptions {
                deadline,
                ..SendOptions::default()
            };
            let status = connection.send_vectored(&[IoSlice::new(b"x")], &mut [], &options);
            status.unwrap().status
        });
        let thread = told.recv().unwrap();
        let message = message(channel.receive_until(&mut [0; 1], soon()).unwrap());
        for _ in 0..100 {
            // SAFETY: the thread is blocked in its send and therefore lives.
            assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        }
        message.reply(8, &[]).unwrap();
        assert_eq!(sender.join().unwrap(), 8);
    });
}
