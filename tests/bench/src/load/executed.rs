//! Which messages a server has executed, and how often.

use std::collections::BTreeMap;

/// Numbers of one client are dense, so a bit for each is enough.
#[derive(Default)]
pub(crate) struct Executed {
    clients: BTreeMap<u32, Marks>,
}

#[derive(Default)]
struct Marks {
    words: Vec<u64>,
    tally: Tally,
}

/// How much of one client's load was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Different messages.
    pub(crate) once: u64,
    /// Messages that came again.
    pub(crate) again: u64,
}

impl Executed {
    pub(crate) fn mark(&mut self, client: u32, number: u32) {
        let marks = self.clients.entry(client).or_default();
        let word = (number / u64::BITS) as usize;
        if marks.words.len() <= word {
            marks.words.resize(word + 1, 0);
        }
        let bit = 1 << (number % u64::BITS);
        if marks.words[word] & bit == 0 {
            marks.words[word] |= bit;
            marks.tally.once += 1;
        } else {
            marks.tally.again += 1;
        }
    }

    pub(crate) fn tally(&self, client: u32) -> Tally {
        self.clients
            .get(&client)
            .map_or_else(Tally::default, |marks| marks.tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_twice_is_counted_as_such() {
        let mut executed = Executed::default();
        for number in [0, 63, 64, 1000, 64] {
            executed.mark(7, number);
        }
        executed.mark(8, 64);
        assert_eq!(executed.tally(7), Tally { once: 4, again: 1 });
        assert_eq!(executed.tally(8), Tally { once: 1, again: 0 });
        assert_eq!(executed.tally(9), Tally::default());
    }
}
