//! What tools may know about sessions.

use abi::{Incarnation, Nd, Pid, SessionId};

use crate::session::{NOT_SERVED, Session, Side};
use crate::shared::Shared;

/// One session of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStats {
    /// Its number at this end.
    pub local: SessionId,
    /// Its number at the other end.
    pub remote: SessionId,
    /// Whether this end asks and the other end answers.
    pub is_client: bool,
    /// The peer's node.
    pub nd: Nd,
    /// The peer's process.
    pub pid: Pid,
    /// The peer's life.
    pub incarnation: Incarnation,
    /// Whether it runs over memory shared with a process of this node.
    pub is_memory: bool,
    /// Connections (client) or attachments (server) in it.
    pub connections: usize,
    /// Operations that have not ended.
    pub operations: usize,
}

impl Shared {
    pub(crate) fn session_stats(&self) -> Vec<SessionStats> {
        if !self.guard().is_owner() {
            return Vec::new();
        }
        let state = self.lock();
        state.sessions.iter().map(Session::stats).collect()
    }
}

impl Session {
    fn stats(&self) -> SessionStats {
        let (connections, operations) = match &self.side {
            Side::Client(client) => {
                let connections = client.attachments.values().map(|a| a.connections.len());
                (connections.sum(), self.operations)
            }
            Side::Server(server) => {
                let served = server.served.iter().filter(|served| **served != NOT_SERVED);
                (server.senders.len(), served.count())
            }
        };
        SessionStats {
            local: self.local,
            remote: self.remote(),
            is_client: matches!(self.side, Side::Client(_)),
            nd: self.nd,
            pid: self.pid,
            incarnation: self.incarnation,
            is_memory: self.is_memory(),
            connections,
            operations,
        }
    }
}
