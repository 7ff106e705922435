//! One way between two nodes: from one of our links to one of the peer's.

use core::time::Duration;

use abi::system::{LaneState, LaneWhy};
use abi::{Instant, LinkAddress};

use super::estimate::{Loss, RoundTrip};
use super::mtu::Search;
use super::pace::{Damping, Pace, SUSPECT_EVERY, while_down};
use super::roaming::{Roaming, Verdict};

/// How a way stands, and what to do about it next.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// Where probes go: what the peer says of its link, or where it has answered since.
    pub(crate) address: LinkAddress,
    roaming: Roaming,
    /// What the peer says of its link.
    pub(crate) listed: LinkAddress,
    /// It may lead to the peer by the look of its address; others are shown only once they have worked.
    pub(crate) near: bool,
    /// It does not lead from one network to another.
    pub(crate) home: bool,
    pub(crate) rtt: RoundTrip,
    pub(crate) loss: Loss,
    pub(crate) mtu: Search,
    pub(crate) ever_up: bool,
    /// Agreed with the peer, and told to it.
    state: LaneState,
    /// What programs are told.
    shown: LaneState,
    why: LaneWhy,
    since: Instant,
    remote: Option<LaneState>,
    /// The next probe.
    next: Instant,
    /// When it counts as broken unless an answer comes before.
    deadline: Instant,
    answered: Option<Instant>,
    /// Answers in a row.
    streak: u32,
    phase: Phase,
    down_at: Instant,
    hold: Instant,
    damping: Damping,
    /// Until then the peer may not have noticed that the way works.
    grace: Instant,
    carrier: bool,
    watched_since: Instant,
    /// The peer was seen to live while nothing is known of this way.
    alive_seen: bool,
    /// When a program's suspicion was last looked into.
    suspected: Option<Instant>,
    /// By how much the deadline was moved since the last answer because we were late.
    excused: Duration,
}

/// How a way came into [`LaneState::Init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known of it.
    Fresh,
    /// It was up, and now nobody at all answers: perhaps the peer's daemon is not there.
    NodeSilent,
    /// It was down and has answered.
    Recovering,
}

impl Pair {
    pub(crate) fn new(
        now: Instant,
        pace: Pace,
        address: LinkAddress,
        near: bool,
        mtu: u16,
    ) -> Self {
        Self {
            address,
            roaming: Roaming::default(),
            listed: address,
            near,
            home: near,
            rtt: RoundTrip::default(),
            loss: Loss::default(),
            mtu: Search::new(now, mtu),
            ever_up: false,
            state: LaneState::Init,
            shown: LaneState::Init,
            why: LaneWhy::Nothing,
            since: now,
            remote: None,
            next: now,
            deadline: later(now, pace.detect * 2),
            answered: None,
            streak: 0,
            phase: Phase::Fresh,
            down_at: now,
            hold: now,
            damping: Damping::default(),
            grace: now,
            carrier: true,
            watched_since: now,
            alive_seen: false,
            suspected: None,
            excused: Duration::ZERO,
        }
    }

    /// What programs are told.
    pub(crate) const fn shown(&self) -> LaneState {
        self.shown
    }

    /// What the peer is told.
    pub(crate) const fn state(&self) -> LaneState {
        self.state
    }

    pub(crate) const fn why(&self) -> LaneWhy {
        self.why
    }

    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    /// When the last answer came, or when watching began.
    pub(crate) fn last_heard(&self) -> Instant {
        self.answered.unwrap_or(self.watched_since)
    }

    /// Whether an answer has come since `then`.
    pub(crate) fn answered_since(&self, then: Instant) -> bool {
        self.answered.is_some_and(|at| at >= then)
    }

    pub(crate) fn deadline(&self) -> Instant {
        if !self.carrier {
            return Instant::MAX;
        }
        let silence = match self.state {
            LaneState::Down => Instant::MAX,
            LaneState::Init | LaneState::Up => self.deadline,
        };
        let mtu = match self.state {
            LaneState::Up => self.mtu.deadline(),
            _ => Instant::MAX,
        };
        self.next.min(silence).min(mtu)
    }

    /// Whether to send a probe now.
    pub(crate) fn probe_due(&mut self, now: Instant, pace: Pace, random: u64) -> bool {
        if !self.carrier || self.next > now {
            return false;
        }
        let interval = self.interval(now, pace);
        let jitter = interval / 4 * (random % 256) as u32 / 256;
        self.next = later(now, interval - jitter);
        true
    }

    /// The size of a padded probe to be sent now.
    pub(crate) fn size_due(&mut self, now: Instant) -> Option<u16> {
        let up = self.carrier && self.state == LaneState::Up;
        let rtt = self.rtt.smoothed_or_zero();
        if up { self.mtu.due(now, rtt) } else { None }
    }

