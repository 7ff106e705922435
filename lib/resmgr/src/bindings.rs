//! Which connection leads to which open file (`R12`).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use abi::credentials::Credentials;
use abi::{ConnectionId, Errno, Handle, Nd, Pid, Result, SenderId};

use crate::open_file::Opened;
use crate::wait_queue::Place;

/// All open connections of a server, by client.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<SenderId, HashMap<ConnectionId, Binding>>,
    /// Connections of all clients.
    len: usize,
}

/// One connection; counted in its open file while it lives.
#[derive(Debug)]
struct Binding {
    opened: Arc<Opened>,
    client: SenderId,
    node: Nd,
    pid: Pid,
}

impl Binding {
    fn new(opened: Arc<Opened>, client: SenderId, caller: &Credentials) -> Self {
        opened.file.connect();
        Self {
            opened,
            client,
            node: caller.node,
            pid: caller.pid,
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        let file = &self.opened.file;
        file.disconnect();
        file.locks().leave(file.identity(), self.client);
    }
}

impl Bindings {
    /// Open connections of one server; far above what one machine's clients need, and far below
    /// what its memory holds.
    pub(crate) const MAX: usize = 262_144;
    /// Open connections of one client, so that none takes all of them from the others.
    pub(crate) const CLIENT_MAX: usize = 65_536;

    /// Makes `place` lead to `opened`. What it led to before is closed: the client would not
    /// reuse the connection if it still needed that.
    ///
    /// # Errors
    /// ENFILE when [`Self::MAX`] connections are bound, EMFILE when the client has
    /// [`Self::CLIENT_MAX`] of them.
    pub(crate) fn bind(&self, place: Place, caller: &Credentials, opened: Arc<Opened>) -> Result {
        let mut table = self.write();
        let full = table.len >= Self::MAX;
        let client = table.clients.entry(place.sender).or_default();
        if !client.contains_key(&place.connection) {
            if client.len() >= Self::CLIENT_MAX {
                return Err(Errno::EMFILE);
            }
            if full {
                return Err(Errno::ENFILE);
            }
        }
        let before = client.insert(place.connection, Binding::new(opened, place.sender, caller));
        table.len += usize::from(before.is_none());
        drop(table);
        // Only now: a close may take its time, and may come back here.
        drop(before);
        Ok(())
    }

    /// The open file behind `place`, if it is still the same client's (`R12`).
    pub(crate) fn find(&self, place: Place, caller: &Credentials) -> Result<Arc<Opened>> {
        let table = self.read();
        let client = table.clients.get(&place.sender).ok_or(Errno::EBADF)?;
        let binding = client.get(&place.connection).ok_or(Errno::EBADF)?;
        if binding.node != caller.node || binding.pid != caller.pid {
            return Err(Errno::EBADF);
        }
        Ok(Arc::clone(&binding.opened))
    }

    /// Ends one connection.
    pub(crate) fn unbind(&self, place: Place) -> Option<Arc<Opened>> {
        let mut table = self.write();
        let client = table.clients.get_mut(&place.sender)?;
        let binding = client.remove(&place.connection)?;
        if client.is_empty() {
            table.clients.remove(&place.sender);
        }
        table.len -= 1;
        drop(table);
        Some(Arc::clone(&binding.opened))
    }

    /// Ends all connections of one client (`R14`).
    pub(crate) fn unbind_client(&self, sender: SenderId) {
        let mut table = self.write();
        let Some(client) = table.clients.remove(&sender) else {
            return;
        };
        table.len -= client.len();
        drop(table);
        drop(client);
    }

    /// The connections to what was opened by a prefix.
    pub(crate) fn places_of(&self, prefix: Handle) -> Vec<Place> {
        let table = self.read();
        let clients = table.clients.iter();
        let places = clients.flat_map(|(&sender, client)| {
            let opened = client.iter();
            let by_prefix = opened.filter(move |(_, binding)| binding.opened.handle == prefix);
            by_prefix.map(move |(&connection, _)| Place { sender, connection })
        });
        places.collect()
    }

    /// Ends all connections.
    pub(crate) fn unbind_all(&self) {
        let all = std::mem::take(&mut *self.write());
        drop(all);
    }

    /// How many connections are bound.
    pub(crate) fn len(&self) -> usize {
        self.read().len
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
