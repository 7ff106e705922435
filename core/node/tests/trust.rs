//! How nodes come to trust each other, and how that ends.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::Errno;
use abi::system::{
    Code, Death, DeathCause, Forget, Invite, Join, LaneWhy, Notice, Reply, Request, Revoke,
};
use support::talk::*;
use support::{Lab, ms, name};

#[test]
fn joining_works_over_a_bad_wire_and_once_only() {
    for seed in 0..20 {
        let mut lab = Lab::strangers(3);
        lab.start_all();
        lab.wire(bad_wire(seed, 20));
        let (inviting, _) = lab.program(LAB1);
        let ttl = Duration::from_secs(600);
        let Reply::Code(Code { code }) = lab.ask(inviting, &Request::Invite(Invite { ttl })) else {
            panic!()
        };
        let join = Request::Join(Join { code });
        let (joining, _) = lab.program(LAB2);
        let Reply::Joined(joined) = lab.ask(joining, &join) else {
            panic!("seed {seed}")
        };
        assert_eq!(joined.node, name("lab1"));
        assert_eq!((lab.trust(LAB1).len(), lab.trust(LAB2).len()), (1, 1));
        let secret = lab.trust(LAB1)[0].secret.clone();
        assert!(secret.is_some() && secret == lab.trust(LAB2)[0].secret);
        // Used once is used up, for the node that used it too.
        let (late, _) = lab.program(2);
        for second in [late, joining] {
            assert_eq!(lab.refusal(second, &join), Errno::EALREADY);
        }
        // Trust is of use at once, and after a restart.
        for at in [LAB1, LAB2] {
            lab.kill(at);
            lab.start(at);
        }
        lab.wire(|_| vec![ms(1)]);
        let (client, _) = lab.program(LAB2);
        let lab1 = nd(&mut lab, client, "lab1");
        assert!(
            matches!(lab.ask(client, &resolve(lab1, b"/")), Reply::Resolved(_)),
            "seed {seed}"
        );
    }
}

#[test]
fn an_expired_code_says_so_and_a_forgotten_one_nothing() {
    let mut lab = Lab::strangers(2);
    lab.start_all();
    let (inviting, _) = lab.program(LAB1);
    let ttl = Duration::from_secs(5);
    let Reply::Code(Code { code }) = lab.ask(inviting, &Request::Invite(Invite { ttl })) else {
        panic!()
    };
    let join = Request::Join(Join { code });
    lab.run(Duration::from_secs(6));
    let (joining, _) = lab.program(LAB2);
    assert_eq!(lab.refusal(joining, &join), Errno::ETIME);
    lab.run(Duration::from_secs(25 * 3600));
    assert_eq!(lab.refusal(joining, &join), Errno::ETIMEDOUT);
}

