use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::peer::{
    Greeting, Introduce, Mtu, PeerCandidate, PeerReply, PeerRequest, PeerResolved, Whose,
};
use super::*;
use crate::credentials::Credentials;
use crate::errno::Errno;
use crate::flags::{AttachFlags, FileType, PathFlags};
use crate::ids::{ChannelId, Gid, Handle, Incarnation, Nd, NodeName, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;

fn lab2() -> NodeName {
    NodeName::parse("lab2").unwrap()
}

fn requests() -> Vec<Request> {
    [
        requests_about_names(),
        requests_about_sessions(),
        requests_about_rights(),
    ]
    .concat()
}

fn requests_about_rights() -> Vec<Request> {
    vec![
        Request::Rights,
        Request::SetRights(SetRights {
            generation: 7,
            layer: RightsLayer::Config,
            rules: vec![0, 0],
        }),
        Request::Why(Why {
            node: lab2(),
            user: Uid(1000),
            operation: 2,
            path: b"/dev/ser1".to_vec(),
        }),
        Request::Denied(Denied {
            session: SessionId(3),
            operation: 2,
            rule: Some(4),
            path: b"/dev/ser1".to_vec(),
            count: 5,
        }),
    ]
}

fn requests_about_names() -> Vec<Request> {
    vec![
        Request::Hello(Hello {
            version: VERSION,
            program: b"cat".to_vec(),
            previous: Pid(0),
            sessions: vec![LiveSession {
                local: SessionId(7),
                peer: SessionId(8),
                role: SessionRole::Client,
                node: Some(lab2()),
                pid: Pid(40),
                lanes: vec![],
                user: Uid(0),
                proof: [9; 16],
            }],
        }),
        Request::Attach(Attach {
            path: b"/dev/ser1".to_vec(),
            flags: AttachFlags::DIR,
            file_type: FileType::ANY,
            channel: ChannelId(1),
            handle: Handle(3),
        }),
        Request::Detach(Detach { id: 9 }),
        Request::Link(Link {
            path: b"/a".to_vec(),
            target: b"/b".to_vec(),
        }),
        Request::Unlink(Unlink {
            path: b"/a".to_vec(),
        }),
        Request::Resolve(Resolve {
            nd: Nd(2),
            path: b"/x".to_vec(),
            file_type: FileType::ANY,
            no_follow: true,
        }),
        Request::Network(Network {
            nd: Nd::LOCAL,
            path: b"lab2/dev".to_vec(),
        }),
        Request::List(List {
            nd: Nd::LOCAL,
            path: b"/".to_vec(),
            after: b"dev".to_vec(),
        }),
        Request::Stat(Stat {
            nd: Nd::LOCAL,
            path: b"/".to_vec(),
        }),
    ]
}

fn requests_about_sessions() -> Vec<Request> {
    vec![
        Request::OpenSession(OpenSession {
            nd: Nd(1),
            pid: Pid(77),
            identity: Some(Identity {
                uid: Uid(1000),
                gid: Gid(100),
                groups: vec![Gid(20)],
            }),
            sockets: vec![SocketOnLink {
                link: 0,
                address: LinkAddress::ipv4([127, 0, 1, 1], 4000),
            }],
        }),
        Request::CloseSession(CloseSession {
            session: SessionId(1),
        }),
        Request::Accept(Accept {
            sockets: vec![],
            slots: 64,
            unscheduled: 65_536,
        }),
        Request::Refuse(Refuse {
            errno: Errno::EAGAIN,
        }),
        Request::Suspect(Suspect {
            session: SessionId(1),
            lane: 1,
        }),
        Request::Query(Query {
            what: QueryKind::Prefixes,
            nd: Nd(1),
            from: 12,
        }),
        Request::Invite(Invite {
            ttl: Duration::from_secs(600),
        }),
        Request::Join(Join {
            code: b"ABC".to_vec(),
        }),
        Request::Forget(Forget { node: lab2() }),
        Request::Shutdown,
        Request::Lookup(Lookup { node: lab2() }),
        Request::Policy(Nd(0x0001_0001)),
        Request::Traffic(Traffic {
            rows: vec![LaneTraffic {
                node: Nd(1),
                link: 0,
                peer: LinkAddress::ipv4([10, 0, 0, 1], 0),
                bytes_sent: 1,
                bytes_received: 2,
                rate: 3,
                switches: 4,
                suspect: true,
            }],
        }),
        Request::Relay,
        Request::RemoteNd(RemoteNd {
            remote: Nd(1),
            local: Nd(2),
        }),
        Request::Narrow(Narrow {
            root: b"/srv".to_vec(),
        }),
    ]
}

fn refusal() -> Refusal {
    Refusal::new(Errno::ENOENT, "no node is called lab9")
}

#[test]
fn every_request_comes_back_from_its_packet() {
    let mut kinds = vec![];
    for request in requests() {
        let bytes = packet(5, &request).unwrap();
        assert_eq!(unpack::<Request>(&bytes), Ok((5, Ok(request.clone()))));
        kinds.push(request.kind());
    }
    assert_eq!(
        kinds,
        (1..=25).chain(40..=43).collect::<Vec<u16>>(),
        "kinds are wire numbers and never change"
    );
}

#[test]
fn a_cut_request_is_malformed_at_every_length_and_never_a_panic() {
    for request in requests() {
        let bytes = packet(1, &request).unwrap();
        for len in 4..bytes.len() {
            let (_, message) = unpack::<Request>(&bytes[..len]).unwrap();
            assert!(
                message.is_err(),
                "{} cut to {len} was taken",
                request.kind_name()
            );
        }
        assert!(unpack::<Request>(&bytes[..3]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            unpack::<Request>(&longer).unwrap().1,
            Err(Malformed::Trailing)
        );
    }
}

#[test]
fn packets_have_fixed_bytes() {
    let resolve = Request::Resolve(Resolve {
        nd: Nd(0x0001_0002),
        path: b"/d".to_vec(),
        file_type: FileType(3),
        no_follow: false,
    });
    assert_eq!(
        packet(9, &resolve).unwrap(),
        [
            9, 0, 0, 0, 6, 0, 2, 0, 1, 0, 2, 0, b'/', b'd', 3, 0, 0, 0, 0
        ]
    );
    let error = Reply::Error(Refusal {
        errno: Errno::ENOENT,
        text: b"no".to_vec(),
    });
    assert_eq!(
        packet(9, &error).unwrap(),
        [9, 0, 0, 0, 0, 1, 2, 0, 2, 0, b'n', b'o']
    );
    let death = Notice::Death(Death {
        sessions: vec![SessionId(0x01020304)],
        cause: DeathCause::Node,
    });
    assert_eq!(
        packet(UNSOLICITED, &death).unwrap(),
        [0, 0, 0, 0, 1, 2, 1, 0, 4, 3, 2, 1, 1]
    );
}

#[test]
fn replies_and_notices_are_told_apart() {
    let reply = packet(3, &Reply::Error(refusal())).unwrap();
    assert_eq!(
        unpack(&reply),
        Ok((3, Ok(FromNode::Reply(Reply::Error(refusal())))))
    );
    let verify = Notice::Verify(Verify {
        sessions: vec![SessionId(4)],
    });
    let notice = packet(0, &verify).unwrap();
    assert_eq!(unpack(&notice), Ok((0, Ok(FromNode::Notice(verify)))));
    assert_eq!(
        unpack::<FromNode>(&[0, 0, 0, 0, 0xff, 0xff]),
        Ok((0, Err(Malformed::Unknown)))
    );
}

#[test]
fn a_ticket_comes_back_whole_and_prints_without_its_secret() {
    let ticket = Ticket {
        local: SessionId(1),
        peer: SessionId(2),
        nd: Nd(1),
        pid: Pid(3),
        incarnation: Incarnation(4),
        secret: Some(SessionSecret([0xab; 32])),
        lanes: vec![Lane {
            id: 0,
            link: 1,
            peer: LinkAddress::ipv4([10, 0, 0, 1], 5),
            mtu: 1472,
            protection: Protection::Sealed,
        }],
        slots: 64,
        unscheduled: 65_536,
        proof: [3; 16],
    };
    let bytes = packet(1, &Reply::Ticket(ticket.clone())).unwrap();
    assert_eq!(unpack(&bytes), Ok((1, Ok(Reply::Ticket(ticket.clone())))));
    let text = alloc::format!("{ticket:?}");
    assert!(
        text.contains("SessionSecret(..)") && !text.contains("171") && !text.contains("ab"),
        "{text}"
    );
}

#[test]
fn an_unknown_kind_or_version_field_is_refused() {
    assert_eq!(
        unpack::<Request>(&[1, 0, 0, 0, 99, 0]),
        Ok((1, Err(Malformed::Unknown)))
    );
    assert_eq!(
        unpack::<Request>(&[1, 0, 0, 0]),
        Ok((1, Err(Malformed::Truncated)))
    );
    let mut query = packet(
        1,
        &Request::Query(Query {
            what: QueryKind::Nodes,
            nd: Nd::LOCAL,
            from: 0,
        }),
    )
    .unwrap();
    query[6] = 9;
    assert_eq!(unpack::<Request>(&query), Ok((1, Err(Malformed::Unknown))));
}

#[test]
fn a_list_cannot_claim_more_than_its_packet_holds() {
    let mut bytes = packet(
        1,
        &Request::CloseSession(CloseSession {
            session: SessionId(1),
        }),
    )
    .unwrap();
    bytes[4] = 1;
    bytes.extend([0; 2]);
    assert_eq!(
        unpack::<Request>(&bytes).unwrap().1,
        Err(Malformed::Truncated)
    );
    let death = [0, 0, 0, 0, 1, 2, 0xff, 0xff, 1, 0, 0, 0];
    assert_eq!(
        unpack::<FromNode>(&death),
        Ok((0, Err(Malformed::Truncated)))
    );
}

#[test]
fn an_answer_longer_than_a_packet_is_not_built() {
    let text = vec![b'x'; 65_500];
    let fits = Reply::Error(Refusal {
        errno: Errno::EIO,
        text,
    });
    assert!(packet(1, &fits).is_ok());
    let text = vec![b'x'; 65_535];
    assert_eq!(
        packet(
            1,
            &Reply::Error(Refusal {
                errno: Errno::EIO,
                text
            })
        ),
        Err(Overflow)
    );
}

#[test]
fn peers_name_nodes_by_part_or_key_and_never_by_descriptor() {
    let candidate = crate::connect::Candidate {
        nd: Nd::LOCAL,
        pid: Pid(12),
        chid: ChannelId(1),
        handle: Handle(2),
        file_type: FileType::ANY,
        flags: AttachFlags::empty(),
        prefix_len: 4,
    };
    let node = [Whose::Mine, Whose::Yours, Whose::Other([7; 32])];
    let resolved = PeerReply::Resolved(PeerResolved {
        path: b"/dev/ser1".to_vec(),
        path_flags: PathFlags::empty(),
        candidates: node
            .iter()
            .map(|&node| PeerCandidate { node, candidate })
            .collect(),
    });
    let bytes = resolved.to_bytes().unwrap();
    assert_eq!(PeerReply::from_bytes(&bytes), Ok(resolved));
    let introduce = PeerRequest::Introduce(Introduce {
        client: SessionId(1),
        nonce: [9; 16],
        credentials: Credentials::new(Nd::LOCAL, Pid(5), Uid(1000), Gid(100)),
        incarnation: Incarnation(6),
        target: Pid(77),
        sockets: vec![],
        mtu: vec![Mtu { bytes: 1472 }],
    });
    assert_eq!(
        PeerRequest::from_bytes(&introduce.to_bytes().unwrap()),
        Ok(introduce)
    );
}

#[test]
fn a_greeting_has_a_fixed_length_so_that_handshakes_do() {
    let greeting = Greeting {
        version: VERSION,
        timestamp: 1,
        incarnation: Incarnation(2),
        boot: 3,
        asking: SessionId(4),
        answering: SessionId(5),
    };
    let golden = [
        2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0,
        5, 0, 0, 0,
    ];
    assert_eq!(greeting.to_bytes().unwrap(), golden);
    assert_eq!(lab2().to_string(), "lab2");
}
