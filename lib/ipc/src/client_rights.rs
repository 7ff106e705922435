//! What clients may do, as the node says: kept with their sessions, looked at by whoever serves them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::system::{Denied, NewRights, Request, UNSOLICITED};
use abi::{Decode, Errno, Result, Uid};
use rights::{ClientRights, Operation};
use transport::SessionKey;

use crate::MessageId;
use crate::session::{Session, Side};
use crate::shared::{Shared, State};

/// Changes whenever the rights of any client of this endpoint have changed.
#[derive(Default)]
pub(crate) struct RightsGeneration(AtomicU64);

impl RightsGeneration {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What the node's bytes mean. Who has rights that cannot be understood has none.
pub(crate) fn known(bytes: &[u8]) -> ClientRights {
    ClientRights::from_bytes(bytes).unwrap_or_else(|malformed| {
        tracing::error!(%malformed, "the node's rules make no sense: the client may do nothing");
        ClientRights::nothing()
    })
}

impl Shared {
    /// The rules have changed. With the lock held, so that whoever sees the new generation finds the new rights.
    pub(crate) fn new_rights(&self, state: &mut State, new: &NewRights) {
        let rights = Arc::new(known(&new.rights));
        state.for_sessions(&new.sessions, |state, key| {
            if let Some(server) = state.sessions.server(key) {
                server.rights = Arc::clone(&rights);
            }
        });
        self.rights.0.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn rights_of(&self, id: MessageId) -> Result<Arc<ClientRights>> {
        let mut state = self.enter()?;
        let session = state.session_of(id).ok_or(Errno::ESRCH)?;
        let server = state.sessions.server(session).ok_or(Errno::ESRCH)?;
        Ok(Arc::clone(&server.rights))
    }

    /// Tells the node of a refusal, so that it is counted and logged.
    pub(crate) fn denied(
        &self,
        id: MessageId,
        operation: Operation,
        rule: Option<u16>,
        path: &[u8],
        count: u32,
    ) {
        let Ok(mut state) = self.enter() else { return };
        let Some(session) = state.session_of(id) else {
            return;
        };
        let Some(session) = state.sessions.get(session).map(|session| session.local) else {
            return;
        };
        let denied = Denied {
            session,
            operation: operation.number(),
            rule,
            path: path[..path.len().min(PATH_MAX)].to_vec(),
            count,
        };
        state.node.tell(UNSOLICITED, &Request::Denied(denied));
    }
}

impl State {
    fn session_of(&mut self, id: MessageId) -> Option<SessionKey> {
        let (_, served) = self.channels.served(id)?;
        Some(served.key?.session())
    }
}

impl Session {
    /// Of a server's end: the client's user in the numbers of its own node.
    pub(crate) const fn client_user(&self) -> Uid {
        match &self.side {
            Side::Client(_) => Uid(0),
            Side::Server(server) => server.user,
        }
    }
}

/// As much of a path as the node wants to know.
const PATH_MAX: usize = 1024;
