//! The path space on real nodes: unions, links, ways through nodes, and views of a part of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use abi::system::{Narrow, Reply, Request};
use abi::{AttachFlags, ChannelFlags, Errno, FileType, Handle, OpenFlags};
use client::Namespace;
use export_manager::ExportOptions;
use ipc::{Channel, Endpoint};
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server};
use slashnet_scenarios::until;
use tempfile::TempDir;
use testkit::Cluster;

const READ: OpenFlags = OpenFlags::READ;

/// A directory that everybody may write, with these files; each holds its directory's name.
struct Tree {
    place: TempDir,
}

impl Tree {
    fn new(name: &str, files: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for file in files {
            fs::write(place.path().join(file), name).unwrap();
        }
        Self { place }
    }

    /// Serves it as a process of its own.
    fn serve(&self, endpoint: &Endpoint, prefix: &str) -> Running {
        let export = ExportOptions {
            directory: self.place.path().to_owned(),
            prefix: prefix.to_owned(),
            read_only: false,
        };
        export_manager::serve(endpoint, &[export]).unwrap()
    }
}

fn read(namespace: &Namespace, path: &str) -> Result<String, Errno> {
    let file = namespace.open(path, READ)?;
    let mut bytes = [0; 64];
    let count = file.read(&mut bytes)?;
    Ok(String::from_utf8(bytes[..count].to_vec()).unwrap())
}

fn names(namespace: &Namespace, path: &str) -> Vec<String> {
    let entries = namespace.read_directory(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| String::from_utf8(entry.unwrap().name).unwrap())
        .collect();
    names.sort_unstable();
    names
}

// qnx: P12, P33, P38
#[test]
fn managers_under_one_prefix_are_one_directory_with_the_newest_on_top() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let far = Namespace::of(&lab["lab1"].endpoint());
    let lower = Tree::new("lower", &["both", "low"]);
    let upper = Tree::new("upper", &["both", "up"]);
    let _lower = lower.serve(&lab["lab2"].endpoint(), "/srv");
    let first = lab["lab2"].endpoint();
    let second = upper.serve(&first, "/srv");
    assert_eq!(names(&far, "/net/lab2/srv"), ["both", "low", "up"]);
    assert_eq!(read(&far, "/net/lab2/srv/both"), Ok("upper".to_owned()));
    assert_eq!(read(&far, "/net/lab2/srv/low"), Ok("lower".to_owned()));
    let owners = far.owners("/net/lab2/srv").unwrap();
    assert_eq!(owners.len(), 2);
    assert_eq!(owners[0].pid, first.pid());
    assert_eq!(owners[0].prefix, b"/net/lab2/srv");
    // Removing the name on top shows the one below.
    far.unlink("/net/lab2/srv/both").unwrap();
    assert_eq!(names(&far, "/net/lab2/srv"), ["both", "low", "up"]);
    assert_eq!(read(&far, "/net/lab2/srv/both"), Ok("lower".to_owned()));
    // So does the end of the upper manager.
    drop(second);
    drop(first);
    until("the upper manager is gone", || {
        names(&far, "/net/lab2/srv") == ["both", "low"]
    });
}

/// Says its name.
struct Voice(&'static str);

impl Resource for Voice {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(self.0.as_bytes())
    }
}

// qnx: P10, P11, P20
#[test]
fn flags_say_which_manager_at_one_path_stands_ahead() {
    let lab = Cluster::start(["lab1"]);
    let near = Namespace::of(&lab["lab1"].endpoint());
    let serve = |name, flags| {
        let server = Server::new(&lab["lab1"].endpoint()).unwrap();
        let (kind, attributes) = (FileType::ANY, Attributes::device(0o666));
        server
            .attach_with("/dev/voice", flags, kind, attributes, Voice(name))
            .map(|server| server.start().unwrap())
    };
    let ahead = serve("ahead", AttachFlags::BEFORE).unwrap();
    let behind = serve("behind", AttachFlags::AFTER).unwrap();
    let newest = serve("newest", AttachFlags::empty()).unwrap();
    for (running, name) in [(ahead, "ahead"), (newest, "newest"), (behind, "behind")] {
        until(name, || read(&near, "/dev/voice") == Ok(name.to_owned()));
        drop(running);
    }
    let refused = serve("sticky", AttachFlags::STICKY).map(drop);
    assert_eq!(refused, Err(Errno::EINVAL), "a process manager's flag");
}

