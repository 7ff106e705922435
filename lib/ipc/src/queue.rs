//! A channel's queue: by priority, then by arrival (I24).

use std::collections::VecDeque;

use abi::Pulse;

/// One entry of a channel's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An arrived message, by its index in the table of served operations.
    Message(u32),
    /// A pulse of a client, and the operation that is answered when it is taken.
    Pulse(Pulse, Option<u32>),
}

/// Messages and pulses that wait for a receiver.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// One list for each priority in use, most urgent last, so that taking is cheap. Lists stay when they
    /// run empty, so that a running queue does not allocate; there are at most 256.
    lists: Vec<(u8, VecDeque<Item>)>,
    len: usize,
}

impl Queue {
    /// Adds behind everything of the same priority.
    pub(crate) fn push(&mut self, priority: u8, item: Item) {
        self.list(priority).push_back(item);
        self.len += 1;
    }

    /// Adds before everything of the same priority (I52).
    pub(crate) fn push_first(&mut self, priority: u8, item: Item) {
        self.list(priority).push_front(item);
        self.len += 1;
    }

    /// Takes the most urgent, oldest item.
    pub(crate) fn take(&mut self) -> Option<Item> {
        if self.len == 0 {
            return None;
        }
        let item = self
            .lists
            .iter_mut()
            .rev()
            .find_map(|(_, list)| list.pop_front());
        self.len -= 1;
        item
    }

    /// Takes the most urgent, oldest pulse and leaves messages alone.
    pub(crate) fn take_pulse(&mut self) -> Option<Item> {
        if self.len == 0 {
            return None;
        }
        let item = self.lists.iter_mut().rev().find_map(|(_, list)| {
            let at = list
                .iter()
                .position(|item| matches!(item, Item::Pulse(..)))?;
            list.remove(at)
        })?;
        self.len -= 1;
        Some(item)
    }

    /// Removes the first item for which `found` holds.
    pub(crate) fn remove(&mut self, found: impl Fn(&Item) -> bool) -> Option<Item> {
        let item = self.lists.iter_mut().find_map(|(_, list)| {
            let at = list.iter().position(&found)?;
            list.remove(at)
        })?;
        self.len -= 1;
        Some(item)
    }

    /// The first item for which `found` holds, to be changed in place.
    pub(crate) fn find_mut(&mut self, found: impl Fn(&Item) -> bool) -> Option<&mut Item> {
        self.lists
            .iter_mut()
            .find_map(|(_, list)| list.iter_mut().find(|item| found(item)))
    }

    /// How many items satisfy `found`.
    pub(crate) fn count(&self, found: impl Fn(&Item) -> bool) -> usize {
        let lists = self.lists.iter();
        lists
            .map(|(_, list)| list.iter().filter(|item| found(item)).count())
            .sum()
    }

    /// Items that wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn list(&mut self, priority: u8) -> &mut VecDeque<Item> {
        let at = match self.lists.binary_search_by_key(&priority, |(p, _)| *p) {
            Ok(at) => at,
            Err(at) => {
                self.lists.insert(at, (priority, VecDeque::new()));
                at
            }
        };
        &mut self.lists[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // qnx: I24
    #[test]
    fn the_most_urgent_comes_first_and_equals_in_order_of_arrival() {
        let mut queue = Queue::default();
        for (priority, message) in [(10, 1), (10, 2), (30, 3), (5, 4), (30, 5)] {
            queue.push(priority, Item::Message(message));
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(taken, [3, 5, 1, 2, 4].map(Item::Message));
        assert_eq!(queue.len(), 0);
    }

    // qnx: I24
    #[test]
    fn who_wants_only_pulses_leaves_messages_alone() {
        let mut queue = Queue::default();
        queue.push(20, Item::Message(1));
        let pulse = Item::Pulse(
            Pulse {
                code: 3,
                ..Pulse::default()
            },
            None,
        );
        queue.push(10, pulse);
        assert_eq!(queue.take_pulse(), Some(pulse));
        assert_eq!(queue.take_pulse(), None);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.take(), Some(Item::Message(1)));
    }

    // qnx: I52
    #[test]
    fn an_item_pushed_first_goes_before_its_equals_only() {
        let mut queue = Queue::default();
        queue.push(10, Item::Message(1));
        queue.push(11, Item::Message(2));
        queue.push_first(10, Item::Message(3));
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(taken, [2, 3, 1].map(Item::Message));
    }

    #[test]
    fn a_removed_item_is_not_taken() {
        let mut queue = Queue::default();
        queue.push(10, Item::Message(1));
        queue.push(10, Item::Message(2));
        assert_eq!(
            queue.remove(|i| *i == Item::Message(1)),
            Some(Item::Message(1))
        );
        assert_eq!(queue.remove(|i| *i == Item::Message(1)), None);
        assert_eq!(queue.take(), Some(Item::Message(2)));
        assert_eq!(queue.take(), None);
    }
}
