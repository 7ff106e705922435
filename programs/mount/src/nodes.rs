//! What the kernel calls by number, we call by path.
//!
//! Every number stands for a file and knows the names of it that were seen, each in a directory, so renaming a directory
//! moves everything below it at once. A number is never used twice; it lives until the kernel has forgotten it.

use abi::flags::mode;
use abi::io::{Stat, TimeSpec};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attributes;

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

/// What makes a file the same file under another name. The time it was made tells it from one that had the number before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    node: u32,
    dev: u64,
    ino: u64,
    made: TimeSpec,
    kind: u32,
    /// Reads may wait for ever, as those of a terminal.
    device: bool,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            node: u32::from(stat.node.node()),
            dev: stat.dev,
            ino: stat.ino,
            made: stat.btime,
            kind: stat.mode & mode::S_IFMT,
            device: attributes::is_device(stat.mode),
        }
    }

    /// Whether a name that stood for this still stands for the same. Where the time of making is unknown, several managers
    /// may share the name, and any of them may have answered.
    fn matches(self, other: Self) -> bool {
        let unmade = TimeSpec::default();
        (self.kind, self.device) == (other.kind, other.device)
            && (self == other || self.made == unmade || other.made == unmade)
    }

    /// Whether two names of this identity are one file. Managers that make their numbers up know no time of making, and a
    /// directory has one name only.
    fn is_shared(&self) -> bool {
        self.ino != 0 && self.made != TimeSpec::default() && self.kind != mode::S_IFDIR
    }
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
        number
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a manager that makes its numbers up.
    fn plain(ino: u64) -> Identity {
        Identity {
            ino,
            ..Identity::default()
        }
    }

    /// Of a file on a disk.
    fn file(ino: u64) -> Identity {
        let made = TimeSpec {
            seconds: 5,
            nanos: 0,
        };
        Identity {
            made,
            kind: mode::S_IFREG,
            ..plain(ino)
        }
    }

    #[test]
    fn a_number_stands_for_a_path_below_the_root() {
        let nodes = Nodes::new(b"/net");
        let lab2 = nodes.enter(ROOT, b"lab2", plain(0));
        let dev = nodes.enter(lab2, b"dev", plain(0));
        let device = Identity {
            device: true,
            ..plain(1)
        };
        let port = nodes.enter(dev, b"ser1", device);
        assert_eq!(nodes.path(ROOT).unwrap(), b"/net");
        assert_eq!(nodes.path(port).unwrap(), b"/net/lab2/dev/ser1");
        assert_eq!(nodes.child(dev, b"ser2").unwrap(), b"/net/lab2/dev/ser2");
        assert!(nodes.is_device(port) && !nodes.is_device(dev));
        assert_eq!(nodes.enter(dev, b"ser1", device), port);
        assert_ne!(
            nodes.enter(dev, b"ser2", device),
            port,
            "its numbers say nothing"
        );
        assert_eq!(Nodes::new(b"/").child(ROOT, b"net").unwrap(), b"/net");
    }

    #[test]
    fn renaming_a_directory_moves_what_is_below_it() {
        let nodes = Nodes::new(b"/");
        let (old, other) = (
            nodes.enter(ROOT, b"old", plain(1)),
            nodes.enter(ROOT, b"other", plain(2)),
        );
        let below = nodes.enter(old, b"file", plain(3));
        let replaced = nodes.enter(other, b"new", plain(4));
        nodes.renamed((ROOT, b"old"), (other, b"new"));
        assert_eq!(nodes.path(below).unwrap(), b"/other/new/file");
        assert_eq!(nodes.path(replaced), None);
        nodes.removed(other, b"new");
        assert_eq!(nodes.path(below), None);
    }

    #[test]
    fn forgotten_numbers_leave_nothing_behind() {
        let nodes = Nodes::new(b"/");
        let directory = nodes.enter(ROOT, b"a", plain(1));
        let below = nodes.enter(directory, b"b", file(2));
        nodes.enter(directory, b"b", file(2));
        nodes.forget(directory, 1);
        assert_eq!(nodes.path(below).unwrap(), b"/a/b");
        nodes.forget(below, 1);
        assert_eq!(nodes.count(), 3);
        nodes.forget(below, 1);
        assert_eq!(nodes.count(), 1);
        let gone = nodes.enter(ROOT, b"c", file(2));
        nodes.removed(ROOT, b"c");
        assert_eq!(nodes.count(), 2);
        nodes.forget(gone, 1);
        assert_eq!(nodes.count(), 1);
        assert_ne!(nodes.enter(ROOT, b"c", file(2)), gone);
    }

    #[test]
    fn all_names_of_a_file_are_one_number() {
        let nodes = Nodes::new(b"/");
        let first = nodes.enter(ROOT, b"first", file(7));
        let second = nodes.enter(ROOT, b"second", file(7));
        assert_eq!(first, second);
        assert_eq!(
            nodes.paths(first),
            [b"/second".to_vec(), b"/first".to_vec()]
        );
        nodes.renamed((ROOT, b"first"), (ROOT, b"second"));
        assert_eq!(nodes.paths(first).len(), 2, "that does nothing");
        nodes.removed(ROOT, b"second");
        assert_eq!(nodes.path(first).unwrap(), b"/first");
        nodes.forget(first, 2);
        assert_eq!(nodes.count(), 1);
    }

    #[test]
    fn another_file_under_a_name_has_another_number() {
        let nodes = Nodes::new(b"/");
        let old = nodes.enter(ROOT, b"name", file(7));
        let new = nodes.enter(ROOT, b"name", file(8));
        assert_ne!(old, new);
        assert_eq!(nodes.path(old), None);
        assert!(nodes.is(new, file(8)) && !nodes.is(new, file(7)));
        assert_eq!(nodes.path(new).unwrap(), b"/name");
    }
}
