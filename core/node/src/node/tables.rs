//! Directories of the path space, and the tables behind the command line.

use alloc::string::String;
use alloc::vec::Vec;

use abi::system::peer::{PeerRequest, PeerTable};
use abi::system::{
    Description, Entry, Listing, ProcessRow, Query, QueryKind, Reply, Rows, SessionRow, Table,
};
use abi::{Errno, Instant};

use super::Node;
use super::name_requests::cut_listing;
use super::requests::{Call, Refused};
use crate::interface::ProgramKey;
use crate::limits::TABLE_BYTES_MAX;
use crate::process_manager::names::{self, DIRECTORY_MODE};
use crate::process_manager::sessions::Session;

impl Node {
    /// Lists a directory of this node: the prefix tree's, or `/net` (P52).
    pub(super) fn list(&self, path: &[u8], after: &[u8]) -> Result<Listing, Errno> {
        match names::below_net(path)? {
            Some(rest) if rest.is_empty() => {
                let own = [(self.config.name, 0)];
                let mut nodes: Vec<_> = own.into_iter().chain(self.network.nodes()).collect();
                nodes.sort_unstable();
                let entries = nodes.into_iter().map(|(name, nd)| Entry {
                    name: name.as_bytes().to_vec(),
                    inode: u64::from(nd),
                    mode: DIRECTORY_MODE,
                });
                Ok(cut_listing(entries, after))
            }
            Some(_) => Err(Errno::ENOTDIR),
            None => {
                let entries = self.processes.names.list(path, after)?;
                Ok(cut_listing(entries.into_iter(), after))
            }
        }
    }

    /// Describes a directory or symlink of this node.
    pub(super) fn stat(&self, path: &[u8]) -> Result<Description, Errno> {
        let Some(rest) = names::below_net(path)? else {
            return self.processes.names.stat(path);
        };
        let inode = if rest.is_empty() {
            names::NET_INODE
        } else {
            self.network
                .nd_of(&rest, &self.config.name)
                .map_err(|(errno, _)| errno)?
                .0
                .into()
        };
        Ok(Description {
            mode: DIRECTORY_MODE,
            inode,
            links: 2,
            target: Vec::new(),
        })
    }

    pub(super) fn query(&mut self, now: Instant, call: Call, query: &Query) -> Result<(), Refused> {
        if !query.nd.is_local() {
            if query.what != QueryKind::Prefixes {
                return Err((
                    Errno::EINVAL,
                    String::from("only prefixes can be asked of another node"),
                ));
            }
            let part = PeerTable {
                from: query.from,
                user: self.user(call.program),
            };
            return self.forward(now, call, query.nd, &PeerRequest::Prefixes(part));
        }
        let from = query.from;
        let table = match query.what {
            QueryKind::Nodes => {
                self.network.refresh(now);
                let sessions = |peer| self.processes.sessions.with_node(peer).count() as u32;
                let mut rows = self.network.node_rows(&self.config, sessions);
                self.nodes_in_view(call.program, &mut rows);
                page(rows, from, Rows::Nodes, |_| 128)
            }
            QueryKind::Links => page(self.network.link_rows(now), from, Rows::Links, |_| 128),
            QueryKind::Sessions => page(
                self.session_rows(now, call.program),
                from,
                Rows::Sessions,
                |_| 128,
            ),
            QueryKind::Processes => page(self.process_rows(now), from, Rows::Processes, |row| {
                64 + row.name.len()
            }),
            QueryKind::Denials => {
                self.must_manage(call.program, "see what was refused to others")?;
                let rows = self.rights.denials.rows(now);
                page(rows, from, Rows::Denials, |row| 128 + row.path.len())
            }
            QueryKind::Prefixes => {
                let (mut rows, next) = self.processes.names.rows(from);
                self.prefixes_in_view(call.program, &mut rows);
                let rows = Rows::Prefixes(rows);
                Table { rows, next }
            }
        };
        self.reply(call.program, call.serial, &Reply::Table(table));
        Ok(())
    }

    /// All sessions for who manages the node, those of the same user for others: a session's number is all that a
    /// restarted node has to know its owner by.
    fn session_rows(&self, now: Instant, asker: ProgramKey) -> Vec<SessionRow> {
        let caller = |key| self.processes.programs.get(key).map(|known| &known.caller);
        let asker = caller(asker);
        let all = asker.is_some_and(|asker| self.processes.may_manage(asker));
        let visible = |session: &&Session| {
            all || caller(session.program).map(|owner| owner.uid) == asker.map(|asker| asker.uid)
        };
        let row = |session: &Session| SessionRow {
            local: session.local,
            peer: session.peer,
            role: session.role,
            pid: session.pid,
            nd: abi::Nd::new(session.node, 0),
            node: if session.node == 0 {
                self.config.name
            } else {
                self.network.name_of(session.node)
            },
            peer_pid: session.peer_pid,
            uid: session.uid,
            age: now.saturating_since(session.since),
            lanes: session.lanes.len() as u8,
        };
        self.processes
            .sessions
            .iter()
            .filter(visible)
            .map(row)
            .collect()
    }

    fn process_rows(&self, now: Instant) -> Vec<ProcessRow> {
        let row =
            |(pid, key, program): (_, _, &crate::process_manager::programs::Program)| ProcessRow {
                pid,
                name: program.name.clone(),
                uid: program.caller.uid,
                prefixes: program.prefixes.len() as u32,
                sessions: self.processes.sessions.of_program(key).count() as u32,
                age: now.saturating_since(program.since),
            };
        self.processes.programs.iter().map(row).collect()
    }
}

/// The rows that fit one packet, from a given one on.
pub(crate) fn page<T>(
    rows: Vec<T>,
    from: u32,
    wrap: impl Fn(Vec<T>) -> Rows,
    size: impl Fn(&T) -> usize,
) -> Table {
    let total = rows.len() as u64;
    let mut bytes = 0;
    let fits = |row: &T| {
        bytes += size(row);
        bytes <= TABLE_BYTES_MAX
    };
    let piece: Vec<T> = rows
        .into_iter()
        .skip(from as usize)
        .take_while(fits)
        .collect();
    let next = u64::from(from) + piece.len() as u64;
    let next = u32::try_from(next)
        .ok()
        .filter(|_| next < total && !piece.is_empty());
    Table {
        rows: wrap(piece),
        next,
    }
}
