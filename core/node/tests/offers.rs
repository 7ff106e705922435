//! Sessions between programs of one node, in virtual time.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{
    self, Accept, DeathCause, Identity, Notice, Offer, OpenSession, Query, QueryKind, Reply,
    Request, Rows, Ticket,
};
use abi::{Errno, Gid, Nd, Pid, Uid};
use slashnet_node::limits::WAITING_PER_PROGRAM;
use slashnet_node::{Attached, Descriptors};
use support::alone::*;
use support::{Lab, Program};

fn accept(slots: u16) -> Request {
    Request::Accept(Accept {
        sockets: vec![],
        slots,
        unscheduled: 1024,
    })
}

fn introduce(
    lab: &mut Lab,
    client: Program,
    server: Program,
    pid: Pid,
    key: u64,
) -> (Ticket, Offer) {
    lab.send(client, 900, &open(pid), memory(key));
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!()
    };
    lab.send(server, serial, &accept(64), None);
    let Reply::Ticket(ticket) = lab.answer(client, 900) else {
        panic!()
    };
    (ticket, offer)
}

#[test]
fn so_many_requests_of_a_program_may_wait_and_no_more() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (client, _) = lab.program(0);
    for serial in 0..WAITING_PER_PROGRAM as u32 {
        lab.send(
            client,
            1000 + serial,
            &open(welcome.pid),
            memory(serial.into()),
        );
    }
    lab.send(client, 5000, &open(welcome.pid), memory(9999));
    let Reply::Error(refusal) = lab.answer(client, 5000) else {
        panic!()
    };
    assert_eq!(refusal.errno, Errno::EAGAIN);
    assert!(
        lab.discarded(0).contains(&memory(9999).unwrap()),
        "its memory is closed"
    );
    // An answer makes room again.
    let (serial, Notice::Offer(_)) = lab.notice(server) else {
        panic!()
    };
    lab.send(server, serial, &accept(64), None);
    assert!(matches!(lab.answer(client, 1000), Reply::Ticket(_)));
    lab.send(client, 5001, &open(welcome.pid), memory(9998));
    lab.run(Duration::from_secs(6));
    let Reply::Error(refusal) = lab.answer(client, 5001) else {
        panic!()
    };
    assert_eq!(
        refusal.errno,
        Errno::ETIMEDOUT,
        "the server has not answered for five seconds"
    );
}

#[test]
fn memory_goes_to_the_server_or_is_closed() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (client, _) = lab.program(0);
    lab.send(client, 1, &open(welcome.pid), memory(7));
    let offers = lab.notices(server);
    assert!(
        matches!(offers[0], (_, Notice::Offer(_), Attached::WithDoorbells(passed)) if passed == memory(7).unwrap())
    );
    lab.send(client, 2, &open(Pid(12)), memory(8));
    lab.send(client, 3, &attach(b"/x"), memory(9));
    lab.send(
        client,
        4,
        &open(welcome.pid),
        Some(Descriptors { key: 10, count: 2 }),
    );
    let closed: Vec<u64> = lab
        .discarded(0)
        .iter()
        .map(|descriptors| descriptors.key)
        .collect();
    assert_eq!(closed, [8, 9, 10]);
    assert!(
        matches!(lab.answer(client, 2), Reply::Error(refusal) if refusal.errno == Errno::ESRCH)
    );
    assert!(
        matches!(lab.answer(client, 4), Reply::Error(refusal) if refusal.errno == Errno::EINVAL)
    );
}

