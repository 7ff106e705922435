//! Which lane a packet takes: the one on which it arrives first, where waiting for a lane that is
//! faster but busy counts as one of the ways.
//!
//! Rates are bytes per nanosecond, times are nanoseconds from now.

use crate::config::LANES_MAX;

/// What is expected of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// When the first byte of a message would arrive that is given to the lane now.
    pub start: f64,
    /// Bytes per nanosecond after that; above 0.
    pub rate: f64,
}

/// When `bytes` have arrived that flow over several lanes like water: all that have begun by then
/// carry some, and end together. Infinite without a lane.
#[must_use]
pub fn waterfill(lanes: &[Outlook], bytes: f64) -> f64 {
    let mut sorted = [Outlook::default(); LANES_MAX];
    let mut count = 0;
    for lane in lanes.iter().take(LANES_MAX) {
        let mut at = count;
        while at > 0 && sorted[at - 1].start > lane.start {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = *lane;
        count += 1;
    }
    let (mut rate, mut left) = (0.0, bytes);
    for (index, lane) in sorted[..count].iter().enumerate() {
        rate += lane.rate;
        let end = lane.start + left / rate;
        match sorted[..count].get(index + 1) {
            Some(next) if next.start < end => left -= rate * (next.start - lane.start),
            _ => return end,
        }
    }
    f64::INFINITY
}

/// How many of `bytes` lane `own` should carry now, 0 if the others deliver them sooner. A packet
/// of `packet` bytes is the least that can be given to a lane.
#[must_use]
pub fn share(lanes: &[Outlook], own: usize, bytes: f64, packet: f64) -> f64 {
    let Some(lane) = lanes.get(own).copied() else {
        return 0.0;
    };
    let mut others = [Outlook::default(); LANES_MAX];
    let mut count = 0;
    for (index, other) in lanes.iter().take(LANES_MAX).enumerate() {
        if index != own {
            others[count] = *other;
            count += 1;
        }
    }
    // The last packet is not water: it goes whole, so somebody must take it.
    let last = packet.min(bytes);
    let whole = others[..count]
        .iter()
        .map(|other| other.start + last / other.rate)
        .fold(f64::INFINITY, f64::min);
    let arrival = lane.start + last / lane.rate;
    if arrival > waterfill(&others[..count], bytes).max(whole) {
        return 0.0;
    }
    let end = waterfill(lanes, bytes);
    ((end - lane.start) * lane.rate).max(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lane_takes_a_message_however_short_it_is() {
        let lane = |start, rate| Outlook { start, rate };
        let cases = [
            [lane(50_000.0, 0.1); 4],
            [
                lane(50_000.0, 0.1),
                lane(50_001.0, 0.1),
                lane(0.0, 1e-6),
                lane(1e9, 10.0),
            ],
            [
                lane(0.0, 0.1),
                lane(0.0, 0.2),
                lane(0.0, 0.3),
                lane(1e6, 0.4),
            ],
        ];
        for lanes in cases {
            for count in 1..=4 {
                for bytes in [1.0, 114.0, 1_500.0, 3_000.0, 1e6] {
                    let lanes = &lanes[..count];
                    let taken = (0..count).any(|own| share(lanes, own, bytes, 1_500.0) > 0.0);
                    assert!(taken, "{bytes} bytes over {lanes:?}");
                }
            }
        }
    }
}
