//! The nodes and the names that lead to them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resmgr::abi::connect::SymlinkReply;
use resmgr::{Attributes, Credentials, Errno, Result, posix};

use crate::content::{Budget, Content};

/// A file, directory, link or whatever else has attributes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) inode: u64,
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) content: Mutex<Content>,
    pub(crate) extended: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The text of a symbolic link.
    pub(crate) text: Vec<u8>,
}

/// The names of one directory, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    names: BTreeMap<Vec<u8>, (u64, Arc<Node>)>,
    order: BTreeMap<u64, Vec<u8>>,
    last: u64,
}

impl Directory {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.names.get(name).map(|(_, node)| node)
    }

    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        self.remove(name);
        self.last += 1;
        self.order.insert(self.last, name.to_vec());
        self.names.insert(name.to_vec(), (self.last, node));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let Some((place, _)) = self.names.remove(name) {
            self.order.remove(&place);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names and nodes behind `place`, each with its own place.
    pub(crate) fn after(&self, place: u64) -> impl Iterator<Item = (u64, &[u8], &Arc<Node>)> {
        let rest = self.order.range((Bound::Excluded(place), Bound::Unbounded));
        rest.filter_map(|(place, name)| Some((*place, name.as_slice(), self.get(name)?)))
    }
}

/// All directories, by the inode numbers of their nodes.
pub(crate) type Names = HashMap<u64, Directory>;

#[derive(Debug)]
pub(crate) struct Tree {
    names: Mutex<Names>,
    inodes: AtomicU64,
    pub(crate) budget: Arc<Budget>,
}

/// Where a path led.
pub(crate) enum Found {
    Node(Spot, Arc<Node>),
    /// Everything but the last name is there.
    Missing(Spot),
    /// A symbolic link is on the way, or at the end and to be followed.
    Link(SymlinkReply),
}

/// A directory and a name in it; for the root and for `..` no name.
pub(crate) struct Spot {
    pub(crate) parent: Arc<Node>,
    pub(crate) name: Vec<u8>,
}

impl Tree {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            names: Mutex::default(),
            inodes: AtomicU64::new(1),
            budget: Budget::new(bytes),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self, attributes: Arc<Attributes>, text: &[u8]) -> Arc<Node> {
        let inode = self.inodes.fetch_add(1, Ordering::Relaxed) + 1;
        attributes.lock().inode = inode;
        Arc::new(Node {
            inode,
            attributes,
            content: Mutex::new(Content::new(Arc::clone(&self.budget))),
            extended: Mutex::default(),
            text: text.to_vec(),
        })
    }

    /// Goes where `path` leads from `root`, with the rights of `caller`.
    pub(crate) fn walk(
        &self,
        names: &Names,
        root: &Arc<Node>,
        (path, follow): (&[u8], bool),
        caller: &Credentials,
    ) -> Result<Found> {
        let parts: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        let mut way = vec![Arc::clone(root)];
        for (index, &part) in parts.iter().enumerate() {
            let parent = Arc::clone(way.last().unwrap_or(root));
            posix::names::may_look_up(&parent.attributes.lock(), part, caller)?;
            if part == b".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let is_last = index + 1 == parts.len();
            let Some(node) = names.get(&parent.inode).and_then(|dir| dir.get(part)) else {
                return match is_last {
                    true => Ok(Found::Missing(Spot::new(parent, part))),
                    false => Err(Errno::ENOENT),
                };
            };
            if !node.text.is_empty() && (follow || !is_last) {
                return Ok(Found::Link(SymlinkReply {
                    target: node.text.clone(),
                    rest: parts[index + 1..].join(&b'/'),
                }));
            }
            if is_last {
                return Ok(Found::Node(Spot::new(parent, part), Arc::clone(node)));
            }
            way.push(Arc::clone(node));
        }
        let node = Arc::clone(way.last().unwrap_or(root));
        Ok(Found::Node(Spot::new(Arc::clone(&node), b""), node))
    }

    /// Whether `node` is `inside` or lies somewhere below it.
    pub(crate) fn is_within(&self, names: &Names, node: &Node, inside: &Node) -> bool {
        let mut below = vec![inside.inode];
        while let Some(inode) = below.pop() {
            if inode == node.inode {
                return true;
            }
            let directories = names.get(&inode).into_iter().flat_map(|dir| dir.after(0));
            let directories = directories.filter(|(_, _, node)| names.contains_key(&node.inode));
            below.extend(directories.map(|(_, _, node)| node.inode));
        }
        false
    }
}

impl Spot {
    fn new(parent: Arc<Node>, name: &[u8]) -> Self {
        let name = name.to_vec();
        Self { parent, name }
    }
}

impl Node {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
