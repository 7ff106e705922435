//! Links of this node, and what programs are told and say about lanes over them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use abi::Instant;
use abi::system::{NodeLink, Notice, Traffic};

use super::Node;
use crate::interface::{Attached, LinkConfig, Output, ProgramKey};
use crate::limits::{LINKS_MAX, SUSPICIONS_BURST, SUSPICIONS_PER_SECOND};

impl Node {
    /// The links as programs see them.
    pub(super) fn links(&self) -> Vec<NodeLink> {
        let links = self.config.links.iter().zip(0..);
        let seen = links.map(|(link, index)| NodeLink {
            index,
            name: link.name.clone().into_bytes(),
            kind: link.kind,
            address: link.address,
            mtu: link.mtu,
            device: link.device.clone().into_bytes(),
            relayed: self.config.one_port,
            epoch: link.epoch,
            up: link.up,
        });
        seen.collect()
    }

    /// The host says what has become of the links.
    pub(super) fn links_changed(&mut self, now: Instant, mut links: Vec<LinkConfig>) {
        links.truncate(LINKS_MAX);
        if links == self.config.links || links.len() < self.config.links.len() {
            return;
        }
        self.config.links = links;
        self.network.set_links(now, &self.config.links);
        let links = self.links();
        let programs: Vec<ProgramKey> = self.processes.programs.registered().collect();
        for program in programs {
            let notice = Notice::Links(abi::system::Links {
                links: links.clone(),
            });
            self.send(
                program,
                abi::system::UNSOLICITED,
                &notice,
                Attached::Nothing,
            );
        }
        self.refresh_routes(None);
    }

    /// Lanes to a node have changed: whoever talks to it looks at the page.
    pub(super) fn lanes_changed(&mut self, peer: u16) {
        self.outputs.push_back(Output::LinksChanged);
        let sessions = self.processes.sessions.with_node(peer);
        let programs: BTreeSet<ProgramKey> = sessions.map(|session| session.program).collect();
        for program in programs {
            self.send(
                program,
                abi::system::UNSOLICITED,
                &Notice::Lanes,
                Attached::Nothing,
            );
        }
    }

    /// A program says what it has moved over lanes to nodes that it has sessions with.
    pub(super) fn traffic(&mut self, now: Instant, program: ProgramKey, traffic: &Traffic) {
        let sessions = self.processes.sessions.of_program(program);
        let known: BTreeSet<u16> = sessions.map(|session| session.node).collect();
        let may_tell = |node: u16| known.contains(&node) || self.talked.contains(&(program, node));
        let rows = traffic.rows.iter().take(abi::system::LANE_ROWS);
        let rows = rows.filter(|row| may_tell(row.node.node()));
        for mut row in rows.copied().collect::<Vec<_>>() {
            row.suspect = row.suspect && self.may_suspect(now, program);
            self.network.monitor.reported(now, &row);
        }
    }
    /// Suspicion makes the node probe at once: no program may have it do that all the time.
    pub(super) fn may_suspect(&mut self, now: Instant, program: ProgramKey) -> bool {
        let known = self.processes.programs.get_mut(program);
        known.is_some_and(|known| {
            let suspicions = &mut known.suspicions;
            suspicions.take(now, SUSPICIONS_BURST, SUSPICIONS_PER_SECOND)
        })
    }
}
