use abi::{AttachFlags, Errno, FileType, Pid, Result};
use paths::prefix_tree::{EntryKind, ListEntry, OBJECTS_PER_PATH_MAX, Object};
use paths::{AttachId, PrefixTree, Registrar, Server, resolve};

use super::{AFTER, BEFORE, CLIENT, DIR, NONE, answer, check, server, tree};

// qnx: P1
#[test]
fn directories_vanish_with_the_last_object_below_them() {
    let mut tree = PrefixTree::new();
    let deep = tree
        .attach(b"/a/b/c", server(5, NONE), Registrar::Privileged)
        .unwrap();
    let other = tree
        .attach(b"/a/x", server(6, NONE), Registrar::Privileged)
        .unwrap();
    assert_eq!(tree.describe(b"/a/b"), Ok(EntryKind::Directory));
    assert_eq!(tree.detach(deep), Ok(server(5, NONE)));
    assert_eq!(tree.describe(b"/a/b"), Err(Errno::ENOENT));
    assert_eq!(tree.describe(b"/a"), Ok(EntryKind::Directory));
    assert_eq!(tree.detach(deep), Err(Errno::ENOENT));
    tree.detach(other).unwrap();
    assert!(tree.is_empty());
    assert_eq!(tree.describe(b"/"), Ok(EntryKind::Directory));
}

fn names(entries: &[ListEntry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| std::str::from_utf8(&entry.name).unwrap())
        .collect()
}

// qnx: P2
#[test]
fn directories_on_the_way_need_not_exist_and_can_be_listed() {
    let tree = tree(&[
        ("/dev/ser1", 5, NONE),
        ("/dev/ser1/below", 5, NONE),
        ("/dev/ser1-x", 5, NONE),
        ("/dev/a/b/c", 5, DIR),
        ("/net", 7, DIR),
    ]);
    check(
        &tree,
        &[
            ("/dev", "own:"),
            ("/dev/", "own:"),
            ("/", "own:"),
            ("/dev/a/b", "own:"),
        ],
    );
    assert_eq!(names(&tree.list(b"/", b"", 9).unwrap()), ["dev", "net"]);
    let dev = tree.list(b"/dev", b"", 9).unwrap();
    assert_eq!(names(&dev), ["a", "ser1", "ser1-x"]);
    assert_eq!(dev[0].kind, EntryKind::Directory);
    assert_eq!(dev[1].kind, EntryKind::Directory);
    assert_eq!(
        dev[2].kind,
        EntryKind::Server {
            directory: false,
            file_type: FileType::ANY
        }
    );
    assert_eq!(names(&tree.list(b"/dev", b"", 2).unwrap()), ["a", "ser1"]);
    assert_eq!(names(&tree.list(b"/dev", b"ser1", 2).unwrap()), ["ser1-x"]);
    assert_eq!(names(&tree.list(b"/dev", b"z", 2).unwrap()), [""; 0]);
    assert_eq!(tree.list(b"/net", b"", 9), Err(Errno::ENOTDIR));
    assert_eq!(tree.list(b"/nowhere", b"", 9), Err(Errno::ENOENT));
}

// qnx: P3, P19
#[test]
fn registrations_go_one_by_one_and_sticky_ones_can_be_unlinked() {
    let mut tree = tree(&[
        ("/dev/a", 5, NONE),
        ("/dev/b", 5, AttachFlags::STICKY),
        ("/dev/c", 6, NONE),
        ("/dev/d", 5, DIR),
    ]);
    for id in [1, 4] {
        assert_eq!(tree.detach(AttachId(id)).unwrap().pid, Pid(5));
    }
    assert_eq!(names(&tree.list(b"/dev", b"", 9).unwrap()), ["b", "c"]);
    tree.unlink(b"/dev/b", Registrar::Privileged).unwrap();
    assert_eq!(names(&tree.list(b"/dev", b"", 9).unwrap()), ["c"]);
}

