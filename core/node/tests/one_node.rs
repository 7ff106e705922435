//! One node in virtual time: who may do what, what is bounded, and what becomes of offers.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{
    self, Accept, Attach, Death, DeathCause, Forget, Identity, Invite, Join, Link, Network, Notice,
    Offer, OpenSession, Query, QueryKind, Reply, Request, Resolve, Rows, Ticket, Unlink,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Gid, Handle, Nd, Pid, Uid};
use slashnet_node::limits::{PREFIXES_PER_PROGRAM, WAITING_PER_PROGRAM};
use slashnet_node::{Attached, Descriptors, Input};
use support::{Lab, Program, name};

const OWNER: u32 = 1000;
const ROOT: u32 = 0;
const GUEST: u32 = 2000;

fn node() -> Lab {
    let mut lab = Lab::strangers(1);
    lab.start_all();
    lab
}

fn attach_as(path: &[u8], file_type: FileType, flags: AttachFlags) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags,
        file_type,
        channel: ChannelId(1),
        handle: Handle(0),
    })
}

fn attach(path: &[u8]) -> Request {
    attach_as(path, FileType::ANY, AttachFlags::empty())
}

fn resolve(path: &[u8]) -> Request {
    Request::Resolve(Resolve {
        nd: Nd::LOCAL,
        path: path.to_vec(),
        file_type: FileType::ANY,
        no_follow: false,
    })
}

