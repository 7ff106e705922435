//! The answering end: channels, arrival of operations, and what happens to them until they are received.

use abi::{ChannelFlags, ChannelId, ConnectionId, Decode, Errno, Instant, Pulse, Result, SenderId};
use transport::{Event, IncomingKey, SessionKey};

use crate::channels::{Served, Stage, What};
use crate::meta::{Kind, Meta};
use crate::poller::Work as _;
use crate::pulses::{may_pulse, own_user};
use crate::queue::Item;
use crate::session::{Held, HeldKind, NOT_SERVED, Sender, ServerSide};
use crate::shared::State;
use crate::wait::Outcome;

impl State {
    /// Queues a pulse of the system or of this process; false if there are too many.
    pub(crate) fn post(&mut self, channel: ChannelId, pulse: Pulse, place: Place) -> bool {
        let Some(state) = self.channels.get_mut(channel) else {
            return true;
        };
        if place == Place::Bounded && state.queue.len() >= POSTED_MAX {
            return false;
        }
        let item = Item::Pulse(pulse, None);
        if place == Place::First {
            state.queue.push_first(pulse.priority, item);
        } else {
            state.queue.push(pulse.priority, item);
        }
        self.touch(channel);
        true
    }

    /// An operation has arrived.
    pub(crate) fn arrived(&mut self, now: Instant, event: &Event) {
        let Event::Request {
            incoming,
            session,
            meta,
            len,
            available,
            reply_max,
            one_way,
        } = *event
        else {
            return;
        };
        let meta = Meta::from_bytes(meta.as_bytes());
        // Only a farewell wants no answer. Anything else without one would take no slot of its session, and nothing
        // would bound how much of it waits.
        let Some(meta) = meta
            .ok()
            .filter(|meta| one_way == (meta.kind == Kind::Detach))
        else {
            self.refuse(now, incoming, Errno::EBADMSG);
            return;
        };
        if meta.kind == Kind::Attach {
            if self.channels.get_mut(meta.channel).is_some() {
                let _ = self.transport.reply(now, incoming, 0, 0);
            } else {
                self.refuse(now, incoming, Errno::ESRCH);
            }
            return;
        }
        let served = Served {
            generation: 0,
            key: Some(incoming),
            channel: meta.channel,
            sender: SenderId(0),
            attachment: meta.attachment,
            connection: meta.connection,
            priority: meta.priority,
            len,
            available,
            reply_max,
            stage: Stage::Held,
            received_at: Instant::default(),
            unblock: false,
            what: What::Message,
        };
        if let Err(errno) = self.admit_or_hold(session, meta, served) {
            self.refuse(now, incoming, errno);
        }
    }

    fn admit_or_hold(&mut self, session: SessionKey, meta: Meta, mut served: Served) -> Result {
        let incoming = served.key;
        let (sender, ahead) = self.sender_of(session, &meta)?;
        served.sender = sender;
        let kind = match meta.kind {
            Kind::Detach => HeldKind::Detach,
            Kind::Pulse {
                code,
                subtype,
                value,
            } => {
                let priority = meta.priority;
                served.what = What::Pulse(Pulse {
                    code,
                    subtype,
                    value,
                    sender,
                    priority,
                });
                HeldKind::Served(NOT_SERVED)
            }
            Kind::Message | Kind::Attach => HeldKind::Served(NOT_SERVED),
        };
        let kind = match (kind, incoming) {
            (HeldKind::Served(_), Some(key)) => {
                let index = self.channels.add_served(served);
                if let Some(server) = self.sessions.server(session) {
                    server.set_slot(key.slot(), index);
                }
                HeldKind::Served(index)
            }
            (kind, _) => kind,
        };
        if ahead > 0 {
            let server = self.sessions.server(session).ok_or(Errno::EBADMSG)?;
            let sender = server
                .senders
                .get_mut(&meta.attachment)
                .ok_or(Errno::EBADMSG)?;
            if sender.held.len() < HELD_MAX as usize {
                sender.held.push(Held {
                    pulses_before: meta.pulses_before,
                    what: kind,
                });
            }
            return Ok(());
        }
        self.admit(session, meta.attachment, kind);
        self.release_held(session, meta.attachment);
        Ok(())
    }

