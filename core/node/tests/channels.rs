//! How nodes find each other and stay in touch over a wire which loses, doubles, delays and corrupts.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{Network, Query, QueryKind, Reply, Request, Rows};
use abi::{Errno, Instant, LinkAddress, Nd};
use support::talk::*;
use support::{Datagram, Lab, address, ms, name};

#[test]
fn questions_to_another_node_are_answered_over_a_bad_wire() {
    // qnx: P44, P50
    let mut granted = 0;
    for seed in 0..40 {
        let mut lab = Lab::new(2);
        lab.wire(bad_wire(seed, 15));
        let (server, welcome) = lab.program(LAB2);
        lab.ask(server, &attach(b"/dev/ser1"));
        let (client, _) = lab.program(LAB1);
        let lab2 = nd(&mut lab, client, "lab2");
        assert_eq!(lab2, Nd(11), "lab1's own number for lab2");
        match lab.ask(client, &resolve(lab2, b"/dev/ser1")) {
            Reply::Resolved(resolved) => {
                let candidate = resolved.candidates[0];
                assert_eq!((candidate.nd, candidate.pid), (lab2, welcome.pid));
                granted += 1;
            }
            // Everything lost for more than a second: the answer is then this one, and in time.
            Reply::Error(refusal) => assert_eq!(refusal.errno, Errno::EHOSTDOWN, "seed {seed}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(granted >= 38, "{granted} of 40");
}

#[test]
fn an_answer_takes_one_round_trip_once_there_is_a_channel() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/"));
    lab.run(ms(500));
    let (began, sent) = (lab.now, lab.sent_in_sessions());
    lab.ask(client, &resolve(lab2, b"/dev"));
    assert_eq!(lab.now.saturating_since(began), ms(2));
    let packets = lab.sent_in_sessions() - sent;
    assert!(
        (2..=4).contains(&packets),
        "one there and one back: {packets}"
    );
}

// qnx: Q13
#[test]
fn a_node_that_is_off_costs_a_bounded_time() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    lab.kill(LAB2);
    let began = lab.now;
    let lab2 = nd(&mut lab, client, "lab2");
    assert_eq!(lab.refusal(client, &resolve(lab2, b"/")), Errno::EHOSTDOWN);
    assert!(lab.now.saturating_since(began) <= ms(2000));
    // Also when there is a channel of before.
    lab.start(LAB2);
    assert!(matches!(
        lab.ask(client, &resolve(lab2, b"/")),
        Reply::Resolved(_)
    ));
    lab.kill(LAB2);
    let began = lab.now;
    assert_eq!(lab.refusal(client, &resolve(lab2, b"/")), Errno::EHOSTDOWN);
    assert!(
        lab.now.saturating_since(began) <= ms(2000),
        "{:?}",
        lab.now.saturating_since(began)
    );
}

// qnx: Q11
#[test]
fn a_restarted_node_is_asked_again_at_once() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/"));
    lab.kill(LAB2);
    lab.send(client, 77, &resolve(lab2, b"/"), None);
    lab.run(ms(100));
    lab.start(LAB2);
    let began = lab.now;
    assert!(matches!(lab.answer(client, 77), Reply::Resolved(_)));
    assert!(
        lab.now.saturating_since(began) < ms(1000),
        "{:?}",
        lab.now.saturating_since(began)
    );
}

#[test]
fn a_cut_link_is_left_for_the_other_one() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/"));
    for cut in [0_u8, 1] {
        let dead = move |address: &LinkAddress| {
            (0..2).any(|node| *address == support::address(node, cut.into()))
        };
        lab.wire(move |datagram| {
            if dead(&datagram.to) {
                vec![]
            } else {
                vec![ms(1)]
            }
        });
        let began = lab.now;
        assert!(
            matches!(lab.ask(client, &resolve(lab2, b"/")), Reply::Resolved(_)),
            "link {cut} cut"
        );
        assert!(lab.now.saturating_since(began) < ms(1500));
    }
}

