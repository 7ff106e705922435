//! What is done with packets that come in.

use abi::codec::{Decode, Reader};
use abi::time::{Duration, Instant};

use crate::cipher::HEADER_LEN;
use crate::config::Role;
use crate::event::{Cause, Memory};
use crate::frame::{Ack, Data, Frame, LAST, PulledHead, QUIET, REPLY};
use crate::lane::Urgency;
use crate::packet::{FLAG_ACK_NOW, FLAG_BOUND, Header};
use crate::policy::Route;
use crate::rate_model::RateSample;
use crate::session::{Events, Session, Violation};

/// What taking a packet needs besides the session.
pub(crate) struct Shell<'a> {
    pub(crate) now: Instant,
    pub(crate) memory: &'a mut dyn Memory,
    pub(crate) events: &'a mut Events,
    /// It came from where the lane's packets go.
    pub(crate) from_peer: bool,
}

impl Session {
    /// The lane a packet came on, if the packet may be opened.
    pub(crate) fn admit(&self, header: &Header) -> Option<usize> {
        let index = self.lanes.iter().position(|lane| lane.id == header.lane)?;
        self.lanes[index].admits(header.pn).then_some(index)
    }

    /// Takes the frames of an authentic packet.
    pub(crate) fn take_packet(
        &mut self,
        index: usize,
        header: &Header,
        body: &[u8],
        shell: &mut Shell<'_>,
    ) {
        let bound = header.flags & FLAG_BOUND != 0;
        let gap = self.lanes[index].note_received(shell.now, header.pn, bound);
        self.lanes[index].bytes_received += (body.len() + HEADER_LEN) as u64;
        self.lanes[index].packets_received += 1;
        if self.closing.is_some() {
            self.closed_packet(body);
            return;
        }
        self.heard();
        self.meet();
        self.arrived = if bound {
            Route::Only(index as u8)
        } else {
            Route::Any
        };
        let mut urgency = Urgency::Never;
        let mut reader = Reader::new(body);
        while reader.remaining() > 0 && self.is_open() {
            let taken = self.take_next(index, &mut reader, shell);
            let Ok(wanted) = taken else {
                self.break_off(shell);
                return;
            };
            urgency = urgency.max(wanted);
        }
        if header.flags & FLAG_ACK_NOW != 0 && urgency > Urgency::Lazy {
            urgency = Urgency::Now;
        }
        self.lanes[index].owe(shell.now, urgency, gap);
        self.lane_heard(shell.now, index, shell.events);
    }

    /// Takes the next frame of a packet.
    fn take_next(
        &mut self,
        index: usize,
        reader: &mut Reader<'_>,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        // Most of what comes is the middle of something long.
        if let Some(data) = Data::decode_middle(reader) {
            return self.take_data(index, &data, shell);
        }
        if self.role == Role::Server
            && let Some((head, bytes)) = PulledHead::decode(reader)
        {
            let part = (head.offset, bytes);
            self.take_pulled(head.op, head.id, part, shell.memory, shell.events)?;
            return Ok(urgency_of(head.last));
        }
        let frame = Frame::decode(reader).map_err(|_malformed| Violation)?;
        self.take_frame(index, &frame, shell)
    }

    /// The peer broke the protocol: tell it, and end.
    fn break_off(&mut self, shell: &mut Shell<'_>) {
        self.close(shell.now, CODE_PROTOCOL, Cause::Protocol, shell.events);
    }

    fn closed_packet(&mut self, body: &[u8]) {
        if matches!(Frame::from_bytes(body), Ok(Frame::Close { .. })) {
            self.ended = Some(Cause::Closed);
        } else {
            self.repeat_close();
        }
    }

