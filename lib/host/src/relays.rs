//! Sealed packets of programs that have no socket of their own, passed on unread.
//!
//! A program may send session packets to the hosts that its sessions have lanes to, and gets what carries the number
//! of one of its sessions. Each has its turn, a bounded number of packets long; nobody is waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};

use abi::link_address::Internet;
use abi::{LinkAddress, SessionId};
use drivers::memory::{MemoryDriver, MemoryParts};
use drivers::relay::{Progress, RelayEnd, Relayed};
use drivers::{DriverError, PacketDriver};
use node::ProgramKey;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::links::Links;

/// First byte of a session packet: version 1, kind 5.
const SESSION_PACKET: u8 = 1 << 5 | 5;
/// Where the number of the receiver's session is.
const SESSION_AT: usize = 4;
/// Trains of packets, each at most 64 KiB, that a program may send before the others have their turn.
const TRAINS: usize = 8;
/// Bytes that all programs together send before the loop looks at what else has happened: a quarter of a millisecond at
/// 4 GB/s, however many they are.
const PASS_BYTES: usize = 1 << 20;

/// All relays of the node.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    programs: BTreeMap<ProgramKey, Program>,
    /// Where programs may send, also before they have a relay.
    targets: BTreeMap<ProgramKey, Targets>,
    routes: BTreeMap<SessionId, Route>,
    /// Programs that have something to send, in the order of their turns.
    turns: VecDeque<ProgramKey>,
    /// Programs that wait until a link takes packets again.
    blocked: BTreeMap<u8, Vec<ProgramKey>>,
    /// Programs that have got something, to be woken once for all of it.
    given: BTreeSet<ProgramKey>,
}

#[derive(Debug)]
struct Program {
    end: RelayEnd,
    /// It is in `turns` or `blocked`, not asleep.
    awake: bool,
}

#[derive(Debug)]
struct Route {
    program: ProgramKey,
    targets: Vec<(u8, LinkAddress)>,
}

/// Links and hosts, and how many sessions have a lane there.
type Targets = BTreeMap<(u8, LinkAddress), usize>;

/// What became of a turn.
enum Turn {
    Over,
    /// It has more to send.
    Again,
    /// This link takes no more now.
    Blocked(u8),
    /// The program broke the rules.
    Broken,
}

impl Relays {
    /// Serves a program's rings: their memory, and the node's halves of the doorbells. Its events have the number `event`.
    pub(crate) fn open(
        &mut self,
        program: ProgramKey,
        parts: Vec<OwnedFd>,
        epoll: BorrowedFd<'_>,
        event: u64,
    ) -> Result<(), DriverError> {
        let Ok([memfd, rings, hears]) = <[OwnedFd; 3]>::try_from(parts) else {
            return Err(DriverError::Io(libc::EMFILE));
        };
        let parts = MemoryParts {
            memfd,
            rings,
            hears,
        };
        let end = RelayEnd::new(MemoryDriver::attach(parts)?);
        epoll::add(
            epoll,
            end.readable(),
            EventData::new_u64(event),
            end.events(),
        )?;
        let relay = Program { end, awake: true };
        self.programs.insert(program, relay);
        // It may have sent before anybody listened.
        self.turns.push_back(program);
        Ok(())
    }

    /// Says whose a session is and where its packets may go; nowhere means that it has ended.
    pub(crate) fn route(
        &mut self,
        session: SessionId,
        program: ProgramKey,
        targets: Vec<(u8, LinkAddress)>,
    ) {
        let targets: Vec<_> = targets
            .iter()
            .map(|(link, address)| (*link, host(address)))
            .collect();
        if let Some(before) = self.routes.remove(&session) {
            self.disallow(&before);
        }
        if targets.is_empty() {
            return;
        }
        let allowed = self.targets.entry(program).or_default();
        for target in &targets {
            *allowed.entry(*target).or_default() += 1;
        }
        self.routes.insert(session, Route { program, targets });
    }

    fn disallow(&mut self, route: &Route) {
        let Some(allowed) = self.targets.get_mut(&route.program) else {
            return;
        };
        for target in &route.targets {
            match allowed.get_mut(target) {
                Some(sessions) if *sessions > 1 => *sessions -= 1,
                _ => drop(allowed.remove(target)),
            }
        }
    }

    /// A program is gone.
    pub(crate) fn forget(&mut self, program: ProgramKey, epoll: BorrowedFd<'_>) {
        if self.targets.remove(&program).is_some() {
            self.routes.retain(|_, route| route.program != program);
        }
        if let Some(gone) = self.programs.remove(&program) {
            let _ = epoll::delete(epoll, gone.end.readable());
        }
    }

    /// A program's doorbell rang.
    pub(crate) fn rang(&mut self, program: ProgramKey) {
        if let Some(relay) = self.programs.get_mut(&program)
            && !relay.awake
        {
            relay.awake = true;
            self.turns.push_back(program);
        }
    }

