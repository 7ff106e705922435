//! What the kernel calls by number, we call by path.
//!
//! Every number stands for a file and knows the names of it that were seen, each in a directory, so renaming a directory
//! moves everything below it at once. A number is never used twice; it lives until the kernel has forgotten it.

mod identity;
#[cfg(test)]
mod tests;
mod twins;

use abi::flags::mode;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::Server;

pub(crate) use identity::Identity;
use twins::Twins;

/// Number of the mounted directory itself.
pub(crate) const ROOT: u64 = 1;

/// The numbers in use.
pub(crate) struct Nodes {
    root: Vec<u8>,
    table: Mutex<Table>,
}

struct Table {
    nodes: HashMap<u64, Node>,
    names: HashMap<(u64, Vec<u8>), u64>,
    /// Files that may have several names.
    identities: HashMap<Identity, u64>,
    directories: Twins,
    next: u64,
}

/// A directory and a name in it.
type Place = (u64, Vec<u8>);

#[derive(Debug)]
struct Node {
    /// Its names, the one seen last at the end. None once they are gone.
    places: Vec<Place>,
    identity: Identity,
    /// References of the kernel.
    lookups: u64,
    /// Nodes whose place is in this one.
    children: u64,
}

impl Nodes {
    /// `root` is the path that the mount point shows.
    pub(crate) fn new(root: &[u8]) -> Self {
        let top = Node {
            places: Vec::new(),
            identity: Identity::default(),
            lookups: 1,
            children: 0,
        };
        let table = Table {
            nodes: HashMap::from([(ROOT, top)]),
            names: HashMap::new(),
            identities: HashMap::new(),
            directories: Twins::default(),
            next: ROOT + 1,
        };
        Self {
            root: root.to_vec(),
            table: Mutex::new(table),
        }
    }

    /// The number of what has this name, counting one more reference of the kernel.
    pub(crate) fn enter(&self, parent: u64, name: &[u8], identity: Identity) -> u64 {
        let mut table = self.lock();
        let place = (parent, name.to_vec());
        if let Some(known) = table.names.get(&place).copied() {
            match table.nodes.get_mut(&known) {
                Some(node) if node.identity.matches(identity) => {
                    node.lookups += 1;
                    table.serves(known, identity);
                    return known;
                }
                // Another file has taken the name.
                _ => table.detach(parent, name),
            }
        }
        let shared = table.identities.get(&identity).copied();
        let number = shared.unwrap_or_else(|| table.make(identity));
        table.attach(number, place);
        if let Some(node) = table.nodes.get_mut(&number) {
            node.lookups += 1;
        }
        number
    }

