//! What links could do at best, from their true rates and delays and the protocol's page alone.

use abi::time::Duration;

use crate::track::Way;

/// Bytes of a packet that are no frame: header 16 and tag 16.
const PACKET_OVERHEAD: u32 = 32;

/// Which frames carry the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Fragments of a reply: 14 bytes before each.
    Reply,
    /// Fragments of a request that come unasked: 18 bytes.
    Request,
    /// Fragments of a request that the server pulls: 22 bytes.
    Pulled,
}

impl Carrier {
    const fn overhead(self) -> u32 {
        match self {
            Self::Reply => 14,
            Self::Request => 18,
            Self::Pulled => 22,
        }
    }
}

/// Bytes of a message in one full packet.
#[must_use]
pub fn payload(way: &Way, carrier: Carrier) -> u64 {
    u64::from(way.mtu - PACKET_OVERHEAD - carrier.overhead())
}

/// Bytes of messages per second that all ways together can carry.
#[must_use]
pub fn goodput(ways: &[Way], carrier: Carrier) -> f64 {
    let one = |way: &Way| {
        let wire = u64::from(way.mtu) + way.shape.overhead;
        way.shape.rate as f64 * payload(way, carrier) as f64 / wire as f64
    };
    ways.iter().map(one).sum()
}

/// The earliest time at which all of `bytes` can have arrived, if they may leave from time zero:
/// water-filling, packet by packet onto the way where it arrives first.
#[must_use]
pub fn completion(ways: &[Way], carrier: Carrier, bytes: u64) -> Duration {
    let mut busy = vec![Duration::ZERO; ways.len()];
    let (mut left, mut last) = (bytes, Duration::ZERO);
    while left > 0 {
        let arrival = |n: usize| {
            let way = &ways[n];
            busy[n] + way.shape.serialization(way.mtu as usize) + way.shape.delay
        };
        let Some(best) = (0..ways.len()).min_by_key(|n| arrival(*n)) else {
            break;
        };
        let taken = payload(&ways[best], carrier).min(left);
        let packet = taken as usize + (PACKET_OVERHEAD + carrier.overhead()) as usize;
        busy[best] += ways[best].shape.serialization(packet);
        last = last.max(busy[best] + ways[best].shape.delay);
        left -= taken;
    }
    last
}

/// The shortest time in which a packet of so many bytes can arrive.
#[must_use]
pub fn shortest(ways: &[Way], packet: usize) -> Duration {
    let times = ways
        .iter()
        .map(|way| way.shape.serialization(packet) + way.shape.delay);
    times.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Shape;

    #[test]
    fn a_slow_way_helps_only_messages_that_outlast_its_delay() {
        let fast = Way::new(Shape::megabits(1000, Duration::from_micros(50)));
        let far = Way::new(Shape::megabits(1000, Duration::from_millis(5)));
        let alone = |bytes| completion(&[fast], Carrier::Reply, bytes);
        let both = |bytes| completion(&[fast, far], Carrier::Reply, bytes);
        assert_eq!(both(100_000), alone(100_000));
        assert!(both(10_000_000) < alone(10_000_000) * 6 / 10);
    }

    #[test]
    fn a_gigabit_carries_as_much_as_its_packets_leave_room_for() {
        let way = Way::new(Shape::megabits(1000, Duration::from_micros(50)));
        let megabits = goodput(&[way], Carrier::Reply) * 8.0 / 1e6;
        assert!((927.0..928.0).contains(&megabits), "{megabits}");
        let million = completion(&[way], Carrier::Reply, 1_000_000).as_secs_f64();
        assert!((million - 8.0 / megabits).abs() < 1e-4, "{million}");
    }
}
