//! The prefix tree of a node, in the words of the daemon socket.

use alloc::vec::Vec;

use abi::system::{
    Attach, Description, Entry, NETWORK_MANAGER, NETWORK_PREFIX, PrefixRow, Resolved, Symlink,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, PathFlags, Pid, Result};
use paths::prefix_tree::{EntryKind, Object};
use paths::resolve::resolve_below;
use paths::{AttachId, Pathname, PrefixTree, Registrar, Resolution, Server};

use crate::limits::{LISTING_BYTES_MAX, TABLE_BYTES_MAX};

/// Mode of directories that exist only because something is attached below them (P2).
pub(crate) const DIRECTORY_MODE: u32 = 0o040_555;
/// Mode of symlinks of the process manager (P63).
const SYMLINK_MODE: u32 = 0o120_777;
/// Inode of `/net` itself; node descriptors are the inodes in it, and none is this.
pub(crate) const NET_INODE: u64 = 1 << 32;
/// Shortest directory entry, for a bound on their number in one packet.
const ENTRY_BYTES_MIN: usize = 16;

/// Who asks: entries of the asker itself are skipped (P16), and its paths start at its root (P42).
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) node: u16,
    pub(crate) pid: Pid,
    pub(crate) root: Pathname,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Found {
    Owners(Resolved),
    Elsewhere(Symlink),
}

/// The table of who owns what on this node.
#[derive(Debug)]
pub(crate) struct Names {
    tree: PrefixTree,
}

impl Names {
    /// A table in which the network manager owns `/net`.
    pub(crate) fn new() -> Self {
        let mut tree = PrefixTree::new();
        let network_manager = Server {
            nd: Nd::LOCAL,
            pid: Pid::PROCESS_MANAGER,
            chid: NETWORK_MANAGER,
            handle: Handle(0),
            file_type: FileType::ANY,
            flags: AttachFlags::DIR | AttachFlags::FTYPEALL,
        };
        let attached = tree.attach(
            NETWORK_PREFIX.as_bytes(),
            network_manager,
            Registrar::Privileged,
        );
        assert!(attached.is_ok(), "an empty tree takes /net");
        Self { tree }
    }

    /// The registration's number, and whether it outlives its owner (P19). The caller has checked who may attach
    /// what; a name that everybody may attach is attached by the rules for everybody.
    pub(crate) fn attach(
        &mut self,
        pid: Pid,
        attach: &Attach,
        by: Registrar,
    ) -> Result<(u32, bool)> {
        if below_net(&attach.path)?.is_some_and(|rest| !rest.is_empty()) {
            // P53: the network manager owns what is in /net.
            return Err(Errno::EPERM);
        }
        let &Attach {
            flags,
            file_type,
            channel: chid,
            handle,
            ..
        } = attach;
        let server = Server {
            nd: Nd::LOCAL,
            pid,
            chid,
            handle,
            file_type,
            flags,
        };
        let AttachId(id) = self.tree.attach(&attach.path, server, by)?;
        Ok((id, flags.contains(AttachFlags::STICKY)))
    }

    pub(crate) fn detach(&mut self, id: u32) {
        // A sticky registration may have been unlinked before.
        let _ = self.tree.detach(AttachId(id));
    }

    pub(crate) fn link(&mut self, path: &[u8], target: &[u8]) -> Result {
        if below_net(path)?.is_some() {
            return Err(Errno::EPERM);
        }
        self.tree.symlink(path, target, Registrar::Privileged)
    }

    /// The path of the last symlink at or above `path`, if there is one.
    pub(crate) fn link_on_the_way(&self, path: &Pathname) -> Option<Vec<u8>> {
        let mut at = path.clone();
        while !at.is_root() {
            if let Ok(EntryKind::Symlink(_)) = self.tree.describe(at.as_bytes()) {
                return Some(at.into_bytes());
            }
            at = at.parent();
        }
        None
    }

    pub(crate) fn unlink(&mut self, path: &[u8]) -> Result {
        self.tree.unlink(path, Registrar::Privileged)
    }