// qnx: P4
#[test]
fn ordinary_users_register_names_only_and_each_once() {
    let mut tree = PrefixTree::new();
    let name = Server {
        file_type: FileType::NAME,
        ..server(5, NONE)
    };
    let by = Registrar::Ordinary;
    assert_eq!(
        tree.attach(b"/dev/x", server(5, NONE), by),
        Err(Errno::EPERM)
    );
    tree.attach(b"/dev/name/local/x", name, by).unwrap();
    assert_eq!(
        tree.attach(b"/dev/name/local/x", name, by),
        Err(Errno::EEXIST)
    );
    tree.attach(b"/dev/name/local/x", name, Registrar::Privileged)
        .unwrap();
    assert_eq!(tree.len(), 2);
}

// qnx: P5
#[test]
fn every_change_is_noticed_and_failures_are_not() {
    let mut tree = PrefixTree::new();
    let mut last = tree.generation();
    let mut changed = |tree: &PrefixTree| std::mem::replace(&mut last, tree.generation()) != last;
    let id = tree
        .attach(b"/a", server(5, NONE), Registrar::Privileged)
        .unwrap();
    assert!(changed(&tree));
    tree.symlink(b"/l", b"/a", Registrar::Privileged).unwrap();
    assert!(changed(&tree));
    assert!(tree.symlink(b"/l", b"/a", Registrar::Privileged).is_err());
    assert!(tree.unlink(b"/a", Registrar::Privileged).is_err());
    assert!(!changed(&tree));
    tree.detach(id).unwrap();
    assert!(changed(&tree));
    tree.unlink(b"/l", Registrar::Privileged).unwrap();
    assert!(changed(&tree));
}

// qnx: P6
#[test]
fn texts_of_symlinks_are_bounded() {
    let mut tree = PrefixTree::new();
    let longest = vec![b'a'; 4095];
    let longer = vec![b'a'; 4096];
    assert_eq!(
        tree.symlink(b"/l", &longer, Registrar::Privileged),
        Err(Errno::ENAMETOOLONG)
    );
    assert_eq!(
        tree.symlink(b"/l", b"", Registrar::Privileged),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        tree.symlink(b"/l", b"a\0", Registrar::Privileged),
        Err(Errno::EINVAL)
    );
    tree.symlink(b"/l", &longest, Registrar::Privileged)
        .unwrap();
    assert_eq!(answer(&tree, "/l", &CLIENT), "ENAMETOOLONG");
}

// qnx: P10, P11, P12
#[test]
fn servers_at_one_path_stand_in_the_order_of_their_flags() {
    type Row<'a> = (&'a [(u32, AttachFlags)], &'a str);
    let rows: &[Row<'_>] = &[
        (&[(5, NONE), (6, NONE), (7, NONE)], "7: 6: 5:"),
        (&[(5, BEFORE), (6, BEFORE), (7, BEFORE)], "5: 6: 7:"),
        (&[(5, AFTER), (6, AFTER), (7, AFTER)], "7: 6: 5:"),
        (&[(5, BEFORE), (6, NONE), (7, AFTER)], "5: 6: 7:"),
        (&[(7, AFTER), (6, NONE), (5, BEFORE)], "5: 6: 7:"),
        (
            &[
                (1, AFTER),
                (2, NONE),
                (3, BEFORE),
                (4, AFTER),
                (5, NONE),
                (6, BEFORE),
            ],
            "3: 6: 5: 2: 4: 1:",
        ),
    ];
    for (attached, expected) in rows {
        let list: Vec<_> = attached
            .iter()
            .map(|(p, f)| ("/dev/x", p + 10, *f))
            .collect();
        let tree = tree(&list);
        let expected = expected.split(' ').map(|word| {
            let pid: u32 = word.trim_end_matches(':').parse().unwrap();
            format!("{}:", pid + 10)
        });
        let expected = expected.collect::<Vec<_>>().join(" ");
        assert_eq!(answer(&tree, "/dev/x", &CLIENT), expected, "{attached:?}");
    }
}

#[test]
fn before_and_after_together_are_refused_and_so_are_unknown_flags() {
    let mut tree = PrefixTree::new();
    let mut attach = |flags| tree.attach(b"/x", server(5, flags), Registrar::Privileged);
    assert_eq!(attach(BEFORE | AFTER), Err(Errno::EINVAL));
    assert_eq!(
        attach(AttachFlags::from_bits_retain(0x40)),
        Err(Errno::EINVAL)
    );
}

