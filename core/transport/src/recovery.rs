//! What is in flight on a lane, and when it counts as lost (RFC 9002 in shape).

mod round_trip;
mod sent_frame;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::time::Instant;

use crate::frame::{ACK_WORDS, Ack};
use crate::rate_model::Mark;

pub(crate) use self::round_trip::Rtt;
pub(crate) use self::sent_frame::SentFrame;

/// Packets acknowledged above a missing one that make it lost, at first and at most.
const REORDER_MIN: u64 = 3;
const REORDER_MAX: u64 = 32;
/// Packets for which memory is kept when nothing is in flight: a message of a megabyte.
const KEPT_PACKETS: usize = 1024;
/// Lost packets that are remembered, to notice that they were only late: as many as one
/// acknowledgement speaks of.
const LATE_MAX: usize = 64 * ACK_WORDS;
/// Frames of each that are remembered.
const LATE_FRAMES: usize = 2;

/// How a packet is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The peer acknowledges it: counts as in flight.
    Eliciting,
    /// The peer acknowledges it only along with others.
    Quiet,
    /// It was quiet and is in flight like others, but the peer need not say that it has come.
    Guarded,
    /// Nothing in it must arrive, or it has.
    None,
}

#[derive(Clone, Copy, Debug)]
struct SentPacket {
    time: Instant,
    first_frame: u64,
    bytes: u32,
    frames: u16,
    watch: Watch,
    mark: Mark,
    /// Its content was given to another lane, too.
    copied: bool,
}

/// What an acknowledgement has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AckOutcome {
    /// Bytes that were in flight and have arrived.
    pub(crate) bytes: u64,
    /// The longest packet among them.
    pub(crate) biggest: u64,
    /// When the newest of them was sent, and its mark.
    pub(crate) newest: Option<(Instant, Mark)>,
    /// Send time of the largest packet, if it was newly acknowledged.
    pub(crate) largest_sent: Option<Instant>,
    /// Packets that had been given up and have arrived.
    pub(crate) late: u32,
}

/// A packet that was given up and may still turn out to have arrived.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    pn: u64,
    time: Instant,
    /// Later ones were acknowledged, not only time had passed.
    overtaken: bool,
    /// What it carried, or the first of that: if it has arrived it need not be sent again.
    frames: [Option<SentFrame>; LATE_FRAMES],
}

/// What was given up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    /// The longest packet among them.
    pub(crate) biggest: u32,
}

/// The packets of one lane that are watched, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    first_pn: u64,
    packets: VecDeque<SentPacket>,
    first_frame: u64,
    frames: VecDeque<SentFrame>,
    bytes: u64,
    eliciting: u32,
    quiet: u32,
    guarded: u32,
    largest_acked: Option<u64>,
    last_eliciting: Instant,
    reorder: u64,
    late: VecDeque<GivenUp>,
    /// When the last probe timeout was dealt with.
    probed_at: Instant,
    loss_time: Option<Instant>,
}

impl InFlight {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            first_pn: 0,
            packets: VecDeque::new(),
            first_frame: 0,
            frames: VecDeque::new(),
            bytes: 0,
            eliciting: 0,
            quiet: 0,
            guarded: 0,
            largest_acked: None,
            last_eliciting: now,
            reorder: REORDER_MIN,
            late: VecDeque::new(),
            probed_at: now,
            loss_time: None,
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether anything waits for an acknowledgement.
    pub(crate) const fn awaits_ack(&self) -> bool {
        self.eliciting > 0
    }

    /// Whether the peer must have acknowledged something, had it arrived.
    pub(crate) const fn demands_ack(&self) -> bool {
        self.eliciting > self.guarded
    }

    /// The longest packet in flight, in bytes.
    pub(crate) fn biggest(&self) -> usize {
        let in_flight = self
            .packets
            .iter()
            .filter(|packet| packet.watch != Watch::None);
        in_flight
            .map(|packet| packet.bytes as usize)
            .max()
            .unwrap_or(0)
    }

