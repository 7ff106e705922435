//! Names, caches and listings against a world in memory.

use std::sync::Arc;

use abi::{Errno, OpenFlags};

use crate::testing::{LAB2, Node, World};
use crate::{Answered, Namespace};

fn file(data: &[u8]) -> Node {
    Node::File(data.to_vec())
}

fn namespace(world: &Arc<World>) -> Namespace {
    world.namespace()
}

/// A serial port and a tree of files on the other node.
fn lab2() -> (Arc<World>, Namespace) {
    let world = World::new();
    world.serve(LAB2, 50, "/dev/ser1", &[("", file(b"echo"))]);
    let tree = [
        ("", Node::Directory),
        ("a", file(b"alpha")),
        ("b", file(b"beta")),
        ("d", Node::Directory),
        ("d/e", file(b"epsilon")),
        ("rel", Node::Link(b"d/e".to_vec())),
    ];
    world.serve(LAB2, 51, "/srv", &tree);
    let namespace = namespace(&world);
    (world, namespace)
}

fn contents(namespace: &Namespace, path: &str) -> Result<Vec<u8>, Errno> {
    let file = namespace.open(path, OpenFlags::READ)?;
    let mut space = [0; 64];
    let count = file.read_at(0, &mut space)?;
    Ok(space[..count].to_vec())
}

fn names(namespace: &Namespace, path: &str) -> Vec<String> {
    let entries = namespace.read_directory(path).unwrap();
    entries
        .map(|entry| String::from_utf8(entry.unwrap().name).unwrap())
        .collect()
}

// qnx: P50
#[test]
fn an_open_reaches_the_server_on_the_other_node() {
    let (world, namespace) = lab2();
    let file = namespace
        .open("/net/lab2/dev/ser1", OpenFlags::READ)
        .unwrap();
    assert_eq!(file.node(), LAB2);
    assert_eq!(world.exchanges(), ["resolve", "connect"]);
    drop(file);
    assert_eq!(world.exchanges(), ["Close"]);
}

#[test]
fn a_repeated_remote_open_costs_one_exchange() {
    let (world, namespace) = lab2();
    drop(
        namespace
            .open("/net/lab2/dev/ser1", OpenFlags::READ)
            .unwrap(),
    );
    world.exchanges();
    let _file = namespace
        .open("/net/lab2/dev/ser1", OpenFlags::READ)
        .unwrap();
    assert_eq!(world.exchanges(), ["connect"]);
}

// qnx: R20
#[test]
fn a_stat_of_a_known_path_costs_one_exchange() {
    let (world, namespace) = lab2();
    namespace.stat("/net/lab2/srv/a").unwrap();
    world.exchanges();
    let stat = namespace.stat("/net/lab2/srv/a").unwrap();
    assert_eq!((stat.size, stat.node), (5, LAB2));
    assert_eq!(world.exchanges(), ["connect"]);
}

#[test]
fn a_prefix_that_is_not_divided_is_resolved_once_for_all_paths_below() {
    let (world, namespace) = lab2();
    namespace.stat("/net/lab2/srv/a").unwrap();
    namespace.stat("/net/lab2/srv/b").unwrap();
    assert_eq!(
        world.exchanges(),
        ["resolve", "connect", "resolve", "list", "connect"]
    );
    namespace.stat("/net/lab2/srv/d/e").unwrap();
    namespace.stat("/net/lab2/srv/d/").unwrap();
    assert_eq!(namespace.stat("/net/lab2/srv/none"), Err(Errno::ENOENT));
    assert_eq!(world.exchanges(), ["connect"; 3]);
}

#[test]
fn a_server_below_a_prefix_divides_it() {
    let (world, namespace) = lab2();
    world.serve(LAB2, 52, "/srv/d/inner", &[("", file(b"inner"))]);
    for path in ["/net/lab2/srv/a", "/net/lab2/srv/b"] {
        namespace.stat(path).unwrap();
    }
    assert_eq!(
        contents(&namespace, "/net/lab2/srv/d/inner").unwrap(),
        b"inner"
    );
}

