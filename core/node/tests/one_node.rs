//! One node in virtual time: who may do what with names, and what is bounded.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::time::Duration;

use abi::system::{self, Forget, Invite, Join, Link, Network, Reply, Request, Resolve, Unlink};
use abi::{AttachFlags, Errno, FileType, Nd, Pid};
use slashnet_node::Input;
use slashnet_node::limits::PREFIXES_PER_PROGRAM;
use support::alone::*;
use support::{Lab, Program, name};

const OWNER: u32 = 1000;
const ROOT: u32 = 0;

fn resolve(path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(Nd::LOCAL, path))
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