// qnx: P20
#[test]
fn all_flags_of_the_mask_can_be_attached() {
    for flag in (AttachFlags::ATTACHABLE - AFTER).iter() {
        assert_eq!(tree(&[("/x", 5, flag)]).len(), 1, "{flag:?}");
    }
}

// qnx: P13
#[test]
fn a_symlink_stands_ahead_of_every_server_at_its_path() {
    let mut tree = tree(&[("/x", 5, BEFORE)]);
    tree.symlink(b"/x", b"/y", Registrar::Privileged).unwrap();
    tree.attach(b"/x", server(6, BEFORE), Registrar::Privileged)
        .unwrap();
    check(&tree, &[("/x", "-> /y")]);
    tree.unlink(b"/x", Registrar::Privileged).unwrap();
    check(&tree, &[("/x", "5: 6:")]);
}

// qnx: P46
#[test]
fn unlinking_says_what_is_in_the_way() {
    let sticky = AttachFlags::STICKY;
    let mut tree = tree(&[
        ("/d", 5, DIR),
        ("/f", 5, NONE),
        ("/s", 5, sticky),
        ("/sd", 5, sticky | DIR),
        ("/auto/x", 5, NONE),
    ]);
    tree.symlink(b"/l", b"/f", Registrar::Privileged).unwrap();
    let mut rows = vec![
        ("/f/", Err(Errno::ENOTDIR)),
        ("/s/", Err(Errno::ENOTDIR)),
        ("/l/", Err(Errno::ENOTDIR)),
        ("/d", Err(Errno::EBUSY)),
        ("/d/", Err(Errno::EBUSY)),
        ("/f", Err(Errno::ENOSYS)),
        ("/auto", Err(Errno::ENOTEMPTY)),
        ("/", Err(Errno::ENOTEMPTY)),
        ("/nothing", Err(Errno::ENOENT)),
        ("/auto/x/y", Err(Errno::ENOENT)),
        ("/s", Ok(())),
        ("/sd/", Ok(())),
        ("/l", Ok(())),
        ("/l", Err(Errno::ENOENT)),
    ];
    assert_eq!(tree.unlink(b"/s", Registrar::Ordinary), Err(Errno::EPERM));
    for (path, expected) in rows.drain(..) {
        assert_eq!(
            tree.unlink(path.as_bytes(), Registrar::Privileged),
            expected,
            "{path}"
        );
    }
}

// qnx: P46, P15
#[test]
fn a_server_of_the_root_alone_is_no_directory_but_the_root_is() {
    let mut tree = tree(&[("/", 5, NONE)]);
    assert_eq!(answer(&tree, "/", &CLIENT), "5: own:");
    assert_eq!(tree.unlink(b"/", Registrar::Privileged), Err(Errno::ENOSYS));
}

// qnx: P60, P61
#[test]
fn a_symlink_is_made_once_and_covers_what_was_there_until_it_is_removed() {
    let mut tree = tree(&[("/remote/sql_server", 5, NONE)]);
    let (path, by) = (&b"/remote/sql_server"[..], Registrar::Privileged);
    assert_eq!(
        tree.symlink(path, b"/net/lab2", Registrar::Ordinary),
        Err(Errno::EPERM)
    );
    tree.symlink(path, b"/net/lab2", by).unwrap();
    assert_eq!(tree.symlink(path, b"/net/lab1", by), Err(Errno::EBUSY));
    assert_eq!(tree.symlink(b"/", b"/net/lab1", by), Err(Errno::EEXIST));
    check(&tree, &[("/remote/sql_server", "-> /net/lab2")]);
    tree.unlink(path, by).unwrap();
    check(&tree, &[("/remote/sql_server", "5:")]);
}

#[test]
fn the_table_can_be_read_out_from_any_object_on() {
    let mut tree = tree(&[("/dev/ser1", 5, NONE), ("/", 6, DIR)]);
    tree.symlink(b"/l", b"/x", Registrar::Privileged).unwrap();
    let table: Vec<_> = tree
        .objects(AttachId(0))
        .map(|(id, path, object)| match object {
            Object::Server { server, .. } => (id.0, path, server.pid.0),
            Object::Symlink { .. } => (id.0, path, 0),
        })
        .collect();
    let expected = [
        (1, b"/dev/ser1".to_vec(), 5),
        (2, b"/".to_vec(), 6),
        (3, b"/l".to_vec(), 0),
    ];
    assert_eq!(table, expected);
    assert_eq!(tree.objects(AttachId(3)).count(), 1);
    tree.detach(AttachId(2)).unwrap();
    assert_eq!(tree.objects(AttachId(2)).count(), 1);
}

