//! What the hand-over of the poller's role needs of its surroundings. In the library they are the endpoint and the
//! kernel; tests put a model in their place and run the same code in every order that threads can take.

use std::ops::DerefMut;

use abi::{ChannelId, Duration, Instant};
use transport::LinkIndex;

use super::{Events, Polling, Sleeper};
use crate::locked::Wakes;
use crate::wait::{Outcome, WaitIndex, Waits};

/// What a thread waits for, so that it is woken when it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interest {
    /// The end of an operation.
    Wait(WaitIndex),
    /// The end of an operation, or something that only the kernel tells of.
    Beside(WaitIndex),
    /// An item in the queue of a channel.
    Channel(ChannelId),
}

impl Interest {
    pub(super) const fn sleeper(self) -> Sleeper {
        match self {
            Self::Beside(_) => Sleeper::Watcher,
            Self::Wait(_) | Self::Channel(_) => Sleeper::Thread,
        }
    }
}

/// Where threads hand the role to each other.
pub(crate) trait Surroundings: Sized {
    /// A thread that can be woken.
    type Thread: Wake;
    /// What the lock guards.
    type State: Work<Self::Thread>;
    /// The lock, held.
    type Guard<'a>: DerefMut<Target = Self::State>
    where
        Self: 'a;

    fn lock(&self) -> Self::Guard<'_>;
    fn now(&self) -> Instant;
    fn this_thread(&self) -> Self::Thread;
    /// Sleeps until woken; `limit` at most, if there is one. A wake before the sleep counts.
    fn park(&self, limit: Option<Duration>);

    fn ring(&self, bell: Bell);
    fn silence(&self, bell: Bell);
    /// Makes the alarm ring at `at`, and not before.
    fn set_alarm(&self, at: Instant);
    /// Takes events of links, kick, alarm and daemon from the kernel; sleeps for the first one if `waits`.
    fn events(&self, events: &mut Events, waits: bool) -> usize;
    /// Whether [`events_or_bell`](Self::events_or_bell) sees the events.
    fn nest(&self, nested: bool);
    /// Sleeps until there are events or the helper's bell rings, if `waits`. True if there is any of them.
    fn events_or_bell(&self, waits: bool) -> bool;
    /// Looks for a while, without the lock, for what may come soon. True if something has come.
    fn spin<'a>(&'a self, state: Self::Guard<'a>, now: Instant) -> (Self::Guard<'a>, bool);

    /// Lets another thread of this CPU run.
    fn give_way(&self);

    /// An event of a link or the daemon.
    fn happened(&self, state: &mut Self::State, now: Instant, event: u64);
    /// Looks after the conversation with the daemon.
    fn reconnect<'a>(&'a self, state: Self::Guard<'a>) -> Self::Guard<'a>;
}

/// What is done with the lock held.
pub(crate) trait Work<T: Wake>: Wakes<Thread = T> {
    fn polling(&mut self) -> &mut Polling<T>;
    fn waits(&mut self) -> &mut Waits<T>;
    /// Channels that got something since receivers were last woken.
    fn touched(&mut self) -> &mut Vec<ChannelId>;
    /// The parked receivers of a channel, and the number of items for them.
    fn receivers(&mut self, channel: ChannelId) -> Option<(&mut Receivers<T>, usize)>;

    /// When the timers have to be run.
    fn timeout(&self) -> Option<Instant>;
    fn run_timers(&mut self, now: Instant);
    /// Takes in what has come, if enough is kept back for the answers to it to share its packets. True if there was any.
    fn gather(&mut self, now: Instant) -> bool;
    /// Sends what is kept back. True if there was any.
    fn flush(&mut self, now: Instant) -> bool;
    /// Whether callers who are about to ask will send what is kept back, with what they ask.
    fn awaits_callers(&self, now: Instant) -> bool;
    /// When what is kept back has to leave; not later than [`timeout`](Self::timeout).
    fn flush_at(&self) -> Option<Instant>;
    /// When the helper has to look after the daemon.
    fn care_at(&self, now: Instant) -> Option<Instant>;
    fn is_closed(&self) -> bool;

