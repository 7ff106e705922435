//! Link policies in node descriptors, and what nodes call each other.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{Network, RemoteNd, Reply, Request, Stat};
use abi::{Errno, Nd};
use support::talk::*;
use support::{Lab, Program, ms};

fn redirect(lab: &mut Lab, program: Program, nd: Nd, path: &[u8]) -> (Nd, Vec<u8>) {
    let network = Request::Network(Network {
        nd,
        path: path.to_vec(),
    });
    match lab.ask(program, &network) {
        Reply::Redirect(redirect) => (redirect.nd, redirect.path),
        other => panic!("{other:?}"),
    }
}

fn policy(lab: &mut Lab, program: Program, nd: Nd) -> String {
    match lab.ask(program, &Request::Policy(nd)) {
        Reply::Policy(policy) => String::from_utf8(policy.text).unwrap(),
        other => panic!("{other:?}"),
    }
}

// qnx: Q1, Q2, N1
#[test]
fn a_policy_is_part_of_the_node_descriptor() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    for text in [
        "preferred:en0",
        "preferred:en1",
        "exclusive:en1",
        "exclusive-wait:en0",
    ] {
        let path = format!("lab2~{text}/dev/ser1");
        let (nd, rest) = redirect(&mut lab, client, Nd::LOCAL, path.as_bytes());
        assert_eq!((nd.node(), &rest[..]), (11, &b"dev/ser1"[..]));
        assert_ne!(nd.qos(), 0);
        assert_eq!(policy(&mut lab, client, nd), text);
    }
    for path in [&b"lab2/x"[..], b"lab2~loadbalance/x"] {
        let (nd, _) = redirect(&mut lab, client, Nd::LOCAL, path);
        assert_eq!(nd, Nd(11));
        assert_eq!(policy(&mut lab, client, nd), "loadbalance");
    }
    let (nd, _) = redirect(&mut lab, client, Nd::LOCAL, b"lab1~exclusive:en9/x");
    assert_eq!(nd, Nd::LOCAL, "accepted, and without a meaning");
    for (path, errno) in [
        (&b"lab2~exclusive:en7/x"[..], Errno::ENOENT),
        (b"lab2~exclusive", Errno::EINVAL),
        (b"lab2~redundant:en0", Errno::EINVAL),
    ] {
        let network = Request::Network(Network {
            nd: Nd::LOCAL,
            path: path.to_vec(),
        });
        assert_eq!(lab.refusal(client, &network), errno);
    }
    assert_eq!(
        lab.refusal(client, &Request::Policy(Nd::new(11, 999))),
        Errno::EBADF
    );
}

// qnx: Q3
#[test]
fn one_session_serves_all_policies_and_has_all_lanes() {
    let mut lab = Lab::new(2);
    lab.run(ms(500));
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    for path in [&b"lab2"[..], b"lab2~exclusive:en1", b"lab2~preferred:en0"] {
        let (nd, _) = redirect(&mut lab, client, Nd::LOCAL, path);
        lab.send(client, 900, &open(nd, welcome.pid, LAB1), None);
        let (serial, _) = lab.notice(server);
        lab.send(server, serial, &accept(LAB2), None);
        let Reply::Ticket(ticket) = lab.answer(client, 900) else {
            panic!()
        };
        assert_eq!(ticket.nd, nd);
        assert_eq!(
            ticket.lanes.iter().map(|l| l.link).collect::<Vec<_>>(),
            [0, 1]
        );
    }
    lab.send(
        client,
        901,
        &open(Nd::new(11, 999), welcome.pid, LAB1),
        None,
    );
    match lab.answer(client, 901) {
        Reply::Error(refusal) => assert_eq!(refusal.errno, Errno::EBADF),
        other => panic!("{other:?}"),
    }
}

