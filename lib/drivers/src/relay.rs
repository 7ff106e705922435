//! Packets that the node passes on for a program which may not or should not have a socket of its own.
//!
//! One pair of rings joins the program and its node: [`Relay`] is the program's end, [`RelayEnd`] the node's. Packets
//! for all links pass through it, each train with its link and address before it, sealed as on any other way: the
//! node has no keys. Each link of the program is a [`RelayDriver`] like any other.

mod end;
mod record;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::LinkAddress;
use rustix::event::EventfdFlags;
use rustix::event::epoll::{self, EventFlags};

use crate::memory::InPlace;
use crate::{DriverError, MemoryDriver, PacketDriver, Properties, ReceiveBatch};
pub use end::{Progress, RelayEnd, Relayed};
pub use record::Record;

/// The program's end of the rings that it shares with its node.
#[derive(Clone, Debug)]
pub struct Relay {
    shared: Arc<Shared>,
}

/// One link of the node, for a program. Its packets go through the node.
///
/// Safe to use from several threads at once. What arrives for one link while another one is read is kept, up to
/// 512 KiB; what is more is lost, as it would be in a socket.
#[derive(Debug)]
pub struct RelayDriver {
    shared: Arc<Shared>,
    link: u8,
    local: LinkAddress,
    properties: Properties,
    inbox: Arc<Inbox>,
    blocked: AtomicBool,
    /// Watches the rings and the inbox.
    watch: OwnedFd,
}

#[derive(Debug)]
struct Shared {
    memory: MemoryDriver,
    /// Whoever holds this reads the rings.
    inboxes: Mutex<Vec<Arc<Inbox>>>,
}

/// What was read from the rings by somebody who looked for something else.
#[derive(Debug)]
struct Inbox {
    link: u8,
    waiting: AtomicBool,
    /// The owner wants the bell rung.
    asleep: AtomicBool,
    bell: OwnedFd,
    trains: Mutex<Trains>,
}

#[derive(Debug, Default)]
struct Trains {
    queue: VecDeque<Train>,
    bytes: usize,
}

#[derive(Debug)]
struct Train {
    record: Record,
    bytes: Box<[u8]>,
}

impl Relay {
    /// From the program's end of a pair of rings whose other end is the node's.
    #[must_use]
    pub fn new(memory: MemoryDriver) -> Self {
        let shared = Shared {
            memory,
            inboxes: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The driver for the node's link `link`, under whose address `local` peers reach this program, with packets of at
    /// most `max_frame` bytes (less if the rings are small).
    ///
    /// # Errors
    ///
    /// `Io(EBUSY)` if there is one for this link already; otherwise what the system says: out of descriptors.
    pub fn link(
        &self,
        link: u8,
        local: LinkAddress,
        max_frame: usize,
    ) -> Result<RelayDriver, DriverError> {
        let inbox = Arc::new(Inbox::new(link)?);
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for heard in [self.shared.memory.readable(), inbox.bell.as_fd()] {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&watch, heard, data, EventFlags::IN | EventFlags::ET)?;
        }
        let mut inboxes = lock(&self.shared.inboxes);
        if inboxes.iter().any(|other| other.link == link) {
            return Err(DriverError::Io(libc::EBUSY));
        }
        inboxes.push(Arc::clone(&inbox));
        drop(inboxes);
        Ok(RelayDriver {
            link,
            local,
            properties: Properties {
                max_frame: max_frame.min(train_max(&self.shared.memory)).max(1),
                reliable: false,
                ordered: false,
                trusted: false,
                segments_max: Record::SEGMENTS_MAX,
            },
            shared: Arc::clone(&self.shared),
            inbox,
            blocked: AtomicBool::new(false),
            watch,
        })
    }
}

impl PacketDriver for RelayDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        let accepted = self.send_quietly(to, bytes, segment);
        self.ring_if_asked();
        accepted
    }

    fn send_quietly(
        &self,
        to: &LinkAddress,
        bytes: &[u8],
        segment: usize,
    ) -> Result<usize, DriverError> {
        if segment.min(bytes.len()) > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        let accepted = put(&self.shared.memory, self.link, to, bytes, segment)?;
        self.blocked
            .store(accepted < bytes.len(), Ordering::Relaxed);
        Ok(accepted)
    }

    fn ring_if_asked(&self) {
        self.shared.memory.ring_if_asked();
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let inboxes = lock(&self.shared.inboxes);
        self.inbox.asleep.store(false, Ordering::Relaxed);
        self.inbox.empty_into(batch);
        if !batch.has_room_for_train() {
            return Ok(batch.len());
        }
        let (mut looks, mut others) = (0, 0);
        self.shared.memory.receive_in_place(&mut |arrived| {
            looks += 1;
            let mut go_on = looks < LOOKS_MAX;
            let Some(record) = record_of(&arrived) else {
                return go_on;
            };
            if record.link == self.link {
                batch.put_train(&record, &arrived);
            } else if let Some(other) = inboxes.iter().find(|inbox| inbox.link == record.link) {
                others += arrived.len();
                go_on &= others < OTHERS_MAX;
                other.keep(record, &arrived);
            }
            go_on && batch.has_room_for_train()
        })?;
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        EventFlags::IN | EventFlags::ET
    }

    fn arm(&self) -> bool {
        let inboxes = lock(&self.shared.inboxes);
        if self.inbox.waiting.load(Ordering::Relaxed) || self.shared.memory.arm() {
            return true;
        }
        // Nobody moves packets to the inbox while the lock is held.
        self.inbox.asleep.store(true, Ordering::Relaxed);
        drop(inboxes);
        self.blocked.load(Ordering::Relaxed) && self.shared.memory.writable()
    }

    fn has_data(&self) -> Option<bool> {
        if self.inbox.waiting.load(Ordering::Relaxed) {
            return Some(true);
        }
        self.shared.memory.has_data()
    }

    fn writable(&self) -> bool {
        !self.blocked.load(Ordering::Relaxed) || self.shared.memory.writable()
    }

    fn peer_cpu(&self) -> Option<u32> {
        self.shared.memory.peer_cpu()
    }

    fn local_address(&self) -> LinkAddress {
        self.local
    }

    fn backlog(&self) -> Option<usize> {
        self.shared.memory.backlog()
    }
}

