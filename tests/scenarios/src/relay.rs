//! A bad wire between two UDP sockets: what it carries it also changes, doubles, delays and replays.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Two sockets, one for each end, not yet carrying anything.
#[derive(Debug)]
pub struct Ends {
    left: UdpSocket,
    right: UdpSocket,
}

/// The wire at work; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    harm: Arc<Harm>,
    threads: Vec<JoinHandle<()>>,
}

/// What was done, so that a test can tell that it tested something.
#[derive(Debug, Default)]
pub struct Harm {
    /// Packets that arrived with one bit changed.
    pub flipped: AtomicUsize,
    /// Packets that arrived cut short.
    pub truncated: AtomicUsize,
    /// Packets that arrived more than once, at once or late.
    pub replayed: AtomicUsize,
}

struct Direction {
    from: UdpSocket,
    by: UdpSocket,
    to: SocketAddr,
    random: u64,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    harm: Arc<Harm>,
}

impl Ends {
    /// Binds the two sockets.
    #[must_use]
    pub fn bind() -> Self {
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            socket
        };
        Self {
            left: socket(),
            right: socket(),
        }
    }

    /// What the left end is to take for its peer.
    #[must_use]
    pub fn left(&self) -> SocketAddr {
        self.left.local_addr().unwrap()
    }

    /// What the right end is to take for its peer.
    #[must_use]
    pub fn right(&self) -> SocketAddr {
        self.right.local_addr().unwrap()
    }

    /// Carries packets between the sockets of the two ends. The seed decides what happens to which packet.
    #[must_use]
    pub fn carry(self, left: SocketAddr, right: SocketAddr, seed: u64) -> Relay {
        let stop = Arc::new(AtomicBool::new(false));
        let harm = Arc::new(Harm::default());
        let direction = |from: &UdpSocket, by: &UdpSocket, to, random| Direction {
            from: from.try_clone().unwrap(),
            by: by.try_clone().unwrap(),
            to,
            random,
            kept: Arc::default(),
            harm: Arc::clone(&harm),
        };
        let directions = [
            direction(&self.left, &self.right, right, seed),
            direction(&self.right, &self.left, left, !seed),
        ];
        let threads = directions
            .into_iter()
            .map(|mut direction| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || direction.run(&stop))
            })
            .collect();
        Relay {
            stop,
            harm,
            threads,
        }
    }
}

impl Relay {
    /// What it has done so far.
    #[must_use]
    pub fn harm(&self) -> &Harm {
        &self.harm
    }
}

impl Direction {
    fn run(&mut self, stop: &AtomicBool) {
        let mut space = vec![0; 1 << 16];
        while !stop.load(Ordering::Relaxed) {
            match self.from.recv(&mut space) {
                Ok(len) => self.pass(&mut space[..len]),
                // A closed socket at the other end answers with ECONNREFUSED; the wire does not care.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                ),
            }
        }
    }

    fn pass(&mut self, packet: &mut [u8]) {
        self.kept.lock().unwrap().push(packet.to_vec());
        match self.next() % 20 {
            0 | 1 => {
                let bit = self.next() as usize % (packet.len() * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
                self.send(packet, &self.harm.flipped);
            }
            2 => {
                let len = self.next() as usize % packet.len();
                self.send(&packet[..len], &self.harm.truncated);
            }
            3 | 4 => {
                self.emit(packet);
                self.send(packet, &self.harm.replayed);
            }
            5..=7 => {
                self.emit(packet);
                let old = self.old();
                self.send(&old, &self.harm.replayed);
            }
            8 => {
                // A forged copy comes before the real one.
                let mut forged = packet.to_vec();
                let at = self.next() as usize % forged.len();
                forged[at] = forged[at].wrapping_add(1);
                self.send(&forged, &self.harm.flipped);
                self.emit(packet);
            }
            _ => self.emit(packet),
        }
    }

    fn old(&mut self) -> Vec<u8> {
        let draw = self.next() as usize;
        let kept = self.kept.lock().unwrap();
        kept[draw % kept.len()].clone()
    }

    fn emit(&self, packet: &[u8]) {
        // A full or closed socket loses packets, as any wire may.
        let _ = self.by.send_to(packet, self.to);
    }

    fn send(&self, packet: &[u8], counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.emit(packet);
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}
