//! Who may do what, as the node decides it, tells it to servers, and changes it.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{
    Because, DenialRow, Denied, Link, List, Notice, Query, QueryKind, Reply, Request, RightsLayer,
    RightsList, Rows, SetRights, Stat, Unlink, Why,
};
use abi::{Decode, Encode, Errno, Nd, Uid};
use rights::text::{self, NoNames};
use rights::{ClientRights, Operation, Rules};
use support::talk::*;
use support::{Lab, Program, name};

const GUEST: u32 = 2000;

fn guest(lab: &mut Lab, node: usize) -> Program {
    lab.program_of(node, GUEST, abi::Pid(0), vec![]).0
}

fn list(lab: &mut Lab, program: Program) -> RightsList {
    match lab.ask(program, &Request::Rights) {
        Reply::Rights(list) => list,
        other => panic!("{other:?}"),
    }
}

fn set(generation: u64, layer: RightsLayer, rules: &str) -> Request {
    let rules = text::rules(rules, &NoNames).unwrap();
    Request::SetRights(SetRights {
        generation,
        layer,
        rules: rules.to_bytes().unwrap(),
    })
}

/// Replaces the rules that were made while the node ran.
fn rule(lab: &mut Lab, owner: Program, rules: &str) {
    let generation = list(lab, owner).generation;
    let reply = lab.ask(owner, &set(generation, RightsLayer::Running, rules));
    assert_eq!(reply, Reply::Done);
}

fn may(rights: &[u8], operation: Operation, path: &[u8]) -> bool {
    let rights = ClientRights::from_bytes(rights).unwrap();
    rights.at(path).allows(operation)
}

fn why(lab: &mut Lab, program: Program, user: u32, operation: Operation, path: &str) -> Reply {
    lab.ask(
        program,
        &Request::Why(Why {
            node: name("lab1"),
            user: Uid(user),
            operation: operation.number(),
            path: path.into(),
        }),
    )
}

fn denials(lab: &mut Lab, program: Program) -> Vec<DenialRow> {
    let query = Request::Query(Query {
        what: QueryKind::Denials,
        nd: Nd::LOCAL,
        from: 0,
    });
    match lab.ask(program, &query) {
        Reply::Table(table) => match table.rows {
            Rows::Denials(rows) => rows,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_is_told_what_its_client_may_do_and_when_that_changes() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    rule(&mut lab, owner, "deny 1000@lab1 write /dev\ndeny 7@* all /");
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    assert_eq!(offer.user, Uid(1000));
    assert!(may(&offer.rights, Operation::Read, b"/dev/ser1"));
    assert!(!may(&offer.rights, Operation::Write, b"/dev/ser1"));
    let lines = ClientRights::from_bytes(&offer.rights).unwrap();
    assert_ne!(lines, ClientRights::default_rights());
    rule(&mut lab, owner, "deny *@* read /dev/ser1");
    let (0, Notice::Rights(new)) = lab.notice(server) else {
        panic!("the server hears of it");
    };
    assert_eq!(new.sessions, [offer.local]);
    assert!(!may(&new.rights, Operation::Read, b"/dev/ser1"));
    assert!(may(&new.rights, Operation::Write, b"/dev/ser1"));
    assert!(
        lab.notices(client).is_empty(),
        "clients hear nothing of rules"
    );
}

#[test]
fn rules_that_change_while_a_session_is_offered_hold_for_it() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    lab.send(client, 900, &open(lab2, welcome.pid, LAB1), None);
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!("it is offered");
    };
    assert!(may(&offer.rights, Operation::Write, b"/dev/ser1"));
    rule(&mut lab, owner, "deny 1000@lab1 write /dev");
    lab.send(server, serial, &accept(LAB2), None);
    let (0, Notice::Rights(new)) = lab.notice(server) else {
        panic!("the server hears of it");
    };
    assert_eq!(new.sessions, [offer.local]);
    assert!(!may(&new.rights, Operation::Write, b"/dev/ser1"));
}

#[test]
fn who_may_do_nothing_gets_no_session() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let (_, welcome) = lab.program(LAB2);
    rule(&mut lab, owner, "deny 2000@lab1 all /");
    let client = guest(&mut lab, LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    let refused = lab.refusal(client, &open(lab2, welcome.pid, LAB1));
    assert_eq!(refused, Errno::EACCES);
    let rows = denials(&mut lab, owner);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].node, rows[0].user), (name("lab1"), Uid(GUEST)));
    assert_eq!(rows[0].rule, Some(0));
}

