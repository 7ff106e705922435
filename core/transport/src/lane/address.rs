//! Where the peer is: an address that packets came from gets little until it has answered a challenge.

use abi::LinkAddress;

use super::Lane;

/// Bytes that may be sent to an address which has not answered, for each byte that came from it
/// (RFC 9000, 8.1): whoever sends from a victim's address does not gain by it.
const SHARE: u64 = 3;
/// Room below which nothing is sent there: three times the shortest packet, which holds an
/// acknowledgement, an answer and the challenge.
const LEAST: u64 = 3 * 45;

/// What the peer must answer from its new address.
#[derive(Clone, Copy, Debug)]
struct Challenge {
    /// The last address that is known to be the peer's.
    home: LinkAddress,
    /// Number and time of the question.
    id: u32,
    time: Option<u64>,
    /// Bytes that may still go to the new address.
    allowance: u64,
}

/// Address of a lane's peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    at: LinkAddress,
    challenge: Option<Challenge>,
}

impl Place {
    pub(super) const fn new(at: LinkAddress) -> Self {
        Self {
            at,
            challenge: None,
        }
    }

    /// Where packets go.
    pub(crate) const fn at(&self) -> LinkAddress {
        self.at
    }

    /// Whether packets go to `address`. The own one is not copied for it: 28 bytes in two overlapping moves, read at
    /// once, make the CPU wait.
    #[inline]
    pub(crate) fn is_at(&self, address: &LinkAddress) -> bool {
        self.at == *address
    }

    /// Most bytes that may go there now.
    pub(crate) fn allowance(&self) -> u64 {
        self.challenge
            .map_or(u64::MAX, |challenge| challenge.allowance)
    }

    /// Whether a packet may go there now.
    pub(crate) fn is_open(&self) -> bool {
        self.allowance() >= LEAST
    }

    /// So many bytes of an authentic packet came from where packets go.
    pub(crate) const fn credit(&mut self, bytes: usize) {
        if let Some(challenge) = &mut self.challenge {
            challenge.allowance += SHARE * bytes as u64;
        }
    }

    /// So many bytes have left.
    pub(crate) const fn charge(&mut self, bytes: usize) {
        if let Some(challenge) = &mut self.challenge {
            challenge.allowance = challenge.allowance.saturating_sub(bytes as u64);
        }
    }

    /// The newest packet came from elsewhere; `id` is for the question. Answers whether one is to be asked.
    pub(crate) fn follow(&mut self, to: LinkAddress, id: u32) -> bool {
        let home = self.challenge.map_or(self.at, |challenge| challenge.home);
        let proven = home == to;
        self.at = to;
        self.challenge = (!proven).then_some(Challenge {
            home,
            id,
            time: None,
            allowance: 0,
        });
        !proven
    }

    /// Whether an answer is missing.
    pub(crate) const fn is_doubted(&self) -> bool {
        self.challenge.is_some()
    }

    /// The number of the question that leaves at `time`, if it is to prove the address.
    pub(crate) const fn ask(&mut self, time: u64) -> Option<u32> {
        let Some(challenge) = &mut self.challenge else {
            return None;
        };
        challenge.time = Some(time);
        Some(challenge.id)
    }

    /// An answer came from where packets go.
    pub(crate) fn answered(&mut self, id: u32, time: u64) {
        if self
            .challenge
            .is_some_and(|challenge| challenge.id == id && challenge.time == Some(time))
        {
            self.challenge = None;
        }
    }

    /// The new address does not answer: back to the last that did.
    fn give_up(&mut self) {
        if let Some(challenge) = self.challenge.take() {
            self.at = challenge.home;
        }
    }
}

impl Lane {
    /// Questions were asked in vain: a peer that has moved without answering has not moved.
    pub(crate) fn doubt_place(&mut self, unanswered: u32) {
        if unanswered >= 2 {
            self.place.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> LinkAddress {
        LinkAddress::ipv4([10, 0, 0, n], 1)
    }

    #[test]
    fn three_bytes_go_for_each_that_came_until_the_answer() {
        let mut place = Place::new(address(1));
        assert!(place.is_open());
        assert!(place.follow(address(2), 77));
        assert!(!place.is_open());
        place.credit(100);
        assert_eq!((place.at(), place.allowance()), (address(2), 300));
        place.charge(200);
        assert!(!place.is_open(), "100 bytes are left");
        place.credit(45);
        assert_eq!(place.allowance(), 235);
        assert_eq!(place.ask(5), Some(77));
        for (id, time) in [(77, 4), (78, 5)] {
            place.answered(id, time);
            assert!(place.allowance() < u64::MAX, "not the answer");
        }
        place.answered(77, 5);
        assert_eq!(place.allowance(), u64::MAX);
        assert_eq!(place.ask(6), None);
    }

    #[test]
    fn the_proven_address_needs_no_proof_however_often_the_peer_seems_to_move() {
        let mut place = Place::new(address(1));
        place.follow(address(2), 1);
        place.credit(1000);
        assert!(place.follow(address(3), 2));
        assert_eq!(
            place.allowance(),
            0,
            "what came from elsewhere counts for nothing"
        );
        assert!(!place.follow(address(1), 3));
        assert_eq!(place.allowance(), u64::MAX);
        place.follow(address(2), 4);
        place.give_up();
        assert_eq!((place.at(), place.is_open()), (address(1), true));
    }

    #[test]
    fn an_answer_to_a_question_that_was_not_asked_proves_nothing() {
        let mut place = Place::new(address(1));
        place.follow(address(2), 9);
        place.answered(9, 0);
        assert!(!place.is_open());
    }
}