// qnx: P60, P64
#[test]
fn a_name_that_is_pointed_elsewhere_moves_new_opens_and_leaves_old_ones() {
    let lab = Cluster::start(["lab1", "lab2", "lab3"]);
    let trees = ["lab2", "lab3"].map(|name| (name, Tree::new(name, &["server"])));
    let _serving: Vec<Running> = trees
        .iter()
        .map(|(name, tree)| tree.serve(&lab[name].endpoint(), "/sql"))
        .collect();
    let near = Namespace::of(&lab["lab1"].endpoint());
    near.link_process_manager("/net/lab2/sql", "/remote/sql")
        .unwrap();
    let old = near.open("/remote/sql/server", READ).unwrap();
    near.unlink("/remote/sql").unwrap();
    assert_eq!(read(&near, "/remote/sql/server"), Err(Errno::ENOENT));
    near.link_process_manager("/net/lab3/sql", "/remote/sql")
        .unwrap();
    assert_eq!(read(&near, "/remote/sql/server"), Ok("lab3".to_owned()));
    let mut bytes = [0; 8];
    let count = old.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"lab2", "the open file is where it was");
    // The name is seen, and followed, from another node too.
    let far = Namespace::of(&lab["lab2"].endpoint());
    assert_eq!(
        far.readlink("/net/lab1/remote/sql").unwrap(),
        b"/net/lab3/sql"
    );
    assert_eq!(
        read(&far, "/net/lab1/remote/sql/server"),
        Ok("lab3".to_owned())
    );
}

// qnx: P36, P54
#[test]
fn a_path_goes_through_nodes_at_depth_and_links_in_a_circle_are_eloop() {
    let lab = Cluster::start(["lab1", "lab2", "lab3"]);
    let tree = Tree::new("lab3", &["file"]);
    let _serving = tree.serve(&lab["lab3"].endpoint(), "/srv");
    let near = Namespace::of(&lab["lab1"].endpoint());
    let ways = [
        "/net/lab3/srv/file",
        "/net/lab2/net/lab3/srv/file",
        "/net/lab2/net/lab1/net/lab3/srv/file",
        "/net/lab2/net/lab3/net/lab2/net/lab3/srv/file",
    ];
    for way in ways {
        assert_eq!(read(&near, way), Ok("lab3".to_owned()), "{way}");
        let owner = near.owners(way).unwrap().remove(0);
        assert_eq!(owner.nd, lab["lab1"].nd_of("lab3"), "{way}");
    }
    let round = ["/net/lab2", "/net/lab1"].concat().repeat(9);
    assert_eq!(
        read(&near, &format!("{round}/net/lab3/srv/file")),
        Err(Errno::ELOOP)
    );
    let other = Namespace::of(&lab["lab2"].endpoint());
    near.link_process_manager("/net/lab2/circle", "/circle")
        .unwrap();
    other
        .link_process_manager("/net/lab1/circle", "/circle")
        .unwrap();
    for namespace in [&near, &other] {
        assert_eq!(read(namespace, "/circle"), Err(Errno::ELOOP));
    }
}

// qnx: P37, P46
#[test]
fn names_are_not_moved_or_linked_between_managers() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let tree = Tree::new("here", &["file"]);
    let _near = tree.serve(&lab["lab1"].endpoint(), "/srv");
    let other = Tree::new("there", &["file"]);
    let _far = other.serve(&lab["lab2"].endpoint(), "/srv");
    let near = Namespace::of(&lab["lab1"].endpoint());
    let elsewhere = ["/net/lab2/srv/new", "/new", "/net/new"];
    for to in elsewhere {
        assert_eq!(near.rename("/srv/file", to), Err(Errno::EXDEV), "{to}");
        assert_eq!(near.link("/srv/file", to), Err(Errno::EXDEV), "{to}");
    }
    near.link_process_manager("/srv/file", "/link").unwrap();
    assert_eq!(near.rename("/link", "/srv/x"), Err(Errno::EXDEV));
    assert_eq!(near.mkdir("/net/lab3", 0o777), Err(Errno::EROFS));
    assert_eq!(near.rmdir("/link"), Err(Errno::ENOTDIR));
    assert_eq!(near.unlink("/srv"), Err(Errno::EBUSY));
    near.rename("/srv/file", "/srv/new").unwrap();
    assert_eq!(read(&near, "/srv/new"), Ok("here".to_owned()));
}

