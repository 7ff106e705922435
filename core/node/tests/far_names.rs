//! What a node makes of other nodes' word that names have changed there.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{Attached, Detach, Reply};
use slashnet_node::limits::{NEWS_BURST, NEWS_PER_SECOND};
use support::talk::*;
use support::{Lab, ms};

#[test]
fn a_node_that_says_all_the_time_that_names_have_changed_is_heard_now_and_then_and_at_last() {
    let mut lab = Lab::new(2);
    let ((client, _), (server, _)) = (lab.program(LAB1), lab.program(LAB2));
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/dev/x"));
    let (before, begun) = (lab.names_changed(LAB1), lab.now);
    let (mut changes, mut heard_at_once) = (0, 0);
    while lab.now < begun.checked_add(ms(1000)).unwrap() {
        // Who has asked is told once.
        lab.ask(client, &resolve(lab2, b"/dev/x"));
        let Reply::Attached(Attached { id }) = lab.ask(server, &attach(b"/dev/x")) else {
            panic!("not attached");
        };
        lab.run(ms(2));
        changes += 1;
        heard_at_once += u32::from(lab.names_changed(LAB1) - before == changes);
        lab.ask(server, &abi::system::Request::Detach(Detach { id }));
    }
    assert!(changes > 100, "{changes}");
    assert_eq!(heard_at_once, NEWS_BURST);
    let heard = lab.names_changed(LAB1) - before;
    assert!(
        heard <= u64::from(NEWS_BURST + NEWS_PER_SECOND) + 1,
        "{heard}"
    );
    lab.ask(client, &resolve(lab2, b"/dev/x"));
    lab.ask(server, &attach(b"/dev/y"));
    lab.run(ms(2));
    let before = lab.names_changed(LAB1);
    lab.run(ms(150));
    assert_eq!(lab.names_changed(LAB1), before + 1, "the last one is heard");
    lab.run(ms(5000));
    assert_eq!(lab.names_changed(LAB1), before + 1, "and only once");
}
