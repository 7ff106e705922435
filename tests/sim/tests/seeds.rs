//! A fixed part of the worlds, on each change.

use testkit::{Outcome, World};

fn play(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let Outcome { finding, strip, .. } = World::new(seed).run();
        if let Some(finding) = finding {
            panic!(
                "seed {seed}: {finding:?}\n{}\nreplay: cargo run -p slashnet-sim -- {seed}",
                strip.join("\n")
            );
        }
    }
}

#[test]
fn nothing_is_found_in_the_first_hundred_worlds() {
    play(0..100);
}

#[test]
fn nothing_is_found_in_the_second_hundred_worlds() {
    play(100..200);
}

#[test]
fn nothing_is_found_in_the_third_hundred_worlds() {
    play(200..300);
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let [first, second] = [World::new(12).run(), World::new(12).run()];
    assert_eq!(first.strip, second.strip);
    assert_eq!((first.packets, first.time), (second.packets, second.time));
    assert!(first.packets > 0 && first.operations > 0);
}
