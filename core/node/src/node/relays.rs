//! Programs without sockets of their own: their packets pass through the host, which is told what may pass.

use alloc::string::String;
use alloc::vec::Vec;

use abi::system::{Lane, Reply};
use abi::{Errno, LinkAddress, SessionId};

use super::Node;
use super::requests::{Call, Refused};
use crate::interface::{Attached, Descriptors, Output};

/// Link and address, the newest first.
pub(super) type Targets = Vec<(u8, LinkAddress)>;

/// Targets of one session: its lanes, every way to the other node, and where those were lately, for a program that has
/// not heard of a move yet. The oldest ones go.
const TARGETS_MAX: usize = 64;

impl Node {
    /// A program gives the memory of its ring.
    pub(super) fn relay(
        &mut self,
        call: Call,
        descriptors: Option<Descriptors>,
    ) -> Result<(), Refused> {
        let Some(memory) = descriptors.filter(|d| d.count == 1) else {
            self.discard(descriptors);
            let text = "a relay needs its memory: one memfd";
            return Err((Errno::EINVAL, String::from(text)));
        };
        let known = self.processes.programs.get_mut(call.program);
        if known.is_none_or(|known| core::mem::replace(&mut known.relayed, true)) {
            self.discard(descriptors);
            let text = "the program has a relay already";
            return Err((Errno::EALREADY, String::from(text)));
        }
        self.outputs.push_back(Output::RelayOpen {
            program: call.program,
            memory,
        });
        self.send(
            call.program,
            call.serial,
            &Reply::Done,
            Attached::Passed(memory),
        );
        let sessions = self.processes.sessions.of_program(call.program);
        let sessions: Vec<SessionId> = sessions.map(|session| session.local).collect();
        for session in sessions {
            self.route(session, &[]);
        }
        Ok(())
    }

    /// Tells the host where packets of a session may go, if its program has a relay. Only the node knows the targets: a
    /// program that chose them itself could send from the node's port to anybody.
    pub(super) fn route(&mut self, session: SessionId, lanes: &[Lane]) {
        let Some(known) = self.processes.sessions.get(session) else {
            return;
        };
        let program = self.processes.programs.get(known.program);
        if known.node == 0 || program.is_none_or(|program| !program.relayed) {
            return;
        }
        let program = known.program;
        let before = self.routed.get(&session).cloned().unwrap_or_default();
        let offered = lanes.iter().map(|lane| (lane.link, lane.peer));
        let ways = self.network.hosts_of(known.node);
        let mut targets = Targets::new();
        for target in offered.chain(ways).chain(before.iter().copied()) {
            if targets.len() < TARGETS_MAX && !targets.contains(&target) {
                targets.push(target);
            }
        }
        let others = targets.iter().any(|target| !before.contains(target));
        if others || targets.len() < before.len() {
            self.outputs.push_back(Output::RelayRoute {
                session,
                program,
                targets: targets.clone(),
            });
        }
        self.routed.insert(session, targets);
    }

    /// A node has other addresses, or this one has other links.
    pub(super) fn refresh_routes(&mut self, peer: Option<u16>) {
        let of = |node: u16| peer.is_none_or(|peer| node == peer);
        let sessions = self.processes.sessions.iter();
        let sessions: Vec<SessionId> = sessions.filter(|s| of(s.node)).map(|s| s.local).collect();
        for session in sessions {
            self.route(session, &[]);
        }
    }

    /// Sessions that are over need no way any more.
    pub(super) fn drop_routes(&mut self) {
        let sessions = &self.processes.sessions;
        let over: Vec<SessionId> = self
            .routed
            .keys()
            .filter(|id| sessions.get(**id).is_none())
            .copied()
            .collect();
        for session in over {
            self.routed.remove(&session);
            self.outputs.push_back(Output::RelayRoute {
                session,
                program: crate::interface::ProgramKey(0),
                targets: Vec::new(),
            });
        }
    }
}