    /// The sender of an operation, made if it is the first, and by how many pulses the operation has overtaken those
    /// sent before it.
    fn sender_of(&mut self, session: SessionKey, meta: &Meta) -> Result<(SenderId, i32)> {
        let is_here = self.channels.get_mut(meta.channel).is_some();
        let server = self.sessions.server(session).ok_or(Errno::EBADMSG)?;
        let known = server.senders.get(&meta.attachment);
        if known.is_none() && !is_here {
            return Err(Errno::EBADF);
        }
        if known.is_none() && server.senders.len() >= SENDERS_MAX {
            return Err(Errno::EAGAIN);
        }
        if known.is_some_and(|sender| sender.channel != meta.channel) {
            return Err(Errno::EBADMSG);
        }
        let ahead = meta
            .pulses_before
            .wrapping_sub(known.map_or(0, |sender| sender.pulses_taken))
            .cast_signed();
        let is_pulse = matches!(meta.kind, Kind::Pulse { .. });
        // A pulse comes once; numbers that are over or far ahead were never given by an honest client.
        if !(-HELD_MAX..=HELD_MAX).contains(&ahead) || (is_pulse && ahead < 0) {
            return Err(Errno::EBADMSG);
        }
        if let Some(sender) = known {
            return Ok((sender.id, ahead));
        }
        let id = self.sessions.fresh_sender();
        let sender = Sender {
            id,
            channel: meta.channel,
            pulses_taken: 0,
            held: Vec::new(),
        };
        if let Some(server) = self.sessions.server(session) {
            server.senders.insert(meta.attachment, sender);
        }
        Ok((id, ahead))
    }

    /// Lets in what waited for pulses that have come meanwhile.
    fn release_held(&mut self, session: SessionKey, attachment: u32) {
        loop {
            let Some(server) = self.sessions.server(session) else {
                return;
            };
            let Some(sender) = server.senders.get_mut(&attachment) else {
                return;
            };
            let taken = sender.pulses_taken;
            let due = |held: &Held| held.pulses_before.wrapping_sub(taken).cast_signed() <= 0;
            let Some(at) = sender.held.iter().position(due) else {
                return;
            };
            let held = sender.held.remove(at);
            self.admit(session, attachment, held.what);
        }
    }

    /// Puts an operation into its channel's queue, or carries out a detach.
    fn admit(&mut self, session: SessionKey, attachment: u32, what: HeldKind) {
        let index = match what {
            HeldKind::Served(index) => index,
            HeldKind::Detach => {
                let Some(server) = self.sessions.server(session) else {
                    return;
                };
                if let Some(sender) = server.senders.remove(&attachment) {
                    server.farewells = server.farewells.wrapping_add(1);
                    let is_due = server.farewells.is_multiple_of(FAREWELLS);
                    self.sender_gone(&sender);
                    if is_due {
                        self.bound_farewells(session, sender.channel);
                    }
                }
                return;
            }
        };
        let now = crate::clock::now();
        let served = self.channels.by_index(index);
        let (channel, priority, what) = (served.channel, served.priority, served.what);
        let Some(key) = served.key else { return };
        served.stage = Stage::Queued;
        let item = match what {
            What::Message => Item::Message(index),
            What::Pulse(pulse) => {
                let Some(server) = self.sessions.server(session) else {
                    return;
                };
                if let Some(sender) = server.senders.get_mut(&attachment) {
                    sender.pulses_taken = sender.pulses_taken.wrapping_add(1);
                }
                if let Err(errno) = may_pulse(&server.credentials, own_user(), pulse) {
                    self.drop_served(index);
                    self.refuse(now, key, errno);
                    return;
                }
                Item::Pulse(pulse, Some(index))
            }
        };
        let Some(channel_state) = self.channels.get_mut(channel) else {
            self.drop_served(index);
            self.refuse(now, key, Errno::EBADF);
            return;
        };
        channel_state.queue.push(priority, item);
        self.touch(channel);
    }

