//! Attaching to channels and leaving them.

use std::sync::Arc;

use abi::system::Identity;
use abi::{ChannelId, Errno, Nd, Pid, Result};

use super::Route;
use super::asking::Question;
use crate::clock;
use crate::meta::Kind;
use crate::server::DEFAULT_PRIORITY;
use crate::session::{Detached, Peer};
use crate::shared::Shared;

impl Shared {
    pub(crate) fn attach(
        self: &Arc<Self>,
        nd: Nd,
        pid: Pid,
        channel: ChannelId,
        identity: Option<&Identity>,
    ) -> Result<Route> {
        let peer = Peer {
            node: nd.node(),
            pid,
            identity: identity.cloned(),
        };
        let policy = self.policy_of(nd)?;
        // A session may end between being found and being used; it is then opened anew, once.
        for _ in 0..2 {
            let session = self.session_with(nd, &peer)?;
            let mut state = self.enter()?;
            let Some((route, is_new)) = state.connect(session, channel, None, policy)? else {
                continue;
            };
            let is_here = state
                .sessions
                .get(session)
                .is_some_and(|session| session.is_memory());
            drop(state);
            if is_new && is_here {
                let question = Question {
                    kind: Kind::Attach,
                    request: &[],
                    reply: &mut [],
                    priority: DEFAULT_PRIORITY,
                    deadline: None,
                    interrupt: None,
                };
                if let Err(failure) = self.ask(&route, question) {
                    self.detach(&route);
                    return Err(failure.errno);
                }
            }
            return Ok(route);
        }
        Err(Errno::ESRCH)
    }

    pub(crate) fn duplicate(&self, route: &Route) -> Result<Route> {
        let mut state = self.enter()?;
        let attachment = Some(route.attachment);
        let connected = state.connect(route.session, route.channel, attachment, route.policy)?;
        connected.map(|(route, _)| route).ok_or(Errno::EBADF)
    }

    pub(crate) fn is_dead(&self, route: &Route) -> bool {
        // A forked child has been told nothing.
        let Ok(mut state) = self.enter() else {
            return false;
        };
        let attachment = state
            .sessions
            .client(route.session)
            .and_then(|client| client.attachments.get(&route.attachment));
        attachment.is_none_or(|attachment| attachment.is_dead)
    }

    /// The connection is dropped; with the last one of its attachment the server is told (I9).
    pub(crate) fn detach(&self, route: &Route) {
        let Ok(mut state) = self.enter() else { return };
        let Some(client) = state.sessions.client(route.session) else {
            return;
        };
        let Some(attachment) = client.attachments.get_mut(&route.attachment) else {
            return;
        };
        attachment.connections.remove(&route.connection);
        if !attachment.connections.is_empty() {
            return;
        }
        let (channel, pulses_sent) = (attachment.channel, attachment.pulses_sent);
        client.attachments.remove(&route.attachment);
        client.detached.push(Detached {
            id: route.attachment,
            channel,
            pulses_sent,
        });
        let is_idle = client.attachments.is_empty();
        let now = clock::now();
        state.tell_detached(now, route.session);
        if let Some(oldest) = state.sessions.set_idle(route.session, is_idle) {
            state.session_counts(oldest);
            state.transport.close(now, oldest, 0);
        }
        state.pump(now);
        self.settle(state);
    }
}
