//! How an end sends: at once, or with what comes soon.

use abi::time::Duration;

use super::{End, Happening, Track};

impl Track {
    /// Sends what an end has to send, at once or with what comes soon, and lets its program answer its events.
    pub(super) fn settle(&mut self, n: usize) {
        if self.is_stalled(n) {
            return;
        }
        loop {
            if self.kept_back > Duration::ZERO {
                self.send_later(n);
            } else {
                self.send(n);
            }
            let Some(event) = self.ends[n].transport.event() else {
                break;
            };
            self.event(n, event);
        }
    }

    fn send_later(&mut self, n: usize) {
        if !self.ends[n].held && self.ends[n].transport.next_link(self.now).is_some() {
            self.ends[n].held = true;
            let wait = self.random.below(self.kept_back.as_nanos() as u64);
            self.at(self.now + Duration::from_nanos(wait), Happening::Send(n));
        }
    }

    /// What was kept back leaves.
    pub(super) fn send_kept(&mut self, n: usize) {
        self.ends[n].held = false;
        if !self.is_stalled(n) {
            self.send(n);
            self.settle(n);
        }
    }

    fn send(&mut self, n: usize) {
        let End {
            transport, memory, ..
        } = &mut self.ends[n];
        while let Some(link) = transport.next_link(self.now) {
            let Some(sent) = transport.transmit(self.now, link, &mut self.space, memory) else {
                continue;
            };
            let way = link.0 as usize;
            let end = 1 - n;
            for bytes in self.space[..sent.len].chunks(sent.segment) {
                let wire = &mut self.wires[way][end];
                let Some(at) = wire.pass(self.now, bytes.len(), &mut self.random) else {
                    continue;
                };
                self.longest[way] = self.longest[way].max(at - self.now);
                let bytes = bytes.to_vec();
                self.serial += 1;
                let arrive = Happening::Arrive { way, end, bytes };
                self.agenda.insert((at, self.serial), arrive);
            }
        }
    }
}