    /// Refuses an operation that no program has seen.
    pub(crate) fn refuse(&mut self, now: Instant, incoming: IncomingKey, errno: Errno) {
        let _ = self
            .transport
            .fail(now, incoming, errno.number() | BY_LIBRARY | NOT_DONE);
        self.regions.drop_arrived(incoming);
    }

    /// Forgets a served operation.
    pub(crate) fn drop_served(&mut self, index: u32) {
        let Some(key) = self.channels.by_index(index).key else {
            return;
        };
        if let Some(server) = self.sessions.server(key.session())
            && server.in_slot(key.slot()) == Some(index)
        {
            server.set_slot(key.slot(), NOT_SERVED);
        }
        self.channels.free_served(index);
    }

    fn served_by(&mut self, incoming: IncomingKey) -> Option<u32> {
        let index = self
            .sessions
            .server(incoming.session())?
            .in_slot(incoming.slot())?;
        (self.channels.by_index(index).key == Some(incoming)).then_some(index)
    }

    /// The client wants to leave (I40).
    pub(crate) fn unblock(&mut self, now: Instant, incoming: IncomingKey, reason: u8) {
        let errno = if reason == TIMED_OUT {
            Errno::ETIMEDOUT
        } else {
            Errno::EINTR
        };
        let Some(index) = self.served_by(incoming) else {
            self.refuse(now, incoming, errno);
            return;
        };
        let served = self.channels.by_index(index);
        let (channel, priority, id) = (served.channel, served.priority, served.id(index));
        match served.stage {
            Stage::Held | Stage::Queued => {
                self.unqueue(index);
                self.drop_served(index);
                self.refuse(now, incoming, errno);
            }
            Stage::Received => {
                let flags = self.channels.get_mut(channel).map(|channel| channel.flags);
                if flags.is_some_and(|flags| flags.contains(ChannelFlags::UNBLOCK)) {
                    if !std::mem::replace(&mut self.channels.by_index(index).unblock, true) {
                        let sender = self.channels.by_index(index).sender;
                        let pulse = Pulse {
                            code: Pulse::UNBLOCK,
                            subtype: errno.number(),
                            value: id.0,
                            sender,
                            priority,
                        };
                        self.post(channel, pulse, Place::Last);
                    }
                } else {
                    self.drop_served(index);
                    let _ = self
                        .transport
                        .fail(now, incoming, errno.number() | BY_LIBRARY);
                    self.regions.drop_arrived(incoming);
                }
            }
            Stage::Replying(_) => {}
        }
    }

    /// Takes an operation out of its channel's queue, or from among those held back.
    pub(crate) fn unqueue(&mut self, index: u32) {
        let served = self.channels.by_index(index);
        let (stage, channel, attachment) = (served.stage, served.channel, served.attachment);
        if stage == Stage::Queued {
            if let Some(channel) = self.channels.get_mut(channel) {
                channel.queue.remove(|item| *item == Item::Message(index));
                // A pulse outlives its sender; only its acknowledgement is not wanted any more.
                let pulse = channel
                    .queue
                    .find_mut(|item| matches!(item, Item::Pulse(_, Some(i)) if *i == index));
                if let Some(Item::Pulse(_, acknowledge)) = pulse {
                    *acknowledge = None;
                }
            }
        } else if let Some(key) = served.key
            && let Some(server) = self.sessions.server(key.session())
            && let Some(sender) = server.senders.get_mut(&attachment)
        {
            sender
                .held
                .retain(|held| held.what != HeldKind::Served(index));
        }
    }

    /// An operation is over without an answer of ours.
    pub(crate) fn withdrawn(&mut self, incoming: IncomingKey) {
        if let Some(index) = self.served_by(incoming) {
            self.served_gone(index);
        }
        self.regions.end_served(incoming);
    }

    fn served_gone(&mut self, index: u32) {
        match self.channels.by_index(index).stage {
            Stage::Held | Stage::Queued => self.unqueue(index),
            Stage::Received => {}
            Stage::Replying(wait) => self.finish(wait, Outcome::Gone),
        }
        self.drop_served(index);
    }

