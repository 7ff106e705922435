//! Names, caches and listings against a world in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, Nd, OpenFlags};

use crate::testing::{LAB2, Node, World};
use crate::{Answered, Namespace, NodeTextFlags};

mod listings;

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

#[test]
fn a_name_that_leads_elsewhere_ends_a_listing() {
    let (world, namespace) = lab2();
    assert_eq!(names(&namespace, "/net/lab2/dev"), ["ser1"]);
    for name in [&b"/etc/passwd"[..], b"..", b".", b"../x", b"a\0b", b""] {
        world.forge(name);
        let listed = namespace
            .read_directory("/net/lab2/dev")
            .and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert_eq!(listed.map(drop), Err(Errno::EBADMSG), "{name:?}");
    }
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
fn no_manager_is_asked_for_other_paths_below_a_known_prefix_of_another_node() {
    let (world, namespace) = lab2();
    for path in ["/net/lab2/srv/a", "/net/lab2/srv/b"] {
        namespace.stat(path).unwrap();
    }
    assert_ne!(world.questions(), 0);
    namespace.stat("/net/lab2/srv/d/e").unwrap();
    namespace.unlink("/net/lab2/srv/b").unwrap();
    assert_eq!(
        world.questions(),
        0,
        "the way to the node and the owner are known"
    );
    namespace.stat("/net/lab2~exclusive:en0/srv/a").unwrap();
    assert_ne!(world.questions(), 0, "this is another way");
    world.changed();
    namespace.stat("/net/lab2/srv/a").unwrap();
    assert_ne!(world.questions(), 0, "names may mean something else");
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
fn a_node_that_stops_answering_is_told_from_a_server_that_died() {
    let (world, namespace) = lab2();
    let server = world.serve(LAB2, 54, "/far", &[("", file(b"far"))]);
    let open = namespace.open("/net/lab2/far", OpenFlags::READ).unwrap();
    server.cut_off.store(true, Ordering::SeqCst);
    assert_eq!(namespace.stat("/net/lab2/far"), Err(Errno::EHOSTDOWN));
    assert_eq!(contents(&namespace, "/net/lab2/far"), Err(Errno::EHOSTDOWN));
    assert_eq!(open.read(&mut [0; 4]), Err(Errno::ESRCH));
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
    world.link(Nd::LOCAL, "/remote", "/net/lab2/srv");
    assert_eq!(contents(&namespace, "/remote/a").unwrap(), b"alpha");
    assert_eq!(namespace.readlink("/remote").unwrap(), b"/net/lab2/srv");
    assert_eq!(namespace.readlink("/net/lab2/srv/a"), Err(Errno::EINVAL));
}

// qnx: P36
#[test]
fn links_in_a_circle_end() {
    let world = World::new();
    world.link(Nd::LOCAL, "/a", "/b");
    world.link(Nd::LOCAL, "/b", "/a");
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

// qnx: N4
#[test]
fn a_name_with_a_policy_or_a_path_gives_a_node_descriptor_and_the_rest() {
    let (_world, namespace) = lab2();
    let exclusive = Nd::new(LAB2.node(), 1);
    let rows: &[(&str, abi::Result<(Nd, &str)>)] = &[
        ("lab2", Ok((LAB2, ""))),
        ("lab1", Ok((Nd::LOCAL, ""))),
        ("lab1~exclusive:en0", Ok((Nd::LOCAL, ""))),
        ("lab2~loadbalance", Ok((LAB2, ""))),
        ("lab2~exclusive:en0", Ok((exclusive, ""))),
        ("lab2/dev/x", Ok((LAB2, "/dev/x"))),
        (
            "/net/lab2~preferred:en1/dev/x",
            Ok((Nd::new(LAB2.node(), 2), "/dev/x")),
        ),
        ("/net//lab2~exclusive:en0/", Ok((exclusive, "/"))),
        ("/net/lab2", Ok((LAB2, ""))),
        ("lab3", Err(Errno::ENOENT)),
        ("lab2~exclusive:en9", Err(Errno::ENOENT)),
        ("lab2~exclusive", Err(Errno::EINVAL)),
        ("/network/lab2", Err(Errno::ENOENT)),
        ("/dev/ser1", Err(Errno::ENOENT)),
        ("", Err(Errno::ENOENT)),
    ];
    for (name, expected) in rows {
        let expected = expected.map(|(nd, rest)| (nd, rest.as_bytes()));
        assert_eq!(namespace.nd_of(name), expected, "{name}");
    }
}

// qnx: N5, N6, N7, N8, N9
#[test]
fn a_node_descriptor_has_the_name_that_the_flags_ask_for() {
    let (_world, namespace) = lab2();
    let exclusive = Nd::new(LAB2.node(), 1);
    let all = NodeTextFlags::SHOW_DIRECTORY | NodeTextFlags::SHOW_NAME | NodeTextFlags::SHOW_POLICY;
    let rows = [
        (LAB2, NodeTextFlags::empty(), Ok("lab2")),
        (exclusive, NodeTextFlags::empty(), Ok("lab2~exclusive:en0")),
        (exclusive, NodeTextFlags::SHORT, Ok("lab2~exclusive:en0")),
        (exclusive, NodeTextFlags::HIDE_POLICY, Ok("lab2")),
        (LAB2, NodeTextFlags::SHOW_POLICY, Ok("lab2~loadbalance")),
        (exclusive, NodeTextFlags::HIDE_NAME, Ok("exclusive:en0")),
        (
            exclusive,
            NodeTextFlags::HIDE_NAME | NodeTextFlags::SEPARATOR,
            Ok("~exclusive:en0"),
        ),
        (LAB2, NodeTextFlags::SHOW_DIRECTORY, Ok("/net/lab2/")),
        (
            exclusive,
            NodeTextFlags::SHOW_DIRECTORY,
            Ok("/net/lab2~exclusive:en0/"),
        ),
        (LAB2, all, Ok("/net/lab2~loadbalance/")),
        (Nd::LOCAL, NodeTextFlags::empty(), Ok("")),
        (Nd::LOCAL, NodeTextFlags::SHOW_NAME, Ok("lab1")),
        (Nd::LOCAL, NodeTextFlags::SHOW_DIRECTORY, Ok("/")),
        (
            Nd::LOCAL,
            NodeTextFlags::HIDE_DIRECTORY
                | NodeTextFlags::HIDE_NAME
                | NodeTextFlags::HIDE_DOMAIN
                | NodeTextFlags::SHOW_POLICY
                | NodeTextFlags::SEPARATOR,
            Ok("~loadbalance"),
        ),
        (
            LAB2,
            NodeTextFlags::SHOW_POLICY | NodeTextFlags::HIDE_POLICY,
            Err(Errno::EINVAL),
        ),
        (Nd(9), NodeTextFlags::empty(), Err(Errno::ENOENT)),
        (
            Nd::new(LAB2.node(), 77),
            NodeTextFlags::empty(),
            Err(Errno::EBADF),
        ),
    ];
    for (nd, flags, expected) in rows {
        let expected = expected.map(|name| name.as_bytes().to_vec());
        assert_eq!(
            namespace.name_of_nd(nd, flags),
            expected,
            "{nd:?} {flags:?}"
        );
    }
}

// qnx: N7
#[test]
fn what_a_descriptor_is_called_gives_it_back() {
    let (_world, namespace) = lab2();
    for qos in 0..3 {
        let nd = Nd::new(LAB2.node(), qos);
        for flags in [NodeTextFlags::empty(), NodeTextFlags::SHOW_DIRECTORY] {
            let name = namespace.name_of_nd(nd, flags).unwrap();
            assert_eq!(namespace.nd_of(&name).unwrap().0, nd);
        }
    }
}

// qnx: Q2
#[test]
fn a_policy_is_taken_wherever_a_path_is() {
    let (world, namespace) = lab2();
    let exclusive = Nd::new(LAB2.node(), 1);
    let file = namespace.open("/net/lab2~exclusive:en0/srv/a", OpenFlags::READ);
    assert_eq!(file.unwrap().node(), exclusive);
    let stat = namespace.stat("/net/lab2~exclusive:en0/srv/a").unwrap();
    assert_eq!(stat.node, exclusive);
    let listed = ["a", "b", "d", "rel"];
    assert_eq!(names(&namespace, "/net/lab2~exclusive:en0/srv"), listed);
    world.link(Nd::LOCAL, "/short", "/net/lab2~preferred:en1/srv");
    let file = namespace.open("/short/d/e", OpenFlags::READ).unwrap();
    assert_eq!(file.node(), Nd::new(LAB2.node(), 2));
    let nowhere = namespace.open("/net/lab2~exclusive:en9/srv/a", OpenFlags::READ);
    assert_eq!(nowhere.unwrap_err(), Errno::ENOENT);
}

// qnx: I8
#[test]
fn one_server_is_one_server_whatever_the_policies_of_the_paths() {
    let (_world, namespace) = lab2();
    let from = "/net/lab2~exclusive:en0/srv/a";
    namespace.rename(from, "/net/lab2/srv/z").unwrap();
    assert_eq!(contents(&namespace, "/net/lab2/srv/z").unwrap(), b"alpha");
}
