//! Nodes of one machine that share a directory.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slashnet_drivers::{
    DriverError, LinkAddress, NeighbourDriver, PacketDriver, ReceiveBatch, conformance, neighbour,
};

const LAB1: [u8; 8] = *b"lab-one!";
const LAB2: [u8; 8] = *b"lab-two!";

#[test]
fn the_neighbour_driver_conforms() {
    let shared = Shared::new("conforms");
    conformance::check(|| (shared.open(LAB1), shared.open(LAB2)));
}

#[test]
fn a_sender_waits_for_a_full_peer_and_is_woken_when_it_has_room() {
    let shared = Shared::new("waits");
    let (near, far) = (shared.open(LAB1), shared.open(LAB2));
    let to = far.local_address();
    let mut batch = ReceiveBatch::new();
    for _ in 0..3 {
        let mut sent = 0;
        while near.send(&to, &[7; 50_000], 1000).unwrap() > 0 {
            sent += 50;
        }
        assert!(!ready(near.readable()), "nothing was read yet");
        let mut arrived = 0;
        while arrived < sent {
            let count = far.receive(&mut batch).unwrap();
            assert!(count > 0, "{arrived} of {sent}");
            arrived += count;
        }
        assert!(ready(near.readable()), "there is room");
        assert_eq!(near.receive(&mut batch), Ok(0));
        assert!(!ready(near.readable()), "woken once");
    }
}

#[test]
fn a_datagram_that_is_longer_than_any_train_is_nobodys() {
    let shared = Shared::new("longer");
    let near = NeighbourDriver::open(&shared.0, LAB1, 8192).unwrap();
    let head = neighbour::Head {
        from: near.local_address().as_neighbour().unwrap(),
        segment: 4096,
    };
    let mut datagram = vec![7; 2 * ReceiveBatch::SLOT];
    datagram[..neighbour::Head::LEN].copy_from_slice(&head.encode());
    let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let file = shared.0.join("6c61622d6f6e6521-8192");
    stranger.send_to(&datagram, file).unwrap();
    assert_eq!(near.receive(&mut ReceiveBatch::new()), Ok(0));
}

#[test]
fn a_place_has_one_owner_and_is_free_when_he_was_killed() {
    let shared = Shared::new("owner");
    let open = || NeighbourDriver::open(&shared.0, LAB1, 8192);
    let first = open().unwrap();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(NeighbourDriver::open(&shared.0, LAB2, 8192).is_ok());
    let to = first.local_address();
    let near = shared.open(LAB2);
    assert_eq!(near.send(&to, b"hi", 2), Ok(2));
    // As if killed: the file stays.
    let file = shared.0.join("6c61622d6f6e6521-8192");
    let kept = shared.0.join("kept");
    std::fs::rename(&file, &kept).unwrap();
    drop(first);
    std::fs::rename(&kept, &file).unwrap();
    assert_eq!(near.send(&to, b"hi", 2), Err(DriverError::NoPeer));
    let second = open().unwrap();
    assert_eq!(near.send(&to, b"hi", 2), Ok(2));
    assert_eq!(second.receive(&mut ReceiveBatch::new()), Ok(1));
    drop(second);
    assert!(!file.exists());
    let nobody = LinkAddress::neighbour(LAB1, 1);
    assert_eq!(near.send(&nobody, b"hi", 2), Err(DriverError::NoPeer));
}

#[test]
fn one_that_ends_leaves_the_place_to_who_has_it_now() {
    let shared = Shared::new("successor");
    let open = || NeighbourDriver::open(&shared.0, LAB1, 8192).unwrap();
    let first = open();
    // As when a volume goes and returns empty.
    std::fs::remove_file(shared.0.join("6c61622d6f6e6521-8192")).unwrap();
    let second = open();
    drop(first);
    let near = shared.open(LAB2);
    assert_eq!(near.send(&second.local_address(), b"hi", 2), Ok(2));
    assert_eq!(second.receive(&mut ReceiveBatch::new()), Ok(1));
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let error = NeighbourDriver::open(Path::new("/nonexistent"), LAB1, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn ready(descriptor: BorrowedFd<'_>) -> bool {
    let descriptor = descriptor.as_fd();
    let mut fds = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

/// A directory that vanishes with the test.
struct Shared(PathBuf);

impl Shared {
    fn new(name: &str) -> Self {
        let name = format!("slashnet-neighbour-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self, host: [u8; 8]) -> NeighbourDriver {
        NeighbourDriver::open(&self.0, host, 0).unwrap()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
