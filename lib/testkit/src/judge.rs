//! Judges which lane carries what, from the packets in the clear alone.

use std::collections::{BTreeMap, BTreeSet};

use transport::Policy;

use crate::checkers::{Finding, Kind};
use crate::reference::Reference;
use crate::tap::{Sight, Tapped};

type Op = (u16, u32);
type Checked = Result<(), Finding>;

/// What was seen of one operation.
#[derive(Debug, Default)]
struct Seen {
    /// Its number with the reference, once its head was seen.
    id: Option<u64>,
    /// Lanes that carried something of it.
    lanes: BTreeSet<u8>,
}

/// One session, by the even one of its two ids.
#[derive(Debug, Default)]
struct Story {
    ops: BTreeMap<Op, Seen>,
    /// Operations in each packet, by receiver's id, lane and number.
    packets: BTreeMap<(u32, u8, u64), Vec<Op>>,
}

/// Remembers all packets of a run.
#[derive(Debug, Default)]
pub struct Judge {
    stories: BTreeMap<u32, Story>,
    /// Lanes that the monitor of the sending end says are down, by the receiver's id.
    down: BTreeSet<(u32, u8)>,
}

impl Judge {
    /// The monitor of the end that sends to session id `to` speaks of a lane.
    pub fn told(&mut self, to: u32, lane: u8, up: bool) {
        if up {
            self.down.remove(&(to, lane));
        } else {
            self.down.insert((to, lane));
        }
    }

    /// A packet is sent.
    ///
    /// # Errors
    /// A finding if it must not be on its lane.
    pub fn packet(&mut self, packet: &Tapped, reference: &Reference) -> Checked {
        let sights = packet.sights().map_err(wrong)?;
        let (to, lane) = (packet.session(), packet.lane());
        for sight in sights {
            match sight {
                Sight::Operation { op, id, .. } => {
                    if self.down.contains(&(to, lane)) {
                        let text = format!("to {to:#x}: {op:?} on lane {lane}, which is down");
                        return Err(wrong(text));
                    }
                    let story = self.stories.entry(to & !1).or_default();
                    story.operation(packet, (op, id), reference)?;
                }
                Sight::Ack { lane: of, packets } if of != lane => {
                    let story = self.stories.entry(to & !1).or_default();
                    let packets = packets.into_iter().map(|number| (to ^ 1, of, number));
                    story.acknowledged(lane, packets, reference)?;
                }
                Sight::Ack { .. } | Sight::Other(_) => {}
            }
        }
        Ok(())
    }
}

const fn wrong(text: String) -> Finding {
    Finding::new(Kind::Wrong, text)
}

impl Story {
    /// A packet carries something of an operation.
    fn operation(
        &mut self,
        packet: &Tapped,
        (op, id): (Op, Option<u64>),
        reference: &Reference,
    ) -> Checked {
        let (to, lane) = (packet.session(), packet.lane());
        let seen = self.ops.entry(op).or_default();
        seen.id = seen.id.or(id);
        seen.lanes.insert(lane);
        let carried = (to, lane, packet.number());
        self.packets.entry(carried).or_default().push(op);
        match self.exclusive(op, reference) {
            Some(only) if self.ops[&op].lanes.iter().any(|used| *used != only) => {
                let text = format!("to {to:#x}: {op:?}: {:?}", self.ops[&op]);
                Err(wrong(format!("{text}, exclusive to lane {only}")))
            }
            _ => Ok(()),
        }
    }

    /// A packet on `lane` acknowledges packets of another lane.
    fn acknowledged(
        &self,
        lane: u8,
        packets: impl Iterator<Item = (u32, u8, u64)>,
        reference: &Reference,
    ) -> Checked {
        for (to, of, number) in packets {
            if let Some(op) = self.exclusive_packet((to, of, number), reference) {
                let text = format!("to {to:#x}: packet {number} of lane {of} with {op:?}");
                let text = format!("{text}, exclusive, acknowledged on lane {lane}");
                return Err(wrong(text));
            }
        }
        Ok(())
    }

