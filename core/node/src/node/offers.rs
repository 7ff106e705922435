//! Offers that servers have not answered yet.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::system::SessionRole;
use abi::{Incarnation, Instant, Nd, Pid, SessionId, Uid};
use transport::IncomingKey;

use crate::interface::{Descriptors, ProgramKey};
use crate::network_manager::lanes::LanePlan;
use crate::process_manager::sessions::Session;

/// All of them, by the serials under which they were made.
#[derive(Debug, Default)]
pub(super) struct Offers {
    pub(super) by_serial: BTreeMap<u32, Pending>,
    numbers: BTreeSet<SessionId>,
    last: u32,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) server: ProgramKey,
    pub(super) server_pid: Pid,
    pub(super) incarnation: Incarnation,
    pub(super) local: SessionId,
    pub(super) peer: SessionId,
    pub(super) uid: Uid,
    /// The client's user in the numbers of its own node.
    pub(super) user: Uid,
    /// Generation of the rights that the offer told.
    pub(super) rights: u64,
    pub(super) client: Client,
    pub(super) lanes: Vec<LanePlan>,
    /// The client's halves of the doorbells, between processes of this node.
    pub(super) doorbells: Option<Descriptors>,
    pub(super) deadline: Instant,
}

/// Who waits for the server's answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    Program {
        key: ProgramKey,
        serial: u32,
        pid: Pid,
        nd: Nd,
    },
    Peer {
        node: u16,
        incoming: IncomingKey,
        pid: Pid,
        nonce: [u8; 16],
    },
}

impl Offers {
    pub(super) fn add(&mut self, pending: Pending) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.numbers.insert(pending.local);
        if matches!(pending.client, Client::Program { .. }) {
            self.numbers.insert(pending.peer);
        }
        self.by_serial.insert(self.last, pending);
        self.last
    }

    pub(super) fn take(&mut self, serial: u32) -> Option<Pending> {
        let pending = self.by_serial.remove(&serial)?;
        self.numbers.remove(&pending.local);
        if matches!(pending.client, Client::Program { .. }) {
            self.numbers.remove(&pending.peer);
        }
        Some(pending)
    }

    pub(super) fn uses(&self, id: SessionId) -> bool {
        self.numbers.contains(&id)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_serial
            .values()
            .map(|pending| pending.deadline)
            .min()
    }

    pub(super) fn of_node(&self, node: u16) -> usize {
        let theirs = |pending: &&Pending| matches!(pending.client, Client::Peer { node: n, .. } if n == node);
        self.by_serial.values().filter(theirs).count()
    }

    pub(super) fn matching(&self, chosen: impl Fn(&Pending) -> bool) -> Vec<u32> {
        self.by_serial
            .iter()
            .filter(|(_, pending)| chosen(pending))
            .map(|(&serial, _)| serial)
            .collect()
    }
}

impl Pending {
    pub(super) fn server_end(&self, now: Instant, node: u16, client: Pid) -> Session {
        Session {
            local: self.local,
            peer: self.peer,
            role: SessionRole::Server,
            program: self.server,
            pid: self.server_pid,
            node,
            peer_pid: client,
            uid: self.uid,
            user: self.user,
            since: now,
            lanes: Vec::new(),
        }
    }
}
