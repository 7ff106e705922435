//! When an end seals with the next key (RFC 9001, 6.2, for several lanes).

use crate::config::LANES_MAX;

/// The present key for sealing: what it has sealed, and on which lanes the peer has shown that it has it.
#[derive(Debug)]
pub(crate) struct KeyPhase {
    phase: bool,
    /// Packets after which the next key is due.
    life: u64,
    sealed: u64,
    /// Lanes on which the key has sealed, and those of them on which the peer has acknowledged that, as bits.
    used: u16,
    shown: u16,
    /// Lanes on which the peer was asked for that, as bits.
    asked: u16,
    /// The first packet of each lane that is used.
    first: [u64; LANES_MAX],
}

impl KeyPhase {
    pub(crate) const fn new(life: u64) -> Self {
        Self {
            phase: false,
            life,
            sealed: 0,
            used: 0,
            shown: 0,
            asked: 0,
            first: [0; LANES_MAX],
        }
    }

    /// The phase for headers.
    pub(crate) const fn phase(&self) -> bool {
        self.phase
    }

    /// Whether the next packet is to be sealed with the next key; `active` are the lanes that work, as bits. Two
    /// changes of which the peer sees nothing would look like none. A lane on which the key has sealed nothing
    /// can tell nothing of it, and one that has failed must not hold it. What is sent meanwhile is little: questions on
    /// lanes that do not answer, and what a window allows. A key that the peer does not have would end it all.
    pub(crate) const fn is_over(&self, active: u16) -> bool {
        self.sealed >= self.life && self.shown != 0 && self.missing(active) == 0
    }

    const fn missing(&self, active: u16) -> u16 {
        self.used & active & !self.shown
    }

    /// The next key is used from here on.
    pub(crate) const fn advance(&mut self) {
        self.phase = !self.phase;
        self.sealed = 0;
        (self.used, self.shown, self.asked) = (0, 0, 0);
    }

    /// Packet `pn` of a lane is sealed; one that is reliable has brought it. Answers the lanes on which the peer
    /// must be asked for an answer, or the key would stay: replies that ask for nothing are never acknowledged.
    pub(crate) fn note_sealed(
        &mut self,
        (lane, reliable): (usize, bool),
        pn: u64,
        active: u16,
    ) -> u16 {
        let bit = 1 << lane;
        if self.used & bit == 0 {
            self.used |= bit;
            self.first[lane] = pn;
        }
        if reliable {
            self.shown |= bit;
        }
        self.sealed += 1;
        if self.sealed < self.life {
            return 0;
        }
        let asks = self.missing(active) & !self.asked;
        self.asked |= asks;
        asks
    }

    /// A question was lost: whoever must be asked is asked again.
    pub(crate) const fn ask_again(&mut self) {
        self.asked = 0;
    }

    /// The peer has acknowledged packet `pn` of a lane.
    pub(crate) fn note_acked(&mut self, lane: usize, pn: u64) {
        let bit = 1 << lane;
        if self.used & bit != 0 && pn >= self.first[lane] {
            self.shown |= bit;
        }
    }
}