    /// Whether a packet may come soon that only a look will find.
    fn may_give_way(&mut self) -> bool;
    /// Takes in what has come on the links on which packets came last. True if there was any.
    fn look(&mut self, now: Instant) -> bool;
    /// Whether it paid.
    fn has_given_way(&mut self, found: bool);

    /// A link that has something, as far as that is known without the kernel.
    fn ready(&self) -> Option<LinkIndex>;
    /// Has all links ring when something comes; false if something is there.
    fn arm(&mut self) -> bool;
    fn take_in(&mut self, now: Instant, link: LinkIndex);
    /// Takes in what kept [`arm`](Self::arm) from arming.
    fn take_in_ready(&mut self, now: Instant);

    /// Sets how the wait of a thread ends.
    fn finish(&mut self, wait: WaitIndex, outcome: Outcome) {
        match self.waits().finish(wait, outcome) {
            Some(thread) => self.woken().push(thread),
            None => self.polling().nudge = true,
        }
    }

    /// Something has come that is no end of a wait, but what its thread waits for as well.
    fn rouse(&mut self, wait: WaitIndex) {
        match self.waits().parked(wait) {
            Some(thread) => self.woken().push(thread),
            None => self.polling().nudge = true,
        }
    }

    /// A channel has got something.
    fn touch(&mut self, channel: ChannelId) {
        if self.touched().last() != Some(&channel) {
            self.touched().push(channel);
        }
        self.polling().nudge = true;
    }

    /// Wakes as many parked receivers of a channel as there are items for them.
    fn wake_receivers(&mut self, channel: ChannelId) {
        let items = self.receivers(channel).map_or(0, |(_, items)| items);
        for _ in 0..items {
            let thread = self.receivers(channel).and_then(|(all, _)| all.newest());
            let Some(thread) = thread else { return };
            self.woken().push(thread);
        }
    }

    /// Whom to wake for `interest`.
    fn add_parked(&mut self, interest: Interest, id: u64, thread: T) {
        match interest {
            Interest::Wait(wait) | Interest::Beside(wait) => {
                self.waits().set_thread(wait, Some(thread));
            }
            Interest::Channel(channel) => {
                if let Some((receivers, _)) = self.receivers(channel) {
                    receivers.add(id, thread);
                }
            }
        }
    }

    fn remove_parked(&mut self, interest: Interest, id: u64) {
        match interest {
            Interest::Wait(wait) | Interest::Beside(wait) => {
                self.waits().set_thread(wait, None);
            }
            Interest::Channel(channel) => {
                if let Some((receivers, _)) = self.receivers(channel) {
                    receivers.remove(id);
                }
            }
        }
    }
}

/// A parked thread.
pub(crate) trait Wake: Clone {
    /// Ends its sleep, or keeps it from the next one.
    fn wake(&self);
}

impl Wake for std::thread::Thread {
    fn wake(&self) {
        self.unpark();
    }
}

/// The bells by which sleeping pollers are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bell {
    /// Of the thread that polls.
    Kick,
    /// Of the helper.
    Helper,
}

/// Parked receivers of a channel, the newest last (I24).
pub(crate) struct Receivers<T>(Vec<(u64, T)>);

impl<T: Wake> Receivers<T> {
    fn add(&mut self, id: u64, thread: T) {
        self.0.push((id, thread));
    }

    fn remove(&mut self, id: u64) {
        self.0.retain(|(receiver, _)| *receiver != id);
    }

    /// The one to wake next; it does not count as parked any more.
    fn newest(&mut self) -> Option<T> {
        self.0.pop().map(|(_, thread)| thread)
    }

    /// Wakes all of them: their channel is gone.
    pub(crate) fn wake_all(&self) {
        for (_, thread) in &self.0 {
            thread.wake();
        }
    }
}

impl<T> Default for Receivers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