    /// The only lane that an operation may use.
    fn exclusive(&self, op: Op, reference: &Reference) -> Option<u8> {
        let policy = reference.get(self.ops.get(&op)?.id?)?.policy;
        match policy {
            Policy::Exclusive { lane, .. } => Some(lane),
            _ => None,
        }
    }

    /// An exclusive operation that a packet carried.
    fn exclusive_packet(&self, packet: (u32, u8, u64), reference: &Reference) -> Option<Op> {
        let ops = self.packets.get(&packet)?;
        ops.iter()
            .copied()
            .find(|op| self.exclusive(*op, reference).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet to session `to` on `lane` with these frames.
    fn packet(to: u32, lane: u8, number: u64, text: Vec<u8>) -> Tapped {
        let mut header = [0; 16];
        header[1] = lane << 4;
        header[4..8].copy_from_slice(&to.to_le_bytes());
        header[8..].copy_from_slice(&number.to_le_bytes());
        Tapped { header, text }
    }

    /// A whole request of slot 3 with the number `id`.
    fn request(id: u64) -> Vec<u8> {
        let mut text = vec![1, FIRST_LAST, 3, 0, 1, 0, 0, 0];
        text.extend([0; 4 + 2 + 4 + 8]);
        text.push(8);
        text.extend(id.to_le_bytes());
        text
    }

    const FIRST_LAST: u8 = 6;
    const QUERY: [u8; 7] = [7, 3, 0, 1, 0, 0, 0];

    fn ack(lane: u8, largest: u8) -> Vec<u8> {
        vec![5, lane, largest, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    fn allowed(judge: &mut Judge, reference: &Reference, packet: Tapped) {
        assert_eq!(judge.packet(&packet, reference), Ok(()), "{packet}");
    }

    fn found(judge: &mut Judge, reference: &Reference, packet: Tapped) {
        assert!(judge.packet(&packet, reference).is_err(), "{packet}");
    }

    fn reference(policy: Policy) -> Reference {
        let mut reference = Reference::new(false);
        reference.asked(0, 0, 0, false, policy);
        reference
    }

    #[test]
    fn exclusive_content_on_another_lane_is_found() {
        let reference = reference(Policy::Exclusive {
            lane: 1,
            wait: true,
        });
        let mut judge = Judge::default();
        allowed(&mut judge, &reference, packet(3, 1, 0, request(1)));
        allowed(&mut judge, &reference, packet(3, 1, 1, QUERY.to_vec()));
        found(&mut judge, &reference, packet(3, 0, 0, QUERY.to_vec()));
        let mut judge = Judge::default();
        found(&mut judge, &reference, packet(3, 0, 0, request(1)));
    }

    #[test]
    fn acknowledgements_of_exclusive_content_on_another_lane_are_found() {
        let reference = reference(Policy::Exclusive {
            lane: 1,
            wait: true,
        });
        let mut judge = Judge::default();
        allowed(&mut judge, &reference, packet(3, 1, 0, request(1)));
        allowed(&mut judge, &reference, packet(2, 1, 0, ack(1, 0)));
        allowed(&mut judge, &reference, packet(2, 0, 0, ack(1, 1)));
        found(&mut judge, &reference, packet(2, 0, 1, ack(1, 0)));
    }

    #[test]
    fn what_is_preferred_may_go_anywhere() {
        let reference = reference(Policy::Preferred(1));
        let mut judge = Judge::default();
        allowed(&mut judge, &reference, packet(3, 0, 0, request(1)));
        allowed(&mut judge, &reference, packet(2, 1, 0, ack(0, 0)));
    }

    #[test]
    fn data_on_a_lane_that_is_down_are_found() {
        let reference = reference(Policy::LoadBalance);
        let mut judge = Judge::default();
        judge.told(3, 1, false);
        found(&mut judge, &reference, packet(3, 1, 0, request(1)));
        allowed(&mut judge, &reference, packet(3, 1, 0, ack(1, 0)));
        judge.told(3, 1, true);
        allowed(&mut judge, &reference, packet(3, 1, 1, request(1)));
    }

    #[test]
    fn bytes_that_the_page_does_not_know_are_found() {
        let reference = Reference::default();
        let mut judge = Judge::default();
        found(&mut judge, &reference, packet(3, 1, 0, vec![99]));
    }
}
