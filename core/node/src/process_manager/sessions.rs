//! Which sessions programs of this node have, so that the other end can be told when one ends.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::system::peer::SessionPair;
use abi::system::{Lane, SessionRole};
use abi::{Instant, Pid, SessionId, Uid};

use crate::interface::ProgramKey;

/// Number of a node within its node descriptor; 0 is this node.
pub(crate) type PeerNumber = u16;

/// One end of a session, the one that a program of this node has.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) local: SessionId,
    pub(crate) peer: SessionId,
    pub(crate) role: SessionRole,
    pub(crate) program: ProgramKey,
    pub(crate) pid: Pid,
    /// Where the other end is.
    pub(crate) node: PeerNumber,
    pub(crate) peer_pid: Pid,
    pub(crate) uid: Uid,
    /// Of a server's end: the client's user in the numbers of the client's node.
    pub(crate) user: Uid,
    pub(crate) since: Instant,
    /// Its lanes as far as this node has planned them, and its program has taken them.
    pub(crate) lanes: Vec<Lane>,
}

/// All of them, by number, by program and by node.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_program: BTreeSet<(ProgramKey, SessionId)>,
    by_node: BTreeSet<(PeerNumber, SessionId)>,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Session) {
        self.by_program.insert((session.program, session.local));
        self.by_node.insert((session.node, session.local));
        self.by_id.insert(session.local, session);
    }

    pub(crate) fn remove(&mut self, local: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&local)?;
        self.by_program.remove(&(session.program, local));
        self.by_node.remove(&(session.node, local));
        Some(session)
    }

    pub(crate) fn get(&self, local: SessionId) -> Option<&Session> {
        self.by_id.get(&local)
    }

    /// A session gets more lanes.
    pub(crate) fn extend(&mut self, local: SessionId, lanes: &[Lane]) {
        if let Some(session) = self.by_id.get_mut(&local) {
            session.lanes.extend_from_slice(lanes);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    pub(crate) fn of_program(&self, program: ProgramKey) -> impl Iterator<Item = &Session> {
        self.by_program
            .range((program, SessionId(0))..=(program, SessionId(u32::MAX)))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(crate) fn with_node(&self, node: PeerNumber) -> impl Iterator<Item = &Session> {
        self.by_node
            .range((node, SessionId(0))..=(node, SessionId(u32::MAX)))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// The session that a message from `node` speaks of, if there is one between these two numbers.
    pub(crate) fn named(&self, node: PeerNumber, pair: SessionPair) -> Option<&Session> {
        self.get(pair.yours)
            .filter(|session| session.node == node && session.peer == pair.mine)
    }

    /// Sessions between programs of this node of which only one end has come back.
    pub(crate) fn half_local(&self) -> Vec<SessionId> {
        self.with_node(0)
            .filter(|session| {
                self.get(session.peer)
                    .is_none_or(|other| other.peer != session.local)
            })
            .map(|session| session.local)
            .collect()
    }
}

impl Session {
    pub(crate) const fn pair(&self) -> SessionPair {
        SessionPair {
            mine: self.local,
            yours: self.peer,
        }
    }
}
