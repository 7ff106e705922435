//! How large packets of a lane may be, which can change while it is used.

use abi::time::{Duration, Instant};

use super::Lane;
use crate::config::{Config, MTU_MAX, MTU_MIN};
use crate::rate_model::Controller;
use crate::recovery::Rtt;
use crate::summary::LaneReport;

/// Every network should carry packets of the first size (UDP payload), and does those of the second.
const BASE: usize = 1232;
pub(crate) const SIZE_LEAST: usize = 548;
/// Large packets lost in a row that show a smaller limit on the way.
const BLACK_HOLE: u8 = 6;
/// How long a size that was found not to pass is not believed again, at first and at most: whoever says it may not
/// be able to say a smaller one, and each time it is believed in vain costs a pause.
const DISTRUST: Duration = Duration::from_secs(10);
const DISTRUST_MAX: Duration = Duration::from_secs(600);

/// Largest packet of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    packet: usize,
    big_lost: u8,
    refuted: Option<Refuted>,
    distrust: Duration,
}

/// A size that was found not to pass.
#[derive(Clone, Copy, Debug)]
struct Refuted {
    packet: usize,
    until: Instant,
}

impl Size {
    pub(super) const fn new(packet: usize) -> Self {
        Self {
            packet,
            big_lost: 0,
            refuted: None,
            distrust: DISTRUST,
        }
    }

    /// Largest packet in bytes.
    pub(crate) const fn packet(&self) -> usize {
        self.packet
    }

    /// Whether a size that somebody says is to be used.
    fn believes(&mut self, now: Instant, packet: usize) -> bool {
        let Some(refuted) = self.refuted else {
            return true;
        };
        if packet < refuted.packet {
            self.distrust = DISTRUST;
        } else if refuted.until > now {
            return false;
        } else {
            self.distrust = (self.distrust * 2).min(DISTRUST_MAX);
        }
        self.refuted = None;
        true
    }

    /// The size to fall back to: packets up to it prove nothing.
    const fn lower(&self) -> usize {
        if self.packet > BASE { BASE } else { SIZE_LEAST }
    }
}

impl Lane {
    /// Large packets that vanish while small ones arrive mean a smaller limit on the way. Answers
    /// whether that is so.
    pub(crate) fn note_lost_size(&mut self, now: Instant, bytes: usize) -> bool {
        if bytes <= self.size.lower() || self.reliable {
            return false;
        }
        self.size.big_lost += 1;
        if self.size.big_lost < BLACK_HOLE {
            return false;
        }
        self.size.big_lost = 0;
        self.size.refuted = Some(Refuted {
            packet: self.size.packet,
            until: now + self.size.distrust,
        });
        self.set_packet(self.size.lower());
        true
    }

    pub(crate) const fn note_arrived_size(&mut self, bytes: u64) {
        if bytes > self.size.lower() as u64 {
            self.size.big_lost = 0;
        }
    }

    fn set_packet(&mut self, packet: usize) {
        self.size.packet = packet;
        self.control.set_packet(packet as u64);
    }

    /// Takes what the node daemon has measured.
    pub(crate) fn learn(&mut self, now: Instant, report: &LaneReport, config: &Config) {
        if let Some(mtu) = report.mtu {
            let packet = mtu.clamp(MTU_MIN, MTU_MAX) as usize;
            if packet != self.size.packet && self.size.believes(now, packet) {
                self.set_packet(packet);
            }
        }
        if self.rtt.smoothed().is_none() && report.rtt.is_some() {
            self.rtt = Rtt::new(report.rtt);
        }
        let fresh = self.packets_sent == 0 && self.control.is_cold();
        if fresh && (report.rtt.is_some() || report.rate.is_some()) {
            self.control = Controller::new(
                now,
                self.size.packet as u64,
                config.window_max,
                report.rtt.or(self.rtt.smoothed()),
                report.rate,
            );
        }
    }
}