    /// A program finds this way silent: it is probed at once, but for all programs together not more often than it makes
    /// sense.
    pub(crate) fn suspected(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_since(at) < SUSPECT_EVERY;
        if self.carrier && !self.suspected.is_some_and(lately) {
            self.suspected = Some(now);
            self.hurry(now);
        }
    }

    /// Somebody suspects this way, or has reason to hope: the next probe goes at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    fn interval(&self, now: Instant, pace: Pace) -> Duration {
        let quiet = now.saturating_since(self.answered.unwrap_or(self.since));
        // Probes that are missed are repeated quickly, so that it takes many lost ones to lose a way.
        let missed = quiet > pace.interval * 3 / 2 + self.rtt.smoothed_or_zero();
        match (self.state, self.phase) {
            (LaneState::Up, _) if missed => pace.interval / 4,
            (LaneState::Init, Phase::NodeSilent)
                if self.alive_seen || quiet < Duration::from_secs(1) =>
            {
                pace.interval / 4
            }
            (LaneState::Init, Phase::NodeSilent) => pace.interval * 4,
            (LaneState::Init, Phase::Fresh) if self.answered.is_none() => {
                pace.interval.max(while_down(quiet, false) / 2)
            }
            (LaneState::Down, _) if self.streak == 0 => {
                let down_for = now.saturating_since(self.down_at);
                pace.interval.max(while_down(down_for, self.ever_up))
            }
            _ => pace.interval,
        }
    }

    /// Time has passed. `alive`: the peer has answered on another way just now, so it would answer on this one.
    pub(crate) fn tick(&mut self, now: Instant, pace: Pace, alive: bool) {
        if self.carrier && self.state != LaneState::Down && now >= self.deadline {
            match (self.state, self.phase) {
                (LaneState::Init, Phase::Recovering) => self.fail(now, LaneWhy::Silent),
                (_, Phase::Fresh) if alive && self.state == LaneState::Init => {
                    self.fail(now, LaneWhy::NoAnswer);
                }
                (_, Phase::Fresh) if self.state == LaneState::Init => {
                    self.deadline = later(now, pace.detect);
                }
                // The first answer of a peer that was away may be one over another way.
                (LaneState::Init, Phase::NodeSilent) if alive && !self.alive_seen => {
                    self.alive_seen = true;
                    self.hurry(now);
                    let rtt = self.rtt.smoothed_or_zero() + self.rtt.slack();
                    self.deadline = later(now, pace.interval + rtt);
                }
                _ if alive => self.fail(now, LaneWhy::Silent),
                _ => {
                    (self.state, self.phase) = (LaneState::Init, Phase::NodeSilent);
                    (self.why, self.streak) = (LaneWhy::NodeSilent, 0);
                    self.alive_seen = false;
                    self.deadline = later(now, pace.interval / 2 + self.rtt.smoothed_or_zero());
                }
            }
        }
        self.settle(now, pace);
    }

    /// The peer has answered a probe.
    pub(crate) fn answer(&mut self, now: Instant, pace: Pace, took: Option<Duration>) {
        if let Some(took) = took {
            self.rtt.sample(took);
        }
        let gap = self.answered.map(|at| now.saturating_since(at));
        let in_row = gap.is_some_and(|gap| gap <= pace.interval * 8 / 5 + self.rtt.slack());
        self.streak = if in_row {
            self.streak.saturating_add(1)
        } else {
            1
        };
        if self.streak == 1 && self.state == LaneState::Down {
            // The next probe need not wait for the slow ones of a broken way.
            self.next = self.next.min(later(now, pace.interval));
        }
        self.answered = Some(now);
        self.arm(now, pace);
        self.settle(now, pace);
    }

    /// The newest probe has come from there, an answer to one that was sent at `echo`. When to say that a probe was sent
    /// that is to go there at once.
    pub(crate) fn came_from(
        &mut self,
        now: Instant,
        pace: Pace,
        from: LinkAddress,
        echo: Option<u32>,
    ) -> Option<u32> {
        if from == self.address {
            return None;
        }
        let patience = pace.interval + self.rtt.smoothed_or_zero() * 2 + self.rtt.slack();
        match self.roaming.judge(now, patience, from, echo) {
            Verdict::Believed => self.address = from,
            Verdict::Ask(sent) => return Some(sent),
            Verdict::Wait => {}
        }
        None
    }

    /// The peer has said how it sees this way.
    pub(crate) fn hear(&mut self, now: Instant, pace: Pace, remote: LaneState) {
        self.remote = Some(remote);
        if self.state == LaneState::Down && self.streak == 0 {
            let soon = later(self.down_at, Duration::from_millis(50)).max(now);
            self.next = self.next.min(soon);
        }
        self.settle(now, pace);
    }

    fn settle(&mut self, now: Instant, pace: Pace) {
        if !self.carrier {
            return;
        }
        let down_there = self.remote == Some(LaneState::Down);
        match self.state {
            LaneState::Up if down_there && now >= self.grace => self.fail(now, LaneWhy::OneWay),
            LaneState::Up => {}
            LaneState::Init => {
                let needed = match self.phase {
                    Phase::Recovering => pace.answers,
                    Phase::Fresh | Phase::NodeSilent => 1,
                };
                if self.streak >= needed && self.remote.is_some() && !down_there {
                    self.up(now);
                } else if self.phase == Phase::NodeSilent && self.streak > 0 && down_there {
                    self.fail(now, LaneWhy::OneWay);
                }
            }
            LaneState::Down if self.streak < pace.answers => {}
            LaneState::Down if now < self.hold => self.why = LaneWhy::Damped,
            LaneState::Down => {
                (self.state, self.phase) = (LaneState::Init, Phase::Recovering);
                self.why = LaneWhy::OneWay;
                self.next = now;
                self.arm(now, pace);
                self.settle(now, pace);
            }
        }
    }

    fn arm(&mut self, now: Instant, pace: Pace) {
        self.excused = Duration::ZERO;
        let patience = pace.detect.max(pace.interval * 2 + self.rtt.slack());
        self.deadline = later(now, patience);
    }

    fn up(&mut self, now: Instant) {
        if !self.ever_up || self.phase == Phase::Recovering {
            self.mtu.restart(now);
        }
        (self.state, self.ever_up) = (LaneState::Up, true);
        self.show(now, LaneState::Up, LaneWhy::Nothing);
        self.next = self.next.min(now);
    }

    fn fail(&mut self, now: Instant, why: LaneWhy) {
        if self.shown == LaneState::Up {
            let wait = self.damping.failed(now.saturating_since(self.since));
            self.hold = later(now, wait);
        }
        self.state = LaneState::Down;
        (self.streak, self.down_at, self.next) = (0, now, now);
        self.show(now, LaneState::Down, why);
    }

    fn show(&mut self, now: Instant, shown: LaneState, why: LaneWhy) {
        if self.shown != shown {
            self.since = now;
        }
        (self.shown, self.why) = (shown, why);
    }

    /// A handshake went over this way: there and back.
    pub(crate) fn proven(&mut self, now: Instant, pace: Pace) {
        if !self.carrier {
            return;
        }
        self.next = self.next.min(now);
        if self.state == LaneState::Init {
            self.grace = later(now, pace.detect);
            self.arm(now, pace);
            self.deadline = later(self.deadline, self.rtt.smoothed_or_zero());
            self.up(now);
        }
    }

    /// Whether both links have a carrier; else why not.
    pub(crate) fn set_carrier(&mut self, now: Instant, without: Option<LaneWhy>) {
        match without {
            Some(why) if self.carrier || self.why != why => {
                self.carrier = false;
                self.fail(now, why);
            }
            Some(_) => {}
            None if !self.carrier => {
                self.carrier = true;
                (self.why, self.down_at, self.next) = (LaneWhy::NoAnswer, now, now);
            }
            None => {}
        }
    }

    /// One end has another address: what was known of the way is to be shown anew.
    pub(crate) fn moved(&mut self, now: Instant, pace: Pace, address: LinkAddress, mtu: u16) {
        (self.address, self.listed) = (address, address);
        self.roaming.settled();
        self.mtu = Search::new(now, mtu);
        self.resume(now, pace);
        self.next = now;
    }

    /// The peer is watched again, or at another pace.
    pub(crate) fn resume(&mut self, now: Instant, pace: Pace) {
        if self.state == LaneState::Down {
            self.hurry(later(now, pace.interval));
            return;
        }
        self.arm(now, pace);
        self.deadline = later(self.deadline, self.rtt.smoothed_or_zero() * 2);
        self.hurry(now);
        if self.why == LaneWhy::Idle {
            self.why = LaneWhy::Nothing;
        }
    }

    /// Nobody needs the peer: nothing more is found out.
    pub(crate) fn pause(&mut self) {
        if self.shown == LaneState::Up {
            self.why = LaneWhy::Idle;
        }
    }

    /// The peer's node does not answer at all: nothing is known.
    pub(crate) fn forget(&mut self, now: Instant) {
        if self.carrier {
            (self.state, self.phase, self.streak) = (LaneState::Init, Phase::Fresh, 0);
            self.remote = None;
            self.show(now, LaneState::Init, LaneWhy::NodeSilent);
        }
    }

    /// We were not running for so long: the peer is not to blame for what we did not ask. It gets the time for one more
    /// question. Where we are late again and again, that has an end.
    pub(crate) fn excuse(&mut self, now: Instant, pace: Pace, stalled: Duration) {
        let question = pace.interval + self.rtt.smoothed_or_zero() * 2 + self.rtt.slack();
        let fair = later(now, question).min(later(self.deadline, stalled));
        let wanted = fair.saturating_since(self.deadline);
        let given = wanted.min((pace.detect * 2).saturating_sub(self.excused));
        self.excused += given;
        self.deadline = later(self.deadline, given);
        self.grace = later(self.grace, given);
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(Instant::MAX)
}
