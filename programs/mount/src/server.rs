//! Who a file belongs to.

use abi::Candidate;

/// What tells one server from another, and one export from another of the same process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    node: u32,
    pid: u32,
    channel: u32,
    handle: u32,
}

impl Server {
    pub(crate) fn of(candidate: &Candidate) -> Self {
        Self {
            // The way to a node is not part of the server.
            node: u32::from(candidate.nd.node()),
            pid: candidate.pid.0,
            channel: candidate.chid.0,
            handle: candidate.handle.0,
        }
    }

    /// The process manager of a node, as far as a descriptor of it tells.
    pub(crate) fn of_node(nd: abi::Nd) -> Self {
        Self {
            node: u32::from(nd.node()),
            ..Self::default()
        }
    }
}
