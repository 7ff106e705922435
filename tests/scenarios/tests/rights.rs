//! Rights: what the rules of a node let users of another one do, and that `why` says the same as happens.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use abi::devctl::CHR_DRAIN;
use abi::system::{
    Because, DenialRow, Identity, Query, QueryKind, Reply, Request, RightsLayer, Rows, SetRights,
    Why,
};
use abi::{Encode, Errno, Gid, Nd, NodeName, OpenFlags, Uid};
use client::{File, Namespace};
use resmgr::{
    Answer, Attributes, ChmodRequest, DevctlRequest, MakeNodeRequest, OpenFile, OpenRequest,
    ReadDirectoryRequest, ReadRequest, Resource, Running, Server, UnlinkRequest, WriteRequest,
};
use rights::Operation;
use rights::text::{self, NoNames};
use slashnet_scenarios::until;
use testkit::{Cluster, Member};

/// A tree that has every name, and lets everybody do everything.
struct Willing;

impl Resource for Willing {
    fn open(&self, open: OpenRequest) -> Answer {
        open.accept()
    }
    fn read(&self, _: &OpenFile, read: ReadRequest) -> Answer {
        // For tests that ask who they are to file permissions.
        let user = read.credentials().uid.0.to_string();
        read.data(user.as_bytes())
    }
    fn write(&self, _: &OpenFile, write: WriteRequest) -> Answer {
        write.accept_all()
    }
    fn read_directory(&self, _: &OpenFile, read: ReadDirectoryRequest) -> Answer {
        read.end()
    }
    fn unlink(&self, unlink: UnlinkRequest) -> Answer {
        unlink.done()
    }
    fn make_node(&self, make: MakeNodeRequest) -> Answer {
        make.done()
    }
    fn chmod(&self, _: &OpenFile, chmod: ChmodRequest) -> Answer {
        chmod.done()
    }
    fn devctl(&self, _: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .on(CHR_DRAIN, |()| Ok(()))
            .otherwise(|other| other.fail(Errno::ENOTTY))
    }
}

struct Lab {
    cluster: Cluster,
    _tree: Running,
}

fn lab() -> Lab {
    let cluster = Cluster::start(["lab1", "lab2", "lab3"]);
    let attributes = || Attributes::directory(0o777);
    let server = Server::new(&cluster["lab2"].endpoint()).unwrap();
    let server = server.attach("/srv", attributes(), Willing).unwrap();
    let server = server.attach("/dev", attributes(), Willing).unwrap();
    Lab {
        cluster,
        _tree: server.start().unwrap(),
    }
}

impl Lab {
    fn node(&self, name: &str) -> &Member {
        &self.cluster[name]
    }

    /// Replaces the rules of lab2.
    fn rule(&self, rules: &str) {
        let endpoint = self.node("lab2").endpoint();
        let Reply::Rights(known) = endpoint.request(&Request::Rights).unwrap() else {
            panic!("no rules");
        };
        let rules = text::rules(rules, &NoNames).unwrap();
        let set = SetRights {
            generation: known.generation,
            layer: RightsLayer::Running,
            rules: rules.to_bytes().unwrap(),
        };
        let set = endpoint.request(&Request::SetRights(set));
        assert_eq!(set, Ok(Reply::Done));
    }

    /// What lab2 says of a question.
    fn why(&self, user: u32, node: &str, operation: Operation, path: &str) -> Because {
        let why = Request::Why(Why {
            node: NodeName::parse(node).unwrap(),
            user: Uid(user),
            operation: operation.number(),
            path: path.into(),
        });
        match self.node("lab2").endpoint().request(&why) {
            Ok(Reply::Because(because)) => because,
            other => panic!("{other:?}"),
        }
    }

    /// Programs of a user on a node, as the node vouches for it. Users here have numbers that whoever runs the tests hardly
    /// has: what is denied to a program's own user it cannot do for another one either.
    fn user(&self, node: &str, user: u32) -> Namespace {
        let identity = Identity {
            uid: Uid(user),
            gid: Gid(user),
            groups: Vec::new(),
        };
        Namespace::of(&self.node(node).endpoint()).as_user(identity)
    }

