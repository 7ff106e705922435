//! Packets that come in.

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::Instant;

use super::Transport;
use crate::cipher::HEADER_LEN;
use crate::config::Protection;
use crate::event::{LinkIndex, Memory};
use crate::packet::Header;
use crate::protection;
use crate::receiving::Shell;

/// Packets that came in on one link at one time.
pub trait Arrivals {
    /// The next one: its sender and its bytes. `None` when all were taken.
    fn next(&mut self) -> Option<(&LinkAddress, &mut [u8])>;
}

/// One packet as the arrivals of its own.
struct Single<'a>(Option<(&'a LinkAddress, &'a mut [u8])>);

impl Arrivals for Single<'_> {
    fn next(&mut self) -> Option<(&LinkAddress, &mut [u8])> {
        let (from, packet) = self.0.take()?;
        Some((from, packet))
    }
}

/// Packets in a row for one session.
#[derive(Clone, Copy)]
struct Run {
    id: SessionId,
    index: u32,
    /// One of them was taken.
    changed: bool,
}

/// What became of a packet.
enum Taken {
    Dropped,
    Whole,
    /// The session is over with it.
    Last,
}

impl Transport {
    /// Takes one packet that came in on `link`. `packet` is decrypted in place. Packets that are
    /// not authentic, not for a session here, or replayed, are dropped without a trace.
    pub fn receive(
        &mut self,
        now: Instant,
        link: LinkIndex,
        from: &LinkAddress,
        packet: &mut [u8],
        memory: &mut dyn Memory,
    ) {
        self.receive_all(now, link, &mut Single(Some((from, packet))), memory);
    }

    /// The same for all packets of `arrivals`, in their order. What is done for a session as a
    /// whole is done once for those that follow each other.
    pub fn receive_all(
        &mut self,
        now: Instant,
        link: LinkIndex,
        arrivals: &mut dyn Arrivals,
        memory: &mut dyn Memory,
    ) {
        let mut run = None;
        while let Some((from, packet)) = arrivals.next() {
            let Some((raw, header, body)) = Header::split(packet) else {
                continue;
            };
            let id = SessionId(header.session);
            if run.is_none_or(|run: Run| run.id != id) {
                self.end_run(now, run);
                run = self.by_id.get(&id).map(|&index| Run {
                    id,
                    index,
                    changed: false,
                });
            }
            let Some(current) = &mut run else {
                continue;
            };
            match self.take(
                now,
                (link, from),
                current.index,
                (&header, &raw, body),
                memory,
            ) {
                Taken::Dropped => {}
                Taken::Whole => current.changed = true,
                // Its place may be another session's from here on.
                Taken::Last => {
                    current.changed = true;
                    self.end_run(now, run.take());
                }
            }
        }
        self.end_run(now, run);
    }

    fn end_run(&mut self, now: Instant, run: Option<Run>) {
        if let Some(run) = run.filter(|run| run.changed) {
            self.touched(now, run.index);
        }
    }

    /// Takes a packet for a session.
    fn take(
        &mut self,
        now: Instant,
        (link, from): (LinkIndex, &LinkAddress),
        index: u32,
        (header, raw, body): (&Header, &[u8; HEADER_LEN], &mut [u8]),
        memory: &mut dyn Memory,
    ) -> Taken {
        let Some(session) = self.slots[index as usize].session.as_deref_mut() else {
            return Taken::Dropped;
        };
        let Some(lane) = session.admit(header) else {
            return Taken::Dropped;
        };
        let way = &session.lanes[lane];
        let is_at_home = way.link == link && way.place.is_at(from);
        // Without a cipher it is the link that vouches for the peer.
        if way.protection != Protection::Sealed && !is_at_home {
            return Taken::Dropped;
        }
        let len = HEADER_LEN + body.len();
        let Ok(body) = protection::open(way.protection, &mut session.cipher, (header, raw), body)
        else {
            return Taken::Dropped;
        };
        let way = &session.lanes[lane];
        let mut from_peer = is_at_home;
        // The newest packet tells where the peer is now.
        if !is_at_home && way.link == link && way.is_newest(header.pn) {
            session.follow(now, lane, *from);
            from_peer = session.lanes[lane].place.is_at(from);
        }
        if from_peer {
            session.lanes[lane].place.credit(len);
        }
        let mut shell = Shell {
            now,
            memory,
            events: &mut self.events,
            from_peer,
        };
        session.take_packet(lane, header, body, &mut shell);
        if session.ended.is_some() {
            Taken::Last
        } else {
            Taken::Whole
        }
    }
}
