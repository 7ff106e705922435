//! What a program sees that came in by a door with a smaller view: the part of the path space below its root (P42).
//!
//! The node is the one who enforces it, for each program's socket. The program's own paths are put below its root before
//! anybody looks at them. Of other nodes it may name what a redirect from below its root led it to, and it may open
//! sessions only with processes that were candidates for a path it sees.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::system::{NETWORK_PREFIX, Reply};
use abi::{Candidate, Errno, Nd, Pid, Result};
use paths::Pathname;
use paths::pathname::join;

use crate::limits::{VIEW_NODES_MAX, VIEW_SERVERS_MAX};

/// The own node as a program names it whose view has it below `/net` only: paths there start at the node's root, not at
/// the program's. No link policy has this index.
pub(crate) const OWN_NODE: Nd = Nd::new(0, u16::MAX);

/// The view of one program.
#[derive(Clone, Debug)]
pub(crate) struct View {
    root: Pathname,
    /// What it may name of a node that it does not reach by its own paths: below this.
    nodes: BTreeMap<u16, Pathname>,
    /// What redirects that are being asked for will add to that, by the serial of the question.
    asked: BTreeMap<u32, Pathname>,
    /// Servers it was told of.
    servers: BTreeSet<(u16, Pid)>,
}

impl View {
    pub(crate) fn new(root: Pathname) -> Self {
        Self {
            root,
            nodes: BTreeMap::new(),
            asked: BTreeMap::new(),
            servers: BTreeSet::new(),
        }
    }

    pub(crate) const fn root(&self) -> &Pathname {
        &self.root
    }

    /// What the program's `path` is called on its node; ends in a slash if that does.
    pub(crate) fn whole(&self, path: &[u8]) -> Result<Vec<u8>> {
        let path = Pathname::parse(path)?.below_root(&self.root)?;
        Ok(with_slash(path))
    }

    /// # Errors
    /// `ENOENT` if the path on that node is not in the view.
    pub(crate) fn check(&self, nd: Nd, path: &[u8]) -> Result {
        let path = Pathname::parse(path)?;
        let seen = self.nodes.get(&nd.node());
        if seen.is_some_and(|seen| path.is_within(seen)) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// Notes that the program asks the network manager of `nd` for what follows `/net/`.
    ///
    /// # Errors
    /// `ENOENT` if that is not in the view, `EAGAIN` if too many such questions wait.
    pub(crate) fn ask_network(&mut self, serial: u32, nd: Nd, path: &[u8]) -> Result {
        let path = Pathname::parse(&join(NETWORK_PREFIX.as_bytes(), path))?;
        let all = Pathname::root();
        let seen = match nd {
            Nd::LOCAL => &self.root,
            nd => self.nodes.get(&nd.node()).ok_or(Errno::ENOENT)?,
        };
        if !path.is_within(seen) {
            return Err(Errno::ENOENT);
        }
        if self.asked.len() >= crate::limits::WAITING_PER_PROGRAM {
            return Err(Errno::EAGAIN);
        }
        // `/net/lab2` is lab2's root: what of the view is below that is what is seen of lab2.
        let node_len = NETWORK_PREFIX.len() + 1 + path.components().nth(1).map_or(0, <[u8]>::len);
        let there = match seen.as_bytes().get(node_len..) {
            Some(rest) if !rest.is_empty() => Pathname::parse(rest)?,
            _ => all,
        };
        self.asked.insert(serial, there);
        Ok(())
    }

    /// Learns from what the program is answered, and words it for a program with a view.
    pub(crate) fn answered(&mut self, serial: u32, reply: Reply) -> Reply {
        let asked = self.asked.remove(&serial);
        match reply {
            Reply::Redirect(mut redirect) => {
                if let Some(there) = asked {
                    self.see(redirect.nd.node(), there);
                }
                if redirect.nd.node() == 0 {
                    redirect.nd = OWN_NODE;
                }
                Reply::Redirect(redirect)
            }
            Reply::Resolved(resolved) => {
                resolved.candidates.iter().for_each(|c| self.meet(c));
                Reply::Resolved(resolved)
            }
            reply => reply,
        }
    }

    fn see(&mut self, node: u16, there: Pathname) {
        match self.nodes.get(&node) {
            Some(seen) if there.is_within(seen) => {}
            // Two ways can lead to two parts of one node; the wider one is kept, or else the later.
            Some(_) => {
                self.nodes.insert(node, there);
            }
            None if self.nodes.len() < VIEW_NODES_MAX => {
                self.nodes.insert(node, there);
            }
            None => {}
        }
    }

    fn meet(&mut self, candidate: &Candidate) {
        if self.servers.len() < VIEW_SERVERS_MAX {
            self.servers.insert((candidate.nd.node(), candidate.pid));
        }
    }

    /// Whether a session with this process may be opened.
    pub(crate) fn has_met(&self, nd: Nd, pid: Pid) -> bool {
        self.servers.contains(&(nd.node(), pid))
    }

    /// Whether the program may learn that there is such a node.
    pub(crate) fn sees_node(&self, nd: Nd) -> bool {
        let network = Pathname::parse(NETWORK_PREFIX.as_bytes());
        nd.is_local()
            || self.nodes.contains_key(&nd.node())
            || network.is_ok_and(|network| network.is_within(&self.root))
    }

    /// A path of the node as the program sees it, or `None` if it does not.
    pub(crate) fn seen(&self, path: &[u8]) -> Option<Vec<u8>> {
        let path = Pathname::parse(path).ok()?;
        if !path.is_within(&self.root) {
            return None;
        }
        let above = if self.root.is_root() {
            0
        } else {
            self.root.as_bytes().len()
        };
        Some(join(b"/", path.as_bytes().get(above..)?))
    }
}

fn with_slash(path: Pathname) -> Vec<u8> {
    let directory = path.flags().contains(abi::PathFlags::DIR) && !path.is_root();
    let mut bytes = path.into_bytes();
    if directory {
        bytes.push(b'/');
    }
    bytes
}
