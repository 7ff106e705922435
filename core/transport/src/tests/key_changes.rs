//! When keys change: never twice without the peer having seen the one between.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::pair::{Fate, Pair, lossy, millis, pattern};
use crate::cipher::{Forged, HEADER_LEN, PacketCipher};
use crate::{Meta, Policy, Request, Role};

/// Packets for which a key lasts here.
const LIFE: u64 = 40;

/// What a cipher has done.
#[derive(Default)]
struct Counts {
    sealed: AtomicU64,
    changes: AtomicU64,
}

/// A tag with the number of its key. It opens the present key's and the previous one's packets, and goes on to the next.
struct Numbered {
    seals_with: u8,
    opens: u8,
    counts: Arc<Counts>,
}

impl PacketCipher for Numbered {
    fn overhead(&self) -> usize {
        1
    }

    fn key_life(&self) -> u64 {
        LIFE
    }

    fn next_key(&mut self) {
        self.seals_with = self.seals_with.wrapping_add(1);
        self.counts.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn seal(&mut self, _: u8, _: u64, header: &[u8; HEADER_LEN], body: &mut [u8]) {
        assert_eq!(header[1] & 1, self.seals_with & 1, "the header's key phase");
        self.counts.sealed.fetch_add(1, Ordering::Relaxed);
        let tag = body.len() - 1;
        body[tag] = self.seals_with;
    }

    fn open<'a>(
        &mut self,
        _: u8,
        _: u64,
        _: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let (tag, text) = body.split_last_mut().ok_or(Forged)?;
        if *tag == self.opens.wrapping_add(1) {
            self.opens = *tag;
        }
        let known = *tag == self.opens || tag.wrapping_add(1) == self.opens;
        known.then_some(text).ok_or(Forged)
    }
}

/// A pair whose keys last for [`LIFE`] packets, and what the client's and the server's cipher have done.
fn pair(lanes: u8) -> (Pair, [Arc<Counts>; 2]) {
    let counts = [Role::Client, Role::Server].map(|_| Arc::<Counts>::default());
    let pair = Pair::with(lossy(lanes), |params| {
        let end = usize::from(params.role == Role::Server);
        params.cipher = Some(Box::new(Numbered {
            seals_with: 0,
            opens: 0,
            counts: counts[end].clone(),
        }));
    });
    (pair, counts)
}

fn changes(counts: &Counts) -> u64 {
    counts.changes.load(Ordering::Relaxed)
}

fn sealed(counts: &Counts) -> u64 {
    counts.sealed.load(Ordering::Relaxed)
}

fn echo(pair: &mut Pair, policy: Policy, salt: u8) {
    let request = Request {
        policy,
        ..Request::new(Meta::EMPTY, 64, 64)
    };
    let op = pair.send(request, &pattern(64, salt));
    let (incoming, bytes) = pair.request();
    assert_eq!(bytes, pattern(64, salt));
    pair.reply(incoming, 0, &bytes);
    pair.expect_reply(op, 0, 64);
}

/// What the client sends on lane `lane`, or on any, vanishes while the switch is on.
fn vanishing(switch: &'static std::thread::LocalKey<Cell<bool>>, lane: Option<u32>) -> Fate {
    Box::new(move |_, to_server, link, _| {
        let there = lane.is_none_or(|lane| lane == link.0);
        !(switch.get() && to_server && there)
    })
}

std::thread_local! {
    static VANISHES: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn a_key_that_the_peer_has_not_shown_stays_although_the_next_is_due() {
    let (mut pair, [client, _]) = pair(1);
    pair.fate = vanishing(&VANISHES, None);
    for salt in 0..100 {
        echo(&mut pair, Policy::LoadBalance, salt);
    }
    assert!(changes(&client) >= 2);
    VANISHES.set(true);
    let (before, changed) = (sealed(&client), changes(&client));
    let mut ops = alloc::vec::Vec::new();
    while sealed(&client) - before < LIFE + LIFE / 2 {
        let request = Request::new(Meta::EMPTY, 64, 64);
        ops.push(pair.send(request, &pattern(64, 1)));
        pair.run(millis(1));
    }
    // One was perhaps due, and the peer had the one before it.
    assert!(changes(&client) - changed <= 1);
    VANISHES.set(false);
    for _ in &ops {
        let (incoming, _) = pair.request();
        pair.reply(incoming, 0, &[]);
    }
    pair.run(millis(5000));
    assert_eq!(pair.client.events.len(), ops.len(), "every call ends");
}

#[test]
fn the_key_of_a_server_that_only_answers_quietly_changes_as_well() {
    let (mut pair, [client, server]) = pair(1);
    let calls = 1000;
    for call in 0..calls {
        echo(&mut pair, Policy::LoadBalance, call as u8);
    }
    for end in [&client, &server] {
        let due = calls / LIFE;
        assert!(
            (due - 3..=due + 3).contains(&changes(end)),
            "{}",
            changes(end)
        );
        // A question and its answer for each key.
        let more = sealed(end) - calls;
        assert!(more <= 3 * due, "{more} more packets");
    }
}

#[test]
fn a_lane_on_which_a_key_was_not_used_does_not_hold_it() {
    let (mut pair, [client, server]) = pair(2);
    let calls = 1000;
    for call in 0..calls {
        let policy = Policy::Exclusive {
            lane: 1,
            wait: false,
        };
        echo(&mut pair, policy, call as u8);
    }
    assert!(changes(&client) >= calls / LIFE - 3);
    assert!(changes(&server) >= calls / LIFE - 3);
}

#[test]
fn a_lane_that_has_failed_does_not_hold_the_key() {
    let (mut pair, [client, _]) = pair(2);
    pair.fate = vanishing(&VANISHES, Some(0));
    let by = |lane| Policy::Preferred(lane);
    echo(&mut pair, by(1), 1);
    echo(&mut pair, by(0), 2);
    VANISHES.set(true);
    for call in 0..1000 {
        echo(&mut pair, by((call % 2) as u8), call as u8);
    }
    assert!(changes(&client) >= 1000 / LIFE - 3);
}
