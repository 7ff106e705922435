//! Where the bytes of operations are: callers' memory and pooled buffers.
//!
//! A send or reply does not copy what it moves. It lends its caller's memory to the transport, as raw
//! pointers kept here, for as long as the caller is blocked; the caller takes it back, under the
//! endpoint's lock, before it returns. Everything in this file is only reached with that lock held.
#![allow(unsafe_code)]

mod lent;

use transport::{Buffer, IncomingKey, Memory, OpKey, SessionKey, TransferKey};

use crate::deferred::Deferred;
use crate::wait::WaitIndex;

pub(crate) use lent::{Source, Target};

/// The bytes of a reply.
pub(crate) enum Outgoing {
    Nothing,
    /// In the memory of a server thread that is blocked until they are not needed any more.
    Lent(Source),
    /// In a pooled buffer.
    Kept(Vec<u8>),
}

/// A client's operation that has not ended.
pub(crate) struct ClientOp {
    pub(crate) key: Option<OpKey>,
    pub(crate) request: Source,
    pub(crate) reply: Target,
    pub(crate) purpose: Purpose,
}

/// Who wants to know how a client's operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A thread that has gone on meanwhile, or will wait.
    Waited(WaitIndex),
    /// A blocked thread.
    Called(WaitIndex),
    /// A pulse of this attachment; nobody waits.
    Pulse(u32),
    /// Nobody.
    Orphan,
}

/// Buffers of one operation at the server.
struct Served {
    key: Option<IncomingKey>,
    /// What came unasked.
    arrived: Vec<u8>,
    outgoing: Outgoing,
}

/// A pull or push under way.
struct Transfer {
    key: TransferKey,
    source: Source,
    target: Target,
    wait: WaitIndex,
}

#[derive(Default)]
struct SessionRegions {
    ops: Vec<ClientOp>,
    /// Requests whose callers have left before the server has said that it needs them no more.
    left_behind: Vec<(OpKey, Vec<u8>)>,
    served: Vec<Served>,
}

/// All regions of an endpoint.
#[derive(Default)]
pub(crate) struct Regions {
    sessions: Vec<SessionRegions>,
    transfers: Vec<Transfer>,
    pool: Vec<Vec<u8>>,
    /// Loads put off until the packet is put together in its place.
    pub(crate) deferred: Deferred,
}

impl Regions {
    /// Registers a client's operation.
    pub(crate) fn add_op(&mut self, key: OpKey, request: Source, reply: Target, purpose: Purpose) {
        let ops = &mut self.session(key.session()).ops;
        let slot = usize::from(key.slot());
        while ops.len() <= slot {
            ops.push(ClientOp::free());
        }
        ops[slot] = ClientOp {
            key: Some(key),
            request,
            reply,
            purpose,
        };
    }

    /// Forgets a client's operation and says who waited for it.
    pub(crate) fn end_op(&mut self, key: OpKey) -> Option<Purpose> {
        let op = self.op(key)?;
        let purpose = op.purpose;
        *op = ClientOp::free();
        let left_behind = &mut self.session(key.session()).left_behind;
        if !left_behind.is_empty() {
            left_behind.retain(|(left, _)| *left != key);
        }
        Some(purpose)
    }

    /// Takes the caller's memory back from an operation that goes on without it.
    pub(crate) fn orphan_op(&mut self, key: OpKey) {
        if let Some(op) = self.op(key) {
            *op = ClientOp {
                key: Some(key),
                ..ClientOp::free()
            };
        }
    }

    /// Copies `len` bytes of a request, before its caller leaves with the memory: the server may still read them.
    pub(crate) fn leave_behind(&mut self, key: OpKey, len: usize) {
        if let Some(op) = self.op(key) {
            let mut bytes = vec![0; len];
            op.request.load(0, &mut bytes);
            self.session(key.session()).left_behind.push((key, bytes));
        }
    }

    fn left_behind(&self, key: OpKey) -> Option<&[u8]> {
        let session = self.sessions.get(key.session().index())?;
        let mut all = session.left_behind.iter();
        all.find(|(left, _)| *left == key)
            .map(|(_, bytes)| bytes.as_slice())
    }

