//! Nodes that talk over a wire which loses, doubles, delays and corrupts.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{
    Accept, Attach, Code, Death, DeathCause, Forget, Invite, Join, LiveSession, Lookup, Network,
    Notice, Offer, OpenSession, Query, QueryKind, Reply, Request, Resolve, Revoke, Rows,
    SessionRole, SocketOnLink, Ticket, Verify,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Instant, LinkAddress, Nd, Pid, Uid};
use slashnet_node::{IdentityMap, MayAssert, Range};
use support::{Datagram, Lab, Program, address, ms, name};

const LAB1: usize = 0;
const LAB2: usize = 1;

fn attach(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(3),
        handle: Handle(9),
    })
}

fn resolve(nd: Nd, path: &[u8]) -> Request {
    Request::Resolve(Resolve {
        nd,
        path: path.to_vec(),
        file_type: FileType::ANY,
        no_follow: false,
    })
}

fn nd(lab: &mut Lab, program: Program, node: &str) -> Nd {
    match lab.ask(program, &Request::Lookup(Lookup { node: name(node) })) {
        Reply::Redirect(redirect) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

fn sockets(node: usize) -> Vec<SocketOnLink> {
    let socket = |link: usize| SocketOnLink {
        link: link as u8,
        address: LinkAddress::ipv4([10, 0, link as u8, node as u8 + 1], 5000 + link as u16),
    };
    vec![socket(0), socket(1)]
}

fn open(nd: Nd, pid: Pid, node: usize) -> Request {
    Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: sockets(node),
    })
}

fn accept(node: usize) -> Request {
    Request::Accept(Accept {
        sockets: sockets(node),
        slots: 64,
        unscheduled: 1024,
    })
}

/// A session from a client on lab1 to a server on lab2.
fn introduce(lab: &mut Lab, client: Program, server: Program, pid: Pid) -> (Ticket, Offer) {
    let nd = nd(lab, client, "lab2");
    lab.send(client, 900, &open(nd, pid, LAB1), None);
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!()
    };
    lab.send(server, serial, &accept(LAB2), None);
    match lab.answer(client, 900) {
        Reply::Ticket(ticket) => (ticket, offer),
        other => panic!("{other:?}"),
    }
}

/// A wire with a seed that loses, doubles and delays.
fn bad_wire(seed: u64, loss_percent: u64) -> impl FnMut(&Datagram) -> Vec<Duration> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |_| {
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut arrivals = vec![];
        for _ in 0..if random() % 20 == 0 { 2 } else { 1 } {
            if random() % 100 >= loss_percent {
                arrivals.push(Duration::from_micros(200 + random() % 5000));
            }
        }
        arrivals
    }
}

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
fn an_answer_takes_one_round_trip_once_there_is_a_channel() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.ask(client, &resolve(lab2, b"/"));
    let (began, sent) = (lab.now, lab.sent());
    lab.ask(client, &resolve(lab2, b"/dev"));
    assert_eq!(lab.now.saturating_since(began), ms(2));
    assert_eq!(lab.sent() - sent, 2, "one packet there and one back");
}

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
    lab.run(ms(10_000));
    let tape: Vec<Datagram> = seen.borrow().clone();
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

#[test]
fn idle_nodes_say_nothing() {
    let mut lab = Lab::new(3);
    lab.run(ms(10_000));
    let before = lab.sent();
    lab.run(Duration::from_secs(3600));
    assert_eq!(lab.sent(), before);
}

#[test]
fn the_end_of_a_client_is_known_at_the_server_in_half_a_round_trip() {
    let mut lab = Lab::new(2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    let began = lab.now;
    lab.leave(client);
    let (_, notice) = lab.notice(server);
    assert_eq!(
        notice,
        Notice::Death(Death {
            sessions: vec![offer.local],
            cause: DeathCause::Process
        })
    );
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
    let (_, notice) = lab.notice(client);
    assert_eq!(
        notice,
        Notice::Death(Death {
            sessions: vec![ticket.local],
            cause: DeathCause::Node
        })
    );
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
    let live = LiveSession {
        local: offer.local,
        peer: offer.peer,
        role: SessionRole::Server,
        node: Some(name("lab1")),
        pid: me.pid,
    };
    lab.run(ms(2000));
    let (server, again) = lab.program_of(LAB2, 1000, was.pid, vec![live]);
    assert_eq!(again.pid, was.pid);
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
    let (_, notice) = lab.notice(server);
    assert_eq!(
        notice,
        Notice::Death(Death {
            sessions: vec![offer.local],
            cause: DeathCause::Process
        })
    );
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
fn the_way_may_lead_through_another_node_and_node_numbers_are_translated() {
    // qnx: P44, P54
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
        let (late, _) = lab.program(2);
        assert_eq!(lab.refusal(late, &join), Errno::EALREADY);
        let again = lab.ask(joining, &join);
        assert!(
            matches!(again, Reply::Joined(_)),
            "the same node may repeat it: {again:?}"
        );
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
