//! What carries packets, time and events between the networks, the transports and the programs.

use abi::LinkAddress;
use abi::time::{Duration, Instant};
use transport::{Cause, Event, LinkIndex, SessionKey};

use crate::checkers;
use crate::lanes::{PERFECT, Packet};
use crate::process::Process;
use crate::programs::{Later, Wishes};
use crate::strip::{Note, name_of};
use crate::world::{ASK_AFTER, Action, Checked, Program, World};

impl World {
    pub(crate) fn arrive(&mut self, mut packet: Packet) -> Checked {
        let process = &mut self.processes[packet.to];
        if !process.alive {
            return Ok(());
        }
        if process.stalled_until.is_some() {
            process.inbox.push_back(packet);
            return Ok(());
        }
        self.packets += 1;
        let from = LinkAddress::from_raw(&[packet.from as u8]).unwrap_or_default();
        let link = LinkIndex(packet.link);
        let Process {
            transport, memory, ..
        } = process;
        transport.receive(self.now, link, &from, &mut packet.bytes, memory);
        let to = packet.to;
        if packet.link >= PERFECT {
            self.networks.taken(packet.link, packet.from);
            if self.processes[packet.from].is_running() {
                self.processes[packet.from]
                    .transport
                    .link_ready(self.now, link);
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
        let own = &mut self.processes[process];
        let wishes = match (&mut self.programs[process], later) {
            (Program::Client(_), Later::Tick) => return self.tick(process),
            (Program::Client(_), Later::Cancel(op)) => {
                own.transport.cancel(self.now, op, 3);
                Vec::new()
            }
            (Program::Server(server), Later::Work(incoming)) => server.work(
                self.now,
                incoming,
                own,
                &mut self.reference,
                &mut self.random,
            )?,
            _ => Vec::new(),
        };
        self.wish(process, wishes);
        self.flush(process)
    }

    pub(crate) fn tick(&mut self, process: usize) -> Checked {
        let over = self.healed
            && self.now >= Instant::from_nanos(1_000_000_000) + self.plan.faults_until + ASK_AFTER;
        let Program::Client(client) = &mut self.programs[process] else {
            return Ok(());
        };
        if over {
            return Ok(());
        }
        let keys = self.pairs.iter().filter(|pair| pair.client == process);
        let keys: Vec<SessionKey> = keys.filter_map(|pair| pair.client_key).collect();
        let wishes = client.tick(
            (process, self.now),
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
            ..
        } = &mut self.processes[n];
        while let Some(link) = transport.next_link(self.now) {
            if link.0 >= PERFECT && self.networks.is_full(link.0, n) {
                transport.link_full(self.now, link);
                continue;
            }
            let Some(transmit) = transport.transmit(self.now, link, space, memory) else {
                continue;
            };
            let to = usize::from(transmit.to.as_bytes()[0]);
            for bytes in space[..transmit.len].chunks(transmit.segment) {
                *sent += 1;
                let packet = Packet {
                    link: link.0,
                    from: n,
                    to,
                    bytes: bytes.to_vec(),
                };
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
                let wishes = server.event(self.now, event, own, context, &mut self.random)?;
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