    /// The kernel has dropped so many references; whether these were all.
    pub(crate) fn forget(&self, number: u64, lookups: u64) -> bool {
        let mut table = self.lock();
        if number == ROOT {
            return false;
        }
        if let Some(node) = table.nodes.get_mut(&number) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups > 0 {
                return false;
            }
        }
        table.collect(number);
        true
    }

    /// A path of a node, or `None` if its names or a directory above are gone.
    pub(crate) fn path(&self, number: u64) -> Option<Vec<u8>> {
        self.paths(number).into_iter().next()
    }

    /// All paths of a node, the one seen last first.
    pub(crate) fn paths(&self, number: u64) -> Vec<Vec<u8>> {
        self.lock().paths(&self.root, number)
    }

    /// The path of a name in a directory.
    pub(crate) fn child(&self, parent: u64, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.path(parent)?;
        push(&mut path, name);
        Some(path)
    }

    /// The names that are known in a directory, and their numbers.
    pub(crate) fn names_in(&self, directory: u64) -> Vec<(Vec<u8>, u64)> {
        let table = self.lock();
        let known = table.names.iter();
        known
            .filter(|((parent, _), _)| *parent == directory)
            .map(|((_, name), number)| (name.clone(), *number))
            .collect()
    }

    /// Where a file with one name is.
    pub(crate) fn place(&self, number: u64) -> Option<(u64, Vec<u8>)> {
        let table = self.lock();
        match table.nodes.get(&number)?.places.as_slice() {
            [place] => Some(place.clone()),
            _ => None,
        }
    }

    /// Directories in which a change of this node is seen as well, because they are the same ones by another path: over
    /// another link, or through another node.
    pub(crate) fn twins(&self, node: u64) -> Vec<u64> {
        let table = self.lock();
        if table.directories.are_none() {
            return Vec::new();
        }
        let Some(known) = table.nodes.get(&node) else {
            return Vec::new();
        };
        let of = |directory: u64| {
            let identity = table.nodes.get(&directory).map(|node| node.identity);
            table.directories.of(identity.unwrap_or_default())
        };
        if known.identity.kind == mode::S_IFDIR {
            let twins = of(node).iter().copied();
            return twins.filter(|twin| *twin != node).collect();
        }
        let places = known.places.iter();
        places
            .flat_map(|(parent, _)| of(*parent))
            .copied()
            .collect()
    }

    /// The number of a name that has one.
    pub(crate) fn find(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.lock().names.get(&(parent, name.to_vec())).copied()
    }

    /// Whether a server says this of the file that the number stands for, and not of another one that has its name now.
    pub(crate) fn is(&self, number: u64, identity: Identity) -> bool {
        number == ROOT
            || self
                .lock()
                .nodes
                .get(&number)
                .is_some_and(|node| node.identity.matches(identity))
    }

    /// Whether the kernel had a reference before the last one.
    pub(crate) fn was_known(&self, number: u64) -> bool {
        self.lock()
            .nodes
            .get(&number)
            .is_some_and(|node| node.lookups > 1)
    }

    /// Who answered for the node last.
    pub(crate) fn server(&self, number: u64) -> Server {
        let table = self.lock();
        let node = table.nodes.get(&number);
        node.map_or_else(Server::default, |node| node.identity.server)
    }

    pub(crate) fn is_symlink(&self, number: u64) -> bool {
        self.lock()
            .nodes
            .get(&number)
            .is_some_and(|node| node.identity.kind == mode::S_IFLNK)
    }

    pub(crate) fn is_device(&self, number: u64) -> bool {
        self.lock()
            .nodes
            .get(&number)
            .is_some_and(|node| node.identity.device)
    }

    /// The name has been removed.
    pub(crate) fn removed(&self, parent: u64, name: &[u8]) {
        self.lock().detach(parent, name);
    }

    /// The name has been moved; what was at the new place is gone.
    pub(crate) fn renamed(&self, from: (u64, &[u8]), to: (u64, &[u8])) {
        if from == to {
            return;
        }
        let mut table = self.lock();
        let moved = table.names.get(&(from.0, from.1.to_vec())).copied();
        let replaced = table.names.get(&(to.0, to.1.to_vec())).copied();
        if moved.is_some() && moved == replaced {
            // Two names of one file: renaming one to the other does nothing.
            return;
        }
        table.detach(to.0, to.1);
        let Some(number) = moved else { return };
        table.attach(number, (to.0, to.1.to_vec()));
        table.detach(from.0, from.1);
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().nodes.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn paths(&self, root: &[u8], number: u64) -> Vec<Vec<u8>> {
        if number == ROOT {
            return vec![root.to_vec()];
        }
        let places = self.nodes.get(&number).map_or(&[][..], |node| &node.places);
        let paths = places.iter().rev().take(PATHS_MAX);
        paths.filter_map(|place| self.path(root, place)).collect()
    }

    fn path(&self, root: &[u8], place: &Place) -> Option<Vec<u8>> {
        let mut names: Vec<&[u8]> = vec![&place.1];
        let mut at = place.0;
        while at != ROOT {
            // A cycle cannot be: the kernel refuses to move a directory below itself. Bounded all the same.
            if names.len() > DEPTH_MAX {
                return None;
            }
            let (parent, name) = self.nodes.get(&at)?.places.last()?;
            names.push(name);
            at = *parent;
        }
        let mut path = root.to_vec();
        for name in names.iter().rev() {
            push(&mut path, name);
        }
        Some(path)
    }

    fn make(&mut self, identity: Identity) -> u64 {
        let number = self.next;
        self.next += 1;
        let node = Node {
            places: Vec::new(),
            identity,
            lookups: 0,
            children: 0,
        };
        self.nodes.insert(number, node);
        if identity.is_shared() {
            self.identities.insert(identity, number);
        }
        self.directories.insert(identity, number);
        number
    }

    /// A file that is known has answered by this server, perhaps another one than before.
    fn serves(&mut self, number: u64, identity: Identity) {
        let Some(node) = self.nodes.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(&mut node.identity, identity);
        if before == identity {
            return;
        }
        if self.identities.get(&before) == Some(&number) {
            self.identities.remove(&before);
        }
        self.directories.remove(before, number);
        self.directories.insert(identity, number);
        if identity.is_shared() {
            self.identities.entry(identity).or_insert(number);
        }
    }

    fn attach(&mut self, number: u64, place: Place) {
        if let Some(parent) = self.nodes.get_mut(&place.0) {
            parent.children += 1;
        }
        if let Some(node) = self.nodes.get_mut(&number) {
            node.places.push(place.clone());
        }
        self.names.insert(place, number);
    }

    fn detach(&mut self, parent: u64, name: &[u8]) {
        let place = (parent, name.to_vec());
        let Some(number) = self.names.remove(&place) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&number) {
            node.places.retain(|other| *other != place);
        }
        self.lose_child(parent);
        self.collect(number);
    }

    fn lose_child(&mut self, parent: u64) {
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children = node.children.saturating_sub(1);
        }
        self.collect(parent);
    }

    /// Removes a node nobody refers to, and then perhaps the directories above it.
    fn collect(&mut self, number: u64) {
        let mut unused = vec![number];
        while let Some(number) = unused.pop() {
            let referred = |node: &Node| node.lookups > 0 || node.children > 0;
            if number == ROOT || self.nodes.get(&number).is_none_or(referred) {
                continue;
            }
            let Some(node) = self.nodes.remove(&number) else {
                continue;
            };
            if self.identities.get(&node.identity) == Some(&number) {
                self.identities.remove(&node.identity);
            }
            self.directories.remove(node.identity, number);
            for place in node.places {
                self.names.remove(&place);
                if let Some(parent) = self.nodes.get_mut(&place.0) {
                    parent.children = parent.children.saturating_sub(1);
                }
                unused.push(place.0);
            }
        }
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// More components than a path of the longest kind can have.
const DEPTH_MAX: usize = 4096;
/// Names of one file that are tried: the first may lie in a directory that the caller may not search.
const PATHS_MAX: usize = 8;
