//! The client's walk against small worlds of nodes and servers, row by row.
#![allow(clippy::unwrap_used, clippy::panic)]

extern crate slashnet_paths as paths;

mod errors;
mod open;
mod rooted;
mod world;

use paths::{Answer, Step, Walk, WalkOptions};
use proptest::prelude::*;

fn any_answer() -> impl Strategy<Value = Answer> {
    use abi::connect::{Redirect, SymlinkReply};
    use abi::{Candidate, ChannelId, Errno, FileType, Handle, Nd, PathFlags, Pid};

    let text = proptest::sample::select(vec![
        "",
        "/",
        "/a",
        "a/b",
        "../..",
        "/net/lab2/x",
        "b",
        "\0",
    ]);
    let candidate = (0..3_u32, 1..3_u32, 1..3_u32, 0..3_u32, 0..12_u16).prop_map(|numbers| {
        let (nd, pid, chid, handle, prefix_len) = numbers;
        Candidate {
            nd: Nd(nd),
            pid: Pid(pid),
            chid: ChannelId(chid),
            handle: Handle(handle),
            prefix_len,
            ..Candidate::default()
        }
    });
    let candidates = proptest::collection::vec(candidate, 0..5);
    let flags = (0..8_u16).prop_map(PathFlags::from_bits_truncate);
    let errno = proptest::sample::select(Errno::ALL);
    let resolved = (text.clone(), flags.clone(), candidates.clone());
    let redirect = (text.clone(), flags, candidates);
    prop_oneof![
        Just(Answer::Done),
        resolved.prop_map(|(path, path_flags, candidates)| {
            Answer::Resolved {
                path: path.into(),
                path_flags,
                root: candidates.len() as u16,
                candidates,
            }
        }),
        (text.clone(), any::<bool>()).prop_map(|(path, absolute)| Answer::Symlink {
            path: path.into(),
            absolute
        }),
        redirect.prop_map(|(path, path_flags, candidates)| {
            Answer::Redirect(Redirect {
                candidates,
                path: path.into(),
                path_flags,
            })
        }),
        (text.clone(), text).prop_map(|(target, rest)| {
            Answer::Spliced(SymlinkReply {
                target: target.into(),
                rest: rest.into(),
            })
        }),
        (0..3_u32).prop_map(|number| Answer::FileType(FileType(number))),
        Just(Answer::FileType(FileType::MATCHED)),
        errno.prop_map(Answer::Failed),
    ]
}

/// An answer that fits the step; the strategy picks among them.
fn fits(step: &Step, answer: &Answer) -> bool {
    match step {
        Step::Resolve { .. } => {
            matches!(
                answer,
                Answer::Resolved { .. } | Answer::Symlink { .. } | Answer::Failed(_)
            )
        }
        Step::Network { .. } => matches!(answer, Answer::Redirect(_) | Answer::Failed(_)),
        Step::Own { .. } => matches!(answer, Answer::Done | Answer::Failed(_)),
        Step::Connect { .. } | Step::Probe { .. } => {
            !matches!(answer, Answer::Resolved { .. } | Answer::Symlink { .. })
        }
        Step::Done(_) => false,
    }
}

proptest! {
    #[test]
    fn every_walk_ends_whatever_is_answered(
        answers in proptest::collection::vec(any_answer(), 1..40),
        every in any::<bool>(),
        only_fitting in any::<bool>(),
    ) {
        let options = WalkOptions { every, ..WalkOptions::default() };
        let mut walk = Walk::new(b"/net/lab2/x", options);
        let mut turns = 0;
        let mut cycle = answers.iter().cycle();
        let mut idle = 0;
        loop {
            let step = walk.next();
            prop_assert_eq!(&walk.next(), &step);
            if matches!(step, Step::Done(_)) {
                break;
            }
            let answer = cycle.next().unwrap();
            if only_fitting && !fits(&step, answer) && idle < answers.len() {
                idle += 1;
                continue;
            }
            idle = 0;
            walk.answered(answer.clone());
            turns += 1;
            prop_assert!(turns <= paths::walk::STEPS_MAX);
        }
    }
}
