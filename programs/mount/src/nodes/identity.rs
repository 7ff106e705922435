//! When two names are one file.

use abi::Candidate;
use abi::flags::mode;
use abi::io::{Stat, TimeSpec};

use crate::attributes;
use crate::server::Server;

/// What makes a file the same file under another name. The time it was made tells it from one that had the number before;
/// its server, from the file of another manager that counts in the same way or offers the same directory with other rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(super) server: Server,
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) made: TimeSpec,
    pub(super) kind: u32,
    /// Reads may wait for ever, as those of a terminal.
    pub(super) device: bool,
}

impl Identity {
    /// `server` is who said it, or nobody where a process manager did.
    pub(crate) fn of(stat: &Stat, server: Option<&Candidate>) -> Self {
        Self {
            server: server.map_or_else(|| Server::of_node(stat.node), Server::of),
            dev: stat.dev,
            ino: stat.ino,
            made: stat.btime,
            kind: stat.mode & mode::S_IFMT,
            device: attributes::is_device(stat.mode),
        }
    }

    /// Whether a name that stood for this still stands for the same, also after its server was started anew. Where the time
    /// of making is unknown, several managers may share the name, and any of them may have answered.
    pub(super) fn matches(self, other: Self) -> bool {
        let unmade = TimeSpec::default();
        let server = self.server;
        (self.kind, self.device) == (other.kind, other.device)
            && (self == Self { server, ..other } || self.made == unmade || other.made == unmade)
    }

    /// Whether two names of this identity are one file. Managers that make their numbers up know no time of making, and a
    /// directory has one name only.
    pub(super) fn is_shared(&self) -> bool {
        self.ino != 0 && self.made != TimeSpec::default() && self.kind != mode::S_IFDIR
    }
}
