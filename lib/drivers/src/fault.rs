//! Another driver over a bad network: packets are lost, doubled, late and out of order, the same ones each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::LinkAddress;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::{DriverError, PacketDriver, Properties, ReceiveBatch};

/// What happens to packets on their way in. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Decides the fate of each packet: the same seed and the same packets give the same faults.
    pub seed: u64,
    /// Packets of a million that are lost.
    pub loss: u32,
    /// Packets of a million that come twice.
    pub duplicate: u32,
    /// Packets of a million that are held back by [`late`](Self::late), so that others overtake them.
    pub reorder: u32,
    /// How much later a held back packet comes.
    pub late: Duration,
    /// How much later every packet comes.
    pub delay: Duration,
    /// Each packet is delayed by up to this much more, but overtakes no other.
    pub jitter: Duration,
}

/// A driver with [`Faults`] in what it receives. At most 4096 packets are on their way at a time, further ones are lost.
///
/// For tests: it looks at the clock and at the other driver with system calls.
#[derive(Debug)]
pub struct FaultDriver<D> {
    inner: D,
    faults: Faults,
    properties: Properties,
    state: Mutex<State>,
    /// Watches the other driver and the timer.
    watch: OwnedFd,
    timer: OwnedFd,
}

#[derive(Debug)]
struct State {
    random: u64,
    number: u64,
    /// When the last packet that was not held back is due.
    last: Instant,
    travelling: BinaryHeap<Reverse<Travelling>>,
    batch: ReceiveBatch,
    blocked: bool,
}

/// In the order in which packets are due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Travelling {
    due: Instant,
    number: u64,
    from: LinkAddress,
    bytes: Box<[u8]>,
}

impl<D: PacketDriver> FaultDriver<D> {
    /// Puts `faults` before what `inner` receives.
    ///
    /// # Errors
    ///
    /// What the system says: out of descriptors.
    pub fn new(inner: D, faults: Faults) -> Result<Self, DriverError> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(0);
        epoll::add(&watch, inner.readable(), data, inner.events(false))?;
        epoll::add(&watch, &timer, data, EventFlags::IN | EventFlags::ET)?;
        let properties = Properties {
            reliable: false,
            ordered: false,
            ..*inner.properties()
        };
        let state = State {
            random: faults.seed,
            number: 0,
            last: Instant::now(),
            travelling: BinaryHeap::new(),
            batch: ReceiveBatch::new(),
            blocked: false,
        };
        Ok(Self {
            inner,
            faults,
            properties,
            state: Mutex::new(state),
            watch,
            timer,
        })
    }

    /// The driver under the faults.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the sleeper woken for room only while somebody waits for it.
    fn note_blocked(&self, blocked: bool) {
        let mut state = self.state();
        if state.blocked == blocked {
            return;
        }
        state.blocked = blocked;
        let flags = self.inner.events(blocked);
        let _ = epoll::modify(
            &self.watch,
            self.inner.readable(),
            EventData::new_u64(0),
            flags,
        );
    }

    fn inner_has_data(&self) -> bool {
        self.inner.has_data().unwrap_or_else(|| {
            let mut fds = [PollFd::from_borrowed_fd(
                self.inner.readable(),
                PollFlags::IN,
            )];
            poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
        })
    }

    fn wake_at(&self, due: Instant) {
        let wait = due.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(wait.max(Duration::from_nanos(1))).unwrap_or_default();
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: wait,
        };
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

impl<D: PacketDriver> PacketDriver for FaultDriver<D> {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        let accepted = self.inner.send(to, bytes, segment)?;
        self.note_blocked(accepted < bytes.len());
        Ok(accepted)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let mut state = self.state();
        let state = &mut *state;
        for _ in 0..READS {
            let count = self.inner.receive(&mut state.batch)?;
            if count == 0 {
                break;
            }
            state.depart(count, &self.faults);
        }
        state.arrive(batch);
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        EventFlags::IN | EventFlags::ET
    }

    fn arm(&self) -> bool {
        let state = self.state();
        if let Some(Reverse(next)) = state.travelling.peek() {
            if next.due <= Instant::now() {
                return true;
            }
            self.wake_at(next.due);
        }
        self.inner.arm() || self.inner_has_data()
    }

    fn has_data(&self) -> Option<bool> {
        let due = |next: &Reverse<Travelling>| next.0.due <= Instant::now();
        let arrived = self.state().travelling.peek().is_some_and(due);
        Some(arrived || self.inner_has_data())
    }

    fn writable(&self) -> bool {
        self.inner.writable()
    }

    fn peer_cpu(&self) -> Option<u32> {
        self.inner.peer_cpu()
    }

    fn focus(&self, peer: Option<&LinkAddress>) {
        self.inner.focus(peer);
    }

    fn local_address(&self) -> LinkAddress {
        self.inner.local_address()
    }

    fn backlog(&self) -> Option<usize> {
        self.inner.backlog()
    }
}

impl State {
    /// Decides about the first `count` packets of the own batch.
    fn depart(&mut self, count: usize, faults: &Faults) {
        let now = Instant::now();
        for index in 0..count {
            // As many numbers for each packet, whatever becomes of it: a changed rate changes no other fault.
            let [lost, doubled, held] =
                [faults.loss, faults.duplicate, faults.reorder].map(|rate| self.happens(rate));
            let jitter = faults.jitter.mul_f64(self.fraction());
            if lost {
                continue;
            }
            let mut due = (now + faults.delay + jitter).max(self.last);
            if held {
                due += faults.late;
            } else {
                self.last = due;
            }
            for _copy in 0..=usize::from(doubled) {
                self.travel(index, due);
            }
        }
    }

    fn travel(&mut self, index: usize, due: Instant) {
        if self.travelling.len() == TRAVELLING_MAX {
            return;
        }
        let Some((from, bytes)) = self.batch.packet(index) else {
            return;
        };
        let packet = Travelling {
            due,
            number: self.number,
            from: *from,
            bytes: bytes.to_vec().into_boxed_slice(),
        };
        self.number += 1;
        self.travelling.push(Reverse(packet));
    }

    fn arrive(&mut self, batch: &mut ReceiveBatch) {
        let now = Instant::now();
        while let Some(Reverse(next)) = self.travelling.peek() {
            if next.due > now {
                return;
            }
            let Some(room) = batch.reserve(next.bytes.len()) else {
                return;
            };
            room.copy_from_slice(&next.bytes);
            batch.commit(next.from, next.bytes.len());
            self.travelling.pop();
        }
    }

    fn happens(&mut self, of_a_million: u32) -> bool {
        self.fraction() * 1e6 < f64::from(of_a_million)
    }

    /// From 0 to below 1 (SplitMix64).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64) / (1u64 << 53) as f64
    }
}

/// Reads from the other driver for one `receive`.
const READS: usize = 4;
const TRAVELLING_MAX: usize = 4096;
