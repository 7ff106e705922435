//! What rules say of names that programs own, and of nodes that others name.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{
    Attach, Lookup, Network, Query, QueryKind, RemoteNd, Reply, Request, RightsLayer, SetRights,
};
use abi::{AttachFlags, ChannelId, Encode, Errno, FileType, Handle, Nd, Pid};
use rights::text::{self, NoNames};
use support::talk::*;
use support::{Lab, Program, name};

const GUEST: u32 = 2000;

fn guest(lab: &mut Lab, node: usize) -> Program {
    lab.program_of(node, GUEST, Pid(0), vec![]).0
}

/// The first rules of a node.
fn rule(lab: &mut Lab, owner: Program, rules: &str) {
    let rules = text::rules(rules, &NoNames).unwrap();
    let set = Request::SetRights(SetRights {
        generation: 1,
        layer: RightsLayer::Running,
        rules: rules.to_bytes().unwrap(),
    });
    assert_eq!(lab.ask(owner, &set), Reply::Done);
}

fn attach_name(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::NAME,
        channel: ChannelId(3),
        handle: Handle(9),
    })
}

fn network(nd: Nd, path: &[u8]) -> Request {
    Request::Network(Network {
        nd,
        path: path.to_vec(),
    })
}

// qnx: P4
#[test]
fn everybody_may_name_a_channel_where_no_rule_denies_it() {
    let mut lab = Lab::new(1);
    let (owner, _) = lab.program(LAB1);
    let user = guest(&mut lab, LAB1);
    rule(&mut lab, owner, "deny 2000@lab1 attach /names/closed");
    let open = lab.ask(user, &attach_name(b"/names/open"));
    assert!(matches!(open, Reply::Attached(_)), "{open:?}");
    for path in [&b"/names/closed"[..], b"/names/closed/inside"] {
        assert_eq!(lab.refusal(user, &attach_name(path)), Errno::EPERM);
    }
    let another = lab.program_of(LAB1, 3000, Pid(0), vec![]).0;
    let his = lab.ask(another, &attach_name(b"/names/closed"));
    assert!(matches!(his, Reply::Attached(_)), "{his:?}");
}

#[test]
fn a_node_leads_on_only_those_that_may_look_there() {
    let mut lab = Lab::new(3);
    let (owner, _) = lab.program(LAB2);
    rule(&mut lab, owner, "deny 2000@lab1 all /net/lab3");
    let (client, refused) = (lab.program(LAB1).0, guest(&mut lab, LAB1));
    let lab2 = nd(&mut lab, client, "lab2");
    for path in [
        &b"/lab3/dev/ser1"[..],
        b"//lab3",
        b"/lab3~exclusive:link0/dev",
    ] {
        let ask = network(lab2, path);
        assert_eq!(lab.refusal(refused, &ask), Errno::EACCES);
        let led = lab.ask(client, &ask);
        assert!(
            !matches!(&led, Reply::Error(refusal) if refusal.errno == Errno::EACCES),
            "{led:?}"
        );
    }
    let elsewhere = lab.ask(refused, &network(lab2, b"/lab1/dev"));
    assert!(matches!(elsewhere, Reply::Redirect(_)), "{elsewhere:?}");
}

#[test]
fn what_a_user_may_not_look_at_below_net_it_cannot_reach_by_number_either() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB1);
    let (server, welcome) = lab.program(LAB2);
    let lab2 = nd(&mut lab, owner, "lab2");
    rule(&mut lab, owner, "deny 2000@lab1 all /net/lab2");
    let user = guest(&mut lab, LAB1);
    let requests = [
        Request::Lookup(Lookup { node: name("lab2") }),
        network(Nd::LOCAL, b"/lab2/dev"),
        resolve(lab2, b"/dev/ser1"),
        open(lab2, welcome.pid, LAB1),
        Request::Query(Query {
            what: QueryKind::Prefixes,
            nd: lab2,
            from: 0,
        }),
        Request::RemoteNd(RemoteNd {
            remote: lab2,
            local: Nd::LOCAL,
        }),
    ];
    for request in &requests {
        assert_eq!(lab.refusal(user, request), Errno::EACCES, "{request:?}");
    }
    introduce(&mut lab, owner, server, welcome.pid);
}