#[test]
fn flipped_truncated_and_replayed_packets_change_nothing() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::<Datagram>::new()));
    let tape = std::rc::Rc::clone(&seen);
    lab.wire(move |datagram| {
        tape.borrow_mut().push(datagram.clone());
        vec![ms(1)]
    });
    lab.kill(LAB2);
    lab.start(LAB2);
    lab.ask(client, &resolve(lab2, b"/"));
    // Until nobody probes any more.
    lab.run(ms(70_000));
    let mut tape: Vec<Datagram> = seen.borrow().clone();
    tape.truncate(200);
    assert!(tape.len() >= 6, "a handshake and some packets");
    let before = lab.sent();
    for datagram in &tape {
        lab.throw(datagram.from, datagram.to, datagram.bytes.clone());
        for at in (0..datagram.bytes.len()).step_by(7) {
            let mut flipped = datagram.bytes.clone();
            flipped[at] ^= 0x20;
            lab.throw(datagram.from, datagram.to, flipped);
            lab.throw(datagram.from, datagram.to, datagram.bytes[..at].to_vec());
        }
        lab.run(ms(1));
    }
    lab.run(ms(100));
    assert_eq!(lab.sent(), before, "none of these packets is answered");
    assert!(matches!(
        lab.ask(client, &resolve(lab2, b"/")),
        Reply::Resolved(_)
    ));
}

#[test]
fn strangers_are_met_with_silence_even_if_they_know_the_public_key() {
    let mut lab = Lab::new(2);
    lab.trust(LAB2).clear();
    lab.kill(LAB2);
    lab.start(LAB2);
    lab.run(ms(5000));
    let before = lab.sent();
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    let from_lab2 = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&from_lab2);
    lab.wire(move |datagram| {
        if datagram.from == address(LAB2, 0) || datagram.from == address(LAB2, 1) {
            count.set(count.get() + 1);
        }
        vec![ms(1)]
    });
    assert_eq!(lab.refusal(client, &resolve(lab2, b"/")), Errno::EHOSTDOWN);
    assert!(lab.sent() > before);
    assert_eq!(
        from_lab2.get(),
        0,
        "lab2 does not trust lab1 and says nothing"
    );
}

#[test]
fn a_flood_of_hellos_is_answered_with_cookies_that_let_friends_in() {
    let mut lab = Lab::new(2);
    lab.run(ms(100));
    let hello = std::rc::Rc::new(std::cell::RefCell::new(None));
    let tape = std::rc::Rc::clone(&hello);
    lab.wire(move |datagram| {
        if datagram.bytes[0] == 1 << 5 | 1 {
            tape.borrow_mut()
                .get_or_insert_with(|| datagram.bytes.clone());
        }
        vec![ms(1)]
    });
    lab.kill(LAB1);
    lab.start(LAB1);
    lab.run(ms(100));
    let replay = hello.borrow().clone().unwrap();
    let second = Instant::from_nanos((lab.now.as_nanos() / 1_000_000_000 + 1) * 1_000_000_000);
    lab.run(second.saturating_since(lab.now));
    let before = lab.sent();
    for number in 0..1000_u16 {
        let [high, low] = number.to_le_bytes();
        lab.throw(
            LinkAddress::ipv4([10, 9, high, low], 9),
            address(LAB2, 0),
            replay.clone(),
        );
    }
    lab.run(ms(1));
    let answers = lab.sent() - before;
    assert!(
        (400..=600).contains(&answers),
        "{answers} cookies after the first 500 hellos"
    );
    // In the same second, a friend gets in.
    let (client, _) = lab.program(LAB1);
    lab.kill(LAB1);
    lab.start(LAB1);
    let (friend, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, friend, "lab2");
    assert!(matches!(
        lab.ask(friend, &resolve(lab2, b"/")),
        Reply::Resolved(_)
    ));
    assert_ne!(client.key, friend.key);
}

#[test]
fn keys_are_renewed_while_the_channel_is_used() {
    let mut lab = Lab::new(2);
    let hellos = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&hellos);
    lab.wire(move |datagram| {
        if datagram.bytes[0] == 1 << 5 | 1 {
            count.set(count.get() + 1);
        }
        vec![ms(1)]
    });
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    introduce(&mut lab, client, server, welcome.pid);
    let before = hellos.get();
    lab.run(Duration::from_secs(600));
    let renewals = hellos.get() - before;
    // Two addresses each time, and both ends may begin.
    assert!(
        (8..=20).contains(&renewals),
        "{renewals} hellos in ten minutes"
    );
    assert!(lab.notices(client).is_empty() && lab.notices(server).is_empty());
}

