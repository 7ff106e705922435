//! The channels of an endpoint, and the table of the operations served on them.

use std::collections::BTreeMap;
use std::thread::Thread;

use abi::{ChannelFlags, ChannelId, ConnectionId, Errno, Instant, Pulse, Result, SenderId};
use transport::IncomingKey;

use crate::MessageId;
use crate::held::Pace;
use crate::poller::Receivers;
use crate::queue::Queue;
use crate::server::{BY_LIBRARY, NOT_DONE};
use crate::shared::State;
use crate::wait::WaitIndex;

/// All channels of an endpoint, and the operations served on them.
#[derive(Default)]
pub(crate) struct Channels {
    channels: BTreeMap<ChannelId, ChannelState>,
    next: u32,
    /// The one channel that hears of dead servers (I2).
    death: Option<ChannelId>,
    thread_death: Option<ChannelId>,
    served: Vec<Served>,
    free: Vec<u32>,
}

/// One channel.
pub(crate) struct ChannelState {
    pub(crate) flags: ChannelFlags,
    pub(crate) queue: Queue,
    pub(crate) receivers: Receivers<Thread>,
    pub(crate) pace: Pace,
}

/// One operation of a client, from arrival to answer.
pub(crate) struct Served {
    /// Which use of its place in the table this is.
    pub(crate) generation: u32,
    pub(crate) key: Option<IncomingKey>,
    pub(crate) channel: ChannelId,
    pub(crate) sender: SenderId,
    pub(crate) attachment: u32,
    pub(crate) connection: ConnectionId,
    pub(crate) priority: u8,
    pub(crate) len: u64,
    pub(crate) available: u64,
    pub(crate) reply_max: u64,
    pub(crate) stage: Stage,
    /// When a thread has received it.
    pub(crate) received_at: Instant,
    pub(crate) unblock: bool,
    pub(crate) what: What,
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits for pulses sent before it.
    Held,
    /// In the queue of its channel.
    Queued,
    /// A thread has received it.
    Received,
    /// A thread waits until its long reply has been taken.
    Replying(WaitIndex),
}

/// What a client asked for.
#[derive(Clone, Copy)]
pub(crate) enum What {
    Message,
    Pulse(Pulse),
}

impl Channels {
    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut ChannelState> {
        self.channels.get_mut(&id)
    }

    /// The operation that `id` names, if it still is what it was.
    pub(crate) fn served(&mut self, id: MessageId) -> Option<(u32, &mut Served)> {
        let index = (id.0 & u64::from(u32::MAX)) as u32;
        let served = self.served.get_mut(index as usize)?;
        (served.key.is_some() && u64::from(served.generation) == id.0 >> 32)
            .then_some((index, served))
    }

    pub(crate) fn by_index(&mut self, index: u32) -> &mut Served {
        &mut self.served[index as usize]
    }

    /// Creates a channel.
    pub(crate) fn create(&mut self, flags: ChannelFlags) -> Result<ChannelId> {
        if self.channels.len() >= CHANNELS_MAX {
            return Err(Errno::EAGAIN);
        }
        let hears_deaths = flags.contains(ChannelFlags::COID_DISCONNECT);
        let hears_threads = flags.contains(ChannelFlags::THREAD_DEATH);
        if (hears_deaths && self.death.is_some()) || (hears_threads && self.thread_death.is_some())
        {
            return Err(Errno::EBUSY);
        }
        loop {
            self.next = self.next.wrapping_add(1).max(1);
            if !self.channels.contains_key(&ChannelId(self.next)) {
                break;
            }
        }
        let id = ChannelId(self.next);
        let channel = ChannelState {
            flags,
            queue: Queue::default(),
            receivers: Receivers::default(),
            pace: Pace::default(),
        };
        self.channels.insert(id, channel);
        if hears_deaths {
            self.death = Some(id);
        }
        if hears_threads {
            self.thread_death = Some(id);
        }
        Ok(id)
    }

    /// The one channel that hears of dead servers.
    pub(crate) const fn death_channel(&self) -> Option<ChannelId> {
        self.death
    }

    fn remove(&mut self, id: ChannelId) -> Option<ChannelState> {
        if self.death == Some(id) {
            self.death = None;
        }
        if self.thread_death == Some(id) {
            self.thread_death = None;
        }
        self.channels.remove(&id)
    }

    pub(crate) fn add_served(&mut self, served: Served) -> u32 {
        if let Some(index) = self.free.pop() {
            let place = &mut self.served[index as usize];
            *place = Served {
                generation: place.generation,
                ..served
            };
            return index;
        }
        self.served.push(served);
        (self.served.len() - 1) as u32
    }

    pub(crate) fn free_served(&mut self, index: u32) {
        let served = &mut self.served[index as usize];
        served.key = None;
        served.generation = served.generation.wrapping_add(1);
        self.free.push(index);
    }
}

impl Served {
    pub(crate) const fn id(&self, index: u32) -> MessageId {
        MessageId((self.generation as u64) << 32 | index as u64)
    }
}

impl State {
    /// Destroys a channel: everybody blocked on it fails with `ESRCH` (I3).
    pub(crate) fn destroy(&mut self, now: Instant, id: ChannelId) {
        let Some(channel) = self.channels.remove(id) else {
            return;
        };
        self.polling.nudge = true;
        channel.receivers.wake_all();
        for index in 0..self.channels.served.len() as u32 {
            let served = self.channels.by_index(index);
            let Some(key) = served.key.filter(|_| served.channel == id) else {
                continue;
            };
            let seen = match served.stage {
                Stage::Held | Stage::Queued => NOT_DONE,
                Stage::Received => 0,
                Stage::Replying(_) => continue,
            };
            self.unqueue(index);
            self.drop_served(index);
            let _ = self
                .transport
                .fail(now, key, Errno::ESRCH.number() | BY_LIBRARY | seen);
            self.regions.drop_arrived(key);
        }
    }
}

/// Channels of one endpoint.
const CHANNELS_MAX: usize = 4096;