#[test]
fn names_are_shown_to_whom_rules_let_see_them() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let (server, _) = lab.program(LAB2);
    for path in [&b"/dev/ser1"[..], b"/dev/ser2", b"/srv"] {
        assert!(matches!(lab.ask(server, &attach(path)), Reply::Attached(_)));
    }
    rule(
        &mut lab,
        owner,
        "allow 2000@lab1 read /dev/ser1\ndeny 2000@* all /",
    );
    let client = guest(&mut lab, LAB1);
    let lab2 = nd(&mut lab, client, "lab2");
    let found = lab.ask(client, &resolve(lab2, b"/dev/ser1"));
    assert!(matches!(found, Reply::Resolved(_)), "{found:?}");
    for path in [
        &b"/dev/ser2"[..],
        b"/srv",
        b"//dev/./ser2",
        b"/dev/x/../ser2",
    ] {
        assert_eq!(lab.refusal(client, &resolve(lab2, path)), Errno::EACCES);
    }
    let stat = |path: &[u8]| {
        Request::Stat(Stat {
            nd: lab2,
            path: path.to_vec(),
        })
    };
    let on_the_way = lab.ask(client, &stat(b"/dev"));
    assert!(matches!(on_the_way, Reply::Described(_)), "{on_the_way:?}");
    let listing = Request::List(List {
        nd: lab2,
        path: b"/dev".to_vec(),
        after: vec![],
    });
    assert_eq!(lab.refusal(client, &listing), Errno::EACCES);
    let table = Request::Query(Query {
        what: QueryKind::Prefixes,
        nd: lab2,
        from: 0,
    });
    let Reply::Table(table) = lab.ask(client, &table) else {
        panic!()
    };
    let Rows::Prefixes(rows) = table.rows else {
        panic!()
    };
    let paths: Vec<_> = rows.iter().map(|row| row.path.as_slice()).collect();
    assert_eq!(paths, [b"/dev/ser1"]);
    let other = lab.program(LAB1).0;
    assert!(
        matches!(lab.ask(other, &listing), Reply::Listing(_)),
        "another user"
    );
}

#[test]
fn only_root_and_the_owner_read_and_change_rules() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB1);
    let root = lab.program_of(LAB1, 0, abi::Pid(0), vec![]).0;
    let user = guest(&mut lab, LAB1);
    let change = set(1, RightsLayer::Running, "allow 2000@lab1 attach /");
    for request in [&Request::Rights, &change, &set(1, RightsLayer::Config, "")] {
        assert_eq!(lab.refusal(user, request), Errno::EPERM);
    }
    let query = Request::Query(Query {
        what: QueryKind::Denials,
        nd: Nd::LOCAL,
        from: 0,
    });
    assert_eq!(lab.refusal(user, &query), Errno::EPERM);
    assert_eq!(list(&mut lab, owner).generation, 1);
    rule(&mut lab, owner, "deny *@lab2 read /");
    rule(&mut lab, root, "deny *@lab2 write /");
    let now = list(&mut lab, owner);
    let running = Rules::from_bytes(&now.running).unwrap();
    assert_eq!(running.list()[0].to_string(), "deny *@lab2 write /");
    let late = set(now.generation - 1, RightsLayer::Running, "");
    assert_eq!(lab.refusal(owner, &late), Errno::ESTALE);
    let Request::SetRights(mut bad) = set(now.generation, RightsLayer::Running, "") else {
        panic!()
    };
    bad.rules = vec![1, 0];
    assert_eq!(lab.refusal(owner, &Request::SetRights(bad)), Errno::EBADMSG);
}