#[test]
fn names_of_256_bytes_and_paths_of_4096_are_too_long_everywhere() {
    let mut tree = PrefixTree::new();
    let name = [b"/".to_vec(), vec![b'n'; 256]].concat();
    let path = b"/a".repeat(2048);
    for long in [&name[..], &path[..]] {
        let by = Registrar::Privileged;
        assert_eq!(
            tree.attach(long, server(5, NONE), by),
            Err(Errno::ENAMETOOLONG)
        );
        assert_eq!(tree.symlink(long, b"x", by), Err(Errno::ENAMETOOLONG));
        assert_eq!(tree.unlink(long, by), Err(Errno::ENAMETOOLONG));
        assert_eq!(tree.describe(long), Err(Errno::ENAMETOOLONG));
        assert_eq!(tree.list(long, b"", 1), Err(Errno::ENAMETOOLONG));
        assert_eq!(resolve(&tree, long, &CLIENT), Err(Errno::ENAMETOOLONG));
    }
    tree.attach(&name[..256], server(5, NONE), Registrar::Privileged)
        .unwrap();
    tree.attach(&path[..4], server(5, DIR), Registrar::Privileged)
        .unwrap();
    assert!(resolve(&tree, &path[..4094], &CLIENT).is_ok());
}

// qnx: P6
#[test]
fn prefixes_of_more_than_32_components_are_too_long() {
    let mut tree = PrefixTree::new();
    let path = b"/a".repeat(33);
    let by = Registrar::Privileged;
    let refused = tree.attach(&path, server(5, DIR), by);
    assert_eq!(refused, Err(Errno::ENAMETOOLONG));
    assert_eq!(tree.symlink(&path, b"x", by), Err(Errno::ENAMETOOLONG));
    tree.attach(&path[..64], server(5, DIR), by).unwrap();
    assert!(resolve(&tree, &path, &CLIENT).is_ok());
}

// qnx: P1
#[test]
fn nodes_that_nothing_needs_vanish_whatever_the_order() {
    let paths = ["/a/b/c", "/a/b", "/a", "/a/b/d", "/x"];
    for skip in 0..paths.len() {
        let mut tree = PrefixTree::new();
        let ids: Vec<_> = paths
            .iter()
            .map(|path| tree.attach(path.as_bytes(), server(5, DIR), Registrar::Privileged))
            .map(Result::unwrap)
            .collect();
        for at in 0..ids.len() {
            tree.detach(ids[(at + skip) % ids.len()]).unwrap();
        }
        assert!(tree.is_empty());
        assert_eq!(tree.list(b"/", b"", 9).unwrap(), []);
        assert_eq!(resolve(&tree, b"/a/b", &CLIENT), Err(Errno::ENOENT));
        tree.attach(b"/a/b", server(6, DIR), Registrar::Privileged)
            .unwrap();
        assert_eq!(names(&tree.list(b"/", b"", 9).unwrap()), ["a"]);
    }
}

#[test]
fn the_table_is_bounded() {
    let by = Registrar::Privileged;
    let count = |results: &[Result<AttachId>]| results.iter().filter(|r| r.is_ok()).count();
    let mut tree = PrefixTree::with_room(9);
    let mut attach = |number| tree.attach(&[b'/', number], server(5, AFTER), by);
    let results: Vec<_> = (b'a'..=b'j').map(&mut attach).collect();
    assert_eq!(count(&results), 9);
    assert_eq!(results.last(), Some(&Err(Errno::ENOMEM)));
    let mut tree = PrefixTree::new();
    let mut attach = || tree.attach(b"/x", server(5, AFTER), by);
    let results: Vec<_> = (0..=OBJECTS_PER_PATH_MAX).map(|_| attach()).collect();
    assert_eq!(count(&results), OBJECTS_PER_PATH_MAX);
    assert_eq!(results.last(), Some(&Err(Errno::ENOSPC)));
}
