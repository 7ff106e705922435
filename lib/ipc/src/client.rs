//! The asking end: attaching, sending, pulses.
#![allow(unsafe_code)]

mod asking;
mod attaching;
mod submitting;

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use abi::{ChannelId, ConnectionId, Errno, Incarnation, Instant, Result};
use transport::{OpKey, Request, SendError, SessionKey};

use crate::meta::{Kind, Meta};
use crate::policy::LinkPolicy;
use crate::regions::{Purpose, Source, Target};
use crate::server::{DEFAULT_PRIORITY, INTERRUPTED};
use crate::shared::{Shared, State};
use crate::wait::Outcome;
use crate::{Failure, Reply, SendOptions, clock};
use asking::Question;
pub(crate) use submitting::Submitted;

/// Where a connection leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) session: SessionKey,
    pub(crate) attachment: u32,
    pub(crate) channel: ChannelId,
    pub(crate) connection: ConnectionId,
    pub(crate) incarnation: Incarnation,
    pub(crate) policy: LinkPolicy,
}

impl Shared {
    pub(crate) fn send(
        self: &Arc<Self>,
        route: &Route,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        self.ask(
            route,
            Question::new(shorten(request), shorten_mut(reply), options),
        )
    }
}

impl State {
    /// Asks the server to let the caller of an operation go, and tells the caller.
    fn interrupt(&mut self, op: OpKey) {
        let now = clock::now();
        self.transport.cancel(now, op, INTERRUPTED);
        self.pump(now);
        if let Some(wait) = self.regions.waiting_for(op) {
            self.finish(wait, Outcome::Interrupted);
        }
    }

    /// A new connection of an attachment; nothing if the session has ended. The flag tells that the attachment is new.
    fn connect(
        &mut self,
        session: SessionKey,
        channel: ChannelId,
        attachment: Option<u32>,
        policy: LinkPolicy,
    ) -> Result<Option<(Route, bool)>> {
        let next = self
            .sessions
            .next_connection
            .checked_add(1)
            .ok_or(Errno::EAGAIN)?;
        let Some(incarnation) = self
            .sessions
            .get(session)
            .map(|session| session.incarnation)
        else {
            return Ok(None);
        };
        let Some(client) = self.sessions.client(session) else {
            return Ok(None);
        };
        let (id, is_new) = match attachment {
            Some(id) => (id, false),
            None => client.attachment(channel),
        };
        let Some(attachment) = client.attachments.get_mut(&id) else {
            return Ok(None);
        };
        if attachment.connections.len() >= CONNECTIONS_MAX {
            return Err(Errno::EAGAIN);
        }
        let connection = ConnectionId(next);
        attachment.connections.insert(connection);
        self.sessions.next_connection = next;
        self.sessions.set_idle(session, false);
        let route = Route {
            session,
            attachment: id,
            channel,
            connection,
            incarnation,
            policy,
        };
        Ok(Some((route, is_new)))
    }

    pub(crate) fn request(
        &mut self,
        route: &Route,
        kind: Kind,
        priority: u8,
        len: u64,
        room: u64,
    ) -> Option<Request> {
        let client = self.sessions.client(route.session)?;
        let attachment = client.attachments.get(&route.attachment)?;
        let meta = Meta {
            kind,
            priority,
            connection: route.connection,
            attachment: route.attachment,
            channel: route.channel,
            pulses_before: attachment.pulses_sent,
        };
        Some(Request {
            policy: self.lane_policy(route.session, route.policy),
            ..Request::new(meta.pack(), len, room)
        })
    }

    /// The server lives, its channel does not: the connections to it are dead (I3, I45).
    fn channel_gone(&mut self, route: &Route) {
        let Some(client) = self.sessions.client(route.session) else {
            return;
        };
        let Some(attachment) = client.attachments.get_mut(&route.attachment) else {
            return;
        };
        if !std::mem::replace(&mut attachment.is_dead, true) {
            let dead = attachment.connections.clone();
            self.connections_died(&dead);
        }
    }

    /// Tells the server of attachments that have ended, as far as there are free slots.
    fn tell_detached(&mut self, now: Instant, session: SessionKey) {
        while let Some(client) = self.sessions.client(session) {
            let Some(detached) = client.detached.pop() else {
                return;
            };
            let meta = Meta {
                kind: Kind::Detach,
                priority: DEFAULT_PRIORITY,
                connection: ConnectionId(0),
                attachment: detached.id,
                channel: detached.channel,
                pulses_before: detached.pulses_sent,
            };
            let request = Request {
                one_way: true,
                ..Request::new(meta.pack(), 0, 0)
            };
            match self.transport.send(now, session, request) {
                Ok(op) => {
                    self.sessions.started(session);
                    self.regions
                        .add_op(op, Source::EMPTY, Target::EMPTY, Purpose::Orphan);
                }
                Err(SendError::NoSlot) => {
                    if let Some(client) = self.sessions.client(session) {
                        client.detached.push(detached);
                    }
                    return;
                }
                Err(SendError::Closed | SendError::TooLong | SendError::NoLane) => return,
            }
        }
    }

    /// An operation of the session has ended, so there is a free slot.
    pub(crate) fn slot_freed(&mut self, session: SessionKey) {
        let Some(client) = self.sessions.ended(session) else {
            return;
        };
        if !client.detached.is_empty() {
            self.tell_detached(clock::now(), session);
            return;
        }
        if let Some(wait) = client.slot_waiters.pop_front() {
            self.finish(wait, Outcome::Done);
        }
    }
}

impl Meta {
    fn pack(&self) -> transport::Meta {
        let mut bytes = [0; Self::LEN_MAX];
        let len = self.encode(&mut bytes);
        transport::Meta::new(&bytes[..len]).unwrap_or(transport::Meta::EMPTY)
    }
}

/// Two pieces of one lifetime: the pieces of a request and of a reply live differently long.
fn shorten<'a, 'b: 'a>(slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'a>] {
    slices
}

fn shorten_mut<'a, 'b: 'a>(slices: &'a mut [IoSliceMut<'b>]) -> &'a mut [IoSliceMut<'a>] {
    // SAFETY: only lengths and bytes are used through the result, and no slice is put in its place, so that
    // none of a shorter life can be left behind.
    unsafe { std::slice::from_raw_parts_mut(slices.as_mut_ptr().cast(), slices.len()) }
}

/// Connections of one process to one channel.
const CONNECTIONS_MAX: usize = 1 << 20;
