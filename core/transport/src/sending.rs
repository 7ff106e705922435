//! How packets are made.

use abi::codec::{Encode, Writer};
use abi::time::Instant;

use crate::cipher::HEADER_LEN;
use crate::config::REPLY_CACHE_MAX;
use crate::event::{Buffer, Cause, LinkIndex, Memory};
use crate::frame::{
    CONTROL, Data, FIRST, Frame, Head, LAST, ONE_WAY, PULLED_LEN, PUSHED_LEN, QUIET, REFUSED,
    REPLY, WireOp,
};
use crate::incoming::Phase;
use crate::lane::LaneState;
use crate::outflow::Piece;
use crate::packet::{FLAG_ACK_NOW, FLAG_PHASE, Header};
use crate::queue::{Control, Item};
use crate::recovery::{SentFrame, Watch};
use crate::session::{Events, Session};

/// Most frames of one packet that must arrive.
const FRAMES_MAX: usize = 8;
/// Room below which no further frame is begun.
const ROOM_MIN: usize = 48;
/// Least bytes of a fragment that is split off a longer message.
const FRAGMENT_MIN: usize = 64;

/// A packet while it is made: the plaintext so far, and what of it must arrive.
struct Draft<'a> {
    body: &'a mut [u8],
    len: usize,
    frames: [SentFrame; FRAMES_MAX],
    count: usize,
    eliciting: bool,
    quiet: bool,
    /// An acknowledgement is in it.
    acks: bool,
}

