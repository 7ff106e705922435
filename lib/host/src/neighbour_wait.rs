//! How long the kernel waits before it asks again which hardware address a neighbour has.
//!
//! A cable that comes back loses the first question as a rule: the switch at its other end is not ready yet. Linux asks
//! again after a second, in which the link is of no use. The node has it ask sooner on the interfaces of its own links,
//! for as long as it runs, and as many times more often, so that it gives up no sooner than before.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::interfaces::Interfaces;
use crate::kernel_settings::{Changes, Kernel, Setting};
use crate::setting_records::Records;

/// Milliseconds between two questions: ten small packets in a second, to each neighbour that does not answer.
const WAIT: u32 = 100;
/// Most questions before the kernel gives up, whatever it was told before.
const QUESTIONS_MAX: u32 = 100;
const QUESTIONS: [&str; 2] = ["mcast_solicit", "ucast_solicit"];
const RETRANS: &str = "retrans_time_ms";
const TABLES: [&str; 2] = ["ipv4/neigh", "ipv6/neigh"];
const WHY: &str = "a link that returns is not to wait a second for its neighbour's address";

/// Has the kernel ask sooner.
#[derive(Debug)]
pub(crate) struct NeighbourWait<K: Kernel> {
    changes: Changes<K>,
    /// Where that was refused.
    refused: BTreeSet<Setting>,
}

impl<K: Kernel> NeighbourWait<K> {
    pub(crate) const fn new(kernel: K, records: Records) -> Self {
        Self {
            changes: Changes::new(kernel, records),
            refused: BTreeSet::new(),
        }
    }

    /// Looks at links at these addresses of these interfaces.
    pub(crate) fn look(&mut self, links: &[(u32, IpAddr)], interfaces: &Interfaces) {
        for (index, ip) in links {
            let Some(interface) = interfaces.by_index(*index) else {
                continue;
            };
            let table = TABLES[usize::from(ip.is_ipv6())];
            let place = Setting::new(table, &interface.name, RETRANS);
            if let Err(error) = self.shorten(&place)
                && !interface.loopback
                && !self.refused.contains(&place)
            {
                tracing::info!(
                    "{place} stays as it is ({error}): when that link returns, a second may pass before it is used; \
                     root may set it to {WAIT}"
                );
                self.refused.insert(place);
            }
        }
    }

    fn shorten(&mut self, place: &Setting) -> io::Result<()> {
        let wait = self.changes.get(place);
        let Some(before) = wait.filter(|wait| *wait > WAIT) else {
            if wait.is_some() {
                self.share(place);
            }
            return Ok(());
        };
        // First, so that the kernel's patience is at no time shorter than it was.
        for name in QUESTIONS {
            let place = Setting::new(&place.table, &place.interface, name);
            if let Some(asked) = self.changes.get(&place).filter(|asked| *asked > 0) {
                let now = asked.saturating_mul(before) / WAIT;
                let now = now.min(QUESTIONS_MAX).max(asked);
                self.changes.make(place, asked, now, WHY)?;
            }
        }
        self.changes.make(place.clone(), before, WAIT, WHY)
    }

    /// It is short enough, perhaps because another node has seen to it.
    fn share(&mut self, place: &Setting) {
        for name in QUESTIONS {
            let place = Setting::new(&place.table, &place.interface, name);
            self.changes.share(&place);
        }
        self.changes.share(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::{Change, Interface};
    use crate::kernel_settings::Paper;

    const ETH1: [(u32, IpAddr); 1] = [(1, IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)))];

    fn interfaces() -> Interfaces {
        let mut all = Interfaces::default();
        for (name, index) in [("eth1", 1), ("eth2", 2)] {
            all.apply(Change::Interface(Interface::working(index, name)));
        }
        all
    }

    /// What Linux says of both interfaces.
    fn linux() -> Paper {
        let paper = Paper::default();
        for table in TABLES {
            for interface in ["eth1", "eth2"] {
                for (name, value) in [(RETRANS, 1000), (QUESTIONS[0], 3), (QUESTIONS[1], 3)] {
                    let place = Setting::new(table, interface, name);
                    paper.values.borrow_mut().insert(place, value);
                }
            }
        }
        paper
    }

    fn of(paper: &Paper, table: &'static str, interface: &str) -> [u32; 3] {
        let names = [RETRANS, QUESTIONS[0], QUESTIONS[1]];
        names.map(|name| paper.get(&Setting::new(table, interface, name)).unwrap())
    }

    #[test]
    fn neighbours_of_a_link_are_asked_for_more_often_but_no_shorter_until_the_node_ends() {
        let paper = linux();
        let mut wait = NeighbourWait::new(paper.clone(), Records::default());
        wait.look(&ETH1, &interfaces());
        assert_eq!(of(&paper, TABLES[0], "eth1"), [100, 30, 30]);
        assert_eq!(of(&paper, TABLES[0], "eth2"), [1000, 3, 3]);
        assert_eq!(of(&paper, TABLES[1], "eth1"), [1000, 3, 3]);
        wait.look(&[(2, "fd00::1".parse().unwrap())], &interfaces());
        assert_eq!(of(&paper, TABLES[1], "eth2"), [100, 30, 30]);
        // Somebody else's word is left alone.
        let place = Setting::new(TABLES[0], "eth1", QUESTIONS[0]);
        paper.set(&place, 5).unwrap();
        drop(wait);
        assert_eq!(of(&paper, TABLES[0], "eth1"), [1000, 5, 3]);
        assert_eq!(of(&paper, TABLES[1], "eth2"), [1000, 3, 3]);
    }

    #[test]
    fn an_interface_that_was_made_anew_is_told_again() {
        let paper = linux();
        let mut wait = NeighbourWait::new(paper.clone(), Records::default());
        wait.look(&ETH1, &interfaces());
        *paper.values.borrow_mut() = linux().values.take();
        wait.look(&ETH1, &interfaces());
        assert_eq!(of(&paper, TABLES[0], "eth1"), [100, 30, 30]);
        drop(wait);
        assert_eq!(of(&paper, TABLES[0], "eth1"), [1000, 3, 3]);
    }

    #[test]
    fn what_is_short_already_or_may_not_be_changed_stays() {
        let quick = linux();
        let place = Setting::new(TABLES[0], "eth1", RETRANS);
        quick.set(&place, 20).unwrap();
        let forbidden = Paper {
            is_forbidden: true,
            ..linux()
        };
        for paper in [quick, forbidden] {
            let before = paper.values.borrow().clone();
            NeighbourWait::new(paper.clone(), Records::default()).look(&ETH1, &interfaces());
            assert_eq!(*paper.values.borrow(), before);
        }
    }
}
