//! What goes into a packet: frames, and fragments of the program's memory.

use abi::codec::{Encode, Writer};
use abi::time::Instant;

use crate::config::REPLY_CACHE_MAX;
use crate::event::{Buffer, Memory};
use crate::frame::{
    CONTROL, Data, FIRST, Frame, Head, LAST, ONE_WAY, PULLED_LEN, PUSHED_LEN, QUIET, REFUSED,
    REPLY, WireOp,
};
use crate::incoming::Phase;
use crate::outflow::Piece;
use crate::queue::{Control, Item};
use crate::recovery::SentFrame;
use crate::session::Session;
use crate::summary::LaneState;

/// Most frames of one packet that must arrive.
const FRAMES_MAX: usize = 8;
/// Room below which no further frame is begun.
const ROOM_MIN: usize = 48;
/// Least bytes of a fragment that is split off a longer message.
const FRAGMENT_MIN: usize = 64;

/// A packet while it is made: the plaintext so far, and what of it must arrive.
pub(crate) struct Draft<'a> {
    pub(crate) body: &'a mut [u8],
    pub(crate) len: usize,
    pub(crate) frames: [SentFrame; FRAMES_MAX],
    pub(crate) count: usize,
    pub(crate) eliciting: bool,
    pub(crate) quiet: bool,
    /// An acknowledgement is in it.
    pub(crate) acks: bool,
}

/// How far a message has come in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing of it is left to send.
    Done,
    /// The packet is full.
    More,
}

impl Progress {
    const fn after(piece: Piece) -> Self {
        if piece.last { Self::Done } else { Self::More }
    }
}

impl<'a> Draft<'a> {
    pub(crate) const fn new(body: &'a mut [u8]) -> Self {
        let frames = [SentFrame::Ping; FRAMES_MAX];
        Self {
            body,
            len: 0,
            frames,
            count: 0,
            eliciting: false,
            quiet: false,
            acks: false,
        }
    }

    const fn room(&self) -> usize {
        self.body.len() - self.len
    }

    const fn has_place(&self) -> bool {
        self.count < FRAMES_MAX && self.room() >= ROOM_MIN
    }

    /// Appends a frame, or the head of one that ends in a fragment, if it fits.
    pub(crate) fn put(&mut self, frame: &Frame<'_>) -> bool {
        let mut w = Writer::fixed(&mut self.body[self.len..]);
        frame.encode(&mut w);
        let Ok(written) = w.finish() else {
            return false;
        };
        self.len += written;
        true
    }

    pub(crate) fn watch(&mut self, frame: SentFrame) {
        self.frames[self.count] = frame;
        self.count += 1;
        self.eliciting = true;
    }

    /// Appends `len` bytes of the program's memory.
    fn load(&mut self, from: Buffer, offset: u64, len: usize, memory: &mut dyn Memory) {
        if len > 0 {
            memory.load(from, offset, &mut self.body[self.len..self.len + len]);
            self.len += len;
        }
    }
}

/// A fragment of unknown content: when encoding, only the length counts.
fn blank(len: u64) -> &'static [u8] {
    static ZEROS: [u8; 65_536] = [0; 65_536];
    &ZEROS[..len as usize]
}

/// Flags that follow from what a fragment is.
const fn flags_of(head: &Head, piece: Piece) -> u8 {
    let first = if matches!(head, Head::None) { 0 } else { FIRST };
    first | if piece.last { LAST } else { 0 }
}

/// Bytes of the message that fit into the packet, or `None` if it is not worth beginning.
fn fragment_room(data: &Data<'_>, draft: &Draft<'_>, pending: u64) -> Option<u64> {
    let room = draft.room().checked_sub(data.overhead())?;
    let worthwhile = room >= FRAGMENT_MIN || room as u64 >= pending || draft.len == 0;
    worthwhile.then_some(room as u64)
}

impl Session {
    /// Acknowledgements go on their own lane while it works, else on the one that does.
    pub(crate) fn draft_acks(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        for owed in 0..self.lanes.len() {
            let lane = &mut self.lanes[owed];
            if !lane.debt.is_owed() || owed != index && lane.state == LaneState::Active {
                continue;
            }
            let Some(ack) = lane.settle_debt(now) else {
                continue;
            };
            draft.acks |= draft.put(&Frame::Ack(ack));
        }
        if draft.acks {
            self.ack_epoch += 1;
            for lane in &mut self.lanes {
                lane.flight.guard_quiet(now);
            }
        }
    }