/// How far a message has come in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
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
    const fn new(body: &'a mut [u8]) -> Self {
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
    fn put(&mut self, frame: &Frame<'_>) -> bool {
        let mut w = Writer::fixed(&mut self.body[self.len..]);
        frame.encode(&mut w);
        let Ok(written) = w.finish() else {
            return false;
        };
        self.len += written;
        true
    }

    fn watch(&mut self, frame: SentFrame) {
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
    /// A lane on which something is to be sent now.
    pub(crate) fn sending_lane(
        &mut self,
        now: Instant,
        is_full: impl Fn(LinkIndex) -> bool,
    ) -> Option<usize> {
        if self.ended.is_some() {
            return None;
        }
        let active = self.active();
        if let Some(closing) = self.closing {
            return active.filter(|&lane| closing.send_now && !is_full(self.lanes[lane].link));
        }
        let mut stray_ack = false;
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let ack = lane.debt.is_due(now);
            stray_ack |= ack && lane.state != LaneState::Active;
            let own = lane.state == LaneState::Active && ack;
            let alive =
                lane.state != LaneState::Down && (lane.pong.is_some() || lane.probe_due(now));
            if (own || alive) && !is_full(lane.link) {
                return Some(index);
            }
        }
        let active = active?;
        if is_full(self.lanes[active].link) {
            return None;
        }
        let lane = &mut self.lanes[active];
        let go = stray_ack
            || self.queue.has_control()
            || self.served.credit_due
            || self.queue.has_items()
                && (lane.reliable
                    || lane.probes > 0
                    || lane.control.room(lane.flight.bytes()) > 0
                        && lane.control.batch(now, &lane.rtt, 1) > 0);
        go.then_some(active)
    }

    /// Fills `space` with packets for one lane; answers their length together and each.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        index: usize,
        space: &mut [u8],
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> Option<(usize, usize)> {
        let lane = &mut self.lanes[index];
        let reliable = lane.reliable;
        let mut segment = lane.mtu.min(space.len());
        let batch = if reliable {
            0
        } else {
            lane.control
                .batch(now, &lane.rtt, self.config.batch_max as u64) as usize
        };
        let budget = batch.min(self.config.batch_max).min(space.len());
        let (mut total, mut packets) = (0, 0);
        loop {
            let len = self.packet(
                now,
                index,
                &mut space[total..total + segment],
                memory,
                events,
            );
            total += len;
            packets += 1;
            // Packets of a batch are equally long; only nearly full ones are worth a batch.
            let full = if packets == 1 {
                len >= segment / 4 * 3
            } else {
                len == segment
            };
            if packets == 1 {
                segment = len;
            }
            if !full || total + segment > budget || packets >= self.config.batch_packets_max {
                break;
            }
        }
        self.queue.rotate();
        if self.closing.is_some() && reliable {
            self.ended = Some(Cause::Closed);
        }
        (total > 0).then_some((total, segment))
    }

    /// Makes one packet of at most `space.len()` bytes; answers its length, 0 if there is nothing
    /// to send.
    fn packet(
        &mut self,
        now: Instant,
        index: usize,
        space: &mut [u8],
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> usize {
        let overhead = self.cipher.as_ref().map_or(0, |cipher| cipher.overhead());
        let limit = space.len();
        let Some(room) = limit.checked_sub(HEADER_LEN + overhead) else {
            return 0;
        };
        let mut draft = Draft::new(&mut space[HEADER_LEN..HEADER_LEN + room]);
        if let Some(closing) = &mut self.closing {
            if closing.send_now {
                closing.send_now = false;
                draft.put(&Frame::Close { code: closing.code });
            }
        } else {
            self.draft_acks(now, index, &mut draft);
            self.draft_probes(now, index, &mut draft);
            if self.active() == Some(index) {
                self.draft_controls(&mut draft);
                self.draft_messages(now, index, &mut draft, memory);
            }
        }
        let Draft {
            len,
            frames,
            count,
            eliciting,
            quiet,
            ..
        } = draft;
        if len == 0 {
            return 0;
        }
        let watch = match (eliciting, quiet) {
            (true, _) => Watch::Eliciting,
            (false, true) => Watch::Quiet,
            (false, false) => Watch::None,
        };
        let size = HEADER_LEN + len + overhead;
        self.finish_packet(index, &mut space[..size]);
        self.account(now, index, size, watch, &frames[..count], events);
        size
    }

    fn finish_packet(&mut self, index: usize, packet: &mut [u8]) {
        let lane = &mut self.lanes[index];
        let pn = lane.next_pn;
        lane.next_pn += 1;
        let blocked = lane
            .control
            .is_full(lane.flight.bytes() + packet.len() as u64);
        let mut flags = if blocked && !lane.reliable {
            FLAG_ACK_NOW
        } else {
            0
        };
        if self.cipher.as_mut().is_some_and(|cipher| cipher.phase()) {
            flags |= FLAG_PHASE;
        }
        let body_len = (packet.len() - HEADER_LEN) as u16;
        let header = Header {
            flags,
            lane: lane.id,
            body_len,
            session: self.peer.0,
            pn,
        }
        .encode();
        let (head, body) = packet.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header);
        if let Some(cipher) = &mut self.cipher {
            cipher.seal(lane.id, pn, &header, body);
        }
    }

    fn account(
        &mut self,
        now: Instant,
        index: usize,
        size: usize,
        watch: Watch,
        frames: &[SentFrame],
        events: &mut Events,
    ) {
        let lane = &mut self.lanes[index];
        lane.bytes_sent += size as u64;
        lane.packets_sent += 1;
        if lane.reliable {
            let mut arrived = core::mem::take(&mut self.scratch);
            arrived.extend_from_slice(frames);
            self.arrived(now, &mut arrived, events);
            self.scratch = arrived;
            return;
        }
        lane.probes = lane.probes.saturating_sub(1);
        lane.flight.record(now, size, watch, frames);
        lane.control.on_sent(size as u64);
        if watch == Watch::Eliciting {
            self.expect_answer(now);
        }
    }

    /// Acknowledgements go on their own lane while it works, else on the one that does.
    fn draft_acks(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
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

    fn draft_probes(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
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

    fn draft_controls(&mut self, draft: &mut Draft<'_>) {
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

    fn draft_messages(
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
        let head = if incoming.flow.at_head() {
            let worked = now.saturating_since(incoming.whole_at).as_micros();
            let worked = u32::try_from(worked).unwrap_or(u32::MAX);
            Head::Reply {
                total: reply.total,
                status: reply.status,
                worked,
            }
        } else {
            Head::None
        };
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
