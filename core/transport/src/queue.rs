//! What a session has to send, in the order in which it goes.

use alloc::collections::VecDeque;

use crate::frame::{OpState, WireOp};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Everything a session has to send.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    classes: [VecDeque<Item>; 3],
    controls: VecDeque<Control>,
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
    pub(crate) fn push(&mut self, class: Class, item: Item) {
        self.classes[class as usize].push_back(item);
    }

    pub(crate) fn control(&mut self, control: Control) {
        let expendable = matches!(control, Control::OpStat(..) | Control::Query(_));
        if self.controls.len() >= CONTROLS_MAX && expendable {
            return;
        }
        self.controls.push_back(control);
    }

    pub(crate) fn front_control(&self) -> Option<Control> {
        self.controls.front().copied()
    }

    pub(crate) fn pop_control(&mut self) {
        self.controls.pop_front();
    }

    pub(crate) fn has_control(&self) -> bool {
        !self.controls.is_empty()
    }

    pub(crate) fn has_items(&self) -> bool {
        self.classes.iter().any(|class| !class.is_empty())
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_control() && !self.has_items()
    }

    /// The message to go on with, and its class.
    pub(crate) fn front(&self) -> Option<(usize, Item)> {
        let order = if self.turn.is_multiple_of(FAIRNESS) {
            [0, 2, 1]
        } else {
            [0, 1, 2]
        };
        order
            .into_iter()
            .find_map(|class| Some((class, *self.classes[class].front()?)))
    }

    pub(crate) fn pop(&mut self, class: usize) {
        self.classes[class].pop_front();
    }

    /// A batch is complete: the long messages take turns.
    pub(crate) fn rotate(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let bulk = &mut self.classes[Class::Bulk as usize];
        if bulk.len() > 1 {
            bulk.rotate_left(1);
        }
    }

    /// Forgets a message, wherever it is.
    pub(crate) fn remove(&mut self, item: Item) {
        for class in &mut self.classes {
            class.retain(|queued| *queued != item);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
