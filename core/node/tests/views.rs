//! Programs that came in by a door see a part of the path space, whatever they ask for.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{
    Attach, Identity, Invite, Link, List, Lookup, Network, OpenSession, Query, QueryKind, RemoteNd,
    Reply, Request, Resolve, Rows, Stat, Symlink, Unlink,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Gid, Handle, Nd, Pid, Uid};
use slashnet_node::limits::{DOORS_MAX, DOORS_PER_USER};
use support::{Lab, Program, name};

const OWNER: u32 = 1000;

fn attach(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::DIR,
        file_type: FileType::ANY,
        channel: ChannelId(1),
        handle: Handle(0),
    })
}

fn resolve(nd: Nd, path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(nd, path))
}

fn network(nd: Nd, path: &[u8]) -> Request {
    let path = path.to_vec();
    Request::Network(Network { nd, path })
}

fn open(nd: Nd, pid: Pid) -> Request {
    Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: vec![],
    })
}

/// Node `node` has servers at `/srv` and `/etc`; gives their pids.
fn serve(lab: &mut Lab, node: usize) -> (Pid, Pid) {
    let (srv, welcome) = lab.program(node);
    assert!(matches!(lab.ask(srv, &attach(b"/srv")), Reply::Attached(_)));
    let (etc, other) = lab.program(node);
    assert!(matches!(lab.ask(etc, &attach(b"/etc")), Reply::Attached(_)));
    (welcome.pid, other.pid)
}

/// A program on node 0 whose root is `root`.
fn rooted(lab: &mut Lab, root: &[u8]) -> Program {
    let (owner, _) = lab.program(0);
    let Reply::Door(door) = lab.door(owner, root) else {
        panic!("no door")
    };
    assert_eq!(door.directory, b"/run/lab/views/7");
    lab.program_by(owner, OWNER)
}

fn redirect(lab: &mut Lab, program: Program, request: &Request) -> Nd {
    match lab.ask(program, request) {
        Reply::Redirect(redirect) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

fn names(lab: &mut Lab, program: Program, path: &[u8]) -> Vec<String> {
    let list = List {
        nd: Nd::LOCAL,
        path: path.to_vec(),
        after: vec![],
    };
    match lab.ask(program, &Request::List(list)) {
        Reply::Listing(listing) => listing
            .entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).unwrap())
            .collect(),
        other => panic!("{other:?}"),
    }
}

// qnx: P31, P42
#[test]
fn a_program_is_told_how_much_of_the_path_is_its_root() {
    let mut lab = Lab::new(1);
    let (srv, _) = serve(&mut lab, 0);
    let inside = rooted(&mut lab, b"/srv/lab/");
    let Reply::Resolved(resolved) = lab.ask(inside, &resolve(Nd::LOCAL, b"/../x")) else {
        panic!("not resolved")
    };
    assert_eq!(resolved.path, b"/srv/lab/x");
    assert_eq!((resolved.root, resolved.candidates[0].prefix_len), (8, 4));
    assert_eq!(resolved.candidates[0].pid, srv);
}

// qnx: P42
#[test]
fn names_above_the_root_are_not_there() {
    let mut lab = Lab::new(2);
    serve(&mut lab, 0);
    let (near, _) = lab.program(0);
    lab.ask(near, &attach(b"/top/dev/ser1"));
    let link = Request::Link(Link {
        path: b"/top/out".to_vec(),
        target: b"/etc".to_vec(),
    });
    assert_eq!(lab.ask(near, &link), Reply::Done);
    let inside = rooted(&mut lab, b"/top");
    assert_eq!(names(&mut lab, inside, b"/"), ["dev", "out"]);
    assert_eq!(names(&mut lab, inside, b"/../.."), ["dev", "out"]);
    for path in [&b"/etc"[..], b"/net", b"/net/lab2", b"/../etc", b"/top"] {
        let refused = lab.refusal(inside, &resolve(Nd::LOCAL, path));
        assert_eq!(refused, Errno::ENOENT, "{path:?}");
    }
    let spliced = Symlink {
        path: b"/etc".to_vec(),
        absolute: true,
    };
    let answer = lab.ask(inside, &resolve(Nd::LOCAL, b"/out"));
    assert_eq!(answer, Reply::Symlink(spliced));
    let stat = Stat {
        nd: Nd::LOCAL,
        path: b"/etc".to_vec(),
    };
    assert_eq!(lab.refusal(inside, &Request::Stat(stat)), Errno::ENOENT);
}