    fn take_frame(
        &mut self,
        index: usize,
        frame: &Frame<'_>,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        match *frame {
            Frame::Padding => Ok(Urgency::Never),
            Frame::Data(ref data) => self.take_data(index, data, shell),
            Frame::Ack(ref ack) => self.take_ack(index, ack, shell),
            Frame::Ping { id, time } => {
                self.lanes[index].pong = Some((id, time));
                Ok(Urgency::Hold)
            }
            Frame::LaneLeft { lane } => {
                self.take_lane_notice(shell.now, lane, shell.events);
                Ok(Urgency::Hold)
            }
            Frame::Pong { id, time } => {
                self.take_pong(index, (id, time), shell);
                Ok(Urgency::Never)
            }
            Frame::Close { code } => {
                self.said = Some(code);
                self.end(Cause::Server, shell.events);
                Ok(Urgency::Never)
            }
            _ => match self.role {
                Role::Client => self.take_as_client(frame, shell),
                Role::Server => self.take_as_server(frame, shell),
            },
        }
    }

    fn take_as_client(
        &mut self,
        frame: &Frame<'_>,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        match *frame {
            Frame::Pushed {
                op,
                id,
                start,
                total,
                offset,
                last,
                bytes,
            } => {
                self.take_pushed((op, id), (start, total), (offset, bytes), shell.memory)?;
                Ok(urgency_of(last))
            }
            Frame::OpStat { op, state } => {
                self.take_opstat(op, state, shell.events);
                Ok(Urgency::Never)
            }
            Frame::Credit { slots, bytes } => {
                self.take_credit(slots, bytes);
                Ok(Urgency::Hold)
            }
            Frame::Pull {
                op,
                id,
                offset,
                len,
            } => {
                self.take_pull(op, id, offset, len)?;
                Ok(Urgency::Hold)
            }
            _ => Err(Violation),
        }
    }

    fn take_as_server(
        &mut self,
        frame: &Frame<'_>,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        match *frame {
            Frame::Query { op } => {
                self.take_query(shell.now, op)?;
                Ok(Urgency::Never)
            }
            Frame::Cancel { op, reason, charge } => {
                self.take_cancel(shell.now, op, (reason, charge), shell.events)?;
                Ok(Urgency::Hold)
            }
            _ => Err(Violation),
        }
    }

    fn take_data(
        &mut self,
        index: usize,
        data: &Data<'_>,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        self.habit = index;
        self.busy_at = shell.now;
        let reply = data.flags & REPLY != 0;
        if reply != (self.role == Role::Client) {
            return Err(Violation);
        }
        if reply {
            self.take_reply(data, shell.memory, shell.events)?;
        } else {
            self.take_request(shell.now, data, shell.memory, shell.events)?;
        }
        // After the last fragment this side usually has something to say soon: the reply to the request, or
        // the next request. A sender whose window is full asks for an answer by itself.
        Ok(if data.flags & QUIET != 0 {
            Urgency::Lazy
        } else if data.flags & LAST != 0 {
            Urgency::Hold
        } else {
            Urgency::Long
        })
    }

    fn take_ack(
        &mut self,
        via: usize,
        ack: &Ack,
        shell: &mut Shell<'_>,
    ) -> Result<Urgency, Violation> {
        let index = self
            .lanes
            .iter()
            .position(|lane| lane.id == ack.lane)
            .ok_or(Violation)?;
        let now = shell.now;
        let mut frames = core::mem::take(&mut self.scratch);
        let lane = &mut self.lanes[index];
        if lane.reliable {
            self.scratch = frames;
            return Err(Violation);
        }
        let before = lane.flight.bytes();
        let outcome = lane.flight.on_ack(ack, &mut frames).ok_or(Violation)?;
        self.key_phase.note_acked(index, ack.largest);
        let held = Duration::from_micros(u64::from(ack.delay) * 8);
        let rtt = outcome
            .largest_sent
            .map(|sent| lane.rtt.sample(now.saturating_since(sent), held));
        if outcome.late > 0 {
            lane.control.on_late(u64::from(outcome.late));
            // Else the answer to it was lost, and this is the answer to its copy.
            if lane.pto_count > 0 && lane.flight.precedes_probe(now, &lane.rtt) {
                lane.note_late(now);
            }
            lane.pto_count = 0;
        }
        if let Some((sent, mark)) = outcome.newest {
            lane.note_acked(now);
            let sample = RateSample {
                bytes: outcome.bytes,
                sent,
                mark,
                rtt,
                held,
                in_flight: before,
            };
            lane.control.on_acked(now, &sample);
            lane.note_arrived_size(outcome.biggest);
        }
        // An answer over the same lane shows that it works both ways.
        if via == index && outcome.newest.is_some() {
            self.lane_answers(now, index, shell.events);
        }
        self.arrived(now, &mut frames, shell.events);
        self.scratch = frames;
        self.detect_lost(now, index, shell.events);
        Ok(Urgency::Never)
    }

    fn take_pong(&mut self, index: usize, (id, time): (u32, u64), shell: &mut Shell<'_>) {
        let now = shell.now;
        let lane = &mut self.lanes[index];
        if shell.from_peer {
            lane.place.answered(id, time);
        }
        let sent = Instant::from_nanos(time);
        if sent <= now && !lane.reliable {
            lane.rtt.sample(now.saturating_since(sent), Duration::ZERO);
        }
        self.lane_answers(now, index, shell.events);
    }

    /// The first packet of the peer has come: lanes of which nothing is known are asked.
    fn meet(&mut self) {
        if self.met {
            return;
        }
        self.met = true;
        if self.lanes.len() > 1 {
            for lane in &mut self.lanes {
                lane.ping_now |= !lane.reliable && lane.rtt.smoothed().is_none();
            }
        }
    }
}

const fn urgency_of(last: bool) -> Urgency {
    if last { Urgency::Now } else { Urgency::Long }
}

/// Code of a closing notice: the peer broke the protocol.
pub(crate) const CODE_PROTOCOL: u16 = 1;
