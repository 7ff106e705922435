//! Fragments of messages: as much as fits, of whatever goes next on the lane.

use abi::codec::Writer;
use abi::time::Instant;

use super::Draft;
use crate::config::REPLY_CACHE_MAX;
use crate::event::{Buffer, Memory};
use crate::frame::{
    CONTROL, Data, FIRST, Frame, Head, LAST, Middle, ONE_WAY, POLICY, PULLED_LEN, PUSHED_LEN,
    PulledHead, QUIET, REFUSED, REPLY, WireOp,
};
use crate::incoming::Phase;
use crate::outflow::{Outflow, Piece};
use crate::policy::Policy;
use crate::queue::{Class, Item};
use crate::recovery::SentFrame;
use crate::session::Session;

/// Least bytes of a fragment that is split off a longer message.
const FRAGMENT_MIN: usize = 64;

/// A fragment of unknown content: when encoding, only the length counts.
fn blank(len: u64) -> &'static [u8] {
    static ZEROS: [u8; 65_536] = [0; 65_536];
    &ZEROS[..len as usize]
}

/// Whether all offsets of a message of `len` bytes are low.
const fn is_low(len: u64) -> bool {
    len <= u32::MAX as u64
}

/// Bytes of a message that are left to send; `None` if there is nothing at the moment.
type Left = Option<u64>;

impl Draft<'_> {
    /// Bytes of a message that fit behind `overhead`, or `None` if it is not worth beginning.
    fn fragment_room(&self, overhead: usize, pending: u64) -> Option<u64> {
        let room = self.room().checked_sub(overhead)?;
        let worthwhile = room >= FRAGMENT_MIN || room as u64 >= pending || self.len == 0;
        worthwhile.then_some(room as u64)
    }

    /// Takes the next piece of a message that fits behind `overhead`, and says what is left of it then. The error
    /// is what is left without one.
    fn take(&self, flow: &mut Outflow, overhead: usize) -> Result<(Piece, Left), Left> {
        if !flow.pending() {
            flow.queued = false;
            return Err(None);
        }
        let pending = flow.pending_bytes();
        let room = self.fragment_room(overhead, pending).ok_or(Some(pending))?;
        let piece = flow.take(room);
        flow.queued = !piece.last;
        Ok((piece, (!piece.last).then(|| flow.pending_bytes())))
    }

    /// The same for a fragment of a request or a reply, whose frame is completed.
    fn take_data(&self, flow: &mut Outflow, data: &mut Data<'_>) -> Result<(Piece, Left), Left> {
        let (piece, left) = self.take(flow, data.overhead())?;
        data.flags |= if matches!(data.head, Head::None) {
            0
        } else {
            FIRST
        };
        if data.head.policy() != Policy::LoadBalance {
            data.flags |= POLICY;
        }
        data.flags |= if piece.last { LAST } else { 0 };
        data.offset = piece.offset;
        data.bytes = blank(piece.len);
        Ok((piece, left))
    }

    /// Takes the next piece of a message behind `middle`, whose offset and length it sets, and appends both.
    fn middle(
        &mut self,
        flow: &mut Outflow,
        mut middle: Middle,
        from: Buffer,
        memory: &mut dyn Memory,
    ) -> Result<(Piece, Left), Left> {
        let overhead = middle.overhead();
        let (piece, left) = self.take(flow, overhead)?;
        middle.flags |= if piece.last { LAST } else { 0 };
        middle.offset = piece.offset as u32;
        middle.len = piece.len as u16;
        middle.write(&mut self.body[self.len..]);
        self.len += overhead;
        self.load(from, piece.offset, piece.len as usize, memory);
        Ok((piece, left))
    }

    /// Appends a fragment of a request or a reply, which is the usual content of a packet: it is
    /// not copied into a frame before.
    fn data(
        &mut self,
        data: &Data<'_>,
        sent: SentFrame,
        (from, offset, len): (Buffer, u64, u64),
        memory: &mut dyn Memory,
    ) {
        let mut w = Writer::fixed(&mut self.body[self.len..]);
        data.encode_head(&mut w);
        self.len += w.finish().unwrap_or(0);
        self.load(from, offset, len as usize, memory);
        self.watch(sent);
    }

    /// Appends a fragment: its frame, and its bytes from `offset` of a buffer.
    fn fragment(
        &mut self,
        frame: &Frame<'_>,
        sent: SentFrame,
        (from, offset, len): (Buffer, u64, u64),
        memory: &mut dyn Memory,
    ) {
        self.put(frame);
        self.load(from, offset, len as usize, memory);
        self.watch(sent);
    }
}

