//! What the kernel calls by number, we call by path.
//!
//! Every number stands for a name in a directory, so renaming a directory moves everything below it at once. A number
//! is never used twice; it lives until the kernel has forgotten it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    next: u64,
}

struct Node {
    /// Directory and name, or none once the name is gone.
    place: Option<(u64, Vec<u8>)>,
    /// References of the kernel.
    lookups: u64,
    /// Nodes whose place is in this one.
    children: u64,
    /// Reads may wait for ever, as those of a terminal.
    device: bool,
}

impl Nodes {
    /// `root` is the path that the mount point shows.
    pub(crate) fn new(root: &[u8]) -> Self {
        let top = Node {
            place: None,
            lookups: 1,
            children: 0,
            device: false,
        };
        let table = Table {
            nodes: HashMap::from([(ROOT, top)]),
            names: HashMap::new(),
            next: ROOT + 1,
        };
        Self {
            root: root.to_vec(),
            table: Mutex::new(table),
        }
    }

    /// The number of a name, counting one more reference of the kernel.
    pub(crate) fn enter(&self, parent: u64, name: &[u8], device: bool) -> u64 {
        let mut table = self.lock();
        let key = (parent, name.to_vec());
        let known = table.names.get(&key).copied();
        if let Some(node) = known.and_then(|number| table.nodes.get_mut(&number)) {
            node.lookups += 1;
            node.device = device;
            return known.unwrap_or_default();
        }
        let number = table.next;
        table.next += 1;
        let node = Node {
            place: Some(key.clone()),
            lookups: 1,
            children: 0,
            device,
        };
        table.nodes.insert(number, node);
        table.names.insert(key, number);
        if let Some(parent) = table.nodes.get_mut(&parent) {
            parent.children += 1;
        }
        number
    }

    /// The kernel has dropped so many references.
    pub(crate) fn forget(&self, number: u64, lookups: u64) {
        let mut table = self.lock();
        if number == ROOT {
            return;
        }
        if let Some(node) = table.nodes.get_mut(&number) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        table.collect(number);
    }

    /// The path of a node, or `None` if its name or a directory above it is gone.
    pub(crate) fn path(&self, number: u64) -> Option<Vec<u8>> {
        self.lock().path(&self.root, number)
    }

    /// The path of a name in a directory.
    pub(crate) fn child(&self, parent: u64, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.path(parent)?;
        push(&mut path, name);
        Some(path)
    }

    /// The number of a name that has one.
    pub(crate) fn find(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.lock().names.get(&(parent, name.to_vec())).copied()
    }

    pub(crate) fn is_device(&self, number: u64) -> bool {
        self.lock()
            .nodes
            .get(&number)
            .is_some_and(|node| node.device)
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
        table.detach(to.0, to.1);
        let Some(number) = table.names.remove(&(from.0, from.1.to_vec())) else {
            return;
        };
        let place = (to.0, to.1.to_vec());
        table.names.insert(place.clone(), number);
        if let Some(node) = table.nodes.get_mut(&number) {
            node.place = Some(place);
        }
        if let Some(parent) = table.nodes.get_mut(&to.0) {
            parent.children += 1;
        }
        table.lose_child(from.0);
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
    fn path(&self, root: &[u8], number: u64) -> Option<Vec<u8>> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = number;
        while at != ROOT {
            // A cycle cannot be: the kernel refuses to move a directory below itself. Bounded all the same.
            if names.len() > DEPTH_MAX {
                return None;
            }
            let (parent, name) = self.nodes.get(&at)?.place.as_ref()?;
            names.push(name);
            at = *parent;
        }
        let mut path = root.to_vec();
        for name in names.iter().rev() {
            push(&mut path, name);
        }
        Some(path)
    }

    fn detach(&mut self, parent: u64, name: &[u8]) {
        let Some(number) = self.names.remove(&(parent, name.to_vec())) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&number) {
            node.place = None;
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
        let mut at = number;
        while at != ROOT
            && self
                .nodes
                .get(&at)
                .is_some_and(|node| node.lookups == 0 && node.children == 0)
        {
            let Some((parent, name)) = self.nodes.remove(&at).and_then(|node| node.place) else {
                return;
            };
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.children = node.children.saturating_sub(1);
            }
            self.names.remove(&(parent, name));
            at = parent;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_a_path_below_the_root() {
        let nodes = Nodes::new(b"/net");
        let lab2 = nodes.enter(ROOT, b"lab2", false);
        let dev = nodes.enter(lab2, b"dev", false);
        let port = nodes.enter(dev, b"ser1", true);
        assert_eq!(nodes.path(ROOT).unwrap(), b"/net");
        assert_eq!(nodes.path(port).unwrap(), b"/net/lab2/dev/ser1");
        assert_eq!(nodes.child(dev, b"ser2").unwrap(), b"/net/lab2/dev/ser2");
        assert!(nodes.is_device(port) && !nodes.is_device(dev));
        assert_eq!(nodes.enter(dev, b"ser1", true), port);
        assert_eq!(Nodes::new(b"/").child(ROOT, b"net").unwrap(), b"/net");
    }

    #[test]
    fn renaming_a_directory_moves_what_is_below_it() {
        let nodes = Nodes::new(b"/");
        let (old, other) = (
            nodes.enter(ROOT, b"old", false),
            nodes.enter(ROOT, b"other", false),
        );
        let file = nodes.enter(old, b"file", false);
        let replaced = nodes.enter(other, b"new", false);
        nodes.renamed((ROOT, b"old"), (other, b"new"));
        assert_eq!(nodes.path(file).unwrap(), b"/other/new/file");
        assert_eq!(nodes.path(replaced), None);
        nodes.removed(other, b"new");
        assert_eq!(nodes.path(file), None);
    }

    #[test]
    fn forgotten_numbers_leave_nothing_behind() {
        let nodes = Nodes::new(b"/");
        let directory = nodes.enter(ROOT, b"a", false);
        let file = nodes.enter(directory, b"b", false);
        nodes.enter(directory, b"b", false);
        nodes.forget(directory, 1);
        assert_eq!(nodes.path(file).unwrap(), b"/a/b");
        nodes.forget(file, 1);
        assert_eq!(nodes.count(), 3);
        nodes.forget(file, 1);
        assert_eq!(nodes.count(), 1);
        let gone = nodes.enter(ROOT, b"c", false);
        nodes.removed(ROOT, b"c");
        assert_eq!(nodes.count(), 2);
        nodes.forget(gone, 1);
        assert_eq!(nodes.count(), 1);
        assert_ne!(nodes.enter(ROOT, b"c", false), gone);
    }
}
