//! Which lane sends next, and how much of what: the scheduler at work.

use abi::time::Instant;

use crate::config::LANES_MAX;
use crate::event::LinkIndex;
use crate::policy::Route;
use crate::queue::{Class, Line, Stream};
use crate::schedule::{self, Outlook};
use crate::session::Session;
use crate::summary::LaneState;

/// What a message costs beyond its bytes, roughly.
const HEAD: u64 = 64;
/// Short messages leave the lane on which the peer's come only for one that is this much faster:
/// a reply can then carry the acknowledgement of its request.
const HABIT: f64 = 0.85;
/// A lane is slow if all together are so many times as fast.
const SLOW: f64 = 8.0;
/// Backlog above which a lane that is not known well gets its sixteenth.
const EXPLORE_FROM: u64 = 256 << 10;
const EXPLORE_SHARE: u64 = 16;
/// Packets of one exploration.
const EXPLORE_PACKETS: u64 = 8;

/// What all lanes look like at the moment.
struct View {
    outlooks: [Outlook; LANES_MAX],
    /// The lanes that could send at once, as bits.
    ready: u16,
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
        let open = self.lanes_where(|lane| !is_full(lane.link) && lane.place.is_open());
        if let Some(closing) = self.closing {
            return first(self.active & open).filter(|_| closing.send_now);
        }
        self.duty(now, open).or_else(|| {
            if self.queue.is_empty() && !self.served.credit_due {
                self.find_tail(now);
            }
            if self.queue.is_empty() && !self.served.credit_due {
                None
            } else {
                self.message_lane(now, open)
            }
        })
    }

    /// A lane that has something to say by itself: acknowledgements, questions, answers.
    fn duty(&self, now: Instant, open: u16) -> Option<usize> {
        let mut strays = false;
        for (index, lane) in self.lanes.iter().enumerate() {
            if open >> index & 1 == 0 {
                continue;
            }
            let talks = lane.pong.is_some() || lane.ping_now;
            let own = lane.debt.is_due(now) && self.acks_itself(index);
            if own || talks {
                return Some(index);
            }
            strays |= lane.tell_peer || lane.debt.is_due(now) && self.acks_elsewhere(index);
        }
        first(self.active & open).filter(|_| strays)
    }

    /// Whether acknowledgements of a lane leave on it.
    pub(crate) fn acks_itself(&self, index: usize) -> bool {
        let lane = &self.lanes[index];
        match lane.state {
            LaneState::Active => true,
            LaneState::Suspect => self.active == 0 || !lane.may_stray(),
            LaneState::Down => false,
        }
    }

    /// Whether acknowledgements of a lane leave on any that works.
    pub(crate) fn acks_elsewhere(&self, index: usize) -> bool {
        let lane = &self.lanes[index];
        lane.state != LaneState::Active && lane.may_stray()
    }

    fn message_lane(&mut self, now: Instant, open: u16) -> Option<usize> {
        if self.lanes.len() == 1 {
            return self.only_lane(now).filter(|_| open != 0);
        }
        if let Some(lane) = self.control_lane(now, open) {
            return Some(lane);
        }
        let mut views = [None, None];
        for class in self.queue.order() {
            if !self.queue.has_class(class) {
                continue;
            }
            let urgent = class < Class::Bulk as usize;
            for at in 0..self.queue.streams.len() {
                if self.queue.streams[at].lines[class].is_empty() {
                    continue;
                }
                let view = &mut views[usize::from(urgent)];
                let view = view.get_or_insert_with(|| self.view(now, class));
                let mask = self.usable(now, self.queue.streams[at].route);
                let wanted = view.ready & open & mask;
                let takes = lanes(wanted)
                    .filter(|&lane| self.share_of(now, view, (at, class), lane) > 0)
                    .fold(0, |mask, lane| mask | 1 << lane);
                let best = best(view, takes);
                self.starve(wanted & !takes);
                if best.is_some() {
                    return best;
                }
            }
        }
        None
    }

    /// There is nothing for these lanes although they could send: what they carry now does not
    /// tell how fast they are.
    pub(crate) fn starve(&mut self, mask: u16) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if mask >> index & 1 == 1 && !lane.reliable {
                lane.control.on_starved(lane.flight.bytes());
            }
        }
    }

    /// The lane of a session that has only one, if it may send.
    fn only_lane(&mut self, now: Instant) -> Option<usize> {
        let route = self.queue.streams.first().map(|stream| stream.route);
        if self.usable(now, route.unwrap_or_default()) == 0 {
            return None;
        }
        let urgent = self.queue.is_urgent() || self.served.credit_due;
        let lane = &mut self.lanes[0];
        let control = self.queue.has_control() || self.served.credit_due;
        let go = control || lane.reliable || lane.has_room(urgent) && !lane.is_paced(now, urgent);
        go.then_some(0)
    }

    /// The lane for frames without bytes, which are small and wait for nothing.
    fn control_lane(&mut self, now: Instant, open: u16) -> Option<usize> {
        let credit = self.served.credit_due.then_some(self.served.credit_route);
        let streams = self.queue.streams.iter();
        let waiting = streams
            .filter(|stream| !stream.controls.is_empty())
            .map(|stream| stream.route);
        let routes = waiting.chain(credit);
        let mask = routes.fold(0, |mask, route| mask | self.usable(now, route)) & open;
        if mask == 0 {
            return None;
        }
        let view = self.view(now, Class::Control as usize);
        let credit = credit.into_iter();
        let streams = self.queue.streams.iter();
        streams
            .filter(|stream| !stream.controls.is_empty())
            .map(|stream| stream.route)
            .chain(credit)
            .find_map(|route| best(&view, self.usable(now, route) & open))
    }

    /// How the lanes look to messages of a class, with what must go on one of them before.
    fn view(&mut self, now: Instant, class: usize) -> View {
        let urgent = class < Class::Bulk as usize && self.queue.is_urgent();
        let mut view = View {
            outlooks: [Outlook::default(); LANES_MAX],
            ready: 0,
        };
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let (outlook, ready) = lane.outlook(now, urgent);
            view.outlooks[index] = outlook;
            view.ready |= u16::from(ready) << index;
        }
        if class < Class::Bulk as usize {
            view.outlooks[self.habit].start *= HABIT;
        }
        for stream in &self.queue.streams {
            let mask = self.usable(now, stream.route);
            if let Some(lane) = only(mask) {
                let outlook = &mut view.outlooks[lane];
                outlook.start += ahead(stream, class) as f64 / outlook.rate;
            }
        }
        view
    }

    /// How many bytes of a line the lane should carry now.
    fn share_of(&self, now: Instant, view: &View, (at, class): (usize, usize), lane: usize) -> u64 {
        let mask = self.usable(now, self.queue.streams[at].route);
        if mask >> lane & 1 == 0 {
            return 0;
        }
        if only(mask).is_some() {
            return u64::MAX;
        }
        let shared = self
            .queue
            .streams
            .iter()
            .filter(|stream| only(self.usable(now, stream.route)).is_none());
        let bytes = shared.map(|stream| ahead(stream, class)).sum::<u64>() + HEAD;
        let mut choices = [Outlook::default(); LANES_MAX];
        let (mut count, mut own, mut packet) = (0, 0, bytes);
        for index in lanes(mask) {
            // One measure for all lanes, so that the best of them always counts as such.
            packet = packet.min(self.lanes[index].size.packet() as u64);
            if index == lane {
                own = count;
            }
            choices[count] = view.outlooks[index];
            count += 1;
        }
        let share = schedule::share(&choices[..count], own, bytes as f64, packet as f64) as u64;
        if share > 0 {
            // On a slow lane a packet too many takes longer than the rest of the message.
            let all: f64 = choices[..count].iter().map(|choice| choice.rate).sum();
            return if choices[own].rate * SLOW < all {
                whole_packets(share, self.lanes[lane].size.packet() as u64)
            } else {
                share
            };
        }
        if class < Class::Bulk as usize {
            return 0;
        }
        self.exploration(lane, bytes)
    }

    /// The same for a session with one lane.
    fn share_of_only(&self, now: Instant, at: usize) -> u64 {
        match self.usable(now, self.queue.streams[at].route) {
            0 => 0,
            _ => u64::MAX,
        }
    }

    /// What a lane may carry that is not known well, although others seem to be faster.
    fn exploration(&self, index: usize, bytes: u64) -> u64 {
        let lane = &self.lanes[index];
        let due = lane.explored * EXPLORE_SHARE <= self.carried;
        if bytes < EXPLORE_FROM || lane.reliable || !lane.control.is_cold() || !due {
            return 0;
        }
        EXPLORE_PACKETS * lane.size.packet() as u64
    }

    /// Decides what goes into the batch that a lane is to send. Answers its length in bytes.
    pub(crate) fn plan_batch(&mut self, now: Instant, index: usize) -> usize {
        let lane = &mut self.lanes[index];
        let batch = if lane.reliable {
            0
        } else {
            lane.control.batch(now, self.config.batch_max as u64)
        };
        self.starved = true;
        if self.queue.is_empty() {
            return batch as usize;
        }
        let free = lane.reliable || lane.probes > 0;
        if self.queue.has_control() {
            self.plan_controls(now, index);
        }
        for class in 0..3 {
            if !self.queue.has_class(class) {
                continue;
            }
            let hurried = class < Class::Bulk as usize && self.queue.is_urgent();
            let held = !free && !hurried && batch == 0;
            let mut view = None;
            for at in 0..self.queue.streams.len() {
                if self.queue.streams[at].lines[class].is_empty() {
                    continue;
                }
                let share = if self.lanes.len() == 1 {
                    self.share_of_only(now, at)
                } else {
                    let view = view.get_or_insert_with(|| self.view(now, class));
                    self.share_of(now, view, (at, class), index)
                };
                self.starved &= share == 0;
                self.queue.streams[at].lines[class].allowed = if held { 0 } else { share };
            }
        }
        batch as usize
    }

    /// Frames without bytes go on the lane on which they arrive first.
    fn plan_controls(&mut self, now: Instant, index: usize) {
        for at in 0..self.queue.streams.len() {
            if !self.queue.streams[at].controls.is_empty() {
                let route = self.queue.streams[at].route;
                self.queue.streams[at].controls_go = self.leads(now, route, index);
            }
        }
    }

    /// Whether something short by this route arrives first on this lane.
    pub(crate) fn leads(&mut self, now: Instant, route: Route, index: usize) -> bool {
        let mask = self.usable(now, route);
        if mask == 0 || only(mask).is_some() {
            return mask >> index & 1 == 1;
        }
        let view = self.view(now, Class::Control as usize);
        best(&view, mask) == Some(index)
    }
}

