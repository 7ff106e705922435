//! Listing directories, and what comes along with opening them.

use abi::devctl::ALL_GETFLAGS;
use abi::{Errno, OpenFlags};

use super::{contents, file, lab2, names};
use crate::testing::{LAB2, Node};

#[test]
fn the_end_of_a_listing_comes_with_its_last_piece() {
    let (world, namespace) = lab2();
    namespace.stat("/net/lab2/srv").unwrap();
    world.exchanges();
    // The server tells two names at a time.
    assert_eq!(names(&namespace, "/net/lab2/srv"), ["a", "b", "d", "rel"]);
    let listing = ["connect", "ReadDirectory", "ReadDirectory", "Close"];
    assert_eq!(world.exchanges(), listing);
}

#[test]
fn a_directory_of_one_server_alone_is_opened_and_controlled_with_one_exchange() {
    let (world, namespace) = lab2();
    let control = |path: &str| namespace.read_directory_and_control(path, ALL_GETFLAGS, ());
    namespace.stat("/net/lab2/srv").unwrap();
    world.exchanges();
    let (mut directory, flags) = control("/net/lab2/srv").unwrap();
    assert_eq!(world.exchanges(), ["connect"]);
    assert_eq!(flags, OpenFlags::READ);
    assert!(directory.server().is_some() && !directory.is_at_end());
    assert_eq!(directory.by_ref().map(Result::unwrap).count(), 4);
    assert!(directory.is_at_end());
    assert_eq!(control("/net/lab2/dev").map(drop), Err(Errno::EISDIR));
    world.serve(LAB2, 56, "/srv", &[("", Node::Directory)]);
    assert_eq!(control("/net/lab2/srv").map(drop), Err(Errno::EXDEV));
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
