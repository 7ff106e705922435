//! The shape of the tree: one node for each component of a path, found from its parent by name (P1).
//!
//! A node is a place in one array. Nodes without objects and children vanish, and their places are used again.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::Object;
use crate::pathname::Pathname;

/// Place of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

pub(super) const ROOT: Place = Place(0);

#[derive(Debug)]
pub(super) struct Branches {
    nodes: Vec<Node>,
    free: Vec<Place>,
}

#[derive(Debug)]
struct Node {
    parent: Place,
    /// Shared with the parent's table.
    name: Arc<[u8]>,
    children: BTreeMap<Arc<[u8]>, Place>,
    objects: Vec<Object>,
}

impl Node {
    fn new(parent: Place, name: Arc<[u8]>) -> Self {
        Self {
            parent,
            name,
            children: BTreeMap::new(),
            objects: Vec::new(),
        }
    }
}

impl Default for Branches {
    fn default() -> Self {
        Self {
            nodes: Vec::from([Node::new(ROOT, Arc::from(&b""[..]))]),
            free: Vec::new(),
        }
    }
}

impl Branches {
    /// The node of a path, if something is registered there or below it.
    pub(super) fn find(&self, path: &Pathname) -> Option<Place> {
        path.components()
            .try_fold(ROOT, |place, name| self.child(place, name))
    }

    /// How many nodes there are.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The node of a path, made if it is not there.
    pub(super) fn grow(&mut self, path: &Pathname) -> Place {
        let mut place = ROOT;
        for name in path.components() {
            place = match self.child(place, name) {
                Some(child) => child,
                None => self.sprout(place, name),
            };
        }
        place
    }

    fn child(&self, place: Place, name: &[u8]) -> Option<Place> {
        self.node(place).children.get(name).copied()
    }

    fn sprout(&mut self, parent: Place, name: &[u8]) -> Place {
        let name: Arc<[u8]> = Arc::from(name);
        let node = Node::new(parent, Arc::clone(&name));
        let place = match self.free.pop() {
            Some(place) => {
                *self.node_mut(place) = node;
                place
            }
            None => {
                self.nodes.push(node);
                // There are at most `NODES_MAX`.
                Place(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.node_mut(parent).children.insert(name, place);
        place
    }

    /// Removes the node and those above it that nothing needs any more.
    pub(super) fn prune(&mut self, mut place: Place) {
        while place != ROOT {
            let node = self.node_mut(place);
            if !node.objects.is_empty() || !node.children.is_empty() {
                return;
            }
            let (parent, name) = (node.parent, core::mem::take(&mut node.name));
            node.objects = Vec::new();
            self.node_mut(parent).children.remove(&name);
            self.free.push(place);
            place = parent;
        }
    }

    /// The nodes on the way from the root to a path, as far as there are any, with the lengths of their paths.
    pub(super) fn along(&self, path: &Pathname) -> Vec<(usize, Place)> {
        let mut way = Vec::with_capacity(8);
        way.push((0, ROOT));
        let (mut len, mut place) = (0, ROOT);
        for name in path.components() {
            let Some(child) = self.child(place, name) else {
                break;
            };
            (len, place) = (len + 1 + name.len(), child);
            way.push((len, place));
        }
        way
    }

    /// The path of a node.
    pub(super) fn path(&self, place: Place) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = place;
        while at != ROOT {
            let node = self.node(at);
            names.push(&node.name);
            at = node.parent;
        }
        if names.is_empty() {
            return Vec::from(*b"/");
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }

    pub(super) fn objects(&self, place: Place) -> &[Object] {
        &self.node(place).objects
    }

    pub(super) fn objects_mut(&mut self, place: Place) -> &mut Vec<Object> {
        &mut self.node_mut(place).objects
    }

    pub(super) fn has_children(&self, place: Place) -> bool {
        !self.node(place).children.is_empty()
    }

    /// The children whose names come after `after` in the order of bytes; all for an empty name.
    pub(super) fn children(
        &self,
        place: Place,
        after: &[u8],
    ) -> impl Iterator<Item = (&[u8], Place)> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let children = self.node(place).children.range::<[u8], _>(range);
        children.map(|(name, &child)| (&**name, child))
    }

    fn node(&self, Place(at): Place) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, Place(at): Place) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}
