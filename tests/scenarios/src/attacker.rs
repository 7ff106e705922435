//! Somebody on the wire: sees every UDP packet of this network namespace, and throws altered copies at the receivers,
//! with the addresses of the real senders.
//!
//! Needs the right to open raw sockets, which the root of a namespace of its own has: see [`in_own_network`].

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

/// Time to live of what the attacker sends, by which it knows its own packets.
const MARK: u8 = 77;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Packets kept for later; a story makes far fewer.
const KEPT_MAX: usize = 20_000;

/// Runs the test `name` of this program once more, as root of user and network namespaces of its own, with the loopback
/// up; there runs `body`.
pub fn in_own_network(name: &str, body: impl FnOnce()) {
    let unshare = ["unshare", "--user", "--map-root-user", "--net"];
    let with_loopback = ["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    testkit::rerun::inside(name, &[&unshare[..], &with_loopback].concat(), body);
}

/// A packet as it was seen.
#[derive(Clone, Debug)]
struct Seen {
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: Vec<u8>,
}

/// The attacker at work; ends when dropped.
#[derive(Debug)]
pub struct Attacker {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    /// Starts to listen and to disturb: each packet is followed by copies with a bit flipped, cut short, and unchanged.
    #[must_use]
    pub fn start() -> Self {
        let tap = raw(ipproto::UDP);
        tap.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (stopped, log) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let way = raw(ipproto::RAW);
            let mut space = vec![0; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(len) = tap.recv(&mut space) else {
                    continue;
                };
                let Some(packet) = parse(&space[..len]) else {
                    continue;
                };
                disturb(&way, &packet, len);
                let mut log = log.lock().unwrap();
                if log.len() < KEPT_MAX {
                    log.push(packet);
                }
            }
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// How many packets it has seen.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Sends all packets seen so far once more.
    pub fn replay(&self) {
        let way = raw(ipproto::RAW);
        let seen = self.seen.lock().unwrap().clone();
        for packet in &seen {
            throw(&way, packet, &packet.payload);
        }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

/// A raw socket. What std calls it does not matter to the kernel.
fn raw(protocol: rustix::net::Protocol) -> UdpSocket {
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).unwrap();
    socket.into()
}

fn parse(packet: &[u8]) -> Option<Seen> {
    let header = usize::from(packet.first()? & 15) * 4;
    if packet[8] == MARK || packet.len() < header + UDP_HEADER {
        return None;
    }
    let number = |at: usize| u16::from(packet[at]) << 8 | u16::from(packet[at + 1]);
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some(Seen {
        from: SocketAddrV4::new(address(12), number(header)),
        to: SocketAddrV4::new(address(16), number(header + 2)),
        payload: packet[header + UDP_HEADER..].to_vec(),
    })
}

fn disturb(way: &UdpSocket, packet: &Seen, draw: usize) {
    let mut flipped = packet.payload.clone();
    if flipped.is_empty() {
        return;
    }
    let bit = draw.wrapping_mul(2_654_435_761) % (flipped.len() * 8);
    flipped[bit / 8] ^= 1 << (bit % 8);
    throw(way, packet, &flipped);
    throw(way, packet, &packet.payload[..bit / 8]);
    throw(way, packet, &packet.payload);
}

/// Sends a packet with the sender's address. One that a full socket refuses is lost, as on any wire.
fn throw(way: &UdpSocket, packet: &Seen, payload: &[u8]) {
    let len = IP_HEADER + UDP_HEADER + payload.len();
    if len > usize::from(u16::MAX) {
        return;
    }
    let pair = |number: u16| [(number >> 8) as u8, number as u8];
    let mut bytes = vec![0x45, 0];
    bytes.extend(pair(len as u16));
    bytes.extend([0, 0, 0, 0, MARK, 17, 0, 0]);
    bytes.extend(packet.from.ip().octets());
    bytes.extend(packet.to.ip().octets());
    bytes.extend(pair(packet.from.port()));
    bytes.extend(pair(packet.to.port()));
    bytes.extend(pair((UDP_HEADER + payload.len()) as u16));
    // No checksum: allowed, and the changed packets are to arrive.
    bytes.extend([0, 0]);
    bytes.extend_from_slice(payload);
    let _ = way.send_to(&bytes, packet.to);
}
