//! The links of an endpoint: drivers, their place in epoll, and packets on their way out.

mod packets;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use abi::{Errno, Instant, LinkAddress, Result};
use drivers::memory::Room;
use drivers::{DriverError, MemoryDriver, PacketDriver, ReceiveBatch};
use rustix::event::epoll;
use transport::{LinkIndex, Transport};

use crate::failed_links::FailedLinks;
use crate::in_place::{self, Arriving};
use crate::regions::Regions;
use crate::system_error::errno;
use packets::Packets;

/// One link: a UDP socket, or the memory shared with one peer.
pub(crate) struct Link {
    driver: Arc<dyn PacketDriver>,
    /// The same driver, if it is one whose packets can be put together in place.
    memory: Option<Arc<MemoryDriver>>,
    /// Packets that the driver had no room for.
    backlog: Option<Backlog>,
    /// The driver rings by itself when something comes; otherwise it has to be looked at or armed.
    armed: bool,
}

struct Backlog {
    to: LinkAddress,
    segment: usize,
    bytes: Vec<u8>,
}

/// All links of an endpoint, by their [`LinkIndex`].
pub(crate) struct Links {
    links: Vec<Option<Link>>,
    /// Links that are not armed. Few: those that had packets lately.
    pub(crate) unarmed: Vec<LinkIndex>,
    /// Links with a backlog.
    blocked: Vec<LinkIndex>,
    /// Links whose peers have not been woken for what was sent.
    unrung: Vec<LinkIndex>,
    space: Box<[u8]>,
    batch: ReceiveBatch,
    /// Links whose driver is being replaced: their places are taken.
    unplugged: Vec<LinkIndex>,
    /// Links that would not take packets.
    pub(crate) failed: FailedLinks,
    /// The socket on which packets came last.
    hot_socket: Option<LinkIndex>,
    /// Packets have moved between nodes.
    pub(crate) moved: bool,
}

