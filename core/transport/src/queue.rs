//! What a session has to send, in the order in which it goes: a stream per route, so that what
//! waits for one lane holds up nothing that may use another.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::frame::{OpState, WireOp};
use crate::policy::Route;

/// Messages with at most this many bytes to go do not wait behind long ones.
pub(crate) const SMALL: u64 = 16 << 10;
/// One batch in so many belongs to the long messages first, so that they never starve.
const FAIRNESS: u32 = 8;
/// Most control frames that wait; frames the peer will ask for again are dropped beyond it.
const CONTROLS_MAX: usize = 16_384;

/// A message with something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Request(WireOp),
    Reply(WireOp),
    Serving(u32),
    Push(u32),
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Control = 0,
    Small = 1,
    Bulk = 2,
}

/// A frame without bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    OpStat(WireOp, OpState),
    Query(WireOp),
    Pull(u32),
    Cancel(WireOp),
}

/// A message in a line, and how many bytes of it were to go when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Entry {
    item: Item,
    left: u64,
    total: u64,
}

/// The messages of one class and route.
#[derive(Debug, Default)]
pub(crate) struct Line {
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Bytes that may go in the batch which is being made.
    pub(crate) allowed: u64,
}

impl Line {
    pub(crate) fn front(&self) -> Option<Item> {
        self.entries.front().map(|entry| entry.item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how many bytes wait.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn push(&mut self, entry: Entry, first: bool) {
        self.bytes += entry.left;
        if first {
            self.entries.push_front(entry);
        } else {
            self.entries.push_back(entry);
        }
    }
}

/// What goes by one route.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) route: Route,
    pub(crate) lines: [Line; 3],
    pub(crate) controls: VecDeque<Control>,
    /// Frames without bytes may go in the batch which is being made.
    pub(crate) controls_go: bool,
}

/// Everything a session has to send.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    pub(crate) streams: Vec<Stream>,
    turn: u32,
    /// Sums over all streams, since they are asked for with every packet.
    items: [u32; 3],
    short_bytes: u64,
    controls: u32,
}

impl Class {
    pub(crate) const fn of(control: bool, bytes: u64) -> Self {
        if control {
            Self::Control
        } else if bytes <= SMALL {
            Self::Small
        } else {
            Self::Bulk
        }
    }
}

impl SendQueue {
    /// The stream of a route. There are at most as many as routes: one, and two for each lane.
    fn stream(&mut self, route: Route) -> &mut Stream {
        let known = self.streams.iter().position(|stream| stream.route == route);
        let index = known.unwrap_or(self.streams.len());
        if known.is_none() {
            self.streams.push(Stream {
                route,
                ..Stream::default()
            });
        }
        &mut self.streams[index]
    }

    /// Queues a message with `left` bytes to go; one of which something was lost goes before
    /// others, since it had its turn.
    pub(crate) fn push(&mut self, route: Route, class: Class, item: Item, left: u64, again: bool) {
        let total = left;
        let entry = Entry { item, left, total };
        self.count(class as usize, 1, 0, left);
        self.stream(route).lines[class as usize].push(entry, again);
    }

    /// Keeps the sums: so many messages more, and bytes before and after.
    const fn count(&mut self, class: usize, more: i32, before: u64, after: u64) {
        self.items[class] = self.items[class].wrapping_add_signed(more);
        if class < Class::Bulk as usize {
            self.short_bytes = self.short_bytes + after - before;
        }
    }

    /// The first message of a line has gone on: `left` bytes remain, or `None` if it is done; then
    /// answers how many bytes it had.
    pub(crate) fn advance(&mut self, at: usize, class: usize, left: Option<u64>) -> u64 {
        let line = &mut self.streams[at].lines[class];
        let Some(entry) = line.entries.front_mut() else {
            return 0;
        };
        let (before, after) = (entry.left, left.unwrap_or(0));
        let done = if left.is_none() { entry.total } else { 0 };
        entry.left = after;
        line.bytes = line.bytes + after - before;
        line.allowed = line
            .allowed
            .saturating_sub(before.saturating_sub(after).max(1));
        if left.is_none() {
            line.entries.pop_front();
        }
        self.count(class, -i32::from(left.is_none()), before, after);
        done
    }

    pub(crate) fn control(&mut self, route: Route, control: Control) {
        let expendable = matches!(control, Control::OpStat(..) | Control::Query(_));
        let controls = &mut self.stream(route).controls;
        if controls.len() < CONTROLS_MAX || !expendable {
            controls.push_back(control);
            self.controls += 1;
        }
    }

    pub(crate) fn pop_control(&mut self, at: usize) -> Option<Control> {
        let control = self.streams[at].controls.pop_front()?;
        self.controls -= 1;
        Some(control)
    }

    pub(crate) fn has_items(&self) -> bool {
        self.items != [0; 3]
    }

    pub(crate) const fn has_control(&self) -> bool {
        self.controls > 0
    }

    pub(crate) const fn has_class(&self, class: usize) -> bool {
        self.items[class] > 0
    }

    /// Whether what waits before the long messages is so little that nothing should hold it up.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.short_bytes <= SMALL && (self.has_class(0) || self.has_class(1))
    }

    /// Whether the batch which is being made has something long.
    pub(crate) fn sends_long(&self) -> bool {
        const BULK: usize = Class::Bulk as usize;
        let goes = |line: &Line| !line.is_empty() && line.allowed > 0;
        self.has_class(BULK) && self.streams.iter().any(|stream| goes(&stream.lines[BULK]))
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_control() && !self.has_items()
    }

    /// The classes in the order in which they go now.
    pub(crate) const fn order(&self) -> [usize; 3] {
        if self.turn.is_multiple_of(FAIRNESS) {
            [0, 2, 1]
        } else {
            [0, 1, 2]
        }
    }

    /// A batch is complete: long messages take turns, and so do routes.
    pub(crate) fn rotate(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        for stream in &mut self.streams {
            let bulk = &mut stream.lines[Class::Bulk as usize].entries;
            if bulk.len() > 1 {
                bulk.rotate_left(1);
            }
        }
        if self.streams.len() > 1 {
            self.streams.rotate_left(1);
        }
    }

    /// Forgets a message, wherever it is.
    pub(crate) fn remove(&mut self, item: Item) {
        for at in 0..self.streams.len() {
            for class in 0..3 {
                self.remove_from(at, class, item);
            }
        }
    }

    fn remove_from(&mut self, at: usize, class: usize, item: Item) {
        let line = &mut self.streams[at].lines[class];
        let place = line.entries.iter().position(|entry| entry.item == item);
        if let Some(entry) = place.and_then(|place| line.entries.remove(place)) {
            line.bytes -= entry.left;
            self.count(class, -1, entry.left, 0);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