impl Session {
    pub(crate) fn draft_messages(
        &mut self,
        now: Instant,
        index: usize,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) {
        while let Some((at, class)) = self.next_line(index, draft) {
            let stream = &self.queue.streams[at];
            let bound = stream.route.bound_to().is_some();
            let Some(item) = stream.lines[class].front() else {
                return;
            };
            let before = draft.len;
            let left = match item {
                Item::Request(op) => self.draft_request(op, draft, memory),
                Item::Reply(op) => self.draft_reply(now, index, op, draft, memory),
                Item::Serving(id) => self.draft_pulled(id, draft, memory),
                Item::Push(id) => self.draft_pushed(id, draft, memory),
            };
            let left = left.unwrap_or_else(|left| left);
            if draft.len > before {
                draft.bound = Some(bound);
                self.busy_at = now;
                self.carried += (draft.len - before) as u64;
            }
            let done = self.queue.advance(at, class, left);
            self.message_sent(index, done);
            if left.is_some() {
                return;
            }
        }
    }

    /// The line whose first message goes next: stream and class.
    fn next_line(&mut self, index: usize, draft: &Draft<'_>) -> Option<(usize, usize)> {
        let urgent = self.queue.is_urgent();
        for class in self.queue.order() {
            if !self.queue.has_class(class) {
                continue;
            }
            for (at, stream) in self.queue.streams.iter().enumerate() {
                let line = &stream.lines[class];
                if line.is_empty()
                    || line.allowed == 0
                    || !draft.admits(stream.route.bound_to().is_some())
                {
                    continue;
                }
                let urgent = urgent && class < Class::Bulk as usize;
                if self.lanes[index].has_room(urgent) {
                    return Some((at, class));
                }
            }
        }
        None
    }