    pub(crate) fn draft_probes(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        let lane = &mut self.lanes[index];
        if let Some((id, time)) = lane.pong.take() {
            draft.put(&Frame::Pong { id, time });
        }
        if !lane.probe_due(now) {
            return;
        }
        self.watch.ping_id = self.watch.ping_id.wrapping_add(1);
        if draft.put(&Frame::Ping {
            id: self.watch.ping_id,
            time: now.as_nanos(),
        }) && lane.state == LaneState::Active
        {
            draft.watch(SentFrame::Ping);
        }
        lane.plan_probe(now, &self.config);
    }

    pub(crate) fn draft_controls(&mut self, draft: &mut Draft<'_>) {
        if self.served.credit_due && draft.has_place() {
            self.served.credit_due = false;
            let frame = Frame::Credit {
                slots: self.served.limit(),
                bytes: self.served.announce(),
            };
            draft.put(&frame);
            draft.watch(SentFrame::Credit);
        }
        while draft.has_place()
            && let Some(control) = self.queue.front_control()
        {
            self.queue.pop_control();
            match control {
                Control::OpStat(op, state) => {
                    draft.put(&Frame::OpStat { op, state });
                }
                Control::Query(op) => {
                    draft.put(&Frame::Query { op });
                }
                Control::Pull(id) => {
                    if let Some(pull) = self.transfers.get(id) {
                        let (op, offset, len) = (pull.op, pull.start, pull.len);
                        draft.put(&Frame::Pull {
                            op,
                            id,
                            offset,
                            len,
                        });
                        draft.watch(SentFrame::Pull { id });
                    }
                }
                Control::Cancel(op) => {
                    if let Some(call) = self.calls.get(op) {
                        let reason = call.cancel.map_or(0, |cancel| cancel.reason);
                        let charge = crate::credit::charge(call.unscheduled);
                        draft.put(&Frame::Cancel { op, reason, charge });
                        draft.watch(SentFrame::Cancel { op });
                    }
                }
            }
        }
    }

    pub(crate) fn draft_messages(
        &mut self,
        now: Instant,
        index: usize,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) {
        let lane = &mut self.lanes[index];
        if !lane.reliable && lane.probes == 0 {
            let in_flight = lane.flight.bytes();
            if lane.control.room(in_flight) == 0 {
                return;
            }
        }
        while draft.has_place()
            && let Some((class, item)) = self.queue.front()
        {
            let more = match item {
                Item::Request(op) => self.draft_request(op, draft, memory),
                Item::Reply(op) => self.draft_reply(now, index, op, draft, memory),
                Item::Serving(id) => self.draft_pulled(id, draft, memory),
                Item::Push(id) => self.draft_pushed(id, draft, memory),
            };
            match more {
                Progress::Done => self.queue.pop(class),
                Progress::More => break,
            }
        }
    }

