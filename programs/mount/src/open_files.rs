//! The open files of the mount, found by the kernel's handle or by the file they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::OpenFile;
use crate::handles::Handles;

pub(crate) struct OpenFiles {
    handles: Handles<OpenFile>,
    /// Handles of each node. A file that has lost its names is reached through these alone.
    of_nodes: Mutex<HashMap<u64, Vec<u64>>>,
}

impl OpenFiles {
    pub(crate) fn new() -> Self {
        Self {
            handles: Handles::new(),
            of_nodes: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn insert(&self, node: u64, file: OpenFile) -> u64 {
        let handle = self.handles.insert(file);
        self.lock().entry(node).or_default().push(handle);
        handle
    }

    pub(crate) fn get(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.handles.get(handle)
    }

    pub(crate) fn remove(&self, node: u64, handle: u64) -> Option<Arc<OpenFile>> {
        let mut of_nodes = self.lock();
        if let Some(handles) = of_nodes.get_mut(&node) {
            handles.retain(|other| *other != handle);
            if handles.is_empty() {
                of_nodes.remove(&node);
            }
        }
        drop(of_nodes);
        self.handles.remove(handle)
    }

    /// An open file of this node that `fits`.
    pub(crate) fn of(&self, node: u64, fits: impl Fn(&OpenFile) -> bool) -> Option<Arc<OpenFile>> {
        let handles = self.lock().get(&node).cloned()?;
        let mut files = handles.into_iter().filter_map(|handle| self.get(handle));
        files.find(|file| fits(file))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<u64>>> {
        self.of_nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