// qnx: Q10
#[test]
fn idle_nodes_say_nothing() {
    let mut lab = Lab::new(3);
    lab.run(ms(10_000));
    let before = lab.sent();
    lab.run(Duration::from_secs(3600));
    assert_eq!(lab.sent(), before);
}

#[test]
fn a_machine_whose_calendar_went_back_when_it_was_started_anew_is_still_heard() {
    let mut lab = Lab::new(2);
    lab.run(Duration::from_secs(1000));
    lab.calendar = Some(Instant::from_nanos(5));
    lab.reboot(LAB1);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    assert!(matches!(
        lab.ask(client, &resolve(lab2, b"/")),
        Reply::Resolved(_)
    ));
}

#[test]
fn a_node_that_moves_is_found_again() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/"));
    // lab1 remembers an address at which lab2 is not any more; lab2 knows where lab1 is.
    lab.trust(LAB1)[0].addresses = vec![LinkAddress::ipv4([10, 0, 0, 99], 41_000)];
    lab.kill(LAB1);
    lab.start(LAB1);
    lab.run(ms(3000));
    let (asking, _) = lab.program(LAB2);
    let lab1 = nd(&mut lab, asking, "lab1");
    assert!(matches!(
        lab.ask(asking, &resolve(lab1, b"/")),
        Reply::Resolved(_)
    ));
    let learnt = lab.trust(LAB1)[0].addresses[0];
    assert!(
        learnt == address(LAB2, 0) || learnt == address(LAB2, 1),
        "{learnt}"
    );
    let (client, _) = lab.program(LAB1);
    assert!(matches!(
        lab.ask(client, &resolve(lab2, b"/")),
        Reply::Resolved(_)
    ));
}

#[test]
fn the_way_may_lead_through_another_node_and_node_numbers_are_translated() {
    // qnx: P44, P54, N17
    let mut lab = Lab::new(3);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    let through = |path: &[u8]| {
        Request::Network(Network {
            nd: lab2,
            path: path.to_vec(),
        })
    };
    let Reply::Redirect(found) = lab.ask(client, &through(b"lab3/dev")) else {
        panic!()
    };
    let lab3 = nd(&mut lab, client, "lab3");
    assert_eq!((found.nd, &found.path[..]), (lab3, &b"dev"[..]));
    let Reply::Redirect(found) = lab.ask(client, &through(b"lab2/x")) else {
        panic!()
    };
    assert_eq!(found.nd, lab2);
    let Reply::Redirect(found) = lab.ask(client, &through(b"lab1/x")) else {
        panic!()
    };
    assert_eq!(found.nd, Nd::LOCAL);
    lab.trust(LAB1).retain(|record| record.name != name("lab3"));
    lab.kill(LAB1);
    lab.start(LAB1);
    let (client, _) = lab.program(LAB1);
    assert_eq!(
        lab.refusal(client, &through(b"lab3/dev")),
        Errno::ENOENT,
        "lab1 does not know lab3"
    );
}

#[test]
fn tables_show_nodes_and_their_state() {
    let mut lab = Lab::new(2);
    let (program, _) = lab.program(LAB1);
    let states = |lab: &mut Lab, what| match lab.ask(
        program,
        &Request::Query(Query {
            what,
            nd: Nd::LOCAL,
            from: 0,
        }),
    ) {
        Reply::Table(table) => table.rows,
        other => panic!("{other:?}"),
    };
    lab.run(ms(100));
    let Rows::Nodes(rows) = states(&mut lab, QueryKind::Nodes) else {
        panic!()
    };
    let words: Vec<_> = rows
        .iter()
        .map(|row| (row.name.to_string(), row.state.text()))
        .collect();
    assert_eq!(
        words,
        [("lab1".to_owned(), "Local"), ("lab2".to_owned(), "Up")]
    );
    assert_eq!(rows[1].round_trip, Some(ms(2)));
    lab.kill(LAB2);
    lab.run(ms(10_000));
    states(&mut lab, QueryKind::Nodes);
    lab.run(ms(5000));
    let Rows::Nodes(rows) = states(&mut lab, QueryKind::Nodes) else {
        panic!()
    };
    assert_ne!(
        rows[1].state.text(),
        "Up",
        "looking at the table made the node look"
    );
    let Rows::Links(rows) = states(&mut lab, QueryKind::Links) else {
        panic!()
    };
    assert!(rows.len() >= 2 && rows[0].sent > 0);
}