#[test]
fn the_client_s_doorbells_go_with_its_ticket_or_are_closed() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (client, _) = lab.program(0);
    let offer = |lab: &mut Lab, serial: u32| {
        lab.send(client, serial, &open(welcome.pid), memory(serial.into()));
        lab.notice(server).0
    };
    let number = offer(&mut lab, 20);
    lab.send(server, number, &accept(64), None);
    let (reply, attached) = lab.answer_with(client, 20);
    assert!(matches!(reply, Reply::Ticket(_)));
    assert!(matches!(attached, Attached::Passed(passed) if passed == memory(20).unwrap()));
    assert!(lab.discarded(0).is_empty());

    let number = offer(&mut lab, 21);
    let errno = Errno::EAGAIN;
    lab.send(
        server,
        number,
        &Request::Refuse(system::Refuse { errno }),
        None,
    );
    let number = offer(&mut lab, 22);
    lab.send(server, number, &accept(0), None);
    offer(&mut lab, 23);
    lab.run(Duration::from_secs(6));
    let number = offer(&mut lab, 0);
    lab.send(server, number, &accept(64), None);
    offer(&mut lab, 24);
    lab.leave(server);
    let (server, welcome) = lab.program(0);
    lab.send(client, 25, &open(welcome.pid), memory(25));
    let number = lab.notice(server).0;
    lab.leave(client);
    lab.send(server, number, &accept(64), None);
    let closed: Vec<u64> = lab.discarded(0).iter().map(|d| d.key).collect();
    assert_eq!(closed, [21, 22, 23, 0, 24, 25]);
}

#[test]
fn nobody_answers_another_program_s_offers() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (client, _) = lab.program(0);
    let (thief, _) = lab.program(0);
    lab.send(client, 1, &open(welcome.pid), memory(1));
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!()
    };
    lab.send(thief, serial, &accept(64), None);
    lab.send(server, serial, &accept(0), None);
    let Reply::Error(refusal) = lab.answer(client, 1) else {
        panic!()
    };
    assert_eq!(
        refusal.errno,
        Errno::EBADMSG,
        "a session without slots is none"
    );
    lab.expect_death(server, offer.local, DeathCause::Session);
    assert_eq!(
        lab.refusal(
            thief,
            &Request::CloseSession(system::CloseSession {
                session: offer.local
            })
        ),
        Errno::EBADF
    );
}

#[test]
fn a_client_that_leaves_before_the_answer_leaves_no_session_behind() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (client, _) = lab.program(0);
    lab.send(client, 1, &open(welcome.pid), memory(1));
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!()
    };
    lab.leave(client);
    lab.send(server, serial, &accept(64), None);
    lab.expect_death(server, offer.local, DeathCause::Process);
    let sessions = Request::Query(Query {
        what: QueryKind::Sessions,
        nd: Nd::LOCAL,
        from: 0,
    });
    let Reply::Table(table) = lab.ask(server, &sessions) else {
        panic!()
    };
    assert_eq!(table.rows, Rows::Sessions(vec![]));
}

// qnx: I12
#[test]
fn credentials_come_from_the_kernel_and_only_managers_speak_for_others() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (guest, me) = lab.program_of(0, GUEST, Pid(0), vec![]);
    let (_, offer) = introduce(&mut lab, guest, server, welcome.pid, 1);
    let who = &offer.credentials;
    assert_eq!(
        (who.node, who.pid, who.uid, who.gid),
        (Nd::LOCAL, me.pid, Uid(GUEST), Gid(GUEST))
    );
    assert_eq!(who.groups, [Gid(0), Gid(27)]);
    let identity = Some(Identity {
        uid: Uid(0),
        gid: Gid(0),
        groups: vec![],
    });
    let as_root = Request::OpenSession(OpenSession {
        nd: Nd::LOCAL,
        pid: welcome.pid,
        identity,
        sockets: vec![],
    });
    lab.send(guest, 5, &as_root, memory(2));
    assert!(matches!(lab.answer(guest, 5), Reply::Error(refusal) if refusal.errno == Errno::EPERM));
    assert!(lab.discarded(0).contains(&memory(2).unwrap()));
}

#[test]
fn users_see_their_own_sessions_and_the_owner_all() {
    let mut lab = node();
    let (server, welcome) = lab.program(0);
    let (guest, _) = lab.program_of(0, GUEST, Pid(0), vec![]);
    introduce(&mut lab, guest, server, welcome.pid, 1);
    let (stranger, _) = lab.program_of(0, GUEST + 1, Pid(0), vec![]);
    for (program, expected) in [(server, 2), (guest, 1), (stranger, 0)] {
        let sessions = Request::Query(Query {
            what: QueryKind::Sessions,
            nd: Nd::LOCAL,
            from: 0,
        });
        let Reply::Table(table) = lab.ask(program, &sessions) else {
            panic!()
        };
        assert!(matches!(table.rows, Rows::Sessions(rows) if rows.len() == expected));
    }
}