#[test]
fn forgetting_a_node_ends_its_sessions_and_its_introductions() {
    let mut lab = Lab::new(2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.send(client, 901, &open(lab2, welcome.pid, LAB1), None);
    let (serial, Notice::Offer(second)) = lab.notice(server) else {
        panic!()
    };
    assert_eq!(
        lab.ask(server, &Request::Forget(Forget { node: name("lab1") })),
        Reply::Done
    );
    let notices: Vec<Notice> = lab
        .notices(server)
        .into_iter()
        .map(|(_, notice, _)| notice)
        .collect();
    assert!(
        notices.contains(&Notice::Revoke(Revoke {
            sessions: vec![offer.local]
        })),
        "{notices:?}"
    );
    let void = Death {
        sessions: vec![second.local],
        cause: DeathCause::Session,
    };
    assert!(notices.contains(&Notice::Death(void)), "{notices:?}");
    lab.send(server, serial, &accept(LAB2), None);
    assert!(matches!(lab.answer(client, 901), Reply::Error(_)));
    assert!(lab.trust(LAB2).is_empty());
}

#[test]
fn a_node_that_is_forgotten_says_so_until_it_is_trusted_again() {
    let mut lab = Lab::new(2);
    let (there, _) = lab.program(LAB2);
    let (here, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, here, "lab2");
    lab.ask(here, &resolve(lab2, b"/"));
    lab.run(ms(1000));
    let whys = |lab: &Lab| -> Vec<LaneWhy> { lab.rows(LAB1).iter().map(|row| row.why).collect() };
    assert_eq!(whys(&lab), [LaneWhy::Nothing; 2]);
    lab.log(LAB1);
    let forget = Request::Forget(Forget { node: name("lab1") });
    assert_eq!(lab.ask(there, &forget), Reply::Done);
    lab.run(ms(10));
    assert_eq!(whys(&lab), [LaneWhy::Forgotten; 2]);
    // Nor do programs that ask, and time, change that.
    lab.send(here, 900, &resolve(lab2, b"/"), None);
    lab.run(Duration::from_secs(60));
    assert_eq!(whys(&lab), [LaneWhy::Forgotten; 2]);
    let said = lab.log(LAB1);
    let told = said
        .iter()
        .filter(|line| *line == "lab2 has forgotten this node");
    assert_eq!(told.count(), 1, "{said:?}");
    let ttl = Duration::from_secs(600);
    let Reply::Code(Code { code }) = lab.ask(there, &Request::Invite(Invite { ttl })) else {
        panic!()
    };
    let joined = lab.ask(here, &Request::Join(Join { code }));
    assert!(matches!(joined, Reply::Joined(_)), "{joined:?}");
    let lab2 = nd(&mut lab, here, "lab2");
    lab.ask(here, &resolve(lab2, b"/"));
    lab.run(ms(1000));
    assert_eq!(whys(&lab), [LaneWhy::Nothing; 2]);
}

#[test]
fn a_code_outlives_the_daemon_that_made_it() {
    let mut lab = Lab::strangers(3);
    lab.start_all();
    let (inviting, _) = lab.program(LAB1);
    let ttl = Duration::from_secs(600);
    let mut codes = Vec::new();
    for _ in 0..2 {
        let Reply::Code(Code { code }) = lab.ask(inviting, &Request::Invite(Invite { ttl })) else {
            panic!()
        };
        codes.push(Request::Join(Join { code }));
    }
    let (lab2, _) = lab.program(LAB2);
    assert!(matches!(lab.ask(lab2, &codes[0]), Reply::Joined(_)));
    lab.kill(LAB1);
    lab.start(LAB1);
    let (lab3, _) = lab.program(2);
    let used = lab.refusal(lab3, &codes[0]);
    assert_eq!(used, Errno::EALREADY, "it is known what was used");
    assert!(matches!(lab.ask(lab3, &codes[1]), Reply::Joined(_)));
}

#[test]
fn a_code_expires_while_its_daemon_does_not_run() {
    let mut lab = Lab::strangers(2);
    lab.start_all();
    let (inviting, _) = lab.program(LAB1);
    let ttl = Duration::from_secs(600);
    let Reply::Code(Code { code }) = lab.ask(inviting, &Request::Invite(Invite { ttl })) else {
        panic!()
    };
    lab.kill(LAB1);
    lab.run(Duration::from_secs(601));
    lab.start(LAB1);
    let (joining, _) = lab.program(LAB2);
    assert_eq!(
        lab.refusal(joining, &Request::Join(Join { code })),
        Errno::ETIME
    );
}

#[test]
fn a_node_that_moves_all_the_time_is_written_down_once_a_second() {
    let mut lab = Lab::new(2);
    lab.run(ms(2000));
    let before = lab.times_kept(LAB1);
    let mut newest = lab.links(LAB2)[1].address;
    for turn in 0..100 {
        newest = newest.with_port(42_000 + turn);
        lab.change_link(LAB2, 1, |link| link.address = newest);
        lab.run(ms(30));
    }
    let times = lab.times_kept(LAB1) - before;
    assert!((2..=4).contains(&times), "{times} times in 3 s");
    lab.run(ms(1100));
    assert!(lab.trust(LAB1)[0].addresses.contains(&newest));
}
