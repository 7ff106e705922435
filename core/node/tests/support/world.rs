//! Two nodes that watch two cables.

use std::time::Duration;

use abi::system::{Detect, LaneRow, LaneState};

use super::cables::Cables;
use super::talk::*;
use super::{Lab, Program, ms};

/// Two nodes with a session between programs, and two cables with 1 ms each way.
pub struct World {
    pub lab: Lab,
    pub cables: Cables,
    pub client: Program,
    pub server: Program,
}

pub fn world(detect: Detect) -> World {
    let mut lab = Lab::strangers(2);
    for at in 0..2 {
        let links = lab.links(at).to_vec();
        lab.configure(at, detect, false, links);
        *lab.trust(at) = vec![super::record(1 - at)];
    }
    let cables = Cables::default();
    lab.wire(cables.fate());
    lab.start_all();
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    introduce(&mut lab, client, server, welcome.pid);
    lab.run(ms(1000));
    World {
        lab,
        cables,
        client,
        server,
    }
}

impl World {
    pub fn row(&self, at: usize, link: u8) -> LaneRow {
        let rows = self.lab.rows(at);
        let mut own = rows.iter().filter(|row| row.link == link);
        let row = *own.next().unwrap();
        assert_eq!(own.next(), None, "one row for each link: {rows:?}");
        row
    }

    pub fn state(&self, at: usize, link: u8) -> LaneState {
        self.row(at, link).state
    }

    /// How long until a link's row has a state, stepping by half a millisecond.
    pub fn until(&mut self, at: usize, link: u8, state: LaneState, bound: Duration) -> Duration {
        let began = self.lab.now;
        while self.state(at, link) != state {
            let waited = self.lab.now.saturating_since(began);
            assert!(waited <= bound, "{:?} after {waited:?}", self.row(at, link));
            self.lab.run(Duration::from_micros(500));
        }
        self.lab.now.saturating_since(began)
    }

    pub fn downs(&self) -> u32 {
        let rows = (0..2).flat_map(|at| self.lab.rows(at));
        rows.filter(|row| row.state == LaneState::Down).count() as u32
    }
}
