//! How large packets of a lane may be, which can change while it is used.

use abi::time::{Duration, Instant};

use super::Lane;
use crate::config::{Config, MTU_MAX, MTU_MIN};
use crate::rate_model::Controller;
use crate::recovery::Rtt;
use crate::summary::LaneReport;

/// Every network should carry packets of the first size (UDP payload), and does those of the second.
const BASE: usize = 1232;
const LEAST: usize = 548;
/// Large packets lost in a row that show a smaller limit on the way.
const BLACK_HOLE: u8 = 6;
/// How long a size that was found not to pass is not believed again.
const DISTRUST: Duration = Duration::from_secs(10);

/// Largest packet of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    packet: usize,
    big_lost: u8,
    /// What was said of it last, and when that was found to be wrong.
    reported: usize,
    refuted_at: Option<Instant>,
}

impl Size {
    pub(super) const fn new(packet: usize) -> Self {
        Self {
            packet,
            big_lost: 0,
            reported: packet,
            refuted_at: None,
        }
    }

    /// Largest packet in bytes.
    pub(crate) const fn packet(&self) -> usize {
        self.packet
    }

    /// The size to fall back to: packets up to it prove nothing.
    const fn lower(&self) -> usize {
        if self.packet > BASE { BASE } else { LEAST }
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
        self.size.refuted_at = Some(now);
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
            let refuted = self.size.refuted_at.is_some_and(|at| at + DISTRUST > now);
            let stale = refuted && packet == self.size.reported;
            self.size.reported = packet;
            if !stale && packet != self.size.packet {
                self.size.refuted_at = None;
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
