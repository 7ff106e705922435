//! What goes into a packet: frames, and fragments of the program's memory.

mod messages;

use alloc::vec::Vec;

use abi::codec::{Encode, Writer};
use abi::time::Instant;

use crate::cipher::HEADER_LEN;
use crate::event::{Buffer, Memory};
use crate::frame::Frame;
use crate::lane::SIZE_LEAST;
use crate::protection;
use crate::queue::Control;
use crate::recovery::SentFrame;
use crate::session::Session;
use crate::summary::LaneState;

/// Most frames of one packet that must arrive: more than short messages fill a packet of Ethernet with.
const FRAMES_MAX: usize = 64;
/// Room below which no further frame is begun.
const ROOM_MIN: usize = 48;

/// A packet while it is made: the plaintext so far, and what of it must arrive.
pub(crate) struct Draft<'a> {
    pub(crate) body: &'a mut [u8],
    pub(crate) len: usize,
    pub(crate) frames: Vec<SentFrame>,
    pub(crate) eliciting: bool,
    pub(crate) quiet: bool,
    /// An acknowledgement is in it.
    pub(crate) acks: bool,
    /// Whether its content may go on no other lane; unknown while there is none.
    pub(crate) bound: Option<bool>,
}

impl<'a> Draft<'a> {
    /// An empty packet; `frames` lends the memory for what must arrive.
    pub(crate) fn new(body: &'a mut [u8], mut frames: Vec<SentFrame>) -> Self {
        frames.clear();
        Self {
            body,
            len: 0,
            frames,
            eliciting: false,
            quiet: false,
            acks: false,
            bound: None,
        }
    }

    const fn room(&self) -> usize {
        self.body.len() - self.len
    }

    const fn has_place(&self) -> bool {
        self.frames.len() < FRAMES_MAX && self.room() >= ROOM_MIN
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
        self.frames.push(frame);
        self.eliciting = true;
    }

    /// No more than `len` bytes go into it.
    fn shorten(&mut self, len: usize) {
        let body = core::mem::take(&mut self.body);
        let len = len.max(self.len).min(body.len());
        self.body = &mut body[..len];
    }

    /// Whether content that is bound to the lane, or not, may be added: what is bound travels
    /// apart, so that the rest can go elsewhere when the lane fails.
    fn admits(&self, bound: bool) -> bool {
        self.has_place() && self.bound.is_none_or(|other| other == bound)
    }

    /// Appends `len` bytes of the program's memory.
    fn load(&mut self, from: Buffer, offset: u64, len: usize, memory: &mut dyn Memory) {
        if len > 0 {
            memory.load(from, offset, &mut self.body[self.len..self.len + len]);
            self.len += len;
        }
    }
}

impl Session {
    /// Acknowledgements go on their own lane while it works, else on the one that does.
    pub(crate) fn draft_acks(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        for owed in 0..self.lanes.len() {
            let strays = owed != index;
            let debt = &self.lanes[owed].debt;
            let along = !strays && debt.is_welcome() && self.queue.sends_long();
            if !debt.is_owed() && !along {
                continue;
            }
            let goes = if strays {
                self.lanes[index].state == LaneState::Active && self.acks_elsewhere(owed)
            } else {
                self.acks_itself(owed)
            };
            if goes && let Some(ack) = self.lanes[owed].settle_debt(now, strays) {
                draft.acks |= draft.put(&Frame::Ack(ack));
            }
        }
        if draft.acks {
            self.ack_epoch += 1;
            for lane in &mut self.lanes {
                lane.flight.guard_quiet(now);
            }
        }
    }

    /// Questions about lanes, answers, and notices that a lane is not used. A packet with a question or an answer is one
    /// that passes where large ones vanish: else a lane that carries small ones would seem to carry none.
    pub(crate) fn draft_probes(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        let overhead = protection::overhead(self.lanes[index].protection, self.cipher.as_deref());
        let lane = &mut self.lanes[index];
        if !lane.reliable && (lane.pong.is_some() || lane.ping_now) {
            draft.shorten(SIZE_LEAST - HEADER_LEN - overhead);
        }
        if let Some((id, time)) = lane.pong.take() {
            draft.put(&Frame::Pong { id, time });
        }
        if lane.ping_now {
            lane.ping_now = false;
            let time = now.as_nanos();
            let id = lane.place.ask(time).unwrap_or_else(|| {
                self.watch.ping_id = self.watch.ping_id.wrapping_add(1);
                self.watch.ping_id
            });
            let ping = Frame::Ping { id, time };
            if draft.put(&ping) && lane.state == LaneState::Active {
                draft.watch(SentFrame::Ping);
            }
        }
        if self.lanes[index].state != LaneState::Active {
            return;
        }
        for other in 0..self.lanes.len() {
            let lane = &mut self.lanes[other];
            if !lane.tell_peer || other == index || !draft.has_place() {
                continue;
            }
            lane.tell_peer = false;
            if draft.put(&Frame::LaneLeft { lane: lane.id }) {
                draft.watch(SentFrame::LaneLeft { lane: other as u8 });
            }
        }
    }

    /// Frames without bytes.
    pub(crate) fn draft_controls(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        if self.served.credit_due {
            self.draft_credit(now, index, draft);
        }
        if !self.queue.has_control() {
            return;
        }
        for at in 0..self.queue.streams.len() {
            loop {
                let stream = &self.queue.streams[at];
                let bound = stream.route.bound_to().is_some();
                if !stream.controls_go || !draft.admits(bound) {
                    break;
                }
                let Some(control) = self.queue.pop_control(at) else {
                    break;
                };
                if self.draft_control(control, draft) {
                    draft.bound = Some(bound);
                }
            }
        }
    }

    fn draft_credit(&mut self, now: Instant, index: usize, draft: &mut Draft<'_>) {
        let route = self.served.credit_route;
        let bound = route.bound_to().is_some();
        if !draft.admits(bound) || !self.leads(now, route, index) {
            return;
        }
        self.served.credit_due = false;
        draft.bound = Some(bound);
        draft.put(&Frame::Credit {
            slots: self.served.limit(),
            bytes: self.served.announce(),
        });
        draft.watch(SentFrame::Credit);
    }

    /// Answers whether the frame was still wanted.
    fn draft_control(&mut self, control: Control, draft: &mut Draft<'_>) -> bool {
        match control {
            Control::OpStat(op, state) => draft.put(&Frame::OpStat { op, state }),
            Control::Query(op) => draft.put(&Frame::Query { op }),
            Control::Pull(id) => {
                let Some(pull) = self.transfers.get(id) else {
                    return false;
                };
                let (op, offset, len) = (pull.op, pull.start, pull.len);
                draft.watch(SentFrame::Pull { id });
                draft.put(&Frame::Pull {
                    op,
                    id,
                    offset,
                    len,
                })
            }
            Control::Cancel(op) => {
                let Some(call) = self.calls.get(op) else {
                    return false;
                };
                let reason = call.cancel.map_or(0, |cancel| cancel.reason);
                let charge = crate::credit::charge(call.unscheduled);
                draft.watch(SentFrame::Cancel { op });
                draft.put(&Frame::Cancel { op, reason, charge })
            }
        }
    }
}