    /// Whether somebody has something to send.
    pub(crate) fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// One turn for each program that has something to send, or for as many as one pass serves; the others come first in
    /// the next one. Tells how many bytes that took off their hands.
    pub(crate) fn serve(&mut self, links: &Links, wait: impl Fn(u8, EventFlags)) -> usize {
        let nowhere = Targets::new();
        let mut passed = 0;
        for _ in 0..self.turns.len() {
            if passed >= PASS_BYTES {
                break;
            }
            let Some(key) = self.turns.pop_front() else {
                break;
            };
            let Some(program) = self.programs.get_mut(&key) else {
                continue;
            };
            let targets = self.targets.get(&key).unwrap_or(&nowhere);
            match program.turn(targets, links, &mut passed) {
                Turn::Over => {}
                Turn::Again => self.turns.push_back(key),
                Turn::Blocked(link) => {
                    let waiting = self.blocked.entry(link).or_default();
                    if waiting.is_empty() {
                        wait(link, EventFlags::IN | EventFlags::OUT);
                    }
                    waiting.push(key);
                }
                Turn::Broken => {
                    tracing::warn!("a program has broken the rules of its relay, which ends");
                    self.programs.remove(&key);
                }
            }
        }
        passed
    }

    /// Something has happened on a link. Whether it may take packets again, for those who wait for that.
    pub(crate) fn happened(&mut self, link: u8, flags: EventFlags, links: &Links) -> bool {
        let room = flags.contains(EventFlags::OUT);
        // Some drivers are woken for reading when there is room.
        let tells = |driver: &dyn PacketDriver| driver.events(true).contains(EventFlags::OUT);
        if room || !links.driver(link).is_some_and(tells) {
            self.writable(link);
        }
        room
    }

    /// A link takes packets again, or has another socket.
    pub(crate) fn writable(&mut self, link: u8) {
        if let Some(programs) = self.blocked.remove(&link) {
            self.turns.extend(programs);
        }
    }

    /// Gives a packet that came in on a link to the program whose it is. False if it is nobody's here.
    pub(crate) fn give(&mut self, link: u8, from: &LinkAddress, packet: &[u8]) -> bool {
        if self.programs.is_empty() || packet.first() != Some(&SESSION_PACKET) {
            return false;
        }
        let number = packet
            .get(SESSION_AT..)
            .and_then(|rest| rest.first_chunk::<4>());
        let session = number.map(|bytes| SessionId(u32::from_le_bytes(*bytes)));
        let Some(route) = session.and_then(|session| self.routes.get(&session)) else {
            return false;
        };
        let Some(program) = self.programs.get(&route.program) else {
            return false;
        };
        // What there is no room for is lost, as in a socket that nobody reads.
        if program.end.give(link, from, packet, packet.len()).is_ok() {
            self.given.insert(route.program);
        }
        true
    }

    /// Wakes the programs that have got something.
    pub(crate) fn wake(&mut self) {
        while let Some(program) = self.given.pop_first() {
            if let Some(program) = self.programs.get(&program) {
                program.end.ring_if_asked();
            }
        }
    }
}

impl Program {
    fn turn(&mut self, targets: &Targets, links: &Links, passed: &mut usize) -> Turn {
        let mut full = 0;
        let progress = self.end.forward(TRAINS, &mut |train| {
            let whole = train.bytes.len();
            let taken = match links.driver(train.link) {
                Some(driver) if may_send(targets, &train) => {
                    full = train.link;
                    match driver.send(&train.to, train.bytes, train.segment) {
                        Ok(sent) => sent,
                        Err(DriverError::WouldBlock) => 0,
                        // Lost here; its session notices.
                        Err(_) => whole,
                    }
                }
                _ => whole,
            };
            *passed += taken;
            taken
        });
        match progress {
            Ok(Progress::Empty) if !self.end.arm() => {
                self.awake = false;
                Turn::Over
            }
            Ok(Progress::Empty | Progress::More) => Turn::Again,
            Ok(Progress::Blocked) => Turn::Blocked(full),
            Err(_) => Turn::Broken,
        }
    }
}

/// Session packets only, and only to hosts that the node has introduced the program to: nobody speaks for the node,
/// or to anybody else, through its port.
fn may_send(targets: &Targets, train: &Relayed<'_>) -> bool {
    let mut packets = train.bytes.chunks(train.segment.max(1));
    targets.contains_key(&(train.link, host(&train.to)))
        && packets.all(|packet| packet.first() == Some(&SESSION_PACKET))
}

/// An address without port and scope.
fn host(address: &LinkAddress) -> LinkAddress {
    match address.internet() {
        Some(Internet::V6(octets, ..)) => LinkAddress::ipv6(octets, 0, 0),
        _ => address.with_port(0),
    }
}

#[cfg(test)]
mod tests;
