//! What tools may know about sessions.

use abi::{Incarnation, Nd, Pid, SessionId};

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