fn owners(lab: &mut Lab, program: Program, path: &[u8]) -> Vec<Pid> {
    match lab.ask(program, &resolve(path)) {
        Reply::Resolved(resolved) => resolved
            .candidates
            .iter()
            .map(|candidate| candidate.pid)
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn open(pid: Pid) -> Request {
    Request::OpenSession(OpenSession {
        nd: Nd::LOCAL,
        pid,
        identity: None,
        sockets: vec![],
    })
}

fn memory(key: u64) -> Option<Descriptors> {
    Some(Descriptors { key, count: 3 })
}

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
fn who_may_change_the_node() {
    // qnx: P4, P61
    let rows: Vec<(&str, Request)> = vec![
        ("attach", attach(b"/dev/x")),
        (
            "link",
            Request::Link(Link {
                path: b"/l".to_vec(),
                target: b"/dev".to_vec(),
            }),
        ),
        (
            "unlink",
            Request::Unlink(Unlink {
                path: b"/l".to_vec(),
            }),
        ),
        (
            "invite",
            Request::Invite(Invite {
                ttl: Duration::from_secs(9),
            }),
        ),
        (
            "join",
            Request::Join(Join {
                code: b"zz".to_vec(),
            }),
        ),
        ("forget", Request::Forget(Forget { node: name("lab9") })),
        ("shutdown", Request::Shutdown),
    ];
    for (what, request) in rows {
        for user in [OWNER, ROOT, GUEST] {
            let mut lab = node();
            let (program, _) = lab.program_of(0, user, Pid(0), vec![]);
            let denied = match lab.ask(program, &request) {
                Reply::Error(refusal) => refusal.errno == Errno::EPERM,
                _ => false,
            };
            assert_eq!(denied, user == GUEST, "{what} by {user}");
        }
    }
}

#[test]
fn everybody_may_attach_the_name_of_a_channel_once() {
    // qnx: P4
    let mut lab = node();
    let (guest, _) = lab.program_of(0, GUEST, Pid(0), vec![]);
    let by_name = attach_as(b"/dev/name/local/x", FileType::NAME, AttachFlags::empty());
    assert!(matches!(lab.ask(guest, &by_name), Reply::Attached(_)));
    let (other, _) = lab.program_of(0, GUEST, Pid(0), vec![]);
    assert_eq!(lab.refusal(other, &by_name), Errno::EEXIST);
}

#[test]
fn nothing_can_be_put_into_net() {
    // qnx: P53
    let mut lab = node();
    let (owner, _) = lab.program(0);
    assert_eq!(lab.refusal(owner, &attach(b"/net/lab9")), Errno::EPERM);
    let link = Request::Link(Link {
        path: b"/net/me".to_vec(),
        target: b"/net/lab1".to_vec(),
    });
    assert_eq!(lab.refusal(owner, &link), Errno::EPERM);
}

#[test]
fn net_leads_to_the_network_manager_and_its_answer_to_a_process_manager() {
    // qnx: P50
    let mut lab = node();
    let (program, _) = lab.program(0);
    let Reply::Resolved(resolved) = lab.ask(program, &resolve(b"/net/lab1/dev/ser1")) else {
        panic!()
    };
    let first = resolved.candidates[0];
    assert_eq!(
        (first.nd, first.pid, first.chid),
        (Nd::LOCAL, Pid(1), system::NETWORK_MANAGER)
    );
    assert_eq!(
        &resolved.path[usize::from(first.prefix_len)..],
        b"/lab1/dev/ser1"
    );
    type Row<'a> = (&'a [u8], Result<&'a [u8], Errno>);
    let rows: [Row<'_>; 6] = [
        (b"lab1", Ok(b"")),
        (b"lab1/", Ok(b"")),
        (b"/lab1//dev/ser1", Ok(b"dev/ser1")),
        (b"lab1~loadbalance/dev", Ok(b"dev")),
        (b"lab1~sequential", Err(Errno::EINVAL)),
        (b"", Err(Errno::EISDIR)),
    ];
    for (path, expected) in rows {
        let request = Request::Network(Network {
            nd: Nd::LOCAL,
            path: path.to_vec(),
        });
        match (lab.ask(program, &request), expected) {
            (Reply::Redirect(redirect), Ok(rest)) => {
                assert_eq!(
                    (redirect.nd, redirect.pid, &redirect.path[..]),
                    (Nd::LOCAL, Pid(1), rest)
                );
            }
            (Reply::Error(refusal), Err(errno)) => assert_eq!(refusal.errno, errno, "{path:?}"),
            (other, expected) => panic!("{path:?}: {other:?}, not {expected:?}"),
        }
    }
}

#[test]
fn symlinks_of_the_process_manager_lead_on() {
    // qnx: P60, P62
    let mut lab = node();
    let (program, _) = lab.program(0);
    let link = |path: &[u8], target: &[u8]| {
        Request::Link(Link {
            path: path.to_vec(),
            target: target.to_vec(),
        })
    };
    assert_eq!(
        lab.ask(program, &link(b"/remote/db", b"/net/lab2~preferred:en1")),
        Reply::Done
    );
    assert_eq!(
        lab.refusal(program, &link(b"/remote/db", b"/net/lab1")),
        Errno::EBUSY
    );
    let Reply::Symlink(symlink) = lab.ask(program, &resolve(b"/remote/db/x/")) else {
        panic!()
    };
    assert_eq!(
        (&symlink.path[..], symlink.absolute),
        (&b"/net/lab2~preferred:en1/x/"[..], true)
    );
    assert_eq!(
        lab.ask(
            program,
            &Request::Unlink(Unlink {
                path: b"/remote/db".to_vec()
            })
        ),
        Reply::Done
    );
    assert_eq!(
        lab.refusal(program, &resolve(b"/remote/db/x")),
        Errno::ENOENT
    );
}

#[test]
fn a_program_does_not_find_itself_and_a_sticky_prefix_outlives_its_owner() {
    // qnx: P16, P19, P46
    let mut lab = node();
    let (server, me) = lab.program(0);
    let (other, _) = lab.program(0);
    lab.ask(server, &attach(b"/dev/x"));
    assert_eq!(owners(&mut lab, other, b"/dev/x"), [me.pid]);
    assert_eq!(lab.refusal(server, &resolve(b"/dev/x")), Errno::ENOENT);
    lab.ask(
        server,
        &attach_as(b"/dev/y", FileType::ANY, AttachFlags::STICKY),
    );
    let before = lab.names_changed(0);
    lab.leave(server);
    assert!(lab.names_changed(0) > before);
    assert_eq!(lab.refusal(other, &resolve(b"/dev/x")), Errno::ENOENT);
    assert_eq!(owners(&mut lab, other, b"/dev/y"), [me.pid]);
    assert_eq!(
        lab.ask(
            other,
            &Request::Unlink(Unlink {
                path: b"/dev/y".to_vec()
            })
        ),
        Reply::Done
    );
}

#[test]
fn a_program_owns_so_many_prefixes_and_no_more() {
    let mut lab = node();
    let (program, _) = lab.program(0);
    for number in 0..PREFIXES_PER_PROGRAM {
        let path = format!("/p/{number}");
        assert!(matches!(
            lab.ask(program, &attach(path.as_bytes())),
            Reply::Attached(_)
        ));
    }
    assert_eq!(lab.refusal(program, &attach(b"/p/more")), Errno::ENOSPC);
    let (other, _) = lab.program(0);
    assert!(
        matches!(lab.ask(other, &attach(b"/p/more")), Reply::Attached(_)),
        "others are not concerned"
    );
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
        matches!(offers[0], (_, Notice::Offer(_), Attached::Passed(passed)) if passed == memory(7).unwrap())
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
    let (_, notice) = lab.notice(server);
    assert_eq!(
        notice,
        Notice::Death(Death {
            sessions: vec![offer.local],
            cause: DeathCause::Session
        })
    );
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
    let (_, notice) = lab.notice(server);
    assert_eq!(
        notice,
        Notice::Death(Death {
            sessions: vec![offer.local],
            cause: DeathCause::Process
        })
    );
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

#[test]
fn malformed_and_early_packets_are_answered_or_end_the_connection() {
    let mut lab = node();
    let (program, _) = lab.program(0);
    let throw = |lab: &mut Lab, bytes: &[u8]| {
        lab.input(
            0,
            Input::Packet {
                program: program.key,
                bytes: bytes.to_vec(),
                descriptors: memory(3),
            },
        );
    };
    throw(&mut lab, &[9, 0, 0, 0, 0xee, 0xee]);
    assert!(
        matches!(lab.answer(program, 9), Reply::Error(refusal) if refusal.errno == Errno::EBADMSG)
    );
    for request in [resolve(b"/x"), attach(b"/y"), open(Pid(2))] {
        let whole = system::packet(10, &request).unwrap();
        for len in 4..whole.len() {
            throw(&mut lab, &whole[..len]);
            assert!(
                matches!(lab.answer(program, 10), Reply::Error(_)),
                "{} cut to {len}",
                request.kind_name()
            );
        }
    }
    throw(&mut lab, &[1]);
    assert!(lab.is_closed(program));
}
