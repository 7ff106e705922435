//! Lanes that share one link in virtual time: a rate, a delay, a queue that drops what does not
//! fit, packets lost at random.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use abi::LinkAddress;
use abi::time::{Duration, Instant};

use super::RateSample;
use crate::config::{Config, LaneParams};
use crate::event::LinkIndex;
use crate::frame::Ack;
use crate::lane::{Lane, Urgency};
use crate::recovery::Watch;

pub(super) const PACKET: u64 = 1472;

/// The link that all flows share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Bytes per second.
    pub(super) rate: u64,
    /// One way.
    pub(super) delay: Duration,
    /// Bytes that wait at most.
    pub(super) queue: u64,
    /// Packets lost of a million.
    pub(super) loss_ppm: u32,
}

/// One sender and its receiver.
pub(super) struct Flow {
    pub(super) sender: Lane,
    receiver: Lane,
    pub(super) start: Instant,
    /// Nothing is sent from here on, until the next.
    pub(super) pause: Option<(Instant, Instant)>,
    /// Bytes that have arrived.
    pub(super) arrived: u64,
    pub(super) dropped: u64,
    woken_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Wake,
    Packet { pn: u64, asks: bool },
    Hold,
    Ack { slot: usize },
}

/// Flows, their link, and what happens next.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    config: Config,
    steps: BinaryHeap<Reverse<(Instant, u64, usize, Step)>>,
    acks: Vec<Option<Ack>>,
    free: Vec<usize>,
    order: u64,
    busy_until: Instant,
    random: u64,
    /// Most bytes that have waited since this was set to 0.
    pub(super) queued_most: u64,
}