/// What became of a look at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// No packet was there.
    Nothing,
    /// Packets were taken.
    Packets,
    /// The driver is unusable: its peer broke the rules.
    Broken,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            links: Vec::new(),
            unarmed: Vec::new(),
            blocked: Vec::new(),
            unrung: Vec::new(),
            space: vec![0; SPACE].into_boxed_slice(),
            batch: ReceiveBatch::new(),
            unplugged: Vec::new(),
            failed: FailedLinks::default(),
            hot_socket: None,
            moved: false,
        }
    }

    /// Adds a driver and registers it in `epoll`.
    pub(crate) fn add(
        &mut self,
        epoll: BorrowedFd<'_>,
        driver: Arc<dyn PacketDriver>,
    ) -> Result<LinkIndex> {
        self.add_link(epoll, driver, None)
    }

    /// Adds the memory shared with a peer.
    pub(crate) fn add_memory(
        &mut self,
        epoll: BorrowedFd<'_>,
        driver: Arc<MemoryDriver>,
    ) -> Result<LinkIndex> {
        let memory = Some(Arc::clone(&driver));
        self.add_link(epoll, driver, memory)
    }

    fn add_link(
        &mut self,
        epoll: BorrowedFd<'_>,
        driver: Arc<dyn PacketDriver>,
        memory: Option<Arc<MemoryDriver>>,
    ) -> Result<LinkIndex> {
        let is_free = |at: &usize| {
            self.links[*at].is_none() && !self.unplugged.contains(&LinkIndex(*at as u32))
        };
        let index = (0..self.links.len()).find(is_free);
        let index = index.unwrap_or(self.links.len());
        let link = LinkIndex(u32::try_from(index).map_err(|_| Errno::EAGAIN)?);
        let data = epoll::EventData::new_u64(u64::from(link.0));
        epoll::add(epoll, driver.readable(), data, driver.events(false)).map_err(errno)?;
        let polled = driver.has_data().is_some();
        let entry = Some(Link {
            driver,
            memory,
            backlog: None,
            armed: !polled,
        });
        if index == self.links.len() {
            self.links.push(entry);
        } else {
            self.links[index] = entry;
        }
        if polled {
            self.unarmed.push(link);
        }
        Ok(link)
    }

    /// Forgets a link.
    pub(crate) fn remove(&mut self, epoll: BorrowedFd<'_>, link: LinkIndex) {
        let Some(entry) = self.links.get_mut(link.0 as usize).and_then(Option::take) else {
            return;
        };
        let _ = epoll::delete(epoll, entry.driver.readable());
        self.unarmed.retain(|l| *l != link);
        self.blocked.retain(|l| *l != link);
    }

    /// Takes the driver of a link away: packets for it are lost until it gets another one.
    pub(crate) fn unplug(&mut self, epoll: BorrowedFd<'_>, link: LinkIndex) {
        self.unarmed.retain(|l| *l != link);
        self.blocked.retain(|l| *l != link);
        let entry = self.links.get_mut(link.0 as usize).and_then(Option::take);
        if let Some(entry) = entry {
            let _ = epoll::delete(epoll, entry.driver.readable());
            self.unplugged.push(link);
        }
    }

    /// Gives an unplugged link another driver: the sessions over the link go on with it.
    pub(crate) fn plug(
        &mut self,
        epoll: BorrowedFd<'_>,
        link: LinkIndex,
        driver: Arc<dyn PacketDriver>,
    ) -> Result {
        let polled = driver.has_data().is_some();
        let data = epoll::EventData::new_u64(u64::from(link.0));
        epoll::add(epoll, driver.readable(), data, driver.events(false)).map_err(errno)?;
        self.unplugged.retain(|l| *l != link);
        self.links[link.0 as usize] = Some(Link {
            driver,
            memory: None,
            backlog: None,
            armed: !polled,
        });
        if polled {
            self.unarmed.push(link);
        }
        Ok(())
    }

    /// Tells the driver of a link that it has only one peer, or several.
    pub(crate) fn focus(&self, link: LinkIndex, peer: Option<&LinkAddress>) {
        if let Some(entry) = self.get(link) {
            entry.driver.focus(peer);
        }
    }

    pub(crate) fn get(&self, link: LinkIndex) -> Option<&Link> {
        self.links.get(link.0 as usize)?.as_ref()
    }

    fn get_mut(&mut self, link: LinkIndex) -> Option<&mut Link> {
        self.links.get_mut(link.0 as usize)?.as_mut()
    }

    /// The doorbell of the link rang: it is not armed any more.
    pub(crate) fn rang(&mut self, link: LinkIndex) {
        let Some(entry) = self.get_mut(link) else {
            return;
        };
        if entry.armed && entry.driver.has_data().is_some() {
            entry.armed = false;
            self.unarmed.push(link);
        }
    }

    /// Whether an unarmed link has something; no system call.
    #[inline]
    pub(crate) fn ready(&self) -> Option<LinkIndex> {
        self.unarmed.iter().copied().find(|link| {
            self.get(*link)
                .is_some_and(|entry| entry.driver.has_data() == Some(true))
        })
    }

    /// Arms every unarmed link before sleep. False if one has something, so that sleep would be wrong.
    pub(crate) fn arm(&mut self) -> bool {
        while let Some(link) = self.unarmed.last().copied() {
            if let Some(entry) = self.get_mut(link) {
                if entry.driver.arm() {
                    return false;
                }
                entry.armed = true;
            }
            self.unarmed.pop();
        }
        true
    }

    /// The drivers worth spinning on, at most as many as `into` holds.
    pub(crate) fn hot(&self, into: &mut [Option<Arc<dyn PacketDriver>>]) -> usize {
        let hot = self.unarmed.iter().rev().filter_map(|link| self.get(*link));
        let mut n = 0;
        for (place, entry) in into.iter_mut().zip(hot) {
            *place = Some(Arc::clone(&entry.driver));
            n += 1;
        }
        n
    }

    /// Whether packets may come without the kernel saying so first.
    pub(crate) fn has_hot(&self) -> bool {
        !self.unarmed.is_empty() || self.hot_socket().is_some()
    }

    /// The socket on which packets came last.
    pub(crate) fn hot_socket(&self) -> Option<LinkIndex> {
        self.hot_socket.filter(|link| self.get(*link).is_some())
    }

    /// Takes what has arrived on `link`: from memory as much as a fair share, from a socket one read.
    #[inline(always)]
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        link: LinkIndex,
        transport: &mut Transport,
        regions: &mut Regions,
    ) -> Arrival {
        let Some(entry) = self.links.get(link.0 as usize).and_then(Option::as_ref) else {
            return Arrival::Nothing;
        };
        if let Some(memory) = &entry.memory {
            let from = memory.peer_address();
            let mut left = LOOK_MAX;
            let taken = memory.receive_in_place(&mut |packet| {
                let (bytes, is_head) = in_place::look(&packet, &mut self.space);
                let base = bytes.as_ptr().addr();
                let mut arriving = Arriving {
                    regions,
                    packet,
                    base,
                    is_head,
                };
                transport.receive(now, link, &from, bytes, &mut arriving);
                left -= 1;
                left > 0
            });
            if left == 0
                && let Some(at) = self.unarmed.iter().position(|l| *l == link)
            {
                // The others have their turn first.
                self.unarmed[at..].rotate_left(1);
            }
            return match taken {
                Ok(0) => Arrival::Nothing,
                Ok(_) => Arrival::Packets,
                // Final: the peer broke the rules.
                Err(_) => Arrival::Broken,
            };
        }
        match entry.driver.receive(&mut self.batch) {
            Ok(0) => return Arrival::Nothing,
            Ok(_) => {}
            // Reports about packets sent earlier; the lanes notice by themselves.
            Err(_) => return Arrival::Nothing,
        }
        self.moved = true;
        self.hot_socket = Some(link);
        let mut packets = Packets::new(&mut self.batch);
        transport.receive_all(now, link, &mut packets, regions);
        Arrival::Packets
    }

    /// Sends whatever the transport has to send. Returns a link that turned out broken, if one did; then
    /// there may be more to send.
    #[inline(always)]
    pub(crate) fn flush(
        &mut self,
        epoll: BorrowedFd<'_>,
        now: Instant,
        transport: &mut Transport,
        regions: &mut Regions,
    ) -> Option<LinkIndex> {
        let mut idle = 0;
        let mut broken = None;
        while idle < IDLE_MAX && broken.is_none() {
            let Some(link) = transport.next_link(now) else {
                break;
            };
            let usable = self.get(link).is_none_or(|entry| entry.backlog.is_none());
            if !usable {
                transport.link_full(now, link);
            }
            let sent = usable.then(|| self.send_next(epoll, now, link, transport, regions));
            match sent {
                Some(Sent::Packets) => idle = 0,
                Some(Sent::Nothing) | None => idle += 1,
                Some(Sent::Broken) => broken = Some(link),
            }
        }
        // One ring for all packets of a link: the peer does not have to run for each.
        for link in self.unrung.drain(..) {
            if let Some(entry) = self.links.get(link.0 as usize).and_then(Option::as_ref) {
                entry.driver.ring_if_asked();
            }
        }
        broken
    }

    fn send_next(
        &mut self,
        epoll: BorrowedFd<'_>,
        now: Instant,
        link: LinkIndex,
        transport: &mut Transport,
        regions: &mut Regions,
    ) -> Sent {
        let Some(entry) = self.links.get_mut(link.0 as usize).and_then(Option::as_mut) else {
            // Last words of a session whose memory is gone. A link called full would never be offered again, nor
            // would the next one of its number.
            let said = transport.transmit(now, link, &mut self.space, regions);
            return said.map_or(Sent::Nothing, |_| Sent::Packets);
        };
        regions.deferred.start(entry.memory.is_some(), &self.space);
        let transmit = transport.transmit(now, link, &mut self.space, regions);
        regions.deferred.stop();
        let Some(transmit) = transmit else {
            return Sent::Nothing;
        };
        self.moved |= entry.memory.is_none();
        if self.unrung.last() != Some(&link) {
            self.unrung.push(link);
        }
        let sent = match &entry.memory {
            Some(memory) if transmit.len <= transmit.segment && regions.deferred.any() => {
                let space = &self.space[..transmit.len];
                let fill = &mut |room: Room<'_>| regions.deferred.fill(space, &room);
                memory
                    .send_in_place(transmit.len, fill)
                    .map(|sent| if sent { transmit.len } else { 0 })
            }
            _ => {
                regions.deferred.carry_out(&mut self.space);
                let bytes = &self.space[..transmit.len];
                entry
                    .driver
                    .send_quietly(&transmit.to, bytes, transmit.segment)
            }
        };
        let sent = match sent {
            Ok(sent) if sent == transmit.len => return Sent::Packets,
            Ok(sent) => sent,
            Err(DriverError::WouldBlock) => 0,
            Err(_) if entry.memory.is_some() => return Sent::Broken,
            Err(DriverError::Down) => {
                self.failed.add(now, link);
                transport.link_down(now, link);
                return Sent::Packets;
            }
            // Lost, as far as the transport is concerned; it will notice.
            Err(_) => return Sent::Packets,
        };
        regions.deferred.carry_out(&mut self.space);
        let rest = self.space[sent..transmit.len].to_vec();
        entry.backlog = Some(Backlog {
            to: transmit.to,
            segment: transmit.segment,
            bytes: rest,
        });
        entry.watch(epoll, link, true);
        self.blocked.push(link);
        // Room may have come up already: the next arming looks.
        self.rang(link);
        transport.link_full(now, link);
        Sent::Packets
    }

    /// Tries again to send what a driver had no room for. Returns a link that turned out broken.
    pub(crate) fn retry(
        &mut self,
        epoll: BorrowedFd<'_>,
        now: Instant,
        transport: &mut Transport,
    ) -> Option<LinkIndex> {
        let mut at = 0;
        while let Some(link) = self.blocked.get(at).copied() {
            let Some(entry) = self.get_mut(link) else {
                self.blocked.swap_remove(at);
                continue;
            };
            match entry.send_backlog() {
                Ok(true) => {
                    entry.watch(epoll, link, false);
                    self.blocked.swap_remove(at);
                    transport.link_ready(now, link);
                }
                Ok(false) => at += 1,
                Err(Broken) => return Some(link),
            }
        }
        None
    }

    /// Whether something waits for room.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }
}

