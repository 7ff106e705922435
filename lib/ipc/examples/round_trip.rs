//! Round-trip times of send/receive/reply between two processes, beside a Unix SOCK_SEQPACKET or UDP ping-pong of the
//! same run.
//!
//! `round_trip [same|split] [memory|udp] [ROUNDS] [RING] [BYTES]`: `same` pins both processes to one CPU, `split` to
//! two.
#![allow(unsafe_code, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

extern crate slashnet_ipc as ipc;

use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abi::{ChannelFlags, ChannelId, LinkAddress, Nd, Pid};
use drivers::{MemoryDriver, MemoryParts, PacketDriver};
use ipc::direct::{self, Introduction};
use ipc::{Channel, Connection, Received};

const SIZES: [usize; 4] = [64, 1024, 65_536, 1 << 20];

fn pin(cpu: usize) {
    // SAFETY: a zeroed set is valid, and the calling process may choose its CPUs.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "server") {
        return server(&arguments);
    }
    let split = arguments.first().is_some_and(|a| a == "split");
    let udp = arguments.get(1).is_some_and(|a| a == "udp");
    let rounds: usize = arguments.get(2).map_or(20_000, |n| n.parse().unwrap());
    let ring: usize = arguments.get(3).map_or(MemoryDriver::RING, |n| n.parse().unwrap());
    let sizes: Vec<usize> = match arguments.get(4) {
        Some(size) => vec![size.parse().unwrap()],
        None => SIZES.to_vec(),
    };
    pin(0);
    let (control, far_control) = UnixStream::pair().unwrap();
    let mut raw = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, raw.as_mut_ptr()) }, 0);
    for fd in raw {
        // SAFETY: the option is an int, and its length is given.
        unsafe {
            let room: libc::c_int = 4 << 20;
            let option = (&raw const room).cast();
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, option, 4);
        }
    }
    let (memory, parts) = MemoryDriver::create_with(ring).unwrap();
    let fds = [parts.memfd, parts.fd_a, parts.fd_b].map(|fd| keep(fd).to_string());
    let mut control = control;
    let near = direct::bind().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["server", if split { "1" } else { "0" }, if udp { "udp" } else { "memory" }])
        .args(&fds)
        .args([keep(far_control.into()).to_string(), raw[1].to_string()])
        .arg(near.local_socket_address().port().to_string())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let endpoint = direct::endpoint(Pid(1)).unwrap();
    let mut introduction = Introduction::new(1);
    let nd = if udp {
        introduction.nd = Nd(1);
        let mut port = [0; 2];
        control.read_exact(&mut port).unwrap();
        let far = LinkAddress::ipv4([127, 0, 0, 1], u16::from_le_bytes(port));
        direct::client_over_udp(&endpoint, &introduction, near, far).unwrap();
        Nd(1)
    } else {
        direct::client_over_memory(&endpoint, &introduction, memory, None).unwrap();
        Nd::LOCAL
    };
    control.read_exact(&mut [0; 2]).unwrap();
    let connection = Connection::attach(&endpoint, nd, Pid(2), ChannelId(1)).unwrap();
    println!("{} {}", if split { "split" } else { "same" }, if udp { "udp, encrypted" } else { "memory" });
    println!("{:>9} {:>12} {:>12} {:>7}", "bytes", "reference us", "slashnet us", "ratio");
    for size in sizes {
        let rounds = if size > 100_000 { rounds / 40 } else if size > 10_000 { rounds / 8 } else { rounds };
        let (request, mut reply) = (vec![1; size], vec![0; size]);
        let (mut reference, mut own) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            for _ in 0..rounds / 8 {
                let start = Instant::now();
                seqpacket(raw[0], &request, &mut reply);
                reference.push(start.elapsed());
            }
            for _ in 0..rounds / 8 {
                let start = Instant::now();
                let answer = connection.send(&request, &mut reply).unwrap();
                own.push(start.elapsed());
                assert_eq!(answer.len, size);
            }
        }
        let (reference, own) = (median(&mut reference), median(&mut own));
        println!("{size:>9} {reference:>12.2} {own:>12.2} {:>7.2}", own / reference);
    }
    drop(connection);
    control.write_all(b"q").unwrap();
    // SAFETY: the descriptor is this program's and used by nobody else.
    unsafe { libc::close(raw[0]) };
    server.wait().unwrap();
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn seqpacket(fd: i32, request: &[u8], reply: &mut [u8]) {
    // SAFETY: both buffers are valid for their lengths.
    unsafe {
        assert_eq!(libc::send(fd, request.as_ptr().cast(), request.len(), 0), request.len() as isize);
        assert_eq!(libc::recv(fd, reply.as_mut_ptr().cast(), reply.len(), 0), reply.len() as isize);
    }
}

/// Makes a descriptor survive exec, and says its number.
fn keep(fd: OwnedFd) -> i32 {
    let fd = fd.into_raw_fd();
    // SAFETY: the descriptor is open.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    fd
}

fn server(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<i32>().unwrap();
    pin(number(1) as usize);
    // SAFETY: the parent has passed these descriptors on for this process alone.
    let fd = |at: usize| unsafe { OwnedFd::from_raw_fd(number(at)) };
    let parts = MemoryParts { memfd: fd(3), fd_a: fd(4), fd_b: fd(5) };
    let mut control = UnixStream::from(fd(6));
    let echo = number(7);
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            // SAFETY: the buffer is valid for its length.
            unsafe {
                let n = libc::recv(echo, buffer.as_mut_ptr().cast(), buffer.len(), 0);
                if n <= 0 {
                    return;
                }
                libc::send(echo, buffer.as_ptr().cast(), n as usize, 0);
            }
        }
    });
    let endpoint = direct::endpoint(Pid(2)).unwrap();
    let channel = Channel::create(&endpoint, ChannelFlags::empty()).unwrap();
    if arguments[2] == "udp" {
        let far = direct::bind().unwrap();
        control.write_all(&far.local_socket_address().port().to_le_bytes()).unwrap();
        let near = LinkAddress::ipv4([127, 0, 0, 1], number(8) as u16);
        direct::server_over_udp(&endpoint, &Introduction::new(1), far, near).unwrap();
    } else {
        let driver = direct::attach_memory(parts).unwrap();
        direct::server_over_memory(&endpoint, &Introduction::new(1), driver, None).unwrap();
    }
    control.write_all(b"ok").unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(Received::Message(message)) = channel.receive(&mut buffer) {
            let n = message.bytes();
            let _ = message.reply(0, &buffer[..n]);
        }
    });
    let _ = control.read_exact(&mut [0]);
}
