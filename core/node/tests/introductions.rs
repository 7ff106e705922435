//! How programs of two nodes come to their sessions, and how they learn of their ends.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{Death, DeathCause, LiveSession, Notice, SessionRole, Verify};
use abi::{Errno, Pid, SessionId, Uid};
use slashnet_node::{IdentityMap, MayAssert, Range};
use support::talk::*;
use support::{Lab, ms, name};

#[test]
fn introductions_give_both_ends_the_same_over_a_bad_wire() {
    for seed in 0..40 {
        let mut lab = Lab::new(2);
        lab.run(ms(100));
        lab.wire(bad_wire(seed, 10));
        let (server, welcome) = lab.program(LAB2);
        let (client, me) = lab.program(LAB1);
        let (ticket, offer) = introduce(&mut lab, client, server, welcome.pid);
        assert_eq!(
            (ticket.local, ticket.peer),
            (offer.peer, offer.local),
            "seed {seed}"
        );
        assert!(
            ticket.secret.is_some() && ticket.secret == offer.secret,
            "seed {seed}"
        );
        assert_eq!(offer.credentials.pid, me.pid);
        let mut theirs: Vec<_> = ticket
            .lanes
            .iter()
            .map(|lane| (lane.link, lane.peer))
            .collect();
        theirs.sort_unstable();
        let expected: Vec<_> = sockets(LAB2)
            .iter()
            .map(|socket| (socket.link, socket.address))
            .collect();
        assert_eq!(theirs, expected, "links of one network are paired");
    }
}

#[test]
fn a_node_speaks_for_its_own_users_as_far_as_it_is_trusted() {
    let mut lab = Lab::new(2);
    let only = MayAssert::Only(vec![Range {
        first: 1000,
        last: 1000,
    }]);
    lab.trust(LAB2)[0].identities = IdentityMap {
        users: vec![(1000, 2000)],
        may_assert: only,
        ..IdentityMap::default()
    };
    lab.kill(LAB2);
    lab.start(LAB2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    assert_eq!(offer.credentials.uid, Uid(2000));
    assert_eq!(
        offer.credentials.groups,
        [abi::Gid(27)],
        "group 0 of another node is none of ours"
    );
    let (other, _) = lab.program_of(LAB1, 1001, Pid(0), vec![]);
    let lab2 = nd(&mut lab, other, "lab2");
    assert_eq!(
        lab.refusal(other, &open(lab2, welcome.pid, LAB1)),
        Errno::EACCES
    );
}

#[test]
fn the_end_of_a_client_is_known_at_the_server_in_half_a_round_trip() {
    let mut lab = Lab::new(2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    let began = lab.now;
    lab.leave(client);
    lab.expect_death(server, offer.local, DeathCause::Process);
    assert_eq!(lab.now.saturating_since(began), ms(1));
}

#[test]
fn a_silent_node_is_not_called_dead_and_a_rebooted_one_is() {
    let mut lab = Lab::new(2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (ticket, _) = introduce(&mut lab, client, server, welcome.pid);
    lab.kill(LAB2);
    let began = lab.now;
    let (_, notice) = lab.notice(client);
    assert_eq!(
        notice,
        Notice::Verify(Verify {
            sessions: vec![ticket.local]
        })
    );
    assert!(
        lab.now.saturating_since(began) < Duration::from_secs(4),
        "{:?}",
        lab.now.saturating_since(began)
    );
    lab.run(Duration::from_secs(60));
    assert!(lab.notices(client).is_empty(), "told once");
    lab.reboot(LAB2);
    lab.expect_death(client, ticket.local, DeathCause::Node);
}

#[test]
fn a_restarted_daemon_is_asked_for_lost_sessions_after_its_programs_had_time_to_return() {
    let mut lab = Lab::new(2);
    let (server, was) = lab.program(LAB2);
    let (client, me) = lab.program(LAB1);
    let (kept, offer) = introduce(&mut lab, client, server, was.pid);
    let (lost, _) = introduce(&mut lab, client, server, was.pid);
    lab.kill(LAB2);
    lab.run(ms(500));
    lab.start(LAB2);
    assert_eq!(offer.credentials.pid, me.pid);
    let live = served_to(&offer, "lab1");
    lab.run(ms(2000));
    let (server, again) = lab.program_of(LAB2, 1000, was.pid, vec![live]);
    assert_eq!(again.pid, was.pid);
    let (_, Notice::Rights(told)) = lab.notice(server) else {
        panic!("the server is told what the client may do by today's rules");
    };
    assert_eq!(told.sessions, [offer.local]);
    let deaths = loop {
        match lab.notice(client).1 {
            Notice::Death(death) => break death,
            Notice::Verify(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        deaths,
        Death {
            sessions: vec![lost.local],
            cause: DeathCause::Process
        }
    );
    lab.run(Duration::from_secs(20));
    assert!(
        lab.notices(client).is_empty() && lab.notices(server).is_empty(),
        "{} lives",
        kept.local
    );
    lab.leave(client);
    lab.expect_death(server, offer.local, DeathCause::Process);
}

#[test]
fn a_program_that_claims_sessions_again_and_again_does_not_hide_that_others_are_lost() {
    let mut lab = Lab::new(2);
    let (server, was) = lab.program(LAB2);
    let (client, me) = lab.program(LAB1);
    let (lost, _) = introduce(&mut lab, client, server, was.pid);
    lab.kill(LAB2);
    lab.run(ms(500));
    lab.start(LAB2);
    let claim = |n| LiveSession {
        user: Uid(0),
        local: SessionId(n),
        peer: SessionId(n),
        role: SessionRole::Server,
        node: Some(name("lab1")),
        pid: me.pid,
        lanes: vec![],
        proof: [0; 16],
    };
    for n in 1..=100 {
        lab.program_of(LAB2, 1001, Pid(0), vec![claim(n)]);
        lab.run(ms(100));
    }
    let deaths: Vec<_> = lab
        .notices(client)
        .into_iter()
        .filter(|(_, notice, _)| matches!(notice, Notice::Death(death) if death.sessions == [lost.local]))
        .collect();
    assert_eq!(deaths.len(), 1);
}