    fn draft_request(
        &mut self,
        op: WireOp,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Result<Left, Left> {
        let key = self.op_key(op);
        let call = self.calls.get(op).ok_or(None)?;
        let one_way = if call.one_way { ONE_WAY } else { 0 };
        let control = if call.control { CONTROL } else { 0 };
        if !call.flow.at_head() && is_low(call.len) {
            let middle = Middle {
                flags: one_way | control,
                op,
                offset: 0,
                unscheduled: call.unscheduled,
                len: 0,
            };
            let from = Buffer::Request(key);
            let (piece, left) = draft.middle(&mut call.flow, middle, from, memory)?;
            let (offset, len) = (piece.offset, piece.len as u32);
            draft.watch(SentFrame::Request { op, offset, len });
            return Ok(left);
        }
        let mut data = Data {
            flags: one_way | control,
            op,
            offset: call.flow.next_offset(),
            unscheduled: call.unscheduled,
            head: call.request_head(),
            bytes: &[],
        };
        let (piece, left) = draft.take_data(&mut call.flow, &mut data)?;
        let (offset, len) = (piece.offset, piece.len as u32);
        draft.data(
            &data,
            SentFrame::Request { op, offset, len },
            (Buffer::Request(key), offset, piece.len),
            memory,
        );
        Ok(left)
    }

    fn draft_reply(
        &mut self,
        now: Instant,
        index: usize,
        op: WireOp,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Result<Left, Left> {
        let key = self.incoming_key(op);
        let lossy = !self.lanes[index].reliable;
        let pn = self.lanes[index].next_pn;
        // This packet may itself carry the acknowledgement of the request.
        let epoch = self.ack_epoch;
        let cache_full = self.served.cached >= REPLY_CACHE_MAX;
        let incoming = self.served.get(op).ok_or(None)?;
        let reply = incoming.reply.ok_or(None)?;
        if incoming.phase != Phase::Replying {
            incoming.flow.queued = false;
            return Err(None);
        }
        let flags = REPLY | if reply.refused { REFUSED } else { 0 };
        // What has begun goes in more than one packet, and none of them is quiet.
        if !incoming.flow.at_head() && is_low(reply.total) {
            let middle = Middle {
                flags,
                op,
                offset: 0,
                unscheduled: 0,
                len: 0,
            };
            let from = Buffer::Outgoing(key);
            let (piece, left) = draft.middle(&mut incoming.flow, middle, from, memory)?;
            let (offset, len) = (piece.offset, piece.len as u32);
            draft.watch(SentFrame::Reply { op, offset, len });
            return Ok(left);
        }
        let mut data = Data {
            flags,
            op,
            offset: incoming.flow.next_offset(),
            unscheduled: 0,
            head: incoming.reply_head(now, reply),
            bytes: &[],
        };
        let fresh = epoch.wrapping_sub(incoming.whole_epoch) <= u64::from(draft.acks);
        let fits = draft
            .room()
            .checked_sub(data.overhead())
            .is_some_and(|room| incoming.flow.fits_whole(room as u64));
        let (piece, left) = draft.take_data(&mut incoming.flow, &mut data)?;
        let quiet = lossy && fresh && !cache_full && fits;
        data.flags |= if quiet { QUIET } else { 0 };
        if quiet {
            incoming.quiet = Some((index, pn));
            self.served.cached += reply.total;
        }
        let eliciting = draft.eliciting || !quiet;
        let (offset, len) = (piece.offset, piece.len as u32);
        draft.data(
            &data,
            SentFrame::Reply { op, offset, len },
            (Buffer::Outgoing(key), offset, piece.len),
            memory,
        );
        draft.eliciting = eliciting;
        draft.quiet |= quiet;
        Ok(left)
    }

    fn draft_pulled(
        &mut self,
        id: u32,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Result<Left, Left> {
        let serving = self.transfers.servings.get_mut(&id).ok_or(None)?;
        let (op, start) = (serving.op, serving.start);
        let (piece, left) = draft.take(&mut serving.flow, PULLED_LEN)?;
        let (offset, len) = (piece.offset, piece.len as u32);
        let head = PulledHead {
            op,
            id,
            offset: start + offset,
            last: piece.last,
            len: len as u16,
        };
        draft.body[draft.len..][..PULLED_LEN].copy_from_slice(&head.encode());
        draft.len += PULLED_LEN;
        let from = Buffer::Request(self.op_key(op));
        draft.load(from, start + offset, len as usize, memory);
        draft.watch(SentFrame::Pulled { id, offset, len });
        Ok(left)
    }

    fn draft_pushed(
        &mut self,
        id: u32,
        draft: &mut Draft<'_>,
        memory: &mut dyn Memory,
    ) -> Result<Left, Left> {
        let key = self.transfer_key(id);
        let (flow, op, start, total) = self.transfers.get_push(id).ok_or(None)?;
        let (piece, left) = draft.take(flow, PUSHED_LEN)?;
        let (offset, len) = (piece.offset, piece.len as u32);
        let frame = Frame::Pushed {
            op,
            id,
            start,
            total,
            offset,
            last: piece.last,
            bytes: blank(piece.len),
        };
        draft.fragment(
            &frame,
            SentFrame::Pushed { id, offset, len },
            (Buffer::Transfer(key), offset, piece.len),
            memory,
        );
        Ok(left)
    }
}
