//! One received message on its way to its answer.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use abi::connect::{CombinedReply, ConnectStatus, Opened as OpenedReply};
use abi::credentials::Credentials;
use abi::{Encode, Errno, Result};
use rights::{ClientRights, Operation};

use crate::bindings::Bindings;
use crate::locks::Locks;
use crate::open_file::Opened;
use crate::rights::Denials;
use crate::testing::Letter;
use crate::wait_queue::{Parked, Place, lock};

/// What brought the message: a channel, or a test without a daemon.
#[derive(Debug)]
pub(crate) enum Carrier {
    Ipc(ipc::Message),
    Test(Letter),
}

impl Carrier {
    fn credentials(&self) -> &Arc<Credentials> {
        match self {
            Self::Ipc(message) => &message.info().credentials,
            Self::Test(letter) => letter.credentials(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Ipc(message) => {
                let info = message.info();
                Place {
                    sender: info.sender,
                    connection: info.connection,
                }
            }
            Self::Test(letter) => letter.place(),
        }
    }

    fn ticket(&self) -> u64 {
        match self {
            Self::Ipc(message) => message.id().0,
            Self::Test(letter) => letter.ticket(),
        }
    }

    fn is_unblock_requested(&self) -> bool {
        match self {
            Self::Ipc(message) => message.unblock_requested(),
            Self::Test(letter) => letter.is_unblock_requested(),
        }
    }

    fn reply_max(&self) -> u64 {
        match self {
            Self::Ipc(message) => message.info().reply_max,
            Self::Test(letter) => letter.reply_max(),
        }
    }

    fn sent(&self) -> u64 {
        match self {
            Self::Ipc(message) => message.info().len,
            Self::Test(letter) => letter.sent(),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        match self {
            Self::Ipc(message) => message.read_at(offset, into),
            Self::Test(letter) => letter.read_at(offset, into),
        }
    }

    fn rights_generation(&self) -> u64 {
        match self {
            Self::Ipc(message) => message.rights_generation(),
            Self::Test(letter) => letter.rights_generation(),
        }
    }

    fn rights(&self) -> Result<Arc<ClientRights>> {
        match self {
            Self::Ipc(message) => message.rights(),
            Self::Test(letter) => Ok(letter.rights()),
        }
    }

    fn report_denial(&self, operation: Operation, rule: Option<u16>, path: &[u8], count: u32) {
        match self {
            Self::Ipc(message) => message.report_denial(operation, rule, path, count),
            Self::Test(letter) => letter.report_denial(operation, rule, path, count),
        }
    }

    fn reply(self, status: i64, bytes: &[u8]) -> Result {
        match self {
            Self::Ipc(message) => message.reply(status, bytes),
            Self::Test(letter) => letter.reply(status, bytes),
        }
    }

    fn fail(self, errno: Errno) -> Result {
        match self {
            Self::Ipc(message) => message.fail(errno),
            Self::Test(letter) => letter.fail(errno),
        }
    }
}

/// What all messages of one server share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) bindings: Bindings,
    pub(crate) locks: Arc<Locks>,
    pub(crate) parked: Arc<Parked>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) denials: Denials,
}

impl Hub {
    pub(crate) fn new(message_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bindings: Bindings::default(),
            locks: Arc::default(),
            parked: Arc::default(),
            buffers: Buffers::new(message_bytes),
            denials: Denials::default(),
        })
    }
}

/// How the answer of an io message is wrapped.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// It came alone.
    Alone,
    /// It came in a connect message that also opened (`R20`); with what the open answers if the
    /// file stays open.
    Combined(Option<OpenedReply>),
}

impl Frame {
    /// Bytes ahead of the io message's own reply.
    fn header_len(self) -> usize {
        match self {
            Self::Alone => 0,
            Self::Combined(opened) => {
                let header = CombinedReply {
                    opened,
                    status: 0,
                    body: &[],
                };
                header.to_bytes().map_or(0, |bytes| bytes.len())
            }
        }
    }
}