    pub(crate) fn resolve(
        &self,
        asker: &Asker,
        path: &[u8],
        file_type: FileType,
        no_follow: bool,
    ) -> Result<Found> {
        let root = &asker.root;
        let asker = paths::Asker {
            nd: Nd::new(asker.node, 0),
            pid: asker.pid,
            file_type,
            no_follow,
        };
        Ok(match resolve_below(&self.tree, root, path, &asker)? {
            Resolution::Candidates { path, candidates } => {
                let path_flags = path.flags();
                Found::Owners(Resolved {
                    path: path.into_bytes(),
                    path_flags,
                    root: root_len(root),
                    candidates,
                })
            }
            Resolution::Symlink { path, absolute } => {
                let directory = path.flags().contains(PathFlags::DIR) && !path.is_root();
                let mut path = path.into_bytes();
                if directory {
                    path.push(b'/');
                }
                Found::Elsewhere(Symlink { path, absolute })
            }
        })
    }

    /// What is in a directory of the tree, as much as one packet can hold.
    pub(crate) fn list(&self, path: &[u8], after: &[u8]) -> Result<Vec<Entry>> {
        let directory = Pathname::parse(path)?;
        let entries = self
            .tree
            .list(path, after, LISTING_BYTES_MAX / ENTRY_BYTES_MIN + 1)?;
        let entry = |entry: paths::prefix_tree::ListEntry| Entry {
            inode: inode(&[directory.as_bytes(), b"/", &entry.name]),
            mode: mode(&entry.kind),
            name: entry.name,
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    pub(crate) fn stat(&self, path: &[u8]) -> Result<Description> {
        let normal = Pathname::parse(path)?;
        let kind = self.tree.describe(path)?;
        let mode = mode(&kind);
        let inode = inode(&[normal.as_bytes()]);
        let target = if let EntryKind::Symlink(target) = kind {
            target
        } else {
            Vec::new()
        };
        let links = if mode == DIRECTORY_MODE { 2 } else { 1 };
        Ok(Description {
            mode,
            inode,
            links,
            target,
        })
    }

    /// The objects from one on, in the order in which they came, as many as fit a packet, and the one to go on from.
    /// Later ones may come and go between two packets: none of the others is missed or told twice.
    pub(crate) fn rows(&self, from: u32) -> (Vec<PrefixRow>, Option<u32>) {
        let row = |path: Vec<u8>, object: &Object| match object {
            Object::Server { server, .. } => PrefixRow {
                nd: server.nd,
                pid: server.pid,
                channel: server.chid,
                handle: server.handle,
                file_type: server.file_type,
                flags: server.flags,
                path,
                target: Vec::new(),
            },
            Object::Symlink { target, .. } => PrefixRow {
                nd: Nd::LOCAL,
                pid: Pid::PROCESS_MANAGER,
                channel: ChannelId::PROCESS_MANAGER,
                handle: Handle(0),
                file_type: FileType::SYMLINK,
                flags: AttachFlags::empty(),
                path,
                target: target.clone(),
            },
        };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (AttachId(id), path, object) in self.tree.objects(AttachId(from)) {
            let row = row(path, object);
            bytes += 80 + row.path.len() + row.target.len();
            if bytes > TABLE_BYTES_MAX && !rows.is_empty() {
                return (rows, Some(id));
            }
            rows.push(row);
        }
        (rows, None)
    }
}

fn root_len(root: &Pathname) -> u16 {
    // A normalised path has at most 4095 bytes.
    match root.is_root() {
        true => 0,
        false => u16::try_from(root.as_bytes().len()).unwrap_or(u16::MAX),
    }
}

/// What of `path` is below `/net`: empty for `/net` itself, `None` for a path elsewhere.
pub(crate) fn below_net(path: &[u8]) -> Result<Option<Vec<u8>>> {
    let path = Pathname::parse(path)?;
    let Some(rest) = path.as_bytes().strip_prefix(NETWORK_PREFIX.as_bytes()) else {
        return Ok(None);
    };
    Ok(match rest {
        [] => Some(Vec::new()),
        [b'/', rest @ ..] => Some(rest.to_vec()),
        _ => None,
    })
}

fn mode(kind: &EntryKind) -> u32 {
    match kind {
        EntryKind::Directory
        | EntryKind::Server {
            directory: true, ..
        } => DIRECTORY_MODE,
        EntryKind::Symlink(_) => SYMLINK_MODE,
        EntryKind::Server {
            directory: false, ..
        } => 0,
    }
}

/// FNV-1a over the path: stable, and different for different paths as good as always.
fn inode(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
