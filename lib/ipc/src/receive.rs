//! Receiving, and what a server does with a message it holds.

use std::io::{IoSlice, IoSliceMut};
use std::time::Instant as Deadline;

use abi::{ChannelFlags, ChannelId, Errno, Pulse, Result, SenderId};

use crate::channels::Stage;
use crate::poller::{Guard, Interest};
use crate::queue::Item;
use crate::server::{BY_LIBRARY, NOT_DONE, Place};
use crate::shared::{Shared, State};
use crate::{Endpoint, Message, MessageId, MessageInfo, Received, clock};

impl Shared {
    pub(crate) fn create_channel(&self, flags: ChannelFlags) -> Result<ChannelId> {
        self.enter()?.channels.create(flags)
    }

    pub(crate) fn destroy_channel(&self, id: ChannelId) {
        let Ok(mut state) = self.enter() else { return };
        let now = clock::now();
        state.destroy(now, id);
        state.pump(now);
        self.settle(state);
    }

    pub(crate) fn post(&self, id: ChannelId, priority: u8, code: i8, value: u64) -> Result {
        let mut state = self.enter()?;
        if state.channels.get_mut(id).is_none() {
            return Err(Errno::ESRCH);
        }
        let pulse = Pulse {
            code,
            subtype: 0,
            value,
            sender: SenderId(0),
            priority,
        };
        let queued = state.post(id, pulse, Place::Bounded);
        self.settle(state);
        if queued { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    pub(crate) fn receive(
        &self,
        endpoint: &Endpoint,
        id: ChannelId,
        buffer: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<Received> {
        let mut state = self.enter()?;
        let deadline = deadline.map(|deadline| clock::deadline(clock::now(), deadline));
        loop {
            let (after, item) = self.wait(state, deadline, Interest::Channel(id), |state| {
                let Some(channel) = state.channels.get_mut(id) else {
                    return Some(Err(Errno::ESRCH));
                };
                if let Some(item) = channel.queue.take() {
                    return Some(Ok(item));
                }
                state.closed.then_some(Err(Errno::EBADF))
            });
            state = after;
            let index = match item.ok_or(Errno::ETIMEDOUT)?? {
                Item::Pulse(pulse, acknowledge) => {
                    state.acknowledge(acknowledge);
                    self.settle(state);
                    return Ok(Received::Pulse(pulse));
                }
                Item::Message(index) => index,
            };
            let (after, message) = self.fill(state, endpoint, index, buffer);
            state = after;
            if let Some(message) = message {
                self.settle(state);
                return Ok(Received::Message(message));
            }
        }
    }

    pub(crate) fn receive_pulse(&self, id: ChannelId, deadline: Option<Deadline>) -> Result<Pulse> {
        let state = self.enter()?;
        let deadline = deadline.map(|deadline| clock::deadline(clock::now(), deadline));
        let (mut state, item) = self.wait(state, deadline, Interest::Channel(id), |state| {
            let Some(channel) = state.channels.get_mut(id) else {
                return Some(Err(Errno::ESRCH));
            };
            if let Some(Item::Pulse(pulse, acknowledge)) = channel.queue.take_pulse() {
                return Some(Ok((pulse, acknowledge)));
            }
            state.closed.then_some(Err(Errno::EBADF))
        });
        let (pulse, acknowledge) = item.ok_or(Errno::ETIMEDOUT)??;
        state.acknowledge(acknowledge);
        self.settle(state);
        Ok(pulse)
    }

    /// Puts what fits into `buffer`; nothing if the client is gone before that is done.
    fn fill<'a>(
        &'a self,
        mut state: Guard<'a>,
        endpoint: &Endpoint,
        index: u32,
        buffer: &mut [u8],
    ) -> (Guard<'a>, Option<Message>) {
        let served = state.channels.by_index(index);
        served.stage = Stage::Received;
        served.received_at = clock::now();
        let id = served.id(index);
        let Some(key) = served.key else {
            return (state, None);
        };
        let (len, available) = (served.len, served.available);
        let wanted = usize::try_from(len).map_or(buffer.len(), |len| len.min(buffer.len()));
        let here = usize::try_from(available).map_or(wanted, |available| available.min(wanted));
        let arrived = state.regions.arrived(key);
        let here = here.min(arrived.len());
        buffer[..here].copy_from_slice(&arrived[..here]);
        let mut received = here;
        if wanted > here {
            let (after, pulled) = self.pull(state, id, here as u64, &mut buffer[here..wanted]);
            state = after;
            match pulled {
                Ok(n) => received += n,
                Err(_) => return (state, None),
            }
        }
        let all = &mut *state;
        let server = all.sessions.server(key.session());
        let (Some(server), Some((_, served))) = (server, all.channels.served(id)) else {
            return (state, None);
        };
        let info = MessageInfo {
            credentials: std::sync::Arc::clone(&server.credentials),
            channel: served.channel,
            sender: served.sender,
            connection: served.connection,
            priority: served.priority,
            len,
            received,
            reply_max: served.reply_max,
        };
        (state, Some(Message::new(endpoint.clone(), id, info)))
    }

    pub(crate) fn unblock_requested(&self, id: MessageId) -> bool {
        let Ok(mut state) = self.enter() else {
            return false;
        };
        state
            .channels
            .served(id)
            .is_some_and(|(_, served)| served.unblock)
    }

    pub(crate) fn read_at(&self, id: MessageId, offset: u64, into: &mut [u8]) -> Result<usize> {
        let mut state = self.enter()?;
        let (_, served) = state.channels.served(id).ok_or(Errno::ESRCH)?;
        let (key, len) = (served.key.ok_or(Errno::ESRCH)?, served.len);
        let rest = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = rest.min(into.len());
        let into = &mut into[..wanted];
        let arrived = usize::try_from(offset)
            .ok()
            .and_then(|at| state.regions.arrived(key).get(at..));
        let here = arrived.map_or(0, |arrived| {
            let n = arrived.len().min(wanted);
            into[..n].copy_from_slice(&arrived[..n]);
            n
        });
        if here == wanted {
            return Ok(here);
        }
        let (state, pulled) = self.pull(state, id, offset + here as u64, &mut into[here..]);
        self.settle(state);
        pulled.map(|n| here + n)
    }

    /// Fetches from the client's memory into `into`, which must lie within what the client sent.
    fn pull<'a>(
        &'a self,
        mut state: Guard<'a>,
        id: MessageId,
        offset: u64,
        into: &mut [u8],
    ) -> (Guard<'a>, Result<usize>) {
        let Some(key) = state.channels.served(id).and_then(|(_, served)| served.key) else {
            return (state, Err(Errno::ESRCH));
        };
        let now = clock::now();
        let len = into.len();
        let Ok(transfer) = state.transport.pull(now, key, offset, len as u64) else {
            return (state, Err(Errno::ESRCH));
        };
        let mut slices = [IoSliceMut::new(into)];
        let (state, result) = self.transfer(state, transfer, Lent::Target(&mut slices));
        (state, result.map(|()| len))
    }

    pub(crate) fn write_at(&self, id: MessageId, offset: u64, bytes: &[u8]) -> Result<usize> {
        let mut state = self.enter()?;
        let (_, served) = state.channels.served(id).ok_or(Errno::ESRCH)?;
        let (key, room) = (served.key.ok_or(Errno::ESRCH)?, served.reply_max);
        let room = usize::try_from(room.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = &bytes[..room.min(bytes.len())];
        if bytes.is_empty() {
            return Ok(0);
        }
        let now = clock::now();
        let transfer = state
            .transport
            .push(now, key, offset, bytes.len() as u64)
            .map_err(|_| Errno::ESRCH)?;
        let slices = [IoSlice::new(bytes)];
        let (state, result) = self.transfer(state, transfer, Lent::Source(&slices));
        self.settle(state);
        result.map(|()| bytes.len())
    }

    pub(crate) fn fail(&self, id: MessageId, errno: Errno) -> Result {
        let mut state = self.enter()?;
        let (index, served) = state.channels.served(id).ok_or(Errno::ESRCH)?;
        let key = served.key.ok_or(Errno::ESRCH)?;
        state.answered(index);
        let now = clock::now();
        let result = state
            .transport
            .fail(now, key, by_program(errno))
            .map_err(|_| Errno::ESRCH);
        state.regions.drop_arrived(key);
        state.pump(now);
        self.settle(state);
        result
    }
}

/// Memory lent for a transfer.
pub(crate) enum Lent<'a, 'b> {
    Source(&'a [IoSlice<'b>]),
    Target(&'a mut [IoSliceMut<'b>]),
}

impl State {
    /// A pulse has been taken: its sender may send another one.
    fn acknowledge(&mut self, served: Option<u32>) {
        let Some(index) = served else { return };
        let Some(key) = self.channels.by_index(index).key else {
            return;
        };
        self.drop_served(index);
        let now = clock::now();
        let _ = self.transport.reply(now, key, 0, 0);
        self.pump(now);
    }

    /// A message is about to be answered: it ends here, with its UNBLOCK pulse if one is still queued (I29).
    pub(crate) fn answered(&mut self, index: u32) {
        let served = self.channels.by_index(index);
        let (id, channel, unblock) = (served.id(index), served.channel, served.unblock);
        if unblock && let Some(channel) = self.channels.get_mut(channel) {
            channel.queue.remove(|item| {
                matches!(item, Item::Pulse(pulse, None) if pulse.code == Pulse::UNBLOCK && pulse.value == id.0)
            });
        }
        self.drop_served(index);
    }
}

/// The number of a program's error on the wire. No errno is as large as the marks of this library.
fn by_program(errno: Errno) -> u16 {
    match errno.number() & !(BY_LIBRARY | NOT_DONE) {
        0 => Errno::EIO.number(),
        number => number,
    }
}