#[test]
fn a_new_server_is_seen_once_names_have_changed() {
    let (world, namespace) = lab2();
    assert_eq!(contents(&namespace, "/net/lab2/srv/a").unwrap(), b"alpha");
    world.serve(LAB2, 53, "/srv/a", &[("", file(b"newer"))]);
    assert_eq!(contents(&namespace, "/net/lab2/srv/a").unwrap(), b"newer");
}

#[test]
fn a_dead_server_is_looked_for_anew_without_the_caller_noticing() {
    let (world, namespace) = lab2();
    assert_eq!(contents(&namespace, "/net/lab2/srv/a").unwrap(), b"alpha");
    world.kill(LAB2, 51);
    let restarted = [("", Node::Directory), ("a", file(b"again"))];
    world.serve(LAB2, 54, "/srv", &restarted);
    assert_eq!(contents(&namespace, "/net/lab2/srv/a").unwrap(), b"again");
    world.kill(LAB2, 54);
    assert_eq!(contents(&namespace, "/net/lab2/srv/a"), Err(Errno::ENOENT));
}

#[test]
fn a_refusal_is_not_asked_for_twice() {
    let (world, namespace) = lab2();
    namespace.stat("/net/lab2/dev/ser1").unwrap();
    world.exchanges();
    let server = world.serve(LAB2, 55, "/dev/ser2", &[("", file(b""))]);
    *server.refusal.lock().unwrap() = Some(Errno::EACCES);
    for _ in 0..2 {
        assert_eq!(namespace.stat("/net/lab2/dev/ser2"), Err(Errno::EACCES));
    }
    assert_eq!(world.exchanges(), ["resolve", "connect", "connect"]);
}

#[test]
fn unknown_nodes_and_paths_are_not_there() {
    let (_, namespace) = lab2();
    assert_eq!(namespace.stat("/net/lab9/dev/ser1"), Err(Errno::ENOENT));
    assert_eq!(namespace.stat("/net/lab2/dev/ser9"), Err(Errno::ENOENT));
    assert_eq!(namespace.stat(""), Err(Errno::ENOENT));
    assert_eq!(namespace.stat("x".repeat(256)), Err(Errno::ENAMETOOLONG));
}

// qnx: P38
#[test]
fn a_union_is_listed_once_per_name() {
    let (world, namespace) = lab2();
    let more = [
        ("", Node::Directory),
        ("b", file(b"hides")),
        ("z", file(b"zeta")),
    ];
    world.serve(LAB2, 56, "/srv", &more);
    let mut listed = names(&namespace, "/net/lab2/srv");
    listed.sort();
    assert_eq!(listed, ["a", "b", "d", "rel", "z"]);
    // P12: the newest registration is on top.
    assert_eq!(contents(&namespace, "/net/lab2/srv/b").unwrap(), b"hides");
    // P33: what it has not is looked for below it.
    assert_eq!(contents(&namespace, "/net/lab2/srv/a").unwrap(), b"alpha");
}

// qnx: P2
#[test]
fn directories_of_the_process_manager_are_listed_and_described() {
    let (_, namespace) = lab2();
    assert_eq!(names(&namespace, "/net/lab2/dev"), ["ser1"]);
    assert_eq!(names(&namespace, "/net/lab2"), ["dev", "net", "srv"]);
    let stat = namespace.stat("/net/lab2/dev").unwrap();
    assert_eq!((stat.mode, stat.node), (0o040_555, LAB2));
    let refused = namespace.open("/net/lab2/dev", OpenFlags::READ).map(drop);
    assert_eq!(refused, Err(Errno::EISDIR));
    assert_eq!(namespace.mkdir("/net/lab2/dev", 0o755), Err(Errno::EEXIST));
}

// qnx: P53
#[test]
fn nothing_can_be_made_in_a_managers_tree() {
    let (_, namespace) = lab2();
    assert_eq!(namespace.mkdir("/net/new", 0o755), Err(Errno::EROFS));
    let made = namespace.open("/net/lab2/new", OpenFlags::WRITE | OpenFlags::CREATE);
    assert_eq!(made.map(drop), Err(Errno::EROFS));
    assert_eq!(
        namespace.stat("/net/lab2/new").map(drop),
        Err(Errno::ENOENT)
    );
}

