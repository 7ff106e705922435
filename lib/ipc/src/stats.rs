//! What tools may know about sessions.

use abi::{Incarnation, Nd, Pid, SessionId};

use crate::session::{NOT_SERVED, Session, Side};
use crate::shared::{Shared, State};

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
    /// Its lanes; none if it runs over memory.
    pub lanes: Vec<LaneStats>,
}

/// One lane of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Its number, the same at both ends.
    pub id: u8,
    /// The link, as the node numbers it.
    pub link: u8,
    /// Whether it carries messages now.
    pub is_active: bool,
    /// Bytes of packets sent over it.
    pub bytes_sent: u64,
    /// Bytes of packets received over it.
    pub bytes_received: u64,
    /// Times it has stopped or begun to carry messages.
    pub switches: u64,
}

impl Shared {
    pub(crate) fn session_stats(&self) -> Vec<SessionStats> {
        if !self.guard().is_owner() {
            return Vec::new();
        }
        let state = self.lock();
        let stats = |session: &Session| SessionStats {
            lanes: state.lane_stats(session),
            ..session.stats()
        };
        state.sessions.iter().map(stats).collect()
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
            lanes: Vec::new(),
        }
    }
}

impl State {
    fn lane_stats(&self, session: &Session) -> Vec<LaneStats> {
        if session.is_memory() {
            return Vec::new();
        }
        let Some(summary) = self.transport.summary(session.key) else {
            return Vec::new();
        };
        let lanes = summary.lanes.iter().filter_map(|lane| {
            let known = session.lanes.iter().find(|known| known.id == lane.id)?;
            Some(LaneStats {
                id: lane.id,
                link: known.node_link,
                is_active: lane.state == transport::LaneState::Active,
                bytes_sent: lane.bytes_sent,
                bytes_received: lane.bytes_received,
                switches: lane.switches,
            })
        });
        lanes.collect()
    }
}