    /// Who waits for an operation that has not ended.
    pub(crate) fn waiting_for(&mut self, key: OpKey) -> Option<WaitIndex> {
        match self.op(key)?.purpose {
            Purpose::Waited(wait) | Purpose::Called(wait) => Some(wait),
            Purpose::Pulse(_) | Purpose::Orphan => None,
        }
    }

    /// What came unasked for a served operation.
    pub(crate) fn arrived(&mut self, key: IncomingKey) -> &[u8] {
        self.served(key).map_or(&[], |served| &served.arrived)
    }

    /// Sets where the reply's bytes are.
    pub(crate) fn set_outgoing(&mut self, key: IncomingKey, outgoing: Outgoing) {
        let served = self.claim(key);
        served.outgoing = outgoing;
    }

    /// Copies a lent reply into a pooled buffer, so that the lender may go.
    pub(crate) fn keep_outgoing(&mut self, key: IncomingKey, len: usize) {
        let mut buffer = self.pool.pop().unwrap_or_default();
        let Some(served) = self.served(key) else {
            return;
        };
        if let Outgoing::Lent(source) = served.outgoing {
            buffer.resize(len, 0);
            source.load(0, &mut buffer);
            served.outgoing = Outgoing::Kept(buffer);
        }
    }

    /// Whether the reply's bytes are still lent by a blocked thread.
    pub(crate) fn is_lent(&mut self, key: IncomingKey) -> bool {
        self.served(key)
            .is_some_and(|served| matches!(served.outgoing, Outgoing::Lent(_)))
    }

    /// Drops what came unasked, once it has been answered.
    pub(crate) fn drop_arrived(&mut self, key: IncomingKey) {
        let Some(served) = self.served(key) else {
            return;
        };
        let buffer = std::mem::take(&mut served.arrived);
        self.recycle(buffer);
    }

    /// Forgets a served operation.
    pub(crate) fn end_served(&mut self, key: IncomingKey) {
        let Some(served) = self.served(key) else {
            return;
        };
        served.key = None;
        let arrived = std::mem::take(&mut served.arrived);
        let outgoing = std::mem::replace(&mut served.outgoing, Outgoing::Nothing);
        self.recycle(arrived);
        if let Outgoing::Kept(buffer) = outgoing {
            self.recycle(buffer);
        }
    }

    /// Registers a pull into `target` or a push from `source`.
    pub(crate) fn add_transfer(
        &mut self,
        key: TransferKey,
        source: Source,
        target: Target,
        wait: WaitIndex,
    ) {
        self.transfers.push(Transfer {
            key,
            source,
            target,
            wait,
        });
    }

    /// Forgets a transfer and says who waits for it.
    pub(crate) fn end_transfer(&mut self, key: TransferKey) -> Option<WaitIndex> {
        let at = self
            .transfers
            .iter()
            .position(|transfer| transfer.key == key)?;
        Some(self.transfers.swap_remove(at).wait)
    }

