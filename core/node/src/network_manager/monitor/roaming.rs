//! Where a peer's link is, when its probes begin to come from somewhere else.
//!
//! A probe is authentic wherever it comes from: whoever can copy one can send the copy from an address that is not his,
//! and would have us send all that is meant for the peer to whoever is there. So an address is believed when the peer
//! has answered a probe that went there and nowhere else. (QUIC does the same: RFC 9000, section 8.2.)

use core::time::Duration;

use abi::{Instant, LinkAddress};

/// Probes that go to an address on trial say that they were sent half the clock away, so that nothing else that is under
/// way has the same time: the answer is to this probe.
const APART: u32 = 1 << 31;

/// An address that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Trial {
    address: LinkAddress,
    sent: u32,
    ends: Instant,
}

/// The trial that is under way, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roaming(Option<Trial>);

/// What is to be done about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The peer is there.
    Believed,
    /// Ask there, with a probe that says it was sent then.
    Ask(u32),
    /// Wait for the answer.
    Wait,
}

impl Roaming {
    /// The newest probe has come from an address at which the peer was not so far; it answers one that was sent at
    /// `echo`. One trial lasts `patience`: what others show there does not end it.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        patience: Duration,
        address: LinkAddress,
        echo: Option<u32>,
    ) -> Verdict {
        if let Some(trial) = self.0.filter(|trial| now < trial.ends) {
            let proven = trial.address == address && echo == Some(trial.sent);
            if proven {
                self.0 = None;
                return Verdict::Believed;
            }
            return Verdict::Wait;
        }
        let sent = super::micros(now) ^ APART;
        self.0 = Some(Trial {
            address,
            sent,
            ends: now.checked_add(patience).unwrap_or(now),
        });
        Verdict::Ask(sent)
    }

    /// The peer has said itself where it is, or has been heard where it was.
    pub(crate) const fn settled(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_believed_for_the_answer_to_its_own_question_only() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let (here, there) = (
            LinkAddress::ipv4([10, 0, 0, 1], 1),
            LinkAddress::ipv4([10, 0, 0, 2], 1),
        );
        let patience = Duration::from_millis(50);
        let mut roaming = Roaming::default();
        let mut judge = |ms, address, echo| roaming.judge(at(ms), patience, address, echo);
        let Verdict::Ask(sent) = judge(1000, here, None) else {
            panic!()
        };
        assert_eq!(judge(1001, here, Some(1000 * 1000)), Verdict::Wait);
        assert_eq!(judge(1002, there, Some(sent)), Verdict::Wait);
        assert_eq!(judge(1003, here, Some(sent)), Verdict::Believed);
        let Verdict::Ask(sent) = judge(1004, there, Some(sent)) else {
            panic!()
        };
        assert_eq!(judge(1053, here, None), Verdict::Wait, "one at a time");
        assert!(
            matches!(judge(1055, there, Some(sent)), Verdict::Ask(_)),
            "too late"
        );
    }
}