impl Drop for RelayDriver {
    fn drop(&mut self) {
        lock(&self.shared.inboxes).retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
    }
}

impl Inbox {
    fn new(link: u8) -> Result<Self, DriverError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            link,
            waiting: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            bell: rustix::event::eventfd(0, flags)?,
            trains: Mutex::default(),
        })
    }

    fn keep(&self, record: Record, arrived: &InPlace<'_>) {
        let mut trains = lock(&self.trains);
        let len = arrived.len() - Record::LEN;
        if trains.bytes + len > INBOX_BYTES || trains.queue.len() == INBOX_TRAINS {
            return;
        }
        let mut bytes = vec![0; len].into_boxed_slice();
        arrived.copy(Record::LEN, &mut bytes);
        trains.bytes += len;
        trains.queue.push_back(Train { record, bytes });
        self.waiting.store(true, Ordering::Relaxed);
        drop(trains);
        if self.asleep.swap(false, Ordering::Relaxed) {
            crate::memory::ring(&self.bell);
        }
    }

    fn empty_into(&self, batch: &mut ReceiveBatch) {
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        let mut trains = lock(&self.trains);
        while batch.has_room_for_train() {
            let Some(train) = trains.queue.pop_front() else {
                break;
            };
            trains.bytes -= train.bytes.len();
            if let Some(room) = batch.reserve(train.bytes.len()) {
                room.copy_from_slice(&train.bytes);
                batch.commit_train(&train.record, train.bytes.len());
            }
        }
        self.waiting
            .store(!trains.queue.is_empty(), Ordering::Relaxed);
    }
}

impl ReceiveBatch {
    /// Whether the longest train of a relay would fit.
    fn has_room_for_train(&self) -> bool {
        let (bytes, packets) = self.room();
        bytes >= Self::SLOT - Record::LEN && packets >= Record::SEGMENTS_MAX
    }

    fn put_train(&mut self, record: &Record, arrived: &InPlace<'_>) {
        let len = arrived.len() - Record::LEN;
        let Some(room) = self.reserve(len) else {
            return;
        };
        arrived.copy(Record::LEN, room);
        self.commit_train(record, len);
    }

    fn commit_train(&mut self, record: &Record, len: usize) {
        let segment = usize::from(record.segment);
        for at in (0..len).step_by(segment) {
            self.commit(record.address, segment.min(len - at));
        }
    }
}

/// Puts packets into the rings as few records as possible; returns the bytes that went in, whole packets.
fn put(
    memory: &MemoryDriver,
    link: u8,
    address: &LinkAddress,
    bytes: &[u8],
    segment: usize,
) -> Result<usize, DriverError> {
    if segment == 0 {
        return Err(DriverError::Io(libc::EINVAL));
    }
    let segment = segment.min(bytes.len().max(1));
    if segment > train_max(memory) {
        return Err(DriverError::TooBig(train_max(memory)));
    }
    let header = Record {
        link,
        address: *address,
        segment: segment as u16,
    }
    .encode();
    let segments = (train_max(memory) / segment).min(Record::SEGMENTS_MAX);
    let mut accepted = 0;
    for train in bytes.chunks(segments * segment) {
        let put = memory.send_in_place(Record::LEN + train.len(), &mut |room| {
            room.fill(0, &header);
            room.fill(Record::LEN, train);
        })?;
        if !put {
            break;
        }
        accepted += train.len();
    }
    Ok(accepted)
}

/// Bytes of packets that one record holds.
fn train_max(memory: &MemoryDriver) -> usize {
    memory.properties().max_frame - Record::LEN
}

/// The head of a record, if it is one. Bytes are read once, so that later changes of them do no harm.
fn record_of(arrived: &InPlace<'_>) -> Option<Record> {
    let mut header = [0; Record::LEN];
    if !arrived.copy(0, &mut header) {
        return None;
    }
    Record::decode(&header, arrived.len() - Record::LEN)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records of other links that one `receive` steps over.
const LOOKS_MAX: usize = 256;
/// Bytes for other links that one `receive` moves to their inboxes: less than each of them takes at once, so that an
/// inbox that is read as often as the others does not fill.
const OTHERS_MAX: usize = 64 * 1024;
const INBOX_BYTES: usize = 512 * 1024;
const INBOX_TRAINS: usize = 1024;