// qnx: P42
#[test]
fn other_nodes_are_named_by_nobody_who_does_not_see_them() {
    let mut lab = Lab::new(2);
    serve(&mut lab, 1);
    let (near, _) = lab.program(0);
    let lab2 = redirect(&mut lab, near, &network(Nd::LOCAL, b"lab2"));
    let inside = rooted(&mut lab, b"/srv");
    let forbidden = [
        resolve(lab2, b"/srv"),
        network(Nd::LOCAL, b"lab2/srv"),
        network(lab2, b"lab1/srv"),
        Request::Lookup(Lookup { node: name("lab2") }),
        Request::List(List {
            nd: lab2,
            path: b"/".to_vec(),
            after: vec![],
        }),
        Request::Query(Query {
            what: QueryKind::Prefixes,
            nd: lab2,
            from: 0,
        }),
    ];
    for request in &forbidden {
        assert_eq!(lab.refusal(inside, request), Errno::ENOENT, "{request:?}");
    }
    let nodes = Request::Query(Query {
        what: QueryKind::Nodes,
        nd: Nd::LOCAL,
        from: 0,
    });
    let Reply::Table(table) = lab.ask(inside, &nodes) else {
        panic!("no table")
    };
    assert!(matches!(table.rows, Rows::Nodes(rows) if rows.len() == 1));
}

// qnx: P42
#[test]
fn a_root_on_another_node_shows_that_part_of_it_and_no_other() {
    let mut lab = Lab::new(3);
    let (srv, etc) = serve(&mut lab, 1);
    let inside = rooted(&mut lab, b"/net/lab2/srv");
    let Reply::Resolved(here) = lab.ask(inside, &resolve(Nd::LOCAL, b"/a")) else {
        panic!("not resolved")
    };
    assert_eq!(
        (here.path.as_slice(), here.root),
        (&b"/net/lab2/srv/a"[..], 13)
    );
    assert_eq!(
        lab.refusal(inside, &network(Nd::LOCAL, b"lab2/etc")),
        Errno::ENOENT
    );
    let lab2 = redirect(&mut lab, inside, &network(Nd::LOCAL, b"lab2/srv/a"));
    assert_eq!(
        lab.refusal(inside, &resolve(lab2, b"/srv/../etc/a")),
        Errno::ENOENT
    );
    assert_eq!(lab.refusal(inside, &open(lab2, srv)), Errno::EACCES);
    let answer = lab.ask(inside, &resolve(lab2, b"/srv/a"));
    assert!(matches!(answer, Reply::Resolved(r) if r.candidates[0].pid == srv));
    assert_ne!(lab.refusal(inside, &open(lab2, srv)), Errno::EACCES);
    assert_eq!(lab.refusal(inside, &open(lab2, etc)), Errno::EACCES);
    assert_eq!(lab.refusal(inside, &network(lab2, b"lab3")), Errno::ENOENT);
}

// qnx: P42, P54
#[test]
fn a_root_that_is_a_node_shows_what_lies_behind_that_node() {
    let mut lab = Lab::new(3);
    serve(&mut lab, 0);
    serve(&mut lab, 2);
    let inside = rooted(&mut lab, b"/net/lab2");
    let lab2 = redirect(&mut lab, inside, &network(Nd::LOCAL, b"lab2/net/lab3/srv"));
    let lab3 = redirect(&mut lab, inside, &network(lab2, b"lab3/srv"));
    let answer = lab.ask(inside, &resolve(lab3, b"/srv"));
    assert!(matches!(answer, Reply::Resolved(_)));
    assert_eq!(
        lab.refusal(inside, &network(Nd::LOCAL, b"lab3/srv")),
        Errno::ENOENT
    );
    let own = redirect(&mut lab, inside, &network(lab2, b"lab1/srv"));
    assert_ne!(
        own,
        Nd::LOCAL,
        "the own node is not where the program's paths start"
    );
    let answer = lab.ask(inside, &resolve(own, b"/srv"));
    assert!(matches!(answer, Reply::Resolved(r) if (r.path.as_slice(), r.root) == (b"/srv", 0)));
    let answer = lab.ask(inside, &resolve(Nd::LOCAL, b"/srv"));
    assert!(matches!(answer, Reply::Resolved(r) if r.path == b"/net/lab2/srv"));
}

// qnx: P42
#[test]
fn sessions_lead_only_to_servers_of_paths_that_are_seen() {
    let mut lab = Lab::new(1);
    let (srv, etc) = serve(&mut lab, 0);
    let inside = rooted(&mut lab, b"/srv");
    assert_eq!(lab.refusal(inside, &open(Nd::LOCAL, srv)), Errno::EACCES);
    lab.ask(inside, &resolve(Nd::LOCAL, b"/"));
    // The node now asks for memory, so the process is one that may be spoken to.
    assert_eq!(lab.refusal(inside, &open(Nd::LOCAL, srv)), Errno::EINVAL);
    assert_eq!(lab.refusal(inside, &open(Nd::LOCAL, etc)), Errno::EACCES);
    let mut as_root = open(Nd::LOCAL, srv);
    if let Request::OpenSession(open) = &mut as_root {
        open.identity = Some(Identity {
            uid: Uid(0),
            gid: Gid(0),
            groups: vec![],
        });
    }
    assert_eq!(lab.refusal(inside, &as_root), Errno::EPERM);
}