    fn draft_request(
        &mut self,
        op: WireOp,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Progress {
        let key = self.op_key(op);
        let Some(call) = self.calls.get(op).filter(|call| call.flow.pending()) else {
            if let Some(call) = self.calls.get(op) {
                call.flow.queued = false;
            }
            return Progress::Done;
        };
        let head = if call.flow.at_head() {
            Head::Request {
                total: call.len,
                reply_max: call.reply_max,
                meta: call.meta,
            }
        } else {
            Head::None
        };
        let mut flags = if call.one_way { ONE_WAY } else { 0 };
        flags |= if call.control { CONTROL } else { 0 };
        let offset = call.flow.next_offset();
        let mut data = Data {
            flags,
            op,
            offset,
            unscheduled: call.unscheduled,
            head,
            bytes: &[],
        };
        let Some(room) = fragment_room(&data, draft, call.flow.pending_bytes()) else {
            return Progress::More;
        };
        let piece = call.flow.take(room);
        flags |= flags_of(&head, piece);
        data = Data {
            flags,
            offset: piece.offset,
            bytes: blank(piece.len),
            ..data
        };
        call.flow.queued = !piece.last;
        draft.put(&Frame::Data(data));
        draft.load(
            Buffer::Request(key),
            piece.offset,
            piece.len as usize,
            memory,
        );
        draft.watch(SentFrame::Request {
            op,
            offset: piece.offset,
            len: piece.len as u32,
        });
        Progress::after(piece)
    }

    fn draft_reply(
        &mut self,
        now: Instant,
        index: usize,
        op: WireOp,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Progress {
        let key = self.incoming_key(op);
        let lossy = !self.lanes[index].reliable;
        let pn = self.lanes[index].next_pn;
        // This packet may itself carry the acknowledgement of the request.
        let epoch = self.ack_epoch;
        let cache_full = self.served.cached >= REPLY_CACHE_MAX;
        let Some(incoming) = self
            .served
            .get(op)
            .filter(|i| i.phase == Phase::Replying && i.flow.pending())
        else {
            if let Some(incoming) = self.served.get(op) {
                incoming.flow.queued = false;
            }
            return Progress::Done;
        };
        let Some(reply) = incoming.reply else {
            return Progress::Done;
        };
        let mut flags = REPLY | if reply.refused { REFUSED } else { 0 };
        let head = incoming.reply_head(now, reply);
        let offset = incoming.flow.next_offset();
        let mut data = Data {
            flags,
            op,
            offset,
            unscheduled: 0,
            head,
            bytes: &[],
        };
        let Some(room) = fragment_room(&data, draft, incoming.flow.pending_bytes()) else {
            return Progress::More;
        };
        let fresh = epoch.wrapping_sub(incoming.whole_epoch) <= u64::from(draft.acks);
        let quiet = lossy && fresh && !cache_full && incoming.flow.fits_whole(room);
        let piece = incoming.flow.take(room);
        flags |= flags_of(&head, piece) | if quiet { QUIET } else { 0 };
        data = Data {
            flags,
            offset: piece.offset,
            bytes: blank(piece.len),
            ..data
        };
        incoming.flow.queued = !piece.last;
        draft.put(&Frame::Data(data));
        draft.load(
            Buffer::Outgoing(key),
            piece.offset,
            piece.len as usize,
            memory,
        );
        let eliciting = draft.eliciting || !quiet;
        draft.watch(SentFrame::Reply {
            op,
            offset: piece.offset,
            len: piece.len as u32,
        });
        draft.eliciting = eliciting;
        draft.quiet |= quiet;
        if quiet {
            incoming.quiet = Some((index, pn));
            self.served.cached += reply.total;
        }
        Progress::after(piece)
    }

    fn draft_pulled(
        &mut self,
        id: u32,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Progress {
        let Some(serving) = self.transfers.servings.get_mut(&id) else {
            return Progress::Done;
        };
        let (op, start) = (serving.op, serving.start);
        if !serving.flow.pending() {
            serving.flow.queued = false;
            return Progress::Done;
        }
        let room = draft.room() - PULLED_LEN;
        let piece = serving.flow.take(room as u64);
        serving.flow.queued = !piece.last;
        let (offset, last) = (start + piece.offset, piece.last);
        draft.put(&Frame::Pulled {
            op,
            id,
            offset,
            last,
            bytes: blank(piece.len),
        });
        draft.load(
            Buffer::Request(self.op_key(op)),
            offset,
            piece.len as usize,
            memory,
        );
        draft.watch(SentFrame::Pulled {
            id,
            offset: piece.offset,
            len: piece.len as u32,
        });
        Progress::after(piece)
    }

    fn draft_pushed(
        &mut self,
        id: u32,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Progress {
        let key = self.transfer_key(id);
        let Some((flow, op, start, total)) = self.transfers.get_push(id) else {
            return Progress::Done;
        };
        if !flow.pending() {
            flow.queued = false;
            return Progress::Done;
        }
        let room = draft.room() - PUSHED_LEN;
        let piece = flow.take(room as u64);
        flow.queued = !piece.last;
        let (offset, last) = (piece.offset, piece.last);
        let bytes = blank(piece.len);
        draft.put(&Frame::Pushed {
            op,
            id,
            start,
            total,
            offset,
            last,
            bytes,
        });
        draft.load(Buffer::Transfer(key), offset, piece.len as usize, memory);
        draft.watch(SentFrame::Pushed {
            id,
            offset,
            len: piece.len as u32,
        });
        Progress::after(piece)
    }
}
