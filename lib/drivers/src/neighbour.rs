//! Packets between nodes of one machine that share a directory, as containers may: no network is needed.
//!
//! Each driver is a Unix datagram socket in the directory; the file's name is its address. A datagram is a whole train of
//! packets behind a [`Head`]. Whoever may write to the directory is believed to be who he says: it belongs to nodes of
//! one owner.

mod head;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use abi::LinkAddress;
use abi::link_address::Neighbour;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch, driver, socket_option};
pub use head::Head;

/// A place of a node in a shared directory.
///
/// Packets are lost only if the peer ends with packets unread. Safe to use from several threads at once.
#[derive(Debug)]
pub struct NeighbourDriver {
    socket: OwnedFd,
    /// Watches the socket, and the ways to peers whose sockets are full.
    watch: OwnedFd,
    local: Neighbour,
    directory: PathBuf,
    /// Which file the place is: the name may be another one's by now.
    file: Identity,
    properties: Properties,
    ways: Mutex<Ways>,
}

/// A socket for each peer: only a connected one tells when the peer has room again.
#[derive(Debug, Default)]
struct Ways {
    to: HashMap<Neighbour, OwnedFd>,
    blocked: Vec<Neighbour>,
}

impl NeighbourDriver {
    /// Takes a place in `directory`, under the node's name there and `port` (0: any free one).
    ///
    /// Files of sockets that nobody has open any more, under the same node's name, are removed.
    ///
    /// # Errors
    ///
    /// `AddrInUse` for a port that somebody has; otherwise what the system says: the directory does not exist, or this
    /// process may not write to it.
    pub fn open(directory: &Path, host: [u8; 8], port: u16) -> io::Result<Self> {
        remove_dead(directory, host)?;
        let socket = unix_socket()?;
        let local = take_place(&socket, directory, host, port)?;
        socket_option::enlarge_buffers(socket.as_fd(), BUFFER);
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &socket, EventData::new_u64(0), EventFlags::IN)?;
        Ok(Self {
            socket,
            watch,
            local,
            file: identity(&directory.join(file_name(local)))?,
            directory: directory.to_owned(),
            properties: Properties {
                max_frame: Head::TRAIN_MAX,
                reliable: false,
                ordered: false,
                trusted: false,
                segments_max: Head::SEGMENTS_MAX,
            },
            ways: Mutex::default(),
        })
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if the peer has no room; the sleeper is woken when it has.
    fn send_train(
        &self,
        ways: &mut Ways,
        to: Neighbour,
        train: &[u8],
        segment: usize,
    ) -> Result<bool, DriverError> {
        let head = Head {
            from: self.local,
            segment: segment as u16,
        }
        .encode();
        let parts = [io::IoSlice::new(&head), io::IoSlice::new(train)];
        // The peer may have ended and begun again under the same name.
        for _ in 0..CONNECT_ATTEMPTS {
            let way = ways.reach(&self.directory, to)?;
            let mut nothing = SendAncillaryBuffer::default();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(way, &parts, &mut nothing, flags) {
                Ok(_all) => return Ok(true),
                Err(Errno::AGAIN) => return ways.wait_for(&self.watch, to).map(|()| false),
                Err(Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE) => {
                    ways.forget(to);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(DriverError::NoPeer)
    }
}

impl PacketDriver for NeighbourDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        if segment == 0 {
            return Err(DriverError::Io(libc::EINVAL));
        }
        let segment = segment.min(bytes.len().max(1));
        if segment > Head::TRAIN_MAX {
            return Err(DriverError::TooBig(Head::TRAIN_MAX));
        }
        let to = to.as_neighbour().ok_or(DriverError::NoPeer)?;
        let packets = (Head::TRAIN_MAX / segment).min(Head::SEGMENTS_MAX);
        let mut ways = self.ways();
        let trains = bytes.chunks(packets * segment);
        driver::send_trains(trains, |train| {
            self.send_train(&mut ways, to, train, segment)
        })
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        self.ways().notice_room(&self.watch);
        let places = batch.buffer.len() / ReceiveBatch::SLOT;
        for place in 0..places {
            let start = place * ReceiveBatch::SLOT;
            let room = &mut batch.buffer[start..start + ReceiveBatch::SLOT];
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let len = match rustix::net::recv(&self.socket, &mut *room, flags) {
                Ok((_, len)) => len,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            // One that was cut off is none of ours: what stands behind its room belongs to others.
            let Some(head) = room.get(..len).and_then(Head::decode) else {
                continue;
            };
            let from = LinkAddress::neighbour(head.from.host, head.from.port);
            let segment = usize::from(head.segment);
            for at in (Head::LEN..len).step_by(segment) {
                batch.push(from, start + at, segment.min(len - at));
            }
        }
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        EventFlags::IN
    }

    fn local_address(&self) -> LinkAddress {
        LinkAddress::neighbour(self.local.host, self.local.port)
    }

    fn backlog(&self) -> Option<usize> {
        let ways = self.ways();
        let unsent = |way: &OwnedFd| socket_option::unsent_bytes(way.as_fd()).unwrap_or(0);
        Some(ways.to.values().map(unsent).sum())
    }
}

impl Drop for NeighbourDriver {
    fn drop(&mut self) {
        let file = self.directory.join(file_name(self.local));
        if identity(&file).is_ok_and(|identity| identity == self.file) {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Ways {
    fn reach(&mut self, directory: &Path, to: Neighbour) -> Result<&OwnedFd, DriverError> {
        if !self.to.contains_key(&to) {
            if self.to.len() == WAYS_MAX {
                let idle = self
                    .to
                    .keys()
                    .find(|peer| !self.blocked.contains(peer))
                    .copied();
                self.forget(idle.ok_or(DriverError::WouldBlock)?);
            }
            let way = unix_socket()?;
            let address = SocketAddrUnix::new(directory.join(file_name(to)))?;
            rustix::net::connect(&way, &address).map_err(|error| match error {
                Errno::NOENT => DriverError::NoPeer,
                other => other.into(),
            })?;
            socket_option::enlarge_buffers(way.as_fd(), BUFFER);
            self.to.insert(to, way);
        }
        self.to.get(&to).ok_or(DriverError::NoPeer)
    }

    fn forget(&mut self, peer: Neighbour) {
        self.to.remove(&peer);
        self.blocked.retain(|blocked| *blocked != peer);
    }

    fn wait_for(&mut self, watch: &OwnedFd, peer: Neighbour) -> Result<(), DriverError> {
        if self.blocked.contains(&peer) {
            return Ok(());
        }
        if let Some(way) = self.to.get(&peer) {
            epoll::add(watch, way, EventData::new_u64(0), EventFlags::OUT)?;
            self.blocked.push(peer);
        }
        Ok(())
    }

    /// The sleeper has been woken for those that have room now: do not wake it again.
    fn notice_room(&mut self, watch: &OwnedFd) {
        let ways = &self.to;
        self.blocked.retain(|peer| {
            let Some(way) = ways.get(peer) else {
                return false;
            };
            let mut fds = [PollFd::new(way, PollFlags::OUT)];
            let has_room = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0);
            if has_room {
                let _ = epoll::delete(watch, way);
            }
            !has_room
        });
    }
}

/// Device and number of a file.
type Identity = (u64, u64);

fn identity(file: &Path) -> io::Result<Identity> {
    let metadata = std::fs::symlink_metadata(file)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn unix_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
}

fn take_place(
    socket: &OwnedFd,
    directory: &Path,
    host: [u8; 8],
    port: u16,
) -> io::Result<Neighbour> {
    let take = |port| {
        let local = Neighbour { host, port };
        let address = SocketAddrUnix::new(directory.join(file_name(local)))?;
        rustix::net::bind(socket, &address).map(|()| local)
    };
    if port != 0 {
        return Ok(take(port)?);
    }
    let mut taken = Errno::ADDRINUSE;
    for _ in 0..PLACE_ATTEMPTS {
        let mut random = [0; 2];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        match take(u16::from_le_bytes(random) | ANY_PORT) {
            Ok(local) => return Ok(local),
            Err(error) => taken = error,
        }
    }
    Err(taken.into())
}

/// Whoever was killed has left its file behind.
fn remove_dead(directory: &Path, host: [u8; 8]) -> io::Result<()> {
    let own = host_name(host);
    for entry in std::fs::read_dir(directory)?.take(FILES_MAX).flatten() {
        let is_own = entry.file_name().to_string_lossy().starts_with(&own);
        if !is_own {
            continue;
        }
        let (probe, address) = (unix_socket()?, SocketAddrUnix::new(entry.path())?);
        if rustix::net::connect(&probe, &address) == Err(Errno::CONNREFUSED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn host_name(host: [u8; 8]) -> String {
    host.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(place: Neighbour) -> String {
    format!("{}-{}", host_name(place.host), place.port)
}

const BUFFER: i32 = 4 * 1024 * 1024;
/// Ports that are given to those who ask for any.
const ANY_PORT: u16 = 0x8000;
const PLACE_ATTEMPTS: usize = 32;
const CONNECT_ATTEMPTS: usize = 2;
/// Peers with a socket of their own.
const WAYS_MAX: usize = 128;
const FILES_MAX: usize = 4096;