    fn denials(&self) -> Vec<DenialRow> {
        let query = Request::Query(Query {
            what: QueryKind::Denials,
            nd: Nd::LOCAL,
            from: 0,
        });
        match self.node("lab2").endpoint().request(&query) {
            Ok(Reply::Table(table)) => match table.rows {
                Rows::Denials(rows) => rows,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// Really does it.
fn attempt(user: &Namespace, operation: Operation, path: &str) -> Result<(), Errno> {
    // Looking a path up is all that opening it so needs.
    let open = || user.open(path, OpenFlags::empty());
    match operation {
        Operation::Look => user.stat(path).map(drop),
        Operation::List => user.read_directory(path).map(drop),
        Operation::Read => user
            .open(path, OpenFlags::READ)?
            .read(&mut [0; 16])
            .map(drop),
        Operation::Write => user.open(path, OpenFlags::WRITE)?.write(b"x").map(drop),
        Operation::Create => user.mkdir(path, 0o755),
        Operation::Remove => user.unlink(path),
        Operation::Change => user.chmod(path, 0o600),
        Operation::Devctl => open()?.devctl(CHR_DRAIN, ()),
        Operation::Lock | Operation::Attach | Operation::Link => Ok(()),
    }
}

#[test]
fn what_why_says_is_what_happens() {
    let lab = lab();
    lab.rule(
        "allow 4001@lab1 read,list /srv/open\n\
         deny 4001@lab1 read,devctl /srv\n\
         deny *@lab3 all /dev\n\
         allow *@lab* write,devctl /dev/ser1\n\
         deny *@* write,create,remove,change /dev\n\
         deny 4002@* all /\n",
    );
    let operations = [
        Operation::Look,
        Operation::List,
        Operation::Read,
        Operation::Write,
        Operation::Create,
        Operation::Remove,
        Operation::Change,
        Operation::Devctl,
    ];
    let paths = [
        "/srv",
        "/srv/open/a",
        "/srv/other",
        "/dev/ser1",
        "/dev/ser10",
    ];
    let mut seen = [0; 2];
    for (node, user) in ["lab1", "lab3"]
        .into_iter()
        .flat_map(|node| [4000, 4001, 4002].map(|user| (node, user)))
    {
        let programs = lab.user(node, user);
        for (path, operation) in paths
            .into_iter()
            .flat_map(|path| operations.map(|operation| (path, operation)))
        {
            let because = lab.why(user, node, operation, path);
            let remote = format!("/net/lab2{path}");
            let happened = attempt(&programs, operation, &remote);
            let expected = if because.is_allowed {
                happened.is_ok()
            } else {
                matches!(happened, Err(Errno::EACCES | Errno::EPERM))
            };
            let who = format!("{user}@{node} {operation} {path}");
            assert!(expected, "{who}: {because:?}, but {happened:?}");
            seen[usize::from(because.is_allowed)] += 1;
        }
    }
    assert!(
        seen.iter().all(|count| *count > 40),
        "both happen: {seen:?}"
    );
}

#[test]
fn a_right_that_is_taken_away_ends_with_the_next_message_of_a_file_that_is_open() {
    let lab = lab();
    let user = lab.user("lab1", 4000);
    let other = lab.user("lab3", 4000);
    let open = |user: &Namespace| user.open("/net/lab2/dev/ser1", OpenFlags::READ).unwrap();
    let (file, untouched) = (open(&user), open(&other));
    let read = |file: &File| file.read(&mut [0; 16]);
    assert_eq!(read(&file), Ok(4));
    lab.rule("deny 4000@lab1 read /dev/ser1");
    until("the right ends", || read(&file) == Err(Errno::EPERM));
    assert_eq!(read(&file), Err(Errno::EPERM), "and stays away");
    assert_eq!(read(&untouched), Ok(4), "another node's users keep it");
    let again = user.open("/net/lab2/dev/ser1", OpenFlags::READ);
    assert_eq!(again.map(drop), Err(Errno::EACCES));
    lab.rule("");
    until("the right is back", || read(&file) == Ok(4));
}

#[test]
fn rights_hold_after_the_daemon_has_been_restarted_and_change_for_older_sessions() {
    let mut lab = lab();
    let user = lab.user("lab1", 4000);
    let path = "/net/lab2/dev/ser1";
    let file = user.open(path, OpenFlags::READ | OpenFlags::WRITE).unwrap();
    lab.rule("deny 4000@lab1 write /dev");
    until("denied", || file.write(b"x") == Err(Errno::EPERM));
    lab.cluster.get_mut("lab2").kill();
    assert_eq!(
        file.write(b"x"),
        Err(Errno::EPERM),
        "no daemon, same rights"
    );
    assert_eq!(file.read(&mut [0; 16]), Ok(4));
    lab.cluster.get_mut("lab2").restart();
    assert!(
        !lab.why(4000, "lab1", Operation::Write, "/dev/x").is_allowed,
        "it was kept"
    );
    // The server has to come back to its new daemon before that can tell it anything.
    let mut rules = ["deny 4000@lab1 read /dev", "deny 4000@lab1 read,lock /dev"]
        .into_iter()
        .cycle();
    until("the new daemon's rules reach the old session", || {
        lab.rule(rules.next().unwrap());
        file.read(&mut [0; 16]) == Err(Errno::EPERM)
    });
    until("what is not denied now", || file.write(b"x") == Ok(1));
}

#[test]
fn refusals_are_counted_by_who_what_and_where() {
    let lab = lab();
    lab.rule("deny 4000@lab1 write /dev\ndeny 4001@lab1 all /");
    let user = lab.user("lab1", 4000);
    for _ in 0..20 {
        let refused = user.open("/net/lab2/dev/ser1", OpenFlags::WRITE);
        assert_eq!(refused.map(drop), Err(Errno::EACCES));
    }
    let stranger = lab.user("lab1", 4001);
    let refused = stranger.open("/net/lab2/srv/a", OpenFlags::READ);
    assert_eq!(refused.map(drop), Err(Errno::EACCES));
    until("both are in the table", || {
        let rows = lab.denials();
        let has = |user, operation: Operation, path: &[u8], rule| {
            rows.iter().any(|row| {
                (row.user, row.node.as_str(), row.rule) == (Uid(user), "lab1", Some(rule))
                    && (row.operation, row.path.as_slice()) == (operation.number(), path)
            })
        };
        has(4000, Operation::Write, b"/dev/ser1", 0) && rows.iter().any(|row| row.user == Uid(4001))
    });
    let told = lab.denials().iter().map(|row| row.count).sum::<u64>();
    assert!((2..=40).contains(&told), "{told} refusals told");
}

#[test]
fn a_rule_says_who_a_client_is_to_file_permissions() {
    let lab = lab();
    lab.rule("allow 4000@lab1 all /srv/inbox as 7:8\nallow 0@lab1 all /srv/root as 0:0");
    let reads_as = |user: u32, path: &str| {
        let file = lab.user("lab1", user).open(path, OpenFlags::READ).unwrap();
        let mut text = [0; 16];
        let len = file.read(&mut text).unwrap();
        std::str::from_utf8(&text[..len])
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!(reads_as(4000, "/net/lab2/srv/inbox/a"), 7);
    assert_eq!(reads_as(4000, "/net/lab2/srv/other"), 4000);
    assert_eq!(reads_as(4001, "/net/lab2/srv/inbox/a"), 4001);
    assert_eq!(reads_as(0, "/net/lab2/srv/root/a"), 0);
    assert_eq!(
        reads_as(0, "/net/lab2/srv/a"),
        65_534,
        "root is nobody elsewhere"
    );
    let because = lab.why(0, "lab1", Operation::Read, "/srv/a");
    assert_eq!((because.user, because.identity), (Uid(65_534), None));
    let because = lab.why(4000, "lab1", Operation::Read, "/srv/inbox/a");
    assert_eq!(because.identity.unwrap().uid, Uid(7));
}

#[test]
fn rules_for_other_nodes_leave_the_programs_of_the_node_alone() {
    let lab = lab();
    lab.rule("deny *@* all /");
    let mine = Namespace::of(&lab.node("lab2").endpoint());
    assert!(mine.open("/dev/ser1", OpenFlags::READ).is_ok());
    let theirs = Namespace::of(&lab.node("lab1").endpoint());
    let refused = theirs.open("/net/lab2/dev/ser1", OpenFlags::READ);
    assert_eq!(refused.map(drop), Err(Errno::EACCES));
    lab.rule("deny *@lab2 read /dev/ser1");
    until("named by its name, it is meant", || {
        let refused = mine.open("/dev/ser1", OpenFlags::READ);
        refused.map(drop) == Err(Errno::EACCES)
    });
}