#[test]
fn rules_outlive_the_node_and_come_before_those_of_its_config() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB1);
    rule(&mut lab, owner, "allow 7@lab2 read /a");
    let generation = list(&mut lab, owner).generation;
    let config = set(generation, RightsLayer::Config, "deny *@lab2 read /a");
    assert_eq!(lab.ask(owner, &config), Reply::Done);
    let decides = |lab: &mut Lab, owner: Program, user| {
        let why = Request::Why(Why {
            node: name("lab2"),
            user: Uid(user),
            operation: Operation::Read.number(),
            path: b"/a".to_vec(),
        });
        match lab.ask(owner, &why) {
            Reply::Because(because) => (because.is_allowed, because.rule),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(decides(&mut lab, owner, 7), (true, Some(0)));
    assert_eq!(decides(&mut lab, owner, 8), (false, Some(1)));
    lab.kill(LAB1);
    lab.start(LAB1);
    let (owner, _) = lab.program(LAB1);
    assert_eq!(decides(&mut lab, owner, 7), (true, Some(0)));
    assert_eq!(
        decides(&mut lab, owner, 8),
        (true, None),
        "the lab has no config"
    );
}

#[test]
fn users_of_the_node_may_own_and_link_what_a_rule_says() {
    let mut lab = Lab::new(1);
    let (owner, _) = lab.program(LAB1);
    let user = guest(&mut lab, LAB1);
    let link = |path: &[u8]| {
        Request::Link(Link {
            path: path.to_vec(),
            target: b"/x".to_vec(),
        })
    };
    assert_eq!(lab.refusal(user, &attach(b"/dev/mine")), Errno::EPERM);
    assert_eq!(lab.refusal(user, &link(b"/dev/l")), Errno::EPERM);
    rule(
        &mut lab,
        owner,
        "allow 2000@lab1 attach,link /dev\ndeny 1000@lab1 attach /dev/his\nallow *@lab1 all /",
    );
    assert!(matches!(
        lab.ask(user, &attach(b"/dev/mine")),
        Reply::Attached(_)
    ));
    assert_eq!(lab.ask(user, &link(b"/dev/l")), Reply::Done);
    let gone = Request::Unlink(Unlink {
        path: b"/dev/l".to_vec(),
    });
    assert_eq!(lab.ask(user, &gone), Reply::Done);
    // What is allowed there is not allowed elsewhere, and `all` does not mean this.
    assert_eq!(lab.refusal(user, &attach(b"/srv")), Errno::EPERM);
    assert_eq!(lab.refusal(user, &link(b"/srv/l")), Errno::EPERM);
    // The owner may do it without a rule, but not against one.
    assert!(matches!(
        lab.ask(owner, &attach(b"/srv")),
        Reply::Attached(_)
    ));
    assert_eq!(lab.refusal(owner, &attach(b"/dev/his")), Errno::EPERM);
}

#[test]
fn anybody_may_ask_why_about_himself_and_who_manages_about_everybody() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB1);
    let user = guest(&mut lab, LAB1);
    rule(
        &mut lab,
        owner,
        "deny 2000@lab1 write /a\nallow 9@lab1 read /b as 5:6,7",
    );
    let reply = why(&mut lab, user, GUEST, Operation::Write, "/a/x");
    let Reply::Because(because) = reply else {
        panic!("{reply:?}")
    };
    let expected = Because {
        is_allowed: false,
        rule: Some(0),
        text: b"deny 2000@lab1 write /a".to_vec(),
        user: Uid(GUEST),
        identity: None,
    };
    assert_eq!(because, expected);
    let Reply::Error(refusal) = why(&mut lab, user, 9, Operation::Read, "/b") else {
        panic!()
    };
    assert_eq!(refusal.errno, Errno::EPERM);
    let Reply::Because(because) = why(&mut lab, owner, 9, Operation::Read, "/b") else {
        panic!()
    };
    let identity = because.identity.unwrap();
    assert_eq!(
        (identity.uid.0, identity.gid.0, identity.groups.len()),
        (5, 6, 1)
    );
    // Who manages the node may attach without a rule.
    let Reply::Because(because) = why(&mut lab, owner, 1000, Operation::Attach, "/b") else {
        panic!()
    };
    assert_eq!((because.is_allowed, because.rule), (true, None));
    let Reply::Because(because) = why(&mut lab, owner, GUEST, Operation::Attach, "/b") else {
        panic!()
    };
    assert_eq!((because.is_allowed, because.rule), (false, None));
    let Reply::Error(refusal) = why(&mut lab, owner, 9, Operation::Read, "b") else {
        panic!()
    };
    assert_eq!(refusal.errno, Errno::EINVAL);
}

#[test]
fn refusals_of_servers_are_counted_and_only_their_own_sessions_count() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (_, offer) = introduce(&mut lab, client, server, welcome.pid);
    let denied = Request::Denied(Denied {
        session: offer.local,
        operation: Operation::Write.number(),
        rule: Some(3),
        path: b"/dev/ser1".to_vec(),
        count: 4,
    });
    lab.send(owner, 0, &denied, None);
    assert!(denials(&mut lab, owner).is_empty(), "not its session");
    lab.send(server, 0, &denied, None);
    lab.send(server, 0, &denied, None);
    let rows = denials(&mut lab, owner);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].count, rows[0].rule, rows[0].user),
        (8, Some(3), Uid(1000))
    );
    let line = "denied: 1000@lab1 write /dev/ser1 (rule 4, 4 times)";
    let log = lab.log(LAB2);
    let said: Vec<_> = log.iter().filter(|line| line.contains("denied")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(line), "{said:?}");
}
