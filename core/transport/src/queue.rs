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

    /// The first message has gone on: `left` bytes remain, or `None` if it is done.
    pub(crate) fn advance(&mut self, left: Option<u64>) {
        let Some(entry) = self.entries.front_mut() else {
            return;
        };
        let before = entry.left;
        match left {
            Some(left) => entry.left = left,
            None => {
                self.entries.pop_front();
            }
        }
        self.bytes = self.bytes - before + left.unwrap_or(0);
        let sent = before.saturating_sub(left.unwrap_or(0)).max(1);
        self.allowed = self.allowed.saturating_sub(sent);
    }

    fn push(&mut self, entry: Entry, first: bool) {
        self.bytes += entry.left;
        if first {
            self.entries.push_front(entry);
        } else {
            self.entries.push_back(entry);
        }
    }

    fn remove(&mut self, item: Item) {
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let keep = entry.item != item;
            if !keep {
                *bytes -= entry.left;
            }
            keep
        });
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

impl Stream {
    pub(crate) fn has_items(&self) -> bool {
        self.lines.iter().any(|line| !line.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.controls.is_empty() && !self.has_items()
    }
}

/// Everything a session has to send.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    pub(crate) streams: Vec<Stream>,
    turn: u32,
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
        let entry = Entry { item, left };
        self.stream(route).lines[class as usize].push(entry, again);
    }

    pub(crate) fn control(&mut self, route: Route, control: Control) {
        let expendable = matches!(control, Control::OpStat(..) | Control::Query(_));
        let controls = &mut self.stream(route).controls;
        if controls.len() < CONTROLS_MAX || !expendable {
            controls.push_back(control);
        }
    }

    pub(crate) fn has_items(&self) -> bool {
        self.streams.iter().any(Stream::has_items)
    }

    pub(crate) fn has_control(&self) -> bool {
        self.streams
            .iter()
            .any(|stream| !stream.controls.is_empty())
    }

    /// Whether what waits before the long messages is so little that nothing should hold it up.
    pub(crate) fn is_urgent(&self) -> bool {
        let lines = || {
            self.streams
                .iter()
                .flat_map(|stream| &stream.lines[..Class::Bulk as usize])
        };
        lines().any(|line| !line.is_empty()) && lines().map(Line::bytes).sum::<u64>() <= SMALL
    }

    /// Whether the batch which is being made has something long.
    pub(crate) fn sends_long(&self) -> bool {
        let bulk = self
            .streams
            .iter()
            .map(|stream| &stream.lines[Class::Bulk as usize]);
        bulk.into_iter()
            .any(|line| !line.is_empty() && line.allowed > 0)
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.iter().all(Stream::is_empty)
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
        for stream in &mut self.streams {
            for line in &mut stream.lines {
                line.remove(item);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.streams.clear();
    }
}
