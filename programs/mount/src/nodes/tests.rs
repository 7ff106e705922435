use super::*;
use abi::Candidate;
use abi::io::TimeSpec;

/// Of a manager that makes its numbers up.
fn plain(ino: u64) -> Identity {
    Identity {
        ino,
        ..Identity::default()
    }
}

/// Of a file on a disk.
fn file(ino: u64) -> Identity {
    let made = TimeSpec {
        seconds: 5,
        nanos: 0,
    };
    Identity {
        made,
        kind: mode::S_IFREG,
        ..plain(ino)
    }
}

#[test]
fn a_number_stands_for_a_path_below_the_root() {
    let nodes = Nodes::new(b"/net");
    let lab2 = nodes.enter(ROOT, b"lab2", plain(0));
    let dev = nodes.enter(lab2, b"dev", plain(0));
    let device = Identity {
        device: true,
        ..plain(1)
    };
    let port = nodes.enter(dev, b"ser1", device);
    assert_eq!(nodes.path(ROOT).unwrap(), b"/net");
    assert_eq!(nodes.path(port).unwrap(), b"/net/lab2/dev/ser1");
    assert_eq!(nodes.child(dev, b"ser2").unwrap(), b"/net/lab2/dev/ser2");
    assert!(nodes.is_device(port) && !nodes.is_device(dev));
    assert_eq!(nodes.enter(dev, b"ser1", device), port);
    assert_ne!(
        nodes.enter(dev, b"ser2", device),
        port,
        "its numbers say nothing"
    );
    assert_eq!(Nodes::new(b"/").child(ROOT, b"net").unwrap(), b"/net");
}

#[test]
fn renaming_a_directory_moves_what_is_below_it() {
    let nodes = Nodes::new(b"/");
    let (old, other) = (
        nodes.enter(ROOT, b"old", plain(1)),
        nodes.enter(ROOT, b"other", plain(2)),
    );
    let below = nodes.enter(old, b"file", plain(3));
    let replaced = nodes.enter(other, b"new", plain(4));
    nodes.renamed((ROOT, b"old"), (other, b"new"));
    assert_eq!(nodes.path(below).unwrap(), b"/other/new/file");
    assert_eq!(nodes.path(replaced), None);
    nodes.removed(other, b"new");
    assert_eq!(nodes.path(below), None);
}

#[test]
fn forgotten_numbers_leave_nothing_behind() {
    let nodes = Nodes::new(b"/");
    let directory = nodes.enter(ROOT, b"a", plain(1));
    let below = nodes.enter(directory, b"b", file(2));
    nodes.enter(directory, b"b", file(2));
    nodes.forget(directory, 1);
    assert_eq!(nodes.path(below).unwrap(), b"/a/b");
    nodes.forget(below, 1);
    assert_eq!(nodes.count(), 3);
    nodes.forget(below, 1);
    assert_eq!(nodes.count(), 1);
    let gone = nodes.enter(ROOT, b"c", file(2));
    nodes.removed(ROOT, b"c");
    assert_eq!(nodes.count(), 2);
    nodes.forget(gone, 1);
    assert_eq!(nodes.count(), 1);
    assert_ne!(nodes.enter(ROOT, b"c", file(2)), gone);
}

#[test]
fn all_names_of_a_file_are_one_number() {
    let nodes = Nodes::new(b"/");
    let first = nodes.enter(ROOT, b"first", file(7));
    let second = nodes.enter(ROOT, b"second", file(7));
    assert_eq!(first, second);
    assert_eq!(
        nodes.paths(first),
        [b"/second".to_vec(), b"/first".to_vec()]
    );
    nodes.renamed((ROOT, b"first"), (ROOT, b"second"));
    assert_eq!(nodes.paths(first).len(), 2, "that does nothing");
    nodes.removed(ROOT, b"second");
    assert_eq!(nodes.path(first).unwrap(), b"/first");
    nodes.forget(first, 2);
    assert_eq!(nodes.count(), 1);
}

/// The same as `identity` says it, from another process.
fn from(pid: u32, identity: Identity) -> Identity {
    let candidate = Candidate {
        pid: abi::Pid(pid),
        ..Candidate::default()
    };
    Identity {
        server: Server::of(&candidate),
        ..identity
    }
}

#[test]
fn equal_numbers_of_two_servers_are_two_files() {
    let nodes = Nodes::new(b"/");
    let first = nodes.enter(ROOT, b"first", from(50, file(7)));
    let second = nodes.enter(ROOT, b"second", from(51, file(7)));
    assert_ne!(first, second);
    assert_eq!(nodes.paths(first), [b"/first".to_vec()]);
    assert_ne!(nodes.server(first), nodes.server(second));
}

#[test]
fn a_file_is_the_same_after_its_server_was_started_anew() {
    let nodes = Nodes::new(b"/");
    let before = nodes.enter(ROOT, b"first", from(50, file(7)));
    let server = nodes.server(before);
    assert!(nodes.is(before, from(60, file(7))));
    assert_eq!(nodes.enter(ROOT, b"first", from(60, file(7))), before);
    assert_ne!(nodes.server(before), server);
    assert_eq!(
        nodes.enter(ROOT, b"second", from(60, file(7))),
        before,
        "its other name"
    );
    nodes.forget(before, 3);
    assert_eq!(nodes.count(), 1);
}

#[test]
fn another_file_under_a_name_has_another_number() {
    let nodes = Nodes::new(b"/");
    let old = nodes.enter(ROOT, b"name", file(7));
    let new = nodes.enter(ROOT, b"name", file(8));
    assert_ne!(old, new);
    assert_eq!(nodes.path(old), None);
    assert!(nodes.is(new, file(8)) && !nodes.is(new, file(7)));
    assert_eq!(nodes.path(new).unwrap(), b"/name");
}

#[test]
fn a_directory_that_is_known_by_two_paths_knows_its_twin_until_one_is_forgotten() {
    let nodes = Nodes::new(b"/net");
    let directory = Identity {
        kind: mode::S_IFDIR,
        ..file(7)
    };
    let first = nodes.enter(ROOT, b"first", directory);
    assert_eq!(nodes.twins(first), []);
    let second = nodes.enter(ROOT, b"second", directory);
    nodes.enter(ROOT, b"unlike", plain(8));
    assert_eq!(nodes.twins(first), [second]);
    let below = nodes.enter(second, b"file", file(9));
    let mut both = nodes.twins(below);
    both.sort_unstable();
    assert_eq!(both, [first, second]);
    assert!(nodes.forget(first, 1));
    assert_eq!(nodes.twins(second), []);
    assert_eq!(nodes.twins(below), []);
}