    /// Forgets everything of a session.
    pub(crate) fn end_session(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key.index()) {
            *session = SessionRegions::default();
        }
    }

    fn session(&mut self, key: SessionKey) -> &mut SessionRegions {
        let index = key.index();
        if self.sessions.len() <= index {
            self.sessions
                .resize_with(index + 1, SessionRegions::default);
        }
        &mut self.sessions[index]
    }

    #[inline]
    fn op(&mut self, key: OpKey) -> Option<&mut ClientOp> {
        let ops = &mut self.sessions.get_mut(key.session().index())?.ops;
        ops.get_mut(usize::from(key.slot()))
            .filter(|op| op.key == Some(key))
    }

    #[inline]
    fn served(&mut self, key: IncomingKey) -> Option<&mut Served> {
        let served = &mut self.sessions.get_mut(key.session().index())?.served;
        served
            .get_mut(usize::from(key.slot()))
            .filter(|served| served.key == Some(key))
    }

    /// The buffers of an operation, fresh if its slot last belonged to another one.
    fn claim(&mut self, key: IncomingKey) -> &mut Served {
        let slot = usize::from(key.slot());
        let session = self.session(key.session());
        while session.served.len() <= slot {
            session.served.push(Served {
                key: None,
                arrived: Vec::new(),
                outgoing: Outgoing::Nothing,
            });
        }
        let served = &mut session.served[slot];
        if served.key != Some(key) {
            served.key = Some(key);
            served.arrived.clear();
            let left = std::mem::replace(&mut served.outgoing, Outgoing::Nothing);
            if let Outgoing::Kept(buffer) = left {
                self.recycle(buffer);
            }
        }
        &mut self.sessions[key.session().index()].served[slot]
    }

    /// Room for what comes unasked; nothing if it is more than anybody grants.
    fn room_arrived(&mut self, key: IncomingKey, offset: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len).filter(|end| *end <= ARRIVED_MAX)?;
        let spare = if self.claim(key).arrived.capacity() == 0 {
            self.pool.pop()
        } else {
            None
        };
        let served = self.claim(key);
        if let Some(buffer) = spare {
            served.arrived = buffer;
        }
        if served.arrived.len() < end {
            served.arrived.resize(end, 0);
        }
        Some(&mut served.arrived[start..end])
    }

    /// Adds what follows what has come unasked, as it mostly does: its place need not be filled with zeros before.
    /// False, and nothing done, if it is anything else.
    fn append_arrived(&mut self, key: IncomingKey, offset: u64, bytes: &[u8]) -> bool {
        let Some(served) = self.served(key) else {
            return false;
        };
        let arrived = &mut served.arrived;
        let follows = offset > 0 && offset == arrived.len() as u64;
        let fits = arrived.len() + bytes.len() <= ARRIVED_MAX;
        if follows && fits {
            arrived.extend_from_slice(bytes);
        }
        follows && fits
    }

    /// Hands out the places where `len` arriving bytes belong, piece by piece, as far as there are any.
    pub(crate) fn arrive(
        &mut self,
        to: Buffer,
        offset: u64,
        len: usize,
        mut fill: impl FnMut(&mut [u8]),
    ) {
        match to {
            Buffer::Reply(key) => {
                if let Some(op) = self.op(key) {
                    op.reply.pieces(offset, len, fill);
                }
            }
            Buffer::Incoming(key) => {
                if let Some(room) = self.room_arrived(key, offset, len) {
                    fill(room);
                }
            }
            Buffer::Transfer(key) => {
                let transfers = &mut self.transfers;
                let transfer = transfers.iter_mut().find(|transfer| transfer.key == key);
                if let Some(transfer) = transfer {
                    transfer.target.pieces(offset, len, fill);
                }
            }
            Buffer::Request(_) | Buffer::Outgoing(_) => {}
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.pool.len() < POOL_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}

impl ClientOp {
    const fn free() -> Self {
        Self {
            key: None,
            request: Source::EMPTY,
            reply: Target::EMPTY,
            purpose: Purpose::Orphan,
        }
    }
}

impl Memory for Regions {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        let source = match from {
            Buffer::Request(key) => {
                if let Some(bytes) = self.left_behind(key) {
                    load_kept(bytes, offset, into);
                    return;
                }
                self.op(key).map(|op| op.request)
            }
            Buffer::Outgoing(key) => match self.served(key).map(|served| &served.outgoing) {
                Some(Outgoing::Lent(source)) => Some(*source),
                Some(Outgoing::Kept(bytes)) => {
                    load_kept(bytes, offset, into);
                    return;
                }
                Some(Outgoing::Nothing) | None => None,
            },
            Buffer::Transfer(key) => self
                .transfers
                .iter()
                .find(|transfer| transfer.key == key)
                .map(|transfer| transfer.source),
            Buffer::Reply(_) | Buffer::Incoming(_) => None,
        };
        let source = source.unwrap_or(Source::EMPTY);
        if !self.deferred.put_off(source, offset, into) {
            source.load(offset, into);
        }
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        if let Buffer::Incoming(key) = to
            && self.append_arrived(key, offset, bytes)
        {
            return;
        }
        let mut done = 0;
        self.arrive(to, offset, bytes.len(), |place| {
            place.copy_from_slice(&bytes[done..done + place.len()]);
            done += place.len();
        });
    }
}

fn load_kept(bytes: &[u8], offset: u64, into: &mut [u8]) {
    let at = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
    let n = (bytes.len() - at).min(into.len());
    into[..n].copy_from_slice(&bytes[at..at + n]);
    into[n..].fill(0);
}

/// Most bytes of one message that are kept before a receiver asks for it. More than any ticket grants.
const ARRIVED_MAX: usize = 1 << 20;
/// Buffers kept for reuse; a burst beyond it gives its memory back.
const POOL_MAX: usize = 64;