/// Bytes of messages that make as many packets as fit into a share, but at least one.
const fn whole_packets(share: u64, packet: u64) -> u64 {
    let count = if share < packet { 1 } else { share / packet };
    count * packet - count * HEAD - packet / 2
}

fn ahead(stream: &Stream, class: usize) -> u64 {
    stream.lines[..=class].iter().map(Line::bytes).sum()
}

fn earlier(view: &View, a: usize, b: usize) -> core::cmp::Ordering {
    let arrival = |lane: usize| view.outlooks[lane].start + HEAD as f64 / view.outlooks[lane].rate;
    arrival(a).total_cmp(&arrival(b))
}

/// The lane among `mask` on which something short arrives first.
fn best(view: &View, mask: u16) -> Option<usize> {
    lanes(mask).min_by(|&a, &b| earlier(view, a, b))
}

/// The places of the bits.
pub(crate) fn lanes(mask: u16) -> impl Iterator<Item = usize> {
    (0..LANES_MAX).filter(move |index| mask >> index & 1 == 1)
}

fn first(mask: u16) -> Option<usize> {
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}

/// The place of the bit, if there is just one.
const fn only(mask: u16) -> Option<usize> {
    if mask.is_power_of_two() {
        Some(mask.trailing_zeros() as usize)
    } else {
        None
    }
}
