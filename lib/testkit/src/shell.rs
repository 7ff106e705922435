//! What carries packets, time and events between the networks, the transports and the programs.

use std::sync::PoisonError;

use abi::LinkAddress;
use abi::time::{Duration, Instant};
use transport::{Cause, Event, LinkIndex, Protection, SessionKey};

use crate::checkers;
use crate::lanes::{PERFECT, Packet};
use crate::process::Process;
use crate::programs::{Later, Wishes};
use crate::strip::{Note, name_of};
use crate::tap::Tapped;
use crate::victims::VICTIM;
use crate::world::{ASK_AFTER, Action, Checked, Program, World};

/// Where a process is after it has moved so often.
pub(crate) fn address(process: usize, moved: u8) -> LinkAddress {
    LinkAddress::from_raw(&[process as u8, moved]).unwrap_or_default()
}

/// A packet of a lane without cipher.
fn in_the_clear(bytes: &[u8], protection: Protection) -> Option<Tapped> {
    let check = match protection {
        Protection::Sealed => return None,
        Protection::Checksum => 4,
        Protection::Plain => 0,
    };
    let (header, body) = bytes.split_first_chunk()?;
    let text = body.get(..body.len().checked_sub(check)?)?.to_vec();
    let header = *header;
    Some(Tapped { header, text })
}

impl World {
    /// What a process takes for the time.
    pub(crate) fn local(&self, process: usize) -> Instant {
        self.processes[process].clock.show(self.now)
    }

    pub(crate) fn arrive(&mut self, mut packet: Packet) -> Checked {
        let process = &mut self.processes[packet.to];
        let moved = self.addresses.get(&(packet.link, packet.to));
        if !process.alive || moved.copied().unwrap_or(0) != packet.to_address {
            return Ok(());
        }
        if process.stalled_until.is_some() {
            process.inbox.push_back(packet);
            return Ok(());
        }
        self.packets += 1;
        let from = address(packet.from, packet.from_address);
        let link = LinkIndex(packet.link);
        let (victims, len) = (&mut self.victims, packet.bytes.len());
        victims.came(link, packet.to, packet.from_address, len);
        let Process {
            transport,
            memory,
            clock,
            ..
        } = process;
        let now = clock.show(self.now);
        transport.receive(now, link, &from, &mut packet.bytes, memory);
        let to = packet.to;
        if packet.link >= PERFECT {
            self.networks.taken(packet.link, packet.from);
            if self.processes[packet.from].is_running() {
                let now = self.local(packet.from);
                self.processes[packet.from].transport.link_ready(now, link);
                self.flush(packet.from)?;
            }
        }
        self.flush(to)
    }

    pub(crate) fn program(&mut self, process: usize, later: Later) -> Checked {
        if !self.processes[process].alive {
            return Ok(());
        }
        if self.processes[process].stalled_until.is_some() {
            let again = Action::Program(process, later);
            self.at(self.now + Duration::from_millis(1), again);
            return Ok(());
        }
        let now = self.local(process);
        let own = &mut self.processes[process];
        let wishes = match (&mut self.programs[process], later) {
            (Program::Client(_), Later::Tick) => return self.tick(process),
            (Program::Client(_), Later::Cancel(op)) => {
                own.transport.cancel(now, op, 3);
                Vec::new()
            }
            (Program::Server(server), Later::Work(incoming)) => {
                server.work(now, incoming, own, &mut self.reference, &mut self.random)?
            }
            _ => Vec::new(),
        };
        self.wish(process, wishes);
        self.flush(process)
    }

    pub(crate) fn tick(&mut self, process: usize) -> Checked {
        let over = self.healed
            && self.now >= Instant::from_nanos(1_000_000_000) + self.plan.faults_until + ASK_AFTER;
        let now = self.local(process);
        let Program::Client(client) = &mut self.programs[process] else {
            return Ok(());
        };
        if over {
            return Ok(());
        }
        let keys = self.pairs.iter().filter(|pair| pair.client == process);
        let keys: Vec<(SessionKey, u8)> = keys
            .filter_map(|pair| Some((pair.client_key?, pair.lanes)))
            .collect();
        let wishes = client.tick(
            (process, now),
            &mut self.processes[process],
            &keys,
            (&self.plan, &mut self.reference),
            &mut self.random,
        );
        self.wish(process, wishes);
        self.flush(process)
    }

