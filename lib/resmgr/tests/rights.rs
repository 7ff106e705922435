//! What the rules of the node take away, a manager never sees.

// What cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{Arc, Mutex};

use abi::connect::{ConnectType, Extra};
use abi::io::{self, Request};
use abi::{Errno, NodeName, OpenFlags, Uid};
use resmgr::testing::{TestClient, TestManager};
use resmgr::{
    Answer, Attributes, LinkRequest, OpenFile, OpenRequest, ReadRequest, RenameRequest, Resource,
    StatRequest, UnlinkRequest, WriteRequest, posix,
};
use rights::text::{self, NoNames};
use rights::{Client, ClientRights, Operation};

/// A tree that has every name but `missing`, and remembers what it was asked and by whom.
#[derive(Clone, Default)]
struct Tree {
    asked: Arc<Mutex<Vec<(&'static str, u32)>>>,
}

impl Tree {
    fn note(&self, what: &'static str, user: Uid) {
        self.asked.lock().unwrap().push((what, user.0));
    }

    fn take(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Resource for Tree {
    fn open(&self, open: OpenRequest) -> Answer {
        self.note("open", open.credentials().uid);
        let is_there = !open.path().ends_with(b"missing");
        if is_there || open.flags().contains(OpenFlags::CREATE) {
            open.accept()
        } else {
            open.fail(Errno::ENOENT)
        }
    }

    fn read(&self, _: &OpenFile, read: ReadRequest) -> Answer {
        self.note("read", read.credentials().uid);
        read.data(b"bytes")
    }

    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        self.note("write", write.credentials().uid);
        posix::write::default(file, write)
    }

    fn stat(&self, file: &OpenFile, stat: StatRequest) -> Answer {
        self.note("stat", stat.credentials().uid);
        posix::stat::default(file, stat)
    }

    fn unlink(&self, unlink: UnlinkRequest) -> Answer {
        self.note("unlink", unlink.credentials().uid);
        unlink.done()
    }

    fn rename(&self, rename: RenameRequest) -> Answer {
        self.note("rename", rename.credentials().uid);
        rename.done()
    }

    fn link(&self, link: LinkRequest) -> Answer {
        self.note("link", link.credentials().uid);
        link.done()
    }
}

fn tree() -> (Tree, TestManager, TestClient) {
    let tree = Tree::default();
    let attributes = Attributes::directory(0o777);
    let manager = TestManager::new(attributes, tree.clone());
    let client = manager.client(1000, 100);
    (tree, manager, client)
}

/// The rights of user 1000 of lab1 by these rules.
fn by(rules: &str) -> ClientRights {
    let client = Client {
        node: NodeName::parse("lab1").unwrap(),
        is_own: false,
        user: Uid(1000),
    };
    text::rules(rules, &NoNames).unwrap().for_client(&client)
}

#[test]
fn an_open_needs_the_right_to_what_it_is_for() {
    let (tree, manager, client) = tree();
    manager.set_rights(by(
        "allow *@lab1 read /open\nallow *@lab1 list /lists\ndeny *@* all /",
    ));
    let open = |path: &str, flags| client.open(path, flags).map(|_| ());
    let (read, write) = (OpenFlags::READ, OpenFlags::WRITE);
    assert_eq!(open("open/x", read), Ok(()));
    assert_eq!(open("open/x", OpenFlags::empty()), Ok(()));
    assert_eq!(open("lists", read | OpenFlags::DIRECTORY), Ok(()));
    assert_eq!(open("lists", OpenFlags::PATH), Ok(()));
    // On the way to what is allowed.
    assert_eq!(open("", OpenFlags::PATH), Ok(()));
    assert_eq!(tree.take().len(), 5);
    for (path, flags, operation) in [
        ("open/x", OpenFlags::READ_WRITE, Operation::Write),
        ("open/y", read | OpenFlags::TRUNCATE, Operation::Write),
        ("open/x", read | OpenFlags::DIRECTORY, Operation::List),
        ("lists", read, Operation::Read),
        ("opener", read, Operation::Read),
        ("other", write, Operation::Write),
        ("other", OpenFlags::PATH, Operation::Look),
        ("", read | OpenFlags::DIRECTORY, Operation::List),
        (
            "open/new",
            read | OpenFlags::CREATE | OpenFlags::EXCLUSIVE,
            Operation::Create,
        ),
    ] {
        assert_eq!(open(path, flags), Err(Errno::EACCES), "{path} {flags:?}");
        let path = format!("/{path}").into_bytes();
        assert!(
            manager.denials().contains(&(operation, path.clone())),
            "{path:?} {flags:?}"
        );
    }
    assert!(tree.take().is_empty(), "the manager saw none of them");
}

#[test]
fn a_path_that_is_written_in_another_way_is_the_same_path() {
    let (tree, manager, client) = tree();
    manager.set_rights(by("deny *@* all /secret"));
    for path in [
        "secret",
        "./secret/",
        "a/../secret",
        "..//secret",
        "/secret/x",
    ] {
        let refused = client.open(path, OpenFlags::READ).err();
        assert_eq!(refused, Some(Errno::EACCES), "{path}");
    }
    assert!(tree.take().is_empty());
    assert!(client.open("secretary", OpenFlags::READ).is_ok());
}

#[test]
fn what_may_not_be_made_may_be_opened_if_it_is_there() {
    let (_, manager, client) = tree();
    manager.set_rights(by("deny *@* create /"));
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    assert!(client.open("there", flags).is_ok());
    assert!(manager.denials().is_empty());
    assert_eq!(client.open("missing", flags).err(), Some(Errno::EACCES));
    assert_eq!(
        manager.denials(),
        [(Operation::Create, b"/missing".to_vec())]
    );
    let plain = client.open("missing", OpenFlags::WRITE).err();
    assert_eq!(plain, Some(Errno::ENOENT), "nothing was to be made");
}

#[test]
fn a_change_of_rights_holds_for_files_that_are_open() {
    let (tree, manager, client) = tree();
    let file = client.open("f", OpenFlags::READ_WRITE).unwrap();
    let other = file.dup().unwrap();
    assert_eq!(file.read(9).unwrap(), b"bytes");
    manager.set_rights(by("deny *@* read /f"));
    assert_eq!(file.read(9), Err(Errno::EPERM));
    assert_eq!(other.read(9), Err(Errno::EPERM));
    tree.take();
    assert_ne!(
        file.write(b"x"),
        Err(Errno::EPERM),
        "only reading is denied"
    );
    assert_eq!(tree.take(), [("write", 1000)]);
    manager.set_rights(by("deny *@* all /g"));
    assert_eq!(file.read(9).unwrap(), b"bytes");
    manager.set_rights(ClientRights::nothing());
    assert_eq!(file.read(9), Err(Errno::EPERM));
    assert_eq!(file.stat().err(), Some(Errno::EPERM));
    let denied = manager.denials();
    assert!(denied.contains(&(Operation::Look, b"/f".to_vec())));
    assert_eq!(file.close(), Ok(()), "a close always works");
}

#[test]
fn every_message_needs_its_own_right() {
    let (_, manager, _) = tree();
    let chmod = Request::Chmod(io::Chmod { mode: 0o600 });
    let devctl = Request::Devctl { dcmd: 1, data: &[] };
    let truncate = Request::Truncate(io::Truncate { size: 0 });
    let cases = [
        (
            "read",
            Request::Read(io::Read {
                nbytes: 1,
                offset: None,
            }),
        ),
        (
            "write",
            Request::Write {
                offset: None,
                data: b"x",
            },
        ),
        ("write", truncate),
        ("change", chmod),
        ("devctl", devctl),
    ];
    for (word, request) in cases {
        manager.set_rights(ClientRights::default_rights());
        let client = manager.client(1000, 100);
        let file = client.open("f", OpenFlags::READ_WRITE).unwrap();
        manager.set_rights(by(&format!("deny *@* {word} /")));
        assert_eq!(file.ask(&request).err(), Some(Errno::EPERM), "{word}");
        manager.set_rights(by(&format!("allow *@* {word} /\ndeny *@* all /")));
        assert_eq!(manager.denials().len(), 1, "{word}");
        let _ = file.ask(&request);
        assert!(
            manager.denials().is_empty(),
            "{word}: only permissions decide"
        );
    }
}

#[test]
fn a_combined_message_needs_the_rights_of_both_its_parts() {
    let (tree, manager, client) = tree();
    manager.set_rights(by("deny *@* read /f"));
    let read = Request::Read(io::Read {
        nbytes: 9,
        offset: None,
    });
    let refused = client.combined("f", OpenFlags::empty(), &read);
    assert_eq!(refused.err(), Some(Errno::EPERM));
    assert_eq!(tree.take(), [("open", 1000)]);
    assert!(
        client
            .combined("f", OpenFlags::empty(), &Request::Stat)
            .is_ok()
    );
}

#[test]
fn a_rule_makes_the_client_somebody_else_for_the_manager() {
    let (tree, manager, client) = tree();
    manager.set_rights(by(
        "allow *@lab1 write /inbox as 7:8\nallow *@lab1 read /inbox as 9:8",
    ));
    let file = client.open("inbox/a", OpenFlags::READ).unwrap();
    file.read(1).unwrap();
    let writer = client.open("inbox/a", OpenFlags::WRITE).unwrap();
    let _ = writer.write(b"x");
    file.stat().unwrap();
    client.open("b", OpenFlags::READ).unwrap();
    let both = client.open("inbox/a", OpenFlags::READ_WRITE);
    assert_eq!(both.err(), Some(Errno::EACCES), "who would it be?");
    let asked = [
        ("open", 9),
        ("read", 9),
        ("open", 7),
        ("write", 7),
        ("stat", 1000),
        ("open", 1000),
    ];
    assert_eq!(tree.take(), asked);
    manager.set_rights(ClientRights::default_rights());
    file.read(1).unwrap();
    assert_eq!(tree.take(), [("read", 1000)]);
}

#[test]
fn no_new_name_is_given_as_somebody_else() {
    let (tree, manager, client) = tree();
    manager.set_rights(by("allow *@lab1 all /pub as 0:0"));
    let handle = abi::Handle(1);
    let rename = |old: &str, new| {
        let path = old.as_bytes();
        let extra = Extra::Rename { path, handle };
        client.path(ConnectType::Rename, new, 0, extra).map(|_| ())
    };
    let link = |old: &str, new| {
        let path = old.as_bytes();
        let extra = Extra::Link { path, handle };
        client.path(ConnectType::Link, new, 0, extra).map(|_| ())
    };
    assert_eq!(rename("pub/a", "pub/b"), Ok(()));
    assert_eq!(tree.take(), [("rename", 0)]);
    assert_eq!(rename("pub/a", "etc/a"), Err(Errno::EACCES));
    assert_eq!(rename("a", "pub/a"), Err(Errno::EACCES));
    assert_eq!(link("a", "pub/a"), Err(Errno::EACCES));
    assert!(tree.take().is_empty());
}

#[test]
fn a_new_name_gives_no_new_rights() {
    let (tree, manager, client) = tree();
    manager.set_rights(by(
        "deny *@* read /secret\ndeny *@* remove /kept\ndeny *@* write /dir/inner",
    ));
    let rename = |old: &str, new| {
        let path = old.as_bytes();
        let extra = Extra::Rename {
            path,
            handle: abi::Handle(1),
        };
        client.path(ConnectType::Rename, new, 0, extra).map(|_| ())
    };
    let link = |old: &str, new| {
        let path = old.as_bytes();
        let extra = Extra::Link {
            path,
            handle: abi::Handle(1),
        };
        client.path(ConnectType::Link, new, 0, extra).map(|_| ())
    };
    assert_eq!(rename("a", "b"), Ok(()));
    assert_eq!(rename("secret/a", "secret/b"), Ok(()));
    assert_eq!(rename("a", "secret/a"), Ok(()));
    assert_eq!(link("a", "b"), Ok(()));
    assert_eq!(tree.take().len(), 4);
    assert_eq!(rename("secret/a", "b"), Err(Errno::EACCES));
    assert_eq!(link("secret/a", "b"), Err(Errno::EACCES));
    assert_eq!(rename("kept/a", "b"), Err(Errno::EACCES));
    assert_eq!(rename("a", "kept/b"), Err(Errno::EACCES), "it may be there");
    assert_eq!(
        rename("dir", "other"),
        Err(Errno::EACCES),
        "something in it"
    );
    assert_eq!(
        rename("other", "dir"),
        Err(Errno::EACCES),
        "something in it"
    );
    assert!(tree.take().is_empty());
    assert_eq!(
        client
            .path(ConnectType::Unlink, "kept/a", 0, Extra::None)
            .err(),
        Some(Errno::EACCES)
    );
}