// qnx: P62, P63
#[test]
fn symlinks_of_servers_and_managers_are_followed_and_read() {
    let (world, namespace) = lab2();
    assert_eq!(
        contents(&namespace, "/net/lab2/srv/rel").unwrap(),
        b"epsilon"
    );
    assert_eq!(namespace.readlink("/net/lab2/srv/rel").unwrap(), b"d/e");
    assert!(abi::flags::mode::is_symlink(
        namespace.lstat("/net/lab2/srv/rel").unwrap().mode
    ));
    world.link(abi::Nd::LOCAL, "/remote", "/net/lab2/srv");
    assert_eq!(contents(&namespace, "/remote/a").unwrap(), b"alpha");
    assert_eq!(namespace.readlink("/remote").unwrap(), b"/net/lab2/srv");
    assert_eq!(namespace.readlink("/net/lab2/srv/a"), Err(Errno::EINVAL));
}

// qnx: P36
#[test]
fn links_in_a_circle_end() {
    let world = World::new();
    world.link(abi::Nd::LOCAL, "/a", "/b");
    world.link(abi::Nd::LOCAL, "/b", "/a");
    assert_eq!(namespace(&world).stat("/a/x"), Err(Errno::ELOOP));
}

// qnx: P37
#[test]
fn a_rename_stays_within_one_server() {
    let (world, namespace) = lab2();
    namespace
        .rename("/net/lab2/srv/a", "/net/lab2/srv/moved")
        .unwrap();
    assert_eq!(
        contents(&namespace, "/net/lab2/srv/moved").unwrap(),
        b"alpha"
    );
    world.serve(LAB2, 57, "/other", &[("", Node::Directory)]);
    let across = namespace.rename("/net/lab2/srv/b", "/net/lab2/other/b");
    assert_eq!(across, Err(Errno::EXDEV));
    assert_eq!(contents(&namespace, "/net/lab2/srv/b").unwrap(), b"beta");
}

#[test]
fn large_reads_and_writes_are_cut_into_messages() {
    let (world, namespace) = lab2();
    let file = namespace
        .open("/net/lab2/srv/a", OpenFlags::READ_WRITE)
        .unwrap();
    world.exchanges();
    let data: Vec<u8> = (0..5 << 19).map(|at: u32| (at % 251) as u8).collect();
    assert_eq!(file.write_at(0, &data).unwrap(), data.len());
    assert_eq!(world.exchanges(), ["Write"; 3]);
    let mut back = vec![0; data.len() + 10];
    assert_eq!(file.read_at(0, &mut back).unwrap(), data.len());
    assert!(back[..data.len()] == data);
    assert_eq!(world.exchanges(), ["Read"; 3]);
}

#[test]
fn a_trace_has_the_four_steps_of_an_open() {
    let (_, namespace) = lab2();
    let steps = namespace.trace_with("/net/lab2/dev/ser1", OpenFlags::READ, &|nd| {
        if nd == LAB2 {
            "lab2".into()
        } else {
            "lab1".into()
        }
    });
    let told: Vec<(String, String)> = steps
        .unwrap()
        .iter()
        .map(|step| {
            (
                step.asked.to_string(),
                String::from_utf8(step.path.clone()).unwrap(),
            )
        })
        .collect();
    let expected = [
        ("lab1 process manager", "/net/lab2/dev/ser1"),
        ("lab1 network manager", "lab2/dev/ser1"),
        ("lab2 process manager", "dev/ser1"),
        ("lab2 pid 50, channel 1, handle 7", ""),
    ];
    assert_eq!(
        told,
        expected.map(|(asked, path)| (asked.to_owned(), path.to_owned()))
    );
    let failed = namespace
        .trace_with("/net/lab2/no", OpenFlags::READ, &|_| "x".into())
        .unwrap();
    assert_eq!(
        failed.last().unwrap().answer,
        Answered::Failed(Errno::ENOENT)
    );
}