impl World {
    pub(super) fn new(link: Link, known: &[(Option<Duration>, Option<u64>)]) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let config = Config::default();
        let address = LinkAddress::from_raw(&[1]).unwrap();
        let flows = known.iter().enumerate().map(|(index, &(rtt, rate))| {
            let mut params = LaneParams::new(0, LinkIndex(0), address, PACKET as u32);
            (params.rtt, params.rate) = (rtt, rate);
            Flow {
                sender: Lane::new(now, &params, &config),
                receiver: Lane::new(now, &params, &config),
                start: now + Duration::from_micros(137 * index as u64),
                pause: None,
                arrived: 0,
                dropped: 0,
                woken_at: None,
            }
        });
        let mut world = Self {
            now,
            link,
            flows: flows.collect(),
            config,
            steps: BinaryHeap::new(),
            acks: Vec::new(),
            free: Vec::new(),
            order: 0,
            busy_until: now,
            random: 0x9e37_79b9_7f4a_7c15,
            queued_most: 0,
        };
        for index in 0..world.flows.len() {
            world.plan(world.flows[index].start, index, Step::Wake);
        }
        world
    }

    fn plan(&mut self, at: Instant, flow: usize, step: Step) {
        self.order += 1;
        self.steps.push(Reverse((at, self.order, flow, step)));
    }

    fn chance(&mut self, ppm: u32) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1_000_000 < u64::from(ppm)
    }

    /// Bytes that wait for the link.
    pub(super) fn queued(&self) -> u64 {
        super::product(self.link.rate, self.busy_until.saturating_since(self.now))
    }

    /// When a packet arrives, unless it is lost.
    fn carry(&mut self) -> Option<Instant> {
        let queued = self.queued();
        if queued + PACKET > self.link.queue || self.chance(self.link.loss_ppm) {
            return None;
        }
        self.queued_most = self.queued_most.max(queued + PACKET);
        let nanos = PACKET as f64 * 1e9 / self.link.rate as f64;
        self.busy_until = self.busy_until.max(self.now) + Duration::from_nanos(nanos as u64);
        Some(self.busy_until + self.link.delay)
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(&Reverse((at, _, flow, step))) = self.steps.peek() {
            if at > end {
                break;
            }
            self.steps.pop();
            self.now = at;
            match step {
                Step::Wake => {
                    self.flows[flow].woken_at = None;
                    self.recover(flow);
                }
                Step::Packet { pn, asks } => self.receive(flow, pn, asks),
                Step::Hold => self.answer(flow),
                Step::Ack { slot } => self.take_ack(flow, slot),
            }
            self.send(flow);
        }
        self.now = end;
    }

    fn send(&mut self, index: usize) {
        let now = self.now;
        let paused = self.flows[index]
            .pause
            .filter(|pause| pause.0 <= now && now < pause.1);
        let start = self.flows[index].start;
        if now < start {
            self.plan(start, index, Step::Wake);
            return;
        }
        loop {
            let lane = &mut self.flows[index].sender;
            let in_flight = lane.flight.bytes();
            if paused.is_some() {
                lane.control.on_starved(in_flight);
                break;
            }
            let free = lane.probes > 0
                || lane.control.room(in_flight) > 0 && lane.control.batch(now, 1 << 16) > 0;
            if !free {
                break;
            }
            lane.probes = lane.probes.saturating_sub(1);
            let asks = lane.control.asks_for_ack(PACKET, in_flight);
            let mark = lane.control.on_sent(now, PACKET, in_flight);
            lane.flight
                .record(now, PACKET as usize, (Watch::Eliciting, mark), &[]);
            let pn = lane.next_pn;
            lane.next_pn += 1;
            match self.carry() {
                Some(at) => self.plan(at, index, Step::Packet { pn, asks }),
                None => self.flows[index].dropped += 1,
            }
        }
        let flow = &self.flows[index];
        let lane = &flow.sender;
        let mut next = lane.recovery_deadline(&self.config);
        if let Some((_, until)) = paused {
            next = crate::lane::earliest(next, Some(until));
        } else if !lane.control.is_full(lane.flight.bytes()) {
            next = crate::lane::earliest(next, Some(lane.control.paced_until()));
        }
        if let Some(at) = next.map(|at| at.max(now))
            && flow.woken_at.is_none_or(|planned| at < planned)
        {
            self.flows[index].woken_at = Some(at);
            self.plan(at, index, Step::Wake);
        }
    }

    fn recover(&mut self, index: usize) {
        let now = self.now;
        let lane = &mut self.flows[index].sender;
        if lane
            .recovery_deadline(&self.config)
            .is_none_or(|deadline| deadline > now)
        {
            return;
        }
        if lane.flight.loss_time().is_some_and(|at| at <= now) {
            self.detect_lost(index);
            return;
        }
        lane.pto_count += 1;
        lane.flight.restart_probe_timer(now);
        if lane.pto_count == 2 {
            lane.control.on_collapse();
        }
        lane.probes = 2;
        lane.flight.give_up_oldest(2, &mut Vec::new());
    }

    fn detect_lost(&mut self, index: usize) {
        let lane = &mut self.flows[index].sender;
        let loss = lane
            .flight
            .detect_lost(self.now, &lane.rtt, &mut Vec::new());
        if loss.packets > 0 {
            lane.control.on_lost(loss.bytes);
        }
    }

    fn receive(&mut self, index: usize, pn: u64, asks: bool) {
        let now = self.now;
        let flow = &mut self.flows[index];
        flow.arrived += PACKET;
        let lane = &mut flow.receiver;
        let gap = lane.note_received(now, pn, false);
        let urgency = if asks { Urgency::Now } else { Urgency::Long };
        lane.owe(now, urgency, gap);
        if lane.debt.is_due(now) {
            self.answer(index);
        } else {
            self.plan(now + crate::config::ACK_HOLD_LONG, index, Step::Hold);
        }
    }

    fn answer(&mut self, index: usize) {
        let lane = &mut self.flows[index].receiver;
        if !lane.debt.is_due(self.now) {
            return;
        }
        let ack = lane.settle_debt(self.now, false);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.acks.push(None);
            self.acks.len() - 1
        });
        self.acks[slot] = ack;
        self.plan(self.now + self.link.delay, index, Step::Ack { slot });
    }

    fn take_ack(&mut self, index: usize, slot: usize) {
        let now = self.now;
        self.free.push(slot);
        let Some(ack) = self.acks[slot].take() else {
            return;
        };
        let lane = &mut self.flows[index].sender;
        let in_flight = lane.flight.bytes();
        let outcome = lane.flight.on_ack(&ack, &mut Vec::new()).unwrap();
        let held = Duration::from_micros(u64::from(ack.delay) * 8);
        let rtt = outcome
            .largest_sent
            .map(|sent| lane.rtt.sample(now.saturating_since(sent), held));
        if outcome.late > 0 {
            lane.pto_count = 0;
            lane.control.on_late(u64::from(outcome.late));
        }
        if let Some((sent, mark)) = outcome.newest {
            lane.pto_count = 0;
            let sample = RateSample {
                bytes: outcome.bytes,
                sent,
                mark,
                rtt,
                held,
                in_flight,
            };
            lane.control.on_acked(now, &sample);
        }
        self.detect_lost(index);
    }

    /// Share of the link that flow `index` fills in the next `time`.
    pub(super) fn share(&mut self, index: usize, time: Duration) -> f64 {
        let before = self.flows[index].arrived;
        self.run(time);
        let arrived = self.flows[index].arrived - before;
        arrived as f64 / super::product(self.link.rate, time) as f64
    }
}