struct Broken;

/// What became of a turn of a link.
enum Sent {
    Packets,
    Nothing,
    Broken,
}

impl Link {
    /// True when nothing is left.
    fn send_backlog(&mut self) -> std::result::Result<bool, Broken> {
        let Some(backlog) = &mut self.backlog else {
            return Ok(true);
        };
        if !self.driver.writable() {
            return Ok(false);
        }
        let sent = match self
            .driver
            .send(&backlog.to, &backlog.bytes, backlog.segment)
        {
            Ok(sent) => sent,
            Err(DriverError::WouldBlock) => 0,
            Err(_) if self.driver.properties().reliable => return Err(Broken),
            Err(_) => backlog.bytes.len(),
        };
        backlog.bytes.drain(..sent);
        if backlog.bytes.is_empty() {
            self.backlog = None;
        }
        Ok(self.backlog.is_none())
    }

    fn watch(&self, epoll: BorrowedFd<'_>, link: LinkIndex, blocked: bool) {
        let flags = self.driver.events(blocked);
        if flags == self.driver.events(!blocked) {
            return;
        }
        let data = epoll::EventData::new_u64(u64::from(link.0));
        if epoll::modify(epoll, self.driver.readable(), data, flags).is_err() {
            tracing::warn!(link = link.0, "a full link cannot be watched");
        }
    }
}

/// Room for one batch of packets: the most that a datagram train or a memory frame holds.
const SPACE: usize = 65_536;
/// Packets taken from one memory at a time: a peer that fills it as fast as it is emptied must not keep the lock
/// from everybody else.
const LOOK_MAX: usize = 1024;
/// Answers without a packet after which the transport is taken at its word that there is nothing to send.
const IDLE_MAX: usize = 64;