/// A message, the bytes of it that have been received, and the file it is about.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// None once answered.
    carrier: Option<Carrier>,
    buffer: Buffer,
    /// How many bytes of the message are in `buffer`.
    received: usize,
    /// Where the io message begins: 0, or behind the connect message that it came in.
    body: Range<usize>,
    frame: Frame,
    pub(crate) hub: Arc<Hub>,
    pub(crate) file: Option<Arc<Opened>>,
    /// Whom a rule of the node makes the client for this message, once that is decided.
    identity: OnceLock<Option<Arc<Credentials>>>,
    place: Place,
    ticket: u64,
}

impl Envelope {
    pub(crate) fn new(carrier: Carrier, buffer: Buffer, received: usize, hub: Arc<Hub>) -> Self {
        let (place, ticket) = (carrier.place(), carrier.ticket());
        let received = received.min(buffer.bytes().len());
        let sent = usize::try_from(carrier.sent()).unwrap_or(usize::MAX);
        Self {
            carrier: Some(carrier),
            buffer,
            received,
            body: 0..sent,
            frame: Frame::Alone,
            hub,
            file: None,
            identity: OnceLock::new(),
            place,
            ticket,
        }
    }

    /// From here on the message is the one at `body` inside of the connect message.
    pub(crate) fn enter_combined(&mut self, body: Range<usize>, opened: Option<OpenedReply>) {
        self.body = body;
        self.frame = Frame::Combined(opened);
        self.identity = OnceLock::new();
    }

    /// The received part of the message, or of the io message inside of it.
    pub(crate) fn message(&self) -> &[u8] {
        let end = self.body.end.min(self.received);
        self.buffer
            .bytes()
            .get(self.body.start..end)
            .unwrap_or_default()
    }

    /// Where `part`, a piece of [`message`](Self::message), is in it.
    pub(crate) fn range_of(&self, part: &[u8]) -> Range<usize> {
        let start = (part.as_ptr() as usize).saturating_sub(self.message().as_ptr() as usize);
        start..start + part.len()
    }

    /// The bytes of a range that [`range_of`](Self::range_of) gave.
    pub(crate) fn part(&self, range: &Range<usize>) -> &[u8] {
        self.message().get(range.clone()).unwrap_or_default()
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Who asks, as file permissions are to see it.
    pub(crate) fn credentials(&self) -> &Arc<Credentials> {
        let identity = self.identity.get().and_then(Option::as_ref);
        identity.unwrap_or(self.sender_credentials())
    }

    /// From here on the client is whom a rule makes it.
    pub(crate) fn become_identity(&self, identity: Option<Arc<Credentials>>) {
        // Whoever was decided first stays.
        let _ = self.identity.set(identity);
    }

    /// Who asks, whatever rules make of it.
    pub(crate) fn sender_credentials(&self) -> &Arc<Credentials> {
        self.carrier().credentials()
    }

    #[inline]
    pub(crate) fn rights_generation(&self) -> u64 {
        self.carrier().rights_generation()
    }

    /// What the client may do where.
    pub(crate) fn rights(&self) -> Result<Arc<ClientRights>> {
        self.carrier().rights()
    }

    pub(crate) fn report_denial(
        &self,
        operation: Operation,
        rule: Option<u16>,
        path: &[u8],
        count: u32,
    ) {
        self.carrier().report_denial(operation, rule, path, count);
    }

    pub(crate) fn is_unblock_requested(&self) -> bool {
        self.carrier().is_unblock_requested()
    }

    /// Why the request need not wait: its client gives up or is gone, or has closed the file meanwhile.
    pub(crate) fn abandoned(&self) -> Option<Errno> {
        if self.is_unblock_requested() || self.is_gone() {
            return Some(Errno::EINTR);
        }
        let opened = self.file.as_ref()?;
        opened.file.is_closed().then_some(Errno::EBADF)
    }

    /// Whether the client is not blocked on the message any more (`I27`).
    pub(crate) fn is_gone(&self) -> bool {
        self.carrier().read_at(0, &mut []).is_err()
    }

    /// Bytes the client has room for.
    pub(crate) fn reply_max(&self) -> usize {
        let room = usize::try_from(self.carrier().reply_max()).unwrap_or(usize::MAX);
        room.saturating_sub(self.frame.header_len())
    }

    /// Bytes of the message, received or not.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether some of the message is still with the client.
    pub(crate) fn is_partial(&self) -> bool {
        self.body.end > self.received
    }

    /// Reads from the message, received or not.
    pub(crate) fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<usize> {
        let wanted = into.len().min(self.len().saturating_sub(offset));
        let from = (self.body.start + offset) as u64;
        self.carrier().read_at(from, &mut into[..wanted])
    }

    /// Replaces the received bytes by later ones of the message; returns how many there are.
    pub(crate) fn receive_from(&mut self, offset: usize) -> Result<usize> {
        self.buffer.restore();
        let wanted = self
            .buffer
            .bytes()
            .len()
            .min(self.len().saturating_sub(offset));
        let from = (self.body.start + offset) as u64;
        let carrier = self
            .carrier
            .as_ref()
            .expect("an envelope is consumed by its answer");
        // What was parsed is overwritten: only the raw bytes are of use from here on.
        self.received = 0;
        carrier.read_at(from, &mut self.buffer.bytes_mut()[..wanted])
    }

    /// The buffer, for building a reply in.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.received = 0;
        self.buffer.restore();
        self.buffer.bytes_mut()
    }

