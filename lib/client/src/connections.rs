//! Connections that are kept: one per server, from which those of open files are duplicated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::system::Identity;
use abi::{ChannelId, Nd, Pid, Result};

use crate::carrier::{Carrier, Line};

/// Where a server receives.
pub(crate) type Address = (Nd, Pid, ChannelId);

/// The kept connections of one identity.
#[derive(Default)]
pub(crate) struct Connections {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    lines: HashMap<Address, Kept>,
    /// Counts uses, to tell which was not used for longest.
    clock: u64,
}

struct Kept {
    line: Arc<dyn Line>,
    used: u64,
}

impl Connections {
    /// The kept connection to a server, attached now if there is none. Blocks while a session is opened.
    pub(crate) fn get(
        &self,
        carrier: &dyn Carrier,
        address: Address,
        identity: Option<&Identity>,
    ) -> Result<Arc<dyn Line>> {
        if let Some(line) = self.lock().find(address) {
            return Ok(line);
        }
        // Not under the lock: a node that does not answer must not stop the others.
        let (nd, pid, channel) = address;
        let line = carrier.attach(nd, pid, channel, identity)?;
        Ok(self.lock().keep(address, line))
    }

    /// Forgets a connection that has failed, unless another has taken its place.
    pub(crate) fn forget(&self, address: Address, line: &Arc<dyn Line>) {
        let mut table = self.lock();
        if table
            .lines
            .get(&address)
            .is_some_and(|kept| Arc::ptr_eq(&kept.line, line))
        {
            table.lines.remove(&address);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn find(&mut self, address: Address) -> Option<Arc<dyn Line>> {
        self.clock += 1;
        let kept = self.lines.get_mut(&address)?;
        if kept.line.is_dead() {
            self.lines.remove(&address);
            return None;
        }
        kept.used = self.clock;
        Some(Arc::clone(&kept.line))
    }

    /// Two threads may have attached at once: the first one's connection stays.
    fn keep(&mut self, address: Address, line: Arc<dyn Line>) -> Arc<dyn Line> {
        if let Some(first) = self.find(address) {
            return first;
        }
        if self.lines.len() >= KEPT_MAX
            && let Some(oldest) = self
                .lines
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(address, _)| *address)
        {
            self.lines.remove(&oldest);
        }
        self.lines.insert(
            address,
            Kept {
                line: Arc::clone(&line),
                used: self.clock,
            },
        );
        line
    }
}

/// Kept connections. Each keeps a session open, of up to 300 KiB.
const KEPT_MAX: usize = 64;