    pub(crate) fn wish(&mut self, process: usize, wishes: Wishes) {
        for (after, later) in wishes {
            self.at(self.now + after, Action::Program(process, later));
        }
    }

    /// Sends what a process has to send, and hands its events to its program.
    pub(crate) fn flush(&mut self, n: usize) -> Checked {
        if !self.processes[n].is_running() {
            return Ok(());
        }
        loop {
            self.send(n);
            let Some(event) = self.processes[n].transport.event() else {
                break;
            };
            self.event(n, event)?;
        }
        self.victims.check()?;
        if self.victims.any() {
            self.seen.insert("victim");
        }
        let name = format!("process {n}");
        checkers::no_stray(&self.processes[n], &name)?;
        checkers::bounded(&self.processes[n], &name, self.plan.credit, self.plan.slots)
    }

    pub(crate) fn send(&mut self, n: usize) {
        let space = &mut self.space;
        let Process {
            transport,
            memory,
            sent,
            clock,
            ..
        } = &mut self.processes[n];
        let now = clock.show(self.now);
        while let Some(link) = transport.next_link(now) {
            if link.0 >= PERFECT && self.networks.is_full(link.0, n) {
                transport.link_full(now, link);
                continue;
            }
            let Some(transmit) = transport.transmit(now, link, space, memory) else {
                continue;
            };
            let [to, to_address] = *transmit.to.as_bytes() else {
                unreachable!("{:?} is no address of the world", transmit.to);
            };
            let to = usize::from(to);
            let own = self.addresses.get(&(link.0, n));
            for bytes in space[..transmit.len].chunks(transmit.segment) {
                *sent += 1;
                if let Some(packet) = in_the_clear(bytes, self.networks.protection(link.0)) {
                    let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.tapped.get_or_insert_default().push(packet);
                }
                let packet = Packet {
                    link: link.0,
                    from: n,
                    to,
                    bytes: bytes.to_vec(),
                    from_address: own.copied().unwrap_or(0),
                    to_address,
                };
                self.victims.went(link, n, to_address, bytes.len());
                let races = if self.healed {
                    0
                } else {
                    self.plan.terrain.races
                };
                if races > 0 && link.0 < PERFECT && self.random.chance(races) {
                    let copy = Packet {
                        from_address: VICTIM,
                        ..packet.clone()
                    };
                    self.serial += 1;
                    let soon = (self.now + Duration::from_micros(1), self.serial);
                    self.agenda.insert(soon, Action::Arrive(copy));
                }
                for (at, packet) in self.networks.send(self.now, packet, &mut self.random) {
                    self.serial += 1;
                    self.agenda
                        .insert((at, self.serial), Action::Arrive(packet));
                }
            }
        }
    }

    pub(crate) fn event(&mut self, n: usize, event: Event) -> Checked {
        self.write_down(Note::Event(n, event));
        self.seen.insert(name_of(&event));
        if let Event::Closed { session, .. } = event {
            self.closed(n, session);
        }
        let now = self.local(n);
        let own = &mut self.processes[n];
        match &mut self.programs[n] {
            Program::Client(client) => {
                client.event(event, own, &mut self.reference)?;
                if matches!(
                    event,
                    Event::Replied { .. } | Event::Refused { .. } | Event::Failed { .. }
                ) {
                    let after = Duration::from_micros(self.random.below(3000));
                    self.at(self.now + after, Action::Program(n, Later::Tick));
                }
            }
            Program::Server(server) => {
                let context = (&self.plan, &mut self.reference);
                let wishes = server.event(now, event, own, context, &mut self.random)?;
                self.wish(n, wishes);
            }
        }
        Ok(())
    }

    /// A session is over at one end: the daemons tell the other, and open the next one.
    pub(crate) fn closed(&mut self, n: usize, session: SessionKey) {
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            let at_client = pair.client == n && pair.client_key == Some(session);
            let at_server = pair.server == n && pair.server_key == Some(session);
            if at_client {
                pair.client_key = None;
            } else if at_server {
                pair.server_key = None;
            } else {
                continue;
            }
            let serial = pair.serial;
            let cause = Cause::Link;
            let tell = Action::Tell {
                pair: index,
                client: at_server,
                serial,
                cause,
            };
            self.at(self.now + Duration::from_millis(20), tell);
            self.at(
                self.now + Duration::from_millis(300),
                Action::Reopen { pair: index },
            );
        }
    }
}
