//! How packets leave: which lane, how many, sealed and accounted for.

use abi::time::Instant;

use crate::cipher::HEADER_LEN;
use crate::draft::Draft;
use crate::event::{Cause, LinkIndex, Memory};
use crate::frame::Frame;
use crate::packet::{FLAG_ACK_NOW, FLAG_PHASE, Header};
use crate::recovery::{SentFrame, Watch};
use crate::session::{Events, Session};
use crate::summary::LaneState;

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
                        && lane.control.batch(now, 1) > 0);
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
            lane.control.batch(now, self.config.batch_max as u64) as usize
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
        if !reliable && !self.queue.has_items() {
            let lane = &mut self.lanes[index];
            lane.control.on_starved(lane.flight.bytes());
        }
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
        self.account(now, index, (size, watch), &frames[..count], events);
        size
    }

    fn finish_packet(&mut self, index: usize, packet: &mut [u8]) {
        let lane = &mut self.lanes[index];
        let pn = lane.next_pn;
        lane.next_pn += 1;
        let (in_flight, len) = (lane.flight.bytes(), packet.len() as u64);
        let asks = !lane.reliable && lane.control.asks_for_ack(len, in_flight);
        let mut flags = if asks { FLAG_ACK_NOW } else { 0 };
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
        (size, watch): (usize, Watch),
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
        let in_flight = lane.flight.bytes();
        let mark = lane.control.on_sent(now, size as u64, in_flight);
        lane.flight.record(now, size, (watch, mark), frames);
        if watch == Watch::Eliciting {
            self.expect_answer(now);
        }
    }
}
