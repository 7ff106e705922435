//! The prefixes of a server: what a handle in a connect message stands for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use abi::Handle;

use crate::attributes::Attributes;
use crate::resource::Resource;

/// A prefix of a server.
#[derive(Clone)]
pub(crate) struct Attachment {
    /// The prefix, as rules see it; the root where there is none.
    pub(crate) path: Arc<[u8]>,
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) resource: Arc<dyn Resource>,
    /// What it is entered under.
    pub(crate) handle: Handle,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.attributes.fmt(f)
    }
}

/// All prefixes of a server.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    table: RwLock<HashMap<Handle, Attachment>>,
    last: AtomicU32,
}

impl Attachments {
    /// Enters a prefix under a handle that none had before. The first one is 1.
    pub(crate) fn add(
        &self,
        path: &[u8],
        attributes: Attributes,
        resource: impl Resource,
    ) -> Handle {
        let handle = Handle(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let attachment = Attachment {
            path: path.into(),
            attributes: Arc::new(attributes),
            resource: Arc::new(resource),
            handle,
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(handle, attachment);
        handle
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<Attachment> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&handle).cloned()
    }

    pub(crate) fn remove(&self, handle: Handle) -> Option<Attachment> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&handle)
    }

    pub(crate) fn resources(&self) -> Vec<Arc<dyn Resource>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let resources = table.values();
        resources.map(|one| Arc::clone(&one.resource)).collect()
    }
}
