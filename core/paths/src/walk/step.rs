//! What a walk is told and what it asks.

use alloc::vec::Vec;

use abi::connect::{Redirect, SymlinkReply};
use abi::{Candidate, Errno, FileType, Nd, PathFlags, Result};

/// What the request is, as far as the search depends on it (P37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// An open, alone or combined with I/O.
    #[default]
    Open,
    /// Another request by pathname: a server without a callout for it may still redirect an open.
    Change,
    /// A hard link: as [`Self::Change`], and `ENXIO` is probed too.
    Link,
}

/// How to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// The type of file that is wanted.
    pub file_type: FileType,
    /// A symlink at the very end is meant itself (P63).
    pub no_follow: bool,
    /// What the request is.
    pub intent: Intent,
    /// Visit every server of the union, not only the first that succeeds (P38).
    pub every: bool,
    /// Only this server will do: (nd, pid, chid, handle) of the other path of a rename or link (P37).
    pub same_server: Option<Candidate>,
}

/// Whom to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the process manager of `nd` who owns `path`. Answers: [`Answer::Resolved`],
    /// [`Answer::Symlink`], [`Answer::Failed`].
    Resolve {
        /// The node, [`Nd::LOCAL`] for this one.
        nd: Nd,
        /// Absolute there; ends in a slash if it must be a directory.
        path: Vec<u8>,
        /// The type of file.
        file_type: FileType,
        /// A symlink at the end is meant itself.
        no_follow: bool,
    },
    /// Ask the network manager of `nd` for a node. Answers: [`Answer::Redirect`],
    /// [`Answer::Failed`].
    Network {
        /// The node whose network manager is asked.
        nd: Nd,
        /// What follows `/net/`.
        path: Vec<u8>,
    },
    /// Do the request on a directory (or symlink itself) of the process manager of `nd`. Answers:
    /// [`Answer::Done`], [`Answer::Failed`].
    Own {
        /// The node.
        nd: Nd,
        /// Absolute there.
        path: Vec<u8>,
        /// The whole path as the client sees it.
        view: Vec<u8>,
    },
    /// Send the connect message to a server. Answers: all but [`Answer::Resolved`] and
    /// [`Answer::Symlink`].
    Connect {
        /// The server.
        candidate: Candidate,
        /// Relative to the server's prefix.
        path: Vec<u8>,
        /// What the path looked like.
        path_flags: PathFlags,
        /// The type of file.
        file_type: FileType,
        /// The whole path as the client sees it.
        view: Vec<u8>,
    },
    /// The server has no such callout: send it an empty combined open-and-close to see whether it
    /// redirects (P37). Answers: as [`Self::Connect`].
    Probe {
        /// The server.
        candidate: Candidate,
        /// Relative to the server's prefix.
        path: Vec<u8>,
        /// What the path looked like.
        path_flags: PathFlags,
        /// The type of file.
        file_type: FileType,
    },
    /// The search is over.
    Done(Result),
}

/// What the one who was asked said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request is done.
    Done,
    /// These own the path. Their nds are the client's.
    Resolved {
        /// The normalised path there.
        path: Vec<u8>,
        /// What it looked like.
        path_flags: PathFlags,
        /// How many bytes of it are the client's root, which it does not see (P31).
        root: u16,
        /// In the order in which to try them.
        candidates: Vec<Candidate>,
    },
    /// A process-manager symlink: resolve this path.
    Symlink {
        /// The whole spliced path.
        path: Vec<u8>,
        /// It starts at the client's root, not at the root of the one who was asked.
        absolute: bool,
    },
    /// Ask these. The nds of a network manager's answer are the client's; a server's are the
    /// server's own, and only its own node is understood.
    Redirect(Redirect),
    /// A server met a symbolic link.
    Spliced(SymlinkReply),
    /// Ask for this type (P32, P35).
    FileType(FileType),
    /// Refused.
    Failed(Errno),
}
