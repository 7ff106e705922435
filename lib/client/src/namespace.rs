//! The pathname space as one process sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::system::{
    Identity, Link, List, PrefixRow, Query, QueryKind, Reply, Request, Rows, Unlink,
};
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
    /// Those of the node; `EBADMSG` it answered with something else, `EFBIG` more than fits a packet 10 000 times.
    pub fn table(&self, what: QueryKind, nd: Nd) -> Result<Vec<Rows>> {
        let mut pieces = Vec::new();
        let mut from = 0;
        loop {
            if pieces.len() >= TABLE_PIECES_MAX {
                return Err(Errno::EFBIG);
            }
            let Reply::Table(table) = self.ask(&Request::Query(Query { what, nd, from }))? else {
                return Err(Errno::EBADMSG);
            };
            pieces.push(table.rows);
            match table.next {
                Some(next) if next > from => from = next,
                Some(_) => return Err(Errno::EBADMSG),
                None => return Ok(pieces),
            }
        }
    }

    /// The prefix tree of a node, in the order of paths and, at one path, of the search.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn prefixes(&self, nd: Nd) -> Result<Vec<PrefixRow>> {
        let pieces = self.table(QueryKind::Prefixes, nd)?;
        let rows = pieces.into_iter().map(|piece| match piece {
            Rows::Prefixes(rows) => Ok(rows),
            _ => Err(Errno::EBADMSG),
        });
        let mut rows = rows.collect::<Result<Vec<_>>>()?.concat();
        order_of_search(&mut rows);
        Ok(rows)
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
            // Another node's daemon wrote them.
            let are_names = |entry: &abi::system::Entry| abi::io::is_entry_name(&entry.name);
            if !listing.entries.iter().all(are_names) {
                return Err(Errno::EBADMSG);
            }
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

/// From the order of registration to that of paths and, at one path, of the search (P10 to P13): symlinks, the first
/// `BEFORE` first, the last unflagged first, the last `AFTER` first.
fn order_of_search(rows: &mut Vec<PrefixRow>) {
    let group = |row: &PrefixRow| match row {
        row if row.file_type == FileType::SYMLINK => 0,
        row if row.flags.contains(AttachFlags::BEFORE) => 1,
        row if row.flags.contains(AttachFlags::AFTER) => 3,
        _ => 2,
    };
    let mut numbered: Vec<(i64, PrefixRow)> = (0..).zip(rows.drain(..)).collect();
    numbered.sort_by_cached_key(|(number, row)| {
        let group = group(row);
        let place = if group == 1 { *number } else { -number };
        // A slash comes before every other byte, so that what is below a path follows it.
        let path: Vec<u8> = row
            .path
            .split(|&byte| byte == b'/')
            .collect::<Vec<_>>()
            .join(&0);
        (path, group, place)
    });
    rows.extend(numbered.into_iter().map(|(_, row)| row));
}

/// Pieces of a table that are put together; each is up to 64 KiB. The largest table is of a million prefixes.
const TABLE_PIECES_MAX: usize = 10_000;
/// Entries of one directory of a prefix tree that are listed: as many as there can be.
const TREE_ENTRIES_MAX: usize = 1 << 20;