    /// When the oldest packet in flight was sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let mut in_flight = self.packets.iter();
        let oldest = in_flight.find(|packet| packet.watch != Watch::None);
        oldest.map(|packet| packet.time)
    }

    /// A probe timeout has been dealt with; the next counts from here.
    pub(crate) const fn restart_probe_timer(&mut self, now: Instant) {
        self.last_eliciting = now;
        self.probed_at = now;
    }

    /// Whether what comes at `now` was under way before the last probe timeout: no answer to what
    /// was sent again could be here already.
    pub(crate) fn precedes_probe(&self, now: Instant, rtt: &Rtt) -> bool {
        now < self.probed_at + rtt.least()
    }

    pub(crate) const fn last_eliciting(&self) -> Instant {
        self.last_eliciting
    }

    /// When a packet becomes lost by age.
    pub(crate) const fn loss_time(&self) -> Option<Instant> {
        self.loss_time
    }

    /// Records the packet with the next number.
    #[inline]
    pub(crate) fn record(
        &mut self,
        now: Instant,
        bytes: usize,
        (watch, mark): (Watch, Mark),
        frames: &[SentFrame],
    ) {
        match watch {
            Watch::Eliciting | Watch::Guarded => {
                self.bytes += bytes as u64;
                self.eliciting += 1;
                self.last_eliciting = now;
            }
            Watch::Quiet => self.quiet += 1,
            Watch::None if self.packets.is_empty() => {
                self.first_pn += 1;
                return;
            }
            Watch::None => {}
        }
        let first_frame = self.first_frame + self.frames.len() as u64;
        match frames {
            [frame] => self.frames.push_back(*frame),
            frames => self.frames.extend(frames),
        }
        let (bytes, frames) = (bytes as u32, frames.len() as u16);
        self.packets.push_back(SentPacket {
            time: now,
            first_frame,
            bytes,
            frames,
            watch,
            mark,
            copied: false,
        });
    }

    fn frames_of(&self, packet: SentPacket) -> impl Iterator<Item = SentFrame> + '_ {
        let at = (packet.first_frame - self.first_frame) as usize;
        self.frames
            .range(at..at + usize::from(packet.frames))
            .copied()
    }

    /// Stops watching the packet at `index`; its frames go to `out`.
    fn settle(&mut self, index: usize, out: &mut Vec<SentFrame>) -> Option<SentPacket> {
        let packet = *self.packets.get(index)?;
        match packet.watch {
            Watch::None => return None,
            Watch::Eliciting | Watch::Guarded => {
                self.bytes -= u64::from(packet.bytes);
                self.eliciting -= 1;
                self.guarded -= u32::from(packet.watch == Watch::Guarded);
            }
            Watch::Quiet => self.quiet -= 1,
        }
        self.packets[index].watch = Watch::None;
        if packet.frames == 1 {
            let at = (packet.first_frame - self.first_frame) as usize;
            out.extend(self.frames.get(at));
        } else {
            out.extend(self.frames_of(packet));
        }
        Some(packet)
    }

    fn drop_settled(&mut self) {
        while let Some(packet) = self.packets.front() {
            if packet.watch != Watch::None {
                break;
            }
            for _ in 0..packet.frames {
                self.frames.pop_front();
            }
            self.first_frame += u64::from(packet.frames);
            self.packets.pop_front();
            self.first_pn += 1;
        }
        // A session that was fast once does not keep the memory of that for ever.
        if self.packets.is_empty() && self.packets.capacity() > 4 * KEPT_PACKETS {
            self.packets.shrink_to(KEPT_PACKETS);
            self.frames.shrink_to(KEPT_PACKETS);
        }
    }

    /// Takes an acknowledgement; the frames that have arrived are appended to `arrived`. `None` if
    /// it speaks of packets that were never sent.
    pub(crate) fn on_ack(&mut self, ack: &Ack, arrived: &mut Vec<SentFrame>) -> Option<AckOutcome> {
        let next = self.first_pn + self.packets.len() as u64;
        if ack.largest >= next {
            return None;
        }
        let mut outcome = AckOutcome::default();
        self.notice_late(ack, &mut outcome, arrived);
        let covered = 64 * u64::from(ack.words);
        let from = ack.largest.saturating_sub(covered).max(self.first_pn);
        for pn in from..=ack.largest {
            if !acks(ack, pn) {
                continue;
            }
            let index = (pn - self.first_pn) as usize;
            let Some(packet) = self.settle(index, arrived) else {
                continue;
            };
            if packet.watch != Watch::Quiet {
                outcome.bytes += u64::from(packet.bytes);
                outcome.biggest = outcome.biggest.max(u64::from(packet.bytes));
            }
            outcome.newest = Some((packet.time, packet.mark));
            if pn == ack.largest {
                outcome.largest_sent = Some(packet.time);
            }
        }
        self.largest_acked = self.largest_acked.max(Some(ack.largest));
        self.drop_settled();
        Some(outcome)
    }

    fn notice_late(&mut self, ack: &Ack, outcome: &mut AckOutcome, arrived: &mut Vec<SentFrame>) {
        if self.late.is_empty() {
            return;
        }
        let mut reordered = false;
        self.late.retain(|packet| {
            let late = acks(ack, packet.pn);
            if late {
                arrived.extend(packet.frames.iter().flatten());
            }
            outcome.late += u32::from(late);
            reordered |= late && packet.overtaken;
            // A way that has become longer is measured by what was given up too soon.
            if late && packet.pn == ack.largest {
                outcome.largest_sent = Some(packet.time);
            }
            !late && packet.pn + LATE_MAX as u64 >= ack.largest
        });
        if reordered {
            self.reorder = (self.reorder + 1).min(REORDER_MAX);
        }
    }

    /// Gives up packets that later ones have overtaken; their frames are appended to `lost`.
    pub(crate) fn detect_lost(
        &mut self,
        now: Instant,
        rtt: &Rtt,
        lost: &mut Vec<SentFrame>,
    ) -> Loss {
        self.loss_time = None;
        let mut loss = Loss::default();
        let Some(largest) = self.largest_acked else {
            return loss;
        };
        let delay = rtt.loss_delay();
        let mut pn = self.first_pn;
        while pn <= largest {
            let index = (pn - self.first_pn) as usize;
            let Some(packet) = self.packets.get(index).copied() else {
                break;
            };
            if packet.watch != Watch::None {
                if largest - pn < self.reorder && packet.time + delay > now {
                    self.loss_time = Some(packet.time + delay);
                    break;
                }
                let from = lost.len();
                self.settle(index, lost);
                self.remember_late(pn, packet.time, true, &lost[from..]);
                loss.packets += 1;
                loss.bytes += u64::from(packet.bytes);
                loss.biggest = loss.biggest.max(packet.bytes);
            }
            pn += 1;
        }
        self.drop_settled();
        loss
    }

    fn remember_late(&mut self, pn: u64, time: Instant, overtaken: bool, lost: &[SentFrame]) {
        if self.late.len() == LATE_MAX {
            self.late.pop_front();
        }
        // A notice that was given up may have been repeated since, and must be.
        let mut worthy = lost
            .iter()
            .filter(|frame| !matches!(frame, SentFrame::LaneLeft { .. }));
        let frames = [(); LATE_FRAMES].map(|()| worthy.next().copied());
        self.late.push_back(GivenUp {
            pn,
            time,
            overtaken,
            frames,
        });
    }

    /// Gives up at most `count` of the oldest watched packets.
    pub(crate) fn give_up_oldest(&mut self, count: usize, lost: &mut Vec<SentFrame>) {
        let mut left = count;
        let mut index = 0;
        while left > 0 && index < self.packets.len() {
            let from = lost.len();
            if let Some(packet) = self.settle(index, lost) {
                let pn = self.first_pn + index as u64;
                self.remember_late(pn, packet.time, false, &lost[from..]);
                left -= 1;
            }
            index += 1;
        }
        self.drop_settled();
    }

    /// The newest packet that must be acknowledged and whose content was given to no other lane.
    pub(crate) fn newest_alone(&self) -> Option<(u64, Instant)> {
        let alone = |packet: &SentPacket| packet.watch == Watch::Eliciting && !packet.copied;
        let index = self.packets.iter().rposition(alone)?;
        Some((self.first_pn + index as u64, self.packets[index].time))
    }

    /// The content of a packet is given to another lane, too: it is appended to `out`.
    pub(crate) fn copy(&mut self, pn: u64, out: &mut Vec<SentFrame>) {
        let index = pn.checked_sub(self.first_pn).map(|index| index as usize);
        let packet = index.and_then(|index| self.packets.get_mut(index));
        if let Some(packet) = packet {
            packet.copied = true;
            let packet = *packet;
            out.extend(self.frames_of(packet));
        }
    }

    /// A packet that was quiet has arrived, as something else has shown: nobody need acknowledge it.
    pub(crate) fn confirm(&mut self, pn: u64) {
        let Some(index) = pn.checked_sub(self.first_pn).map(|index| index as usize) else {
            return;
        };
        let watch = self.packets.get(index).map(|packet| packet.watch);
        if matches!(watch, Some(Watch::Quiet | Watch::Guarded)) {
            self.settle(index, &mut Vec::new());
            self.drop_settled();
        }
    }

    /// Quiet packet `pn` need not be watched: the peer asks for its content.
    pub(crate) fn forget_quiet(&mut self, pn: u64) {
        let Some(index) = pn.checked_sub(self.first_pn).map(|index| index as usize) else {
            return;
        };
        if let Some(packet) = self.packets.get_mut(index)
            && packet.watch == Watch::Quiet
        {
            packet.watch = Watch::None;
            self.quiet -= 1;
            self.drop_settled();
        }
    }

    /// From here on the quiet packets in flight are watched like others: an acknowledgement that
    /// leaves now may stop the peer from asking for them.
    pub(crate) fn guard_quiet(&mut self, now: Instant) {
        if self.quiet == 0 {
            return;
        }
        for packet in &mut self.packets {
            if packet.watch == Watch::Quiet {
                packet.watch = Watch::Guarded;
                self.guarded += 1;
                self.quiet -= 1;
                self.eliciting += 1;
                self.bytes += u64::from(packet.bytes);
            }
        }
        self.last_eliciting = now;
    }
}

fn acks(ack: &Ack, pn: u64) -> bool {
    if pn >= ack.largest {
        return pn == ack.largest;
    }
    let below = ack.largest - 1 - pn;
    let word = (below / 64) as usize;
    word < usize::from(ack.words) && ack.bitmap[word] >> (below % 64) & 1 == 1
}