    /// The raw bytes of the buffer.
    pub(crate) fn raw(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Gives the buffer back early: a request that waits needs no bytes.
    pub(crate) fn shed_buffer(&mut self) {
        self.received = 0;
        self.buffer.give_back();
    }

    /// Answers; an error is that nobody got the answer.
    pub(crate) fn deliver(mut self, status: i64, bytes: &[u8]) -> Result {
        let Some(carrier) = self.carrier.take() else {
            return Ok(());
        };
        match self.frame {
            Frame::Alone => carrier.reply(status, bytes),
            Frame::Combined(opened) => {
                let reply = CombinedReply {
                    opened,
                    status,
                    body: bytes,
                };
                carrier.reply(ConnectStatus::Ok.status(), &reply.to_bytes()?)
            }
        }
    }

    pub(crate) fn reply(self, status: i64, bytes: &[u8]) {
        note_undelivered(self.deliver(status, bytes));
    }

    /// Replies with the first `len` bytes of the buffer.
    pub(crate) fn reply_scratch(mut self, status: i64, len: usize) {
        let empty = Buffer {
            bytes: Box::default(),
            home: Arc::clone(&self.buffer.home),
        };
        let buffer = std::mem::replace(&mut self.buffer, empty);
        let bytes = buffer.bytes();
        note_undelivered(self.deliver(status, &bytes[..len.min(bytes.len())]));
    }

    pub(crate) fn fail(mut self, errno: Errno) {
        let Some(carrier) = self.carrier.take() else {
            return;
        };
        if let Frame::Combined(Some(_)) = self.frame {
            // qnx: R21, an error of the io message is the answer to the whole, so nothing is open.
            drop(self.hub.bindings.unbind(self.place));
        }
        note_undelivered(carrier.fail(errno));
    }

    /// The client is gone; answering is harmless and frees what is kept for it.
    pub(crate) fn forget(mut self) {
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.fail(Errno::EINTR);
        }
    }

    fn carrier(&self) -> &Carrier {
        self.carrier
            .as_ref()
            .expect("an envelope is consumed by its answer")
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            tracing::warn!("a request was dropped unanswered; its client gets EIO");
            let _ = carrier.fail(Errno::EIO);
        }
    }
}

/// An answer that finds nobody is no error of the manager: its client died or timed out.
fn note_undelivered(result: Result) {
    if let Err(errno) = result {
        tracing::debug!(errno = errno.name(), "answer found no client");
    }
}

/// Message buffers of one size, used again and again by the threads of a server.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
    size: usize,
}

impl Buffers {
    /// Buffers kept for later; more than this were a burst.
    const KEPT: usize = 16;

    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(Vec::new()),
            size,
        })
    }

    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let bytes = lock(&self.free).pop();
        let bytes = bytes.unwrap_or_else(|| vec![0; self.size].into_boxed_slice());
        Buffer {
            bytes,
            home: Arc::clone(self),
        }
    }
}

/// One buffer; goes back when dropped.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    home: Arc<Buffers>,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return;
        }
        let mut free = lock(&self.home.free);
        if free.len() < Buffers::KEPT {
            free.push(bytes);
        }
    }

    /// Takes a buffer again after [`give_back`](Self::give_back).
    pub(crate) fn restore(&mut self) {
        if self.bytes.is_empty() {
            *self = self.home.clone().take();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes belong to a client; they have no place in a log.
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}