// qnx: P44, P54
#[test]
fn a_policy_survives_the_way_through_another_node() {
    let mut lab = Lab::new(3);
    let (client, _) = lab.program(LAB1);
    let (lab2, _) = redirect(&mut lab, client, Nd::LOCAL, b"lab2~exclusive:en1");
    // Without a word about links the policy of the way goes on.
    let (lab3, rest) = redirect(&mut lab, client, lab2, b"lab3//dev/x");
    assert_eq!((lab3.node(), &rest[..]), (12, &b"dev/x"[..]));
    assert_eq!(policy(&mut lab, client, lab3), "exclusive:en1");
    // A policy behind a node's name means the links of whoever connects.
    let (lab3, _) = redirect(&mut lab, client, lab2, b"lab3~preferred:en0/dev");
    assert_eq!(policy(&mut lab, client, lab3), "preferred:en0");
    let (lab3, _) = redirect(&mut lab, client, lab2, b"lab3~loadbalance");
    assert_eq!(policy(&mut lab, client, lab3), "loadbalance");
    let (home, _) = redirect(&mut lab, client, lab2, b"lab1~exclusive:en1/x");
    assert_eq!(home, Nd::LOCAL);
    let network = |path: &[u8]| {
        Request::Network(Network {
            nd: lab2,
            path: path.to_vec(),
        })
    };
    assert_eq!(
        lab.refusal(client, &network(b"lab3~exclusive:en7")),
        Errno::ENOENT
    );
    assert_eq!(
        lab.refusal(client, &network(b"lab3~exclusive")),
        Errno::EINVAL
    );
    assert_eq!(lab.refusal(client, &network(b"lab9")), Errno::ENOENT);
    // Candidates, too: a prefix of lab2 is reached as lab2 was.
    let (server, _) = lab.program(LAB2);
    lab.ask(server, &attach(b"/dev/ser1"));
    let Reply::Resolved(resolved) = lab.ask(client, &resolve(lab2, b"/dev/ser1")) else {
        panic!()
    };
    assert_eq!(resolved.candidates[0].nd, lab2);
}

// qnx: P52
#[test]
fn a_directory_of_a_node_with_a_policy_is_its_descriptor() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    let (nd, _) = redirect(&mut lab, client, Nd::LOCAL, b"lab2~preferred:en1");
    let stat = Request::Stat(Stat {
        nd: Nd::LOCAL,
        path: b"/net/lab2~preferred:en1".to_vec(),
    });
    match lab.ask(client, &stat) {
        Reply::Described(described) => assert_eq!(described.inode, u64::from(nd.0)),
        other => panic!("{other:?}"),
    }
}

// qnx: N11
#[test]
fn a_node_says_what_it_calls_another_one() {
    let mut lab = Lab::strangers(3);
    for at in 0..3_usize {
        *lab.trust(at) = (0..3)
            .filter(|other| *other != at)
            .map(|other| {
                let mut record = support::record(other);
                // Every node has numbers of its own.
                record.number = 100 * (at as u16 + 1) + other as u16;
                record
            })
            .collect();
    }
    lab.start_all();
    let (client, _) = lab.program(LAB1);
    let ask = |lab: &mut Lab, remote, local| match lab
        .ask(client, &Request::RemoteNd(RemoteNd { remote, local }))
    {
        Reply::Nd(nd) => nd,
        other => panic!("{other:?}"),
    };
    let (lab2, lab3) = (Nd(101), Nd(102));
    assert_eq!(ask(&mut lab, lab2, Nd::LOCAL), Nd(200), "lab1 at lab2");
    assert_eq!(ask(&mut lab, lab2, lab3), Nd(202), "lab3 at lab2");
    assert_eq!(ask(&mut lab, lab2, lab2), Nd::LOCAL);
    assert_eq!(ask(&mut lab, Nd::LOCAL, lab3), lab3);
    lab.trust(LAB2).truncate(1);
    lab.kill(LAB2);
    lab.start(LAB2);
    let gone = Request::RemoteNd(RemoteNd {
        remote: lab2,
        local: lab3,
    });
    assert_eq!(lab.refusal(client, &gone), Errno::ENOENT);
    let unknown = Request::RemoteNd(RemoteNd {
        remote: lab2,
        local: Nd(7),
    });
    assert_eq!(lab.refusal(client, &unknown), Errno::ENOENT);
}

#[test]
fn links_that_come_and_go_without_end_have_their_policies() {
    let mut lab = Lab::new(2);
    let (client, _) = lab.program(LAB1);
    for number in 0..1000 {
        let name = format!("veth{number}");
        lab.change_link(LAB1, 1, |link| link.name.clone_from(&name));
        for kind in ["preferred", "exclusive", "exclusive-wait"] {
            for link in [&name, "en0"] {
                let text = format!("{kind}:{link}");
                let path = format!("lab2~{text}/x");
                let (nd, _) = redirect(&mut lab, client, Nd::LOCAL, path.as_bytes());
                assert_eq!(policy(&mut lab, client, nd), text);
            }
        }
    }
}