// qnx: P42
#[test]
fn what_concerns_the_whole_node_is_not_for_programs_with_a_root() {
    let mut lab = Lab::new(2);
    let inside = rooted(&mut lab, b"/srv");
    let query = |what| {
        Request::Query(Query {
            what,
            nd: Nd::LOCAL,
            from: 0,
        })
    };
    let requests = [
        Request::Shutdown,
        Request::Invite(Invite {
            ttl: core::time::Duration::from_secs(60),
        }),
        Request::RemoteNd(RemoteNd {
            remote: Nd(1),
            local: Nd::LOCAL,
        }),
        query(QueryKind::Sessions),
        query(QueryKind::Processes),
        query(QueryKind::Links),
    ];
    for request in &requests {
        assert_eq!(lab.refusal(inside, request), Errno::EPERM, "{request:?}");
    }
}

// qnx: P42
#[test]
fn names_that_are_made_inside_are_made_below_the_root() {
    let mut lab = Lab::new(1);
    let inside = rooted(&mut lab, b"/top");
    assert!(matches!(
        lab.ask(inside, &attach(b"/../x")),
        Reply::Attached(_)
    ));
    let (near, _) = lab.program(0);
    let answer = lab.ask(near, &resolve(Nd::LOCAL, b"/top/x"));
    assert!(matches!(answer, Reply::Resolved(_)));
    let path = b"/link".to_vec();
    let link = Link {
        path: path.clone(),
        target: b"/x".to_vec(),
    };
    assert_eq!(lab.ask(inside, &Request::Link(link)), Reply::Done);
    assert_eq!(names(&mut lab, near, b"/top"), ["link", "x"]);
    let query = Query {
        what: QueryKind::Prefixes,
        nd: Nd::LOCAL,
        from: 0,
    };
    let Reply::Table(table) = lab.ask(inside, &Request::Query(query)) else {
        panic!("no table")
    };
    let Rows::Prefixes(rows) = table.rows else {
        panic!("other rows")
    };
    let mut paths: Vec<_> = rows.iter().map(|row| row.path.as_slice()).collect();
    paths.sort_unstable();
    assert_eq!(paths, [&b"/link"[..], b"/x"]);
    assert_eq!(
        lab.ask(inside, &Request::Unlink(Unlink { path })),
        Reply::Done
    );
}

// qnx: P42
#[test]
fn a_door_in_a_smaller_view_leads_to_a_smaller_one_yet() {
    let mut lab = Lab::new(1);
    serve(&mut lab, 0);
    let inside = rooted(&mut lab, b"/srv");
    assert!(matches!(lab.door(inside, b"/../a"), Reply::Door(_)));
    let deeper = lab.program_by(inside, OWNER);
    let Reply::Resolved(resolved) = lab.ask(deeper, &resolve(Nd::LOCAL, b"/b")) else {
        panic!("not resolved")
    };
    assert_eq!(
        (resolved.path.as_slice(), resolved.root),
        (&b"/srv/a/b"[..], 6)
    );
}

#[test]
fn a_door_is_one_for_each_program_and_not_behind_a_link() {
    let mut lab = Lab::new(1);
    let (owner, _) = lab.program(0);
    let link = Link {
        path: b"/modem".to_vec(),
        target: b"/dev".to_vec(),
    };
    lab.ask(owner, &Request::Link(link));
    let refused = |reply| match reply {
        Reply::Error(refusal) => refusal.errno,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(lab.door(owner, b"/modem/x")), Errno::EINVAL);
    assert!(matches!(lab.door(owner, b"/a"), Reply::Door(_)));
    assert_eq!(refused(lab.door(owner, b"/b")), Errno::EALREADY);
}

#[test]
fn several_users_together_cannot_take_all_doors() {
    let mut lab = Lab::strangers(1);
    lab.start_all();
    let mut taken = 0;
    for user in 2000..2006 {
        loop {
            let (program, _) = lab.program_of(0, user, Pid(0), vec![]);
            if !matches!(lab.door(program, b"/srv"), Reply::Door(_)) {
                break;
            }
            taken += 1;
        }
    }
    assert!(taken > DOORS_PER_USER * 3 && taken < DOORS_MAX, "{taken}");
    for user in [2006, OWNER] {
        let (program, _) = lab.program_of(0, user, Pid(0), vec![]);
        let door = lab.door(program, b"/srv");
        assert!(matches!(door, Reply::Door(_)), "user {user}: {door:?}");
    }
}
