//! A fixed part of the worlds, on each change.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::ops::Range;

use testkit::{Outcome, World};

/// Plays the worlds; answers what has happened in them.
fn play(seeds: Range<u64>) -> BTreeSet<&'static str> {
    let mut all = BTreeSet::new();
    for seed in seeds {
        let Outcome {
            finding,
            strip,
            seen,
            ..
        } = World::new(seed).run();
        assert!(
            finding.is_none(),
            "seed {seed}: {finding:?}\n{}\nreplay: cargo xtask sim {seed}",
            strip.join("\n")
        );
        all.extend(seen);
    }
    all
}

/// Each hundred worlds also shows everything that can happen, or it would prove little.
fn check(seeds: Range<u64>) {
    let expected = [
        "end by silence",
        "end by the peer",
        "failed transfer",
        "lane back",
        "lane down",
        "late lane",
        "new address",
        "not done",
        "one-way request",
        "refusal",
        "release",
        "reply",
        "request",
        "suspicion",
        "transfer",
        "unblock",
        "unknown",
        "victim",
        "withdrawal",
        "word of a monitor",
    ];
    let seen = play(seeds);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_is_found_in_the_first_hundred_worlds() {
    check(0..100);
}

#[test]
fn nothing_is_found_in_the_second_hundred_worlds() {
    check(100..200);
}

/// Worlds beyond those in which something was found once, and what.
const FOUND: [(u64, &str); 4] = [
    (840, "two changes of keys, of which the peer saw nothing"),
    (12_120, "each question for a key called for the next"),
    (
        22_465,
        "a key that was left unseen, for its only lane was down",
    ),
    (17_081, "a monitor that says a rate beyond all numbers"),
];

#[test]
fn nothing_is_found_in_worlds_in_which_something_was() {
    for (seed, found) in FOUND {
        println!("world {seed}: {found}");
        play(seed..seed + 1);
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let [first, second] = [World::new(12).run(), World::new(12).run()];
    assert_eq!(first.strip, second.strip);
    assert_eq!((first.packets, first.time), (second.packets, second.time));
    assert!(first.packets > 0 && first.operations > 0);
}
