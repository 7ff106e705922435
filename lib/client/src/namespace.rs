//! The pathname space as one process sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::system::{Identity, Link, List, Query, QueryKind, Reply, Request, Rows, Unlink};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, Result};
use ipc::{Endpoint, Interrupt, Registration, SendOptions};

use crate::carrier::Carrier;
use crate::connections::Connections;
use crate::resolver::Resolver;

/// The pathname space of all nodes as one process on one node sees it.
///
/// Clones share connections and what is known of names; they may be used by many threads. Every call blocks
/// until it is answered. Calls that were certainly not executed because a server or a name has changed meanwhile are repeated once,
/// others never.
#[derive(Clone)]
pub struct Namespace {
    endpoint: Option<Endpoint>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) identity: Option<Arc<Identity>>,
    waiting: Waiting,
    umask: u32,
}

/// How long calls by path wait.
#[derive(Clone, Default)]
struct Waiting {
    limit: Option<Duration>,
    interrupt: Option<Interrupt>,
}

impl Namespace {
    /// The process's own: that of the node in `$SLASHNET_DIR` or the default directory.
    ///
    /// # Errors
    /// As [`Endpoint::global`].
    pub fn global() -> Result<Self> {
        Endpoint::global().map(Self::of)
    }

    /// That of the node whose directory is `directory`, with an endpoint of its own.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub fn at(directory: &Path) -> Result<Self> {
        Endpoint::connect(directory).map(|endpoint| Self::of(&endpoint))
    }

    /// That of an endpoint.
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Self {
        let mut namespace = Self::over(Arc::new(endpoint.clone()));
        namespace.endpoint = Some(endpoint.clone());
        namespace
    }

    pub(crate) fn over(carrier: Arc<dyn Carrier>) -> Self {
        Self {
            endpoint: None,
            resolver: Arc::new(Resolver::new(carrier)),
            connections: Arc::default(),
            identity: None,
            waiting: Waiting::default(),
            umask: process_umask(),
        }
    }

    /// Whom servers see as the client, if not this process itself.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// Permissions that files made by [`open`](Self::open) do not get: those of the process when the namespace was
    /// made.
    #[must_use]
    pub const fn umask(&self) -> u32 {
        self.umask
    }

    /// The same names, but servers see `identity` as their client. Only for the superuser and the node's owner:
    /// others get `EPERM` with the first call.
    #[must_use]
    pub fn as_user(&self, identity: Identity) -> Self {
        Self {
            connections: Arc::default(),
            identity: Some(Arc::new(identity)),
            ..self.clone()
        }
    }

    /// Calls by path on the result end with `EINTR` once `interrupt` is triggered. Files opened by it are not
    /// affected.
    #[must_use]
    pub fn interrupted_by(&self, interrupt: &Interrupt) -> Self {
        let mut namespace = self.clone();
        namespace.waiting.interrupt = Some(interrupt.clone());
        namespace
    }

    /// Calls by path on the result end with `ETIMEDOUT` if a server takes longer. Files opened by it are not affected.
    #[must_use]
    pub fn with_time_limit(&self, limit: Duration) -> Self {
        let mut namespace = self.clone();
        namespace.waiting.limit = Some(limit);
        namespace
    }

    pub(crate) fn options(&self) -> SendOptions<'_> {
        SendOptions {
            deadline: self
                .waiting
                .limit
                .and_then(|limit| Instant::now().checked_add(limit)),
            interrupt: self.waiting.interrupt.as_ref(),
            priority: None,
        }
    }

    /// The endpoint behind it.
    ///
    /// # Errors
    /// `ENOTCONN` in a test without a node.
    pub fn endpoint(&self) -> Result<&Endpoint> {
        self.endpoint.as_ref().ok_or(Errno::ENOTCONN)
    }

    /// Claims a prefix for a channel (P1). Resource managers use `resmgr`, which calls this.
    ///
    /// # Errors
    /// As [`Endpoint::attach_prefix`].
    #[doc(alias = "pathmgr_link")]
    pub fn attach(
        &self,
        path: impl AsRef<[u8]>,
        flags: AttachFlags,
        file_type: FileType,
        channel: ChannelId,
        handle: Handle,
    ) -> Result<Registration> {
        self.endpoint()?
            .attach_prefix(path.as_ref(), flags, file_type, channel, handle)
    }

    /// Makes a symbolic link in the process manager, which needs no file system (P60, `ln -sP`).
    ///
    /// # Errors
    /// `EPERM` not allowed, `EBUSY` there is one at this path already (P61), `ENAMETOOLONG`.
    #[doc(alias = "pathmgr_symlink")]
    pub fn link_process_manager(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Result {
        let link = Link {
            path: path.as_ref().to_vec(),
            target: target.as_ref().to_vec(),
        };
        self.order(&Request::Link(link))
    }

    /// Removes a symbolic link or a sticky prefix of the process manager (P46).
    ///
    /// # Errors
    /// `ENOENT`, `EPERM`, and those of P46.
    #[doc(alias = "pathmgr_unlink")]
    pub fn unlink_process_manager(&self, path: impl AsRef<[u8]>) -> Result {
        self.order(&Request::Unlink(Unlink {
            path: path.as_ref().to_vec(),
        }))
    }

    /// A table of the node, all pieces of it. `nd` counts for [`QueryKind::Prefixes`] only.
    ///
    /// # Errors
    /// Those of the node; `EBADMSG` it answered with something else.
    pub fn table(&self, what: QueryKind, nd: Nd) -> Result<Vec<Rows>> {
        let mut pieces = Vec::new();
        let mut from = 0;
        while pieces.len() < TABLE_PIECES_MAX {
            let Reply::Table(table) = self.ask(&Request::Query(Query { what, nd, from }))? else {
                return Err(Errno::EBADMSG);
            };
            pieces.push(table.rows);
            match table.next {
                Some(next) if next > from => from = next,
                _ => break,
            }
        }
        Ok(pieces)
    }

    /// The prefix tree of a node.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn prefixes(&self, nd: Nd) -> Result<Vec<abi::system::PrefixRow>> {
        let pieces = self.table(QueryKind::Prefixes, nd)?;
        let rows = pieces.into_iter().map(|piece| match piece {
            Rows::Prefixes(rows) => Ok(rows),
            _ => Err(Errno::EBADMSG),
        });
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    }

    /// The nodes that this one knows, itself first.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn nodes(&self) -> Result<Vec<abi::system::NodeRow>> {
        let pieces = self.table(QueryKind::Nodes, Nd::LOCAL)?;
        let rows = pieces.into_iter().map(|piece| match piece {
            Rows::Nodes(rows) => Ok(rows),
            _ => Err(Errno::EBADMSG),
        });
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    }

    /// One request to the node; its refusal is an error here.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply> {
        match self.resolver.carrier().request(request)? {
            Reply::Error(refusal) => Err(refusal.errno),
            reply => Ok(reply),
        }
    }

    /// A directory of a prefix tree, all pieces of it.
    pub(crate) fn tree_entries(&self, nd: Nd, path: &[u8]) -> Result<Vec<abi::system::Entry>> {
        let mut entries: Vec<abi::system::Entry> = Vec::new();
        loop {
            let after = entries
                .last()
                .map(|entry| entry.name.clone())
                .unwrap_or_default();
            let list = List {
                nd,
                path: path.to_vec(),
                after,
            };
            let Reply::Listing(listing) = self.ask(&Request::List(list))? else {
                return Err(Errno::EBADMSG);
            };
            let more = listing.more && !listing.entries.is_empty();
            entries.extend(listing.entries);
            if !more || entries.len() >= TREE_ENTRIES_MAX {
                return Ok(entries);
            }
        }
    }

    fn order(&self, request: &Request) -> Result {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            _ => Err(Errno::EBADMSG),
        }
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The process's own umask; there is no call that only reads it.
fn process_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o022)
}

/// Pieces of a table that are put together; each is up to 64 KiB.
const TABLE_PIECES_MAX: usize = 256;
/// Entries of one directory of a prefix tree that are listed.
const TREE_ENTRIES_MAX: usize = 100_000;