    /// The transport does not need the reply's bytes any more.
    pub(crate) fn released(&mut self, incoming: IncomingKey) {
        if let Some(index) = self.served_by(incoming)
            && let Stage::Replying(wait) = self.channels.by_index(index).stage
        {
            self.finish(wait, Outcome::Done);
            self.drop_served(index);
        }
        self.regions.end_served(incoming);
    }

    /// The clients of a session that has ended are gone.
    pub(crate) fn clients_gone(&mut self, _key: SessionKey, server: ServerSide) {
        for index in server
            .served
            .iter()
            .copied()
            .filter(|served| *served != NOT_SERVED)
        {
            self.served_gone(index);
        }
        for sender in server.senders.values() {
            self.sender_gone(sender);
        }
    }

    fn sender_gone(&mut self, sender: &Sender) {
        self.sessions.sender_left(sender.id);
        let wanted = self
            .channels
            .get_mut(sender.channel)
            .is_some_and(|channel| channel.flags.contains(ChannelFlags::DISCONNECT));
        if wanted {
            let pulse = Pulse {
                code: Pulse::DISCONNECT,
                subtype: 0,
                value: u64::from(sender.id.0),
                sender: sender.id,
                priority: DEFAULT_PRIORITY,
            };
            self.post(sender.channel, pulse, Place::First);
        }
    }

    /// A farewell costs its client nothing and the server a pulse. Who says more of them than any honest client has
    /// attachments, while the server does not come to read them, is sent away.
    fn bound_farewells(&mut self, session: SessionKey, channel: ChannelId) {
        let Some(channel) = self.channels.get_mut(channel) else {
            return;
        };
        let is_farewell = |item: &Item| matches!(item, Item::Pulse(pulse, None) if pulse.code == Pulse::DISCONNECT);
        let queue = &channel.queue;
        if queue.len() > SENDERS_MAX && queue.count(is_farewell) > SENDERS_MAX {
            tracing::warn!("a client floods a channel with farewells");
            self.transport.close(crate::clock::now(), session, FLOOD);
        }
    }

    /// The servers behind these connections are gone (I45).
    pub(crate) fn connections_died<'a>(
        &mut self,
        dead: impl IntoIterator<Item = &'a ConnectionId>,
    ) {
        let Some(channel) = self.channels.death_channel() else {
            return;
        };
        for connection in dead {
            let pulse = Pulse {
                code: Pulse::CONNECTION_DEATH,
                subtype: 0,
                value: u64::from(connection.0),
                sender: SenderId(0),
                priority: DEFAULT_PRIORITY,
            };
            self.post(channel, pulse, Place::Last);
        }
    }
}

/// Where a pulse goes in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind its equals.
    Last,
    /// Before its equals (I52).
    First,
    /// Behind its equals, unless the queue is long.
    Bounded,
}

/// Mark of a refusal that comes from this library and not from the program behind it.
pub(crate) const BY_LIBRARY: u16 = 0x8000;
/// Mark of a refusal of something that the program has never seen.
pub(crate) const NOT_DONE: u16 = 0x4000;
/// Why a client gives up: somebody interrupted it.
pub(crate) const INTERRUPTED: u8 = 1;
/// Why a client gives up: its deadline has passed.
pub(crate) const TIMED_OUT: u8 = 2;
/// Priority of what says none.
pub(crate) const DEFAULT_PRIORITY: u8 = 10;
/// Attachments of one client process, each to another channel or at another time.
const SENDERS_MAX: usize = 65_536;
/// Farewells of a client after which it is looked whether they pile up.
const FAREWELLS: u32 = 4096;
/// Why a session is closed: its client is no honest one.
const FLOOD: u16 = 1;
/// Items in a queue beyond which the process may not post to itself.
const POSTED_MAX: usize = 16_384;
/// How far an operation may overtake pulses: as many as can be under way.
const HELD_MAX: i32 = 4096;
