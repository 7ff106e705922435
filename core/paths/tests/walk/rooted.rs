//! A client whose root is not the root of its node (P42).

use abi::connect::SymlinkReply;
use abi::{AttachFlags, Errno};
use paths::{Answer, Pathname, WalkOptions};

use super::world::World;

const NONE: AttachFlags = AttachFlags::empty();
const DIR: AttachFlags = AttachFlags::DIR;

fn rooted(root: &str) -> World {
    let mut world = World::new();
    world.root = Pathname::parse(root.as_bytes()).unwrap();
    world
}

fn last(world: &World, path: &str) -> String {
    world.open(path).trace.last().unwrap().clone()
}

// qnx: P42
#[test]
fn paths_start_at_the_root_and_servers_see_what_follows_their_prefix() {
    let mut world = rooted("/srv/lab");
    world.always((0, "/srv"), 30, DIR, Answer::Done);
    world.always((0, "/srv/lab/x"), 31, DIR, Answer::Done);
    assert_eq!(last(&world, "/a"), "0.30 connect lab/a as /a");
    assert_eq!(last(&world, "/"), "0.30 connect lab as /");
    assert_eq!(last(&world, "/x/y"), "0.31 connect y as /x/y");
}

// qnx: P42
#[test]
fn neither_dots_nor_links_lead_above_the_root() {
    let mut world = rooted("/srv/lab");
    world.always((0, "/srv"), 30, DIR, Answer::Done);
    world.always((0, "/etc"), 31, DIR, Answer::Done);
    world.link(0, "/srv/lab/up", "../../etc");
    world.link(0, "/srv/lab/away", "/etc");
    assert_eq!(last(&world, "/../../etc"), "0.30 connect lab/etc as /etc");
    assert_eq!(last(&world, "/up/x"), "0.30 connect lab/etc/x as /etc/x");
    assert_eq!(last(&world, "/away"), "0.30 connect lab/etc as /etc");
    assert_eq!(world.open("/net/lab2").trace[0], "0 resolve /net/lab2");
    assert_eq!(
        last(&world, "/net/lab2"),
        "0.30 connect lab/net/lab2 as /net/lab2"
    );
}

// qnx: P42, P62
#[test]
fn the_links_of_servers_are_resolved_in_the_view_of_the_client() {
    let mut world = rooted("/srv/lab");
    world.serve((0, "/srv"), 30, DIR, |request| match request.path {
        "lab/link" => Answer::Spliced(SymlinkReply {
            target: b"../etc".to_vec(),
            rest: Vec::new(),
        }),
        _ => Answer::Done,
    });
    assert_eq!(last(&world, "/link"), "0.30 connect lab/etc as /etc");
}

// qnx: P42
#[test]
fn a_root_may_be_on_another_node_and_below_its_root() {
    for (root, path) in [("/net/lab2", "/srv/a"), ("/net/lab2/srv", "/a")] {
        let mut world = rooted(root);
        world.always((2, "/srv"), 30, DIR, Answer::Done);
        assert_eq!(last(&world, path), format!("2.30 connect a as {path}"));
    }
    let mut world = rooted("/net/lab2/srv");
    world.always((2, "/srv"), 30, DIR, Answer::Done);
    assert_eq!(last(&world, "/"), "2.30 connect  as /");
    world.always((2, "/srv/b/c"), 31, NONE, Answer::Failed(Errno::EACCES));
    assert_eq!(last(&world, "/b/c"), "2.31 connect  as /b/c");
}

// qnx: P42, P62
#[test]
fn a_link_on_another_node_stays_in_the_view() {
    let mut world = rooted("/net/lab2");
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Done);
    world.link(2, "/modem", "/dev/ser1");
    world.link(2, "/dev/modem", "ser1");
    assert_eq!(last(&world, "/modem"), "2.30 connect  as /dev/ser1");
    assert_eq!(last(&world, "/dev/modem"), "2.30 connect  as /dev/ser1");
}

// qnx: P42
#[test]
fn a_link_above_the_root_has_no_meaning_below_it() {
    let mut world = rooted("/srv/lab");
    world.link(0, "/srv", "/other");
    world.always((0, "/other"), 30, DIR, Answer::Done);
    assert_eq!(world.open("/a").outcome, Err(Errno::ENOENT));
    world.always((0, "/srv/lab"), 31, DIR, Answer::Failed(Errno::ENOENT));
    let report = world.open("/a");
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(report.trace.len(), 2, "{:?}", report.trace);
}

// qnx: P42, P2
#[test]
fn the_trees_own_directories_are_asked_for_below_the_root() {
    let mut world = rooted("/srv");
    world.always((0, "/srv/lab/x"), 30, NONE, Answer::Done);
    assert_eq!(last(&world, "/lab"), "0 own /lab as /lab");
    assert_eq!(last(&world, "/"), "0 own / as /");
    let options = WalkOptions {
        every: true,
        ..WalkOptions::default()
    };
    assert_eq!(world.walk("/lab", options).found, 1);
}
