//! How packets leave: how many, sealed and accounted for.

use abi::time::Instant;

use crate::cipher::HEADER_LEN;
use crate::draft::Draft;
use crate::event::{Cause, Memory};
use crate::frame::Frame;
use crate::packet::{FLAG_ACK_NOW, FLAG_BOUND, FLAG_PHASE, Header};
use crate::protection;
use crate::recovery::{SentFrame, Watch};
use crate::session::{Events, Session};

impl Session {
    /// Fills `space` with packets for one lane; answers their length together and each.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        index: usize,
        space: &mut [u8],
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> Option<(usize, usize)> {
        let batch = self.plan_batch(now, index);
        let lane = &mut self.lanes[index];
        let reliable = lane.reliable;
        let mut segment = lane.size.packet().min(space.len());
        let allowance = usize::try_from(lane.place.allowance()).unwrap_or(usize::MAX);
        segment = segment.min(allowance);
        let budget = batch
            .min(self.config.batch_max)
            .min(space.len())
            .min(allowance);
        let overhead = protection::overhead(lane.protection, self.cipher.as_deref());
        let (mut total, mut packets) = (0, 0);
        loop {
            let room = &mut space[total..total + segment];
            let how = (index, packets == 0, overhead);
            let len = self.packet(now, how, room, memory, events);
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
        if !self.queue.has_items() {
            self.starve(u16::MAX);
        } else if self.starved {
            self.starve(1 << index);
        }
        self.queue.rotate();
        if self.closing.is_some() && reliable {
            self.ended = Some(Cause::Closed);
        }
        (total > 0).then_some((total, segment))
    }

    /// Makes one packet of at most `space.len()` bytes for the lane at `index`, the `first` of a batch or not, of which
    /// protection takes `overhead`; answers its length, 0 if there is nothing to send.
    fn packet(
        &mut self,
        now: Instant,
        (index, first, overhead): (usize, bool, usize),
        space: &mut [u8],
        memory: &mut dyn Memory,
        events: &mut Events,
    ) -> usize {
        let limit = space.len();
        let Some(room) = limit.checked_sub(HEADER_LEN + overhead) else {
            return 0;
        };
        let frames = core::mem::take(&mut self.drafted);
        let mut draft = Draft::new(&mut space[HEADER_LEN..HEADER_LEN + room], frames);
        if let Some(closing) = &mut self.closing {
            if closing.send_now {
                closing.send_now = false;
                draft.put(&Frame::Close { code: closing.code });
            }
        } else {
            // Nothing comes in while a batch is made, so what the first packet has said is said.
            if first {
                self.draft_acks(now, index, &mut draft);
                self.draft_probes(now, index, &mut draft);
            }
            self.draft_controls(now, index, &mut draft);
            self.draft_messages(now, index, &mut draft, memory);
        }
        let Draft {
            len,
            frames,
            eliciting,
            quiet,
            bound,
            ..
        } = draft;
        if len == 0 {
            self.drafted = frames;
            return 0;
        }
        let watch = match (eliciting, quiet) {
            (true, _) => Watch::Eliciting,
            (false, true) => Watch::Quiet,
            (false, false) => Watch::None,
        };
        let size = HEADER_LEN + len + overhead;
        self.finish_packet(index, bound == Some(true), &mut space[..size]);
        self.account(now, index, (size, watch), &frames, events);
        self.drafted = frames;
        size
    }

    fn finish_packet(&mut self, index: usize, bound: bool, packet: &mut [u8]) {
        let lane = &mut self.lanes[index];
        let pn = lane.next_pn;
        lane.next_pn += 1;
        let (in_flight, len) = (lane.flight.bytes(), packet.len() as u64);
        let mut flags = 0;
        if !lane.reliable && lane.control.asks_for_ack(len, in_flight) {
            flags |= FLAG_ACK_NOW;
        }
        if bound {
            flags |= FLAG_BOUND;
        }
        let (id, level) = (lane.id, lane.protection);
        let cipher = protection::cipher_of(level, &mut self.cipher);
        if let Some(cipher) = cipher {
            if self.key_phase.is_over(self.active) {
                cipher.next_key();
                self.key_phase.advance();
            }
            if self.key_phase.phase() {
                flags |= FLAG_PHASE;
            }
            let place = (index, lane.reliable);
            let asked = self.key_phase.note_sealed(place, pn, self.active);
            if asked != 0 {
                self.ask_on(asked);
            }
        }
        let header = Header {
            flags,
            lane: id,
            body_len: (packet.len() - HEADER_LEN) as u16,
            session: self.peer.0,
            pn,
        };
        let (head, body) = packet.split_at_mut(HEADER_LEN);
        let raw = header.encode();
        head.copy_from_slice(&raw);
        protection::protect(level, &mut self.cipher, (&header, &raw), body);
    }

    /// The peer is asked for an answer on these lanes.
    #[cold]
    fn ask_on(&mut self, lanes: u16) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.ping_now |= lanes >> index & 1 == 1;
        }
    }

    fn account(
        &mut self,
        now: Instant,
        index: usize,
        (size, watch): (usize, Watch),
        frames: &[SentFrame],
        events: &mut Events,
    ) {
        let alone = self.lanes.len() == 1;
        let lane = &mut self.lanes[index];
        if !alone && !lane.reliable {
            lane.keep_busy(now, size);
        }
        lane.bytes_sent += size as u64;
        lane.place.charge(size);
        lane.packets_sent += 1;
        if lane.reliable {
            let mut arrived = core::mem::take(&mut self.scratch);
            arrived.extend_from_slice(frames);
            self.arrived(now, &mut arrived, events);
            self.scratch = arrived;
            return;
        }
        lane.probes = lane.probes.saturating_sub(1);
        let in_flight = lane.flight.bytes();
        let mark = lane.control.on_sent(now, size as u64, in_flight);
        lane.flight.record(now, size, (watch, mark), frames);
        if watch == Watch::Eliciting {
            self.expect_answer(now);
        }
    }
}