// qnx: P19, P46
#[test]
fn a_sticky_prefix_stays_when_its_server_goes_until_it_is_removed() {
    let lab = Cluster::start(["lab1"]);
    let near = Namespace::of(&lab["lab1"].endpoint());
    let server = lab["lab1"].endpoint();
    let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
    let registration = server
        .attach_prefix(
            b"/dev/sticky",
            AttachFlags::STICKY,
            FileType::ANY,
            channel.id(),
            Handle(1),
        )
        .unwrap();
    std::mem::forget(registration);
    drop((channel, server));
    until("the server is gone", || {
        read(&near, "/dev/sticky") == Err(Errno::ESRCH)
    });
    assert_eq!(names(&near, "/dev"), ["sticky"]);
    near.unlink("/dev/sticky").unwrap();
    assert_eq!(near.stat("/dev").map(drop), Err(Errno::ENOENT));
}

/// The directory that a program with a smaller view connects to.
fn door(endpoint: &Endpoint, root: &str) -> PathBuf {
    let root = root.as_bytes().to_vec();
    match endpoint.ask(&Request::Narrow(Narrow { root })).unwrap() {
        Reply::Door(door) => PathBuf::from(std::ffi::OsString::from_vec(door.directory)),
        other => panic!("{other:?}"),
    }
}

// qnx: P42
#[test]
fn a_program_behind_a_door_sees_what_is_below_its_root_here_and_elsewhere() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let tree = Tree::new("lab2", &["file"]);
    fs::create_dir(tree.place.path().join("in")).unwrap();
    fs::write(tree.place.path().join("in/inner"), "inner").unwrap();
    let _serving = tree.serve(&lab["lab2"].endpoint(), "/srv");
    let owner = lab["lab1"].endpoint();
    let node = door(&owner, "/net/lab2");
    let whole = Namespace::at(&node).unwrap();
    assert_eq!(names(&whole, "/"), ["net", "srv"]);
    assert_eq!(read(&whole, "/srv/file"), Ok("lab2".to_owned()));
    assert_eq!(
        read(&whole, "/net/lab1/../lab2/srv/file"),
        Ok("lab2".to_owned())
    );
    let second = lab["lab1"].endpoint();
    let part = Namespace::at(&door(&second, "/net/lab2/srv/in")).unwrap();
    assert_eq!(names(&part, "/"), ["inner"]);
    assert_eq!(read(&part, "/../../inner"), Ok("inner".to_owned()));
    assert_eq!(read(&part, "/inner"), Ok("inner".to_owned()), "as kept");
    for path in ["/../file", "/net/lab2/srv/file", "/srv/file"] {
        assert_eq!(read(&part, path), Err(Errno::ENOENT), "{path}");
    }
    assert_eq!(part.nodes().unwrap().len(), 2, "its own node and lab2");
    drop(second);
}

// qnx: P42
#[test]
fn a_door_is_where_it_was_when_the_node_was_restarted() {
    let mut lab = Cluster::start(["lab1"]);
    let owner = lab["lab1"].endpoint();
    let directory = door(&owner, "/net");
    lab.get_mut("lab1").kill();
    lab.get_mut("lab1").restart();
    let root = b"/net".to_vec();
    let narrow = Request::Narrow(Narrow { root });
    until(
        "the program is back and has a door again",
        || matches!(owner.ask(&narrow), Ok(Reply::Door(door)) if door.directory == directory.as_os_str().as_encoded_bytes()),
    );
    let inside = Namespace::at(&directory).unwrap();
    assert_eq!(names(&inside, "/"), ["lab1"]);
    drop(owner);
    until("the door is closed", || Namespace::at(&directory).is_err());
}
