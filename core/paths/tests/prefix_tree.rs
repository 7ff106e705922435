//! The prefix tree and what it resolves to, row by row.
#![allow(clippy::unwrap_used)]

extern crate slashnet_paths as paths;

use abi::{AttachFlags, Candidate, ChannelId, Errno, FileType, Handle, Nd, PathFlags, Pid, Result};
use paths::prefix_tree::{EntryKind, ListEntry, OBJECTS_MAX, Object};
use paths::resolve::{HANDLE_OWN, HANDLE_SYMLINK, splice, translate};
use paths::{Asker, Pathname, PrefixTree, Registrar, Resolution, Server, resolve};
use proptest::prelude::*;

const NONE: AttachFlags = AttachFlags::empty();
const BEFORE: AttachFlags = AttachFlags::BEFORE;
const AFTER: AttachFlags = AttachFlags::AFTER;
const DIR: AttachFlags = AttachFlags::DIR;
const OPAQUE: AttachFlags = AttachFlags::OPAQUE;
const CLIENT: Asker = Asker::local(Pid(999));

fn server(pid: u32, flags: AttachFlags) -> Server {
    Server {
        nd: Nd::LOCAL,
        pid: Pid(pid),
        chid: ChannelId(1),
        handle: Handle(pid),
        file_type: FileType::ANY,
        flags,
    }
}

/// A tree with these servers, attached in this order.
fn tree(rows: &[(&str, u32, AttachFlags)]) -> PrefixTree {
    let mut tree = PrefixTree::new();
    for (path, pid, flags) in rows {
        tree.attach(path.as_bytes(), server(*pid, *flags), Registrar::Privileged)
            .unwrap();
    }
    tree
}

/// The answer in words: "pid:rest pid:rest", with `own` and `link` for the process manager's own
/// candidates, "-> path" for a symlink, or the error.
fn answer(tree: &PrefixTree, path: &str, asker: &Asker) -> String {
    let name = |candidate: &Candidate| match (candidate.pid, candidate.handle) {
        (Pid::PROCESS_MANAGER, HANDLE_OWN) => "own".to_owned(),
        (Pid::PROCESS_MANAGER, HANDLE_SYMLINK) => "link".to_owned(),
        (pid, _) => pid.to_string(),
    };
    match resolve(tree, path.as_bytes(), asker) {
        Err(error) => error.name().to_owned(),
        Ok(Resolution::Symlink { path, absolute }) => {
            let from = if absolute { "->" } else { "~>" };
            let slash = if path.flags().contains(PathFlags::DIR) {
                "/"
            } else {
                ""
            };
            format!("{from} {}{slash}", String::from_utf8_lossy(path.as_bytes()))
        }
        Ok(Resolution::Candidates { path, candidates }) => {
            let words = candidates.iter().map(|candidate| {
                let rest = paths::pathname::below(path.as_bytes(), candidate.prefix_len).unwrap();
                format!("{}:{}", name(candidate), String::from_utf8_lossy(rest))
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

fn check(tree: &PrefixTree, rows: &[(&str, &str)]) {
    for (path, expected) in rows {
        assert_eq!(answer(tree, path, &CLIENT), *expected, "{path}");
    }
}

// qnx: P1
#[test]
fn components_are_matched_byte_by_byte() {
    let tree = tree(&[("/dev/ser1", 5, NONE), ("/net", 7, DIR)]);
    check(
        &tree,
        &[
            ("/dev/ser1", "5:"),
            ("/dev/Ser1", "ENOENT"),
            ("/dev/ser", "ENOENT"),
            ("/dev/ser10", "ENOENT"),
            ("/network", "ENOENT"),
            ("/net/work", "7:work"),
        ],
    );
}

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
fn registrations_go_with_their_process_unless_they_are_sticky() {
    let mut tree = tree(&[
        ("/dev/a", 5, NONE),
        ("/dev/b", 5, AttachFlags::STICKY),
        ("/dev/c", 6, NONE),
        ("/dev/d", 5, DIR),
    ]);
    assert_eq!(tree.detach_process(Nd::LOCAL, Pid(5)), 2);
    assert_eq!(names(&tree.list(b"/dev", b"", 9).unwrap()), ["b", "c"]);
    assert_eq!(tree.detach_process(Nd(3), Pid(6)), 0);
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

// qnx: P14
#[test]
fn an_opaque_server_hides_shorter_prefixes_but_not_the_process_manager() {
    let mut open = tree(&[("/", 5, DIR), ("/a", 6, DIR), ("/a/b", 7, DIR)]);
    check(
        &open,
        &[("/a/b/c", "7:c 6:b/c 5:a/b/c"), ("/a", "6: 5:a own:")],
    );
    open.attach(b"/a/b", server(8, DIR | OPAQUE), Registrar::Privileged)
        .unwrap();
    check(&open, &[("/a/b/c", "8:c 7:c"), ("/a/c", "6:c 5:a/c")]);
    open.attach(b"/a/b/d", server(9, NONE), Registrar::Privileged)
        .unwrap();
    check(&open, &[("/a/b", "8: 7: own:"), ("/a/b/d", "9: 8:d 7:d")]);
}

// qnx: P15
#[test]
fn only_directory_servers_get_longer_paths() {
    let tree = tree(&[("/d", 5, DIR), ("/f", 6, NONE), ("/", 7, DIR)]);
    check(
        &tree,
        &[
            ("/d/x", "5:x 7:d/x"),
            ("/f", "6: 7:f"),
            ("/f/x", "7:f/x"),
            ("/f/", "ENOTDIR"),
            ("/f/.", "ENOTDIR"),
            ("/d/", "5: 7:d"),
            ("/f/x/..", "ENOTDIR"),
        ],
    );
}

// qnx: P16
#[test]
fn nobody_resolves_to_itself_without_asking_for_it() {
    let tree = tree(&[
        ("/x", 5, NONE),
        ("/x", 6, NONE),
        ("/y", 5, AttachFlags::SELF),
    ]);
    let five = Asker::local(Pid(5));
    assert_eq!(answer(&tree, "/x", &five), "6:");
    assert_eq!(answer(&tree, "/y", &five), "5:");
    assert_eq!(answer(&tree, "/x", &Asker { nd: Nd(2), ..five }), "6: 5:");
    assert_eq!(
        answer(
            &tree,
            "/x",
            &Asker {
                nd: Nd::new(0, 3),
                ..five
            }
        ),
        "6:"
    );
}

// qnx: P17, P18, P21
#[test]
fn types_decide_who_is_offered() {
    let mut tree = PrefixTree::new();
    let mut attach = |pid, file_type, flags| {
        let server = Server {
            file_type,
            ..server(pid, flags | DIR)
        };
        tree.attach(b"/", server, Registrar::Privileged).unwrap();
    };
    attach(5, FileType::MQUEUE, AttachFlags::FTYPEONLY);
    attach(6, FileType::SEM, AttachFlags::FTYPEONLY);
    attach(7, FileType::ANY, AttachFlags::FTYPEALL);
    attach(8, FileType::FILE, NONE);
    let wants = |file_type| {
        answer(
            &tree,
            "/q",
            &Asker {
                file_type,
                ..CLIENT
            },
        )
    };
    assert_eq!(wants(FileType::ANY), "8:q 7:q");
    assert_eq!(wants(FileType::FILE), "8:q 7:q");
    assert_eq!(wants(FileType::MQUEUE), "8:q 7:q 5:q");
    assert_eq!(wants(FileType::SEM), "8:q 7:q 6:q");
}

// qnx: P45
#[test]
fn a_name_is_offered_for_exactly_its_path() {
    let mut tree = tree(&[("/dev", 6, DIR)]);
    let name = Server {
        file_type: FileType::NAME,
        ..server(5, DIR)
    };
    tree.attach(b"/dev/name/local/x", name, Registrar::Ordinary)
        .unwrap();
    let wants = |path, file_type| {
        answer(
            &tree,
            path,
            &Asker {
                file_type,
                ..CLIENT
            },
        )
    };
    assert_eq!(
        wants("/dev/name/local/x", FileType::NAME),
        "5: 6:name/local/x"
    );
    assert_eq!(
        wants("/dev/name/local/x", FileType::ANY),
        "5: 6:name/local/x"
    );
    assert_eq!(
        wants("/dev/name/local/x", FileType::MQUEUE),
        "6:name/local/x"
    );
    assert_eq!(
        wants("/dev/name/local/x/y", FileType::NAME),
        "6:name/local/x/y"
    );
    let Ok(Resolution::Candidates { candidates, .. }) =
        resolve(&tree, b"/dev/name/local/x", &CLIENT)
    else {
        panic!("a name is a candidate");
    };
    let first = candidates[0];
    assert_eq!(
        (first.nd, first.pid, first.chid),
        (Nd::LOCAL, Pid(5), ChannelId(1))
    );
    assert_eq!(first.file_type, FileType::NAME);
}

// qnx: P30
#[test]
fn the_process_manager_normalises() {
    let tree = tree(&[("/dev/ser1", 5, NONE)]);
    check(
        &tree,
        &[
            ("//dev/./ser1", "5:"),
            ("/dev/../dev/ser1", "5:"),
            ("/../dev/ser1", "5:"),
            ("dev/ser1", "5:"),
            ("", "ENOENT"),
        ],
    );
    let ok = resolve(&tree, b"/dev/..", &CLIENT).unwrap();
    let Resolution::Candidates { path, .. } = ok else {
        panic!("the root is a directory")
    };
    assert_eq!(path.flags(), PathFlags::DIR | PathFlags::DOTDOT);
}

// qnx: P31
#[test]
fn candidates_come_from_the_longest_prefix_to_the_root_and_are_at_most_256() {
    let mut tree = tree(&[
        ("/", 2, DIR),
        ("/a/b/c", 5, DIR),
        ("/a", 3, DIR),
        ("/a/b", 4, DIR),
    ]);
    check(&tree, &[("/a/b/c/d", "5:d 4:c/d 3:b/c/d 2:a/b/c/d")]);
    for pid in 0..252 {
        tree.attach(b"/", server(pid + 10, DIR), Registrar::Privileged)
            .unwrap();
    }
    let count = |tree: &PrefixTree| match resolve(tree, b"/a/b/c/d", &CLIENT) {
        Ok(Resolution::Candidates { candidates, .. }) => Ok(candidates.len()),
        Ok(Resolution::Symlink { .. }) => panic!("no symlink here"),
        Err(error) => Err(error),
    };
    assert_eq!(count(&tree), Ok(256));
    tree.attach(b"/", server(5000, DIR), Registrar::Privileged)
        .unwrap();
    assert_eq!(count(&tree), Err(Errno::ENAMETOOLONG));
}

// qnx: P43
#[test]
fn a_remote_question_starts_at_the_root_and_nothing_is_enoent() {
    let tree = tree(&[("/dev/ser1", 5, NONE)]);
    let remote = Asker {
        nd: Nd(4),
        ..Asker::local(Pid(5))
    };
    assert_eq!(answer(&tree, "dev/ser1", &remote), "5:");
    assert_eq!(answer(&tree, "dev/ser2", &remote), "ENOENT");
}

// qnx: P44
#[test]
fn descriptors_are_said_in_the_terms_of_the_client() {
    let at = |nd| Candidate {
        nd: Nd(nd),
        ..Candidate::default()
    };
    let mut candidates = vec![at(0), at(7), at(3), at(8)];
    // Node S knows the client as 7; the client knows S as 2, and S's node 3 as 5; nobody knows 8.
    let third = |nd: Nd| (nd == Nd(3)).then_some(Nd(5));
    translate(&mut candidates, Nd(7), Nd(2), third);
    assert_eq!(candidates, [at(2), at(0), at(5)]);
    let mut local = vec![at(0), at(3)];
    translate(&mut local, Nd::LOCAL, Nd::LOCAL, |_| None);
    assert_eq!(local, [at(0), at(3)]);
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

// qnx: P46
#[test]
fn nothing_is_made_in_the_tree_itself() {
    let tree = tree(&[("/auto/x", 5, NONE)]);
    assert_eq!(tree.make(b"/auto"), Err(Errno::EEXIST));
    assert_eq!(tree.make(b"/auto/x"), Err(Errno::EEXIST));
    assert_eq!(tree.make(b"/new"), Err(Errno::ENOSYS));
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

// qnx: P62
#[test]
fn texts_are_spliced_into_the_path() {
    let rows: &[(&str, &str, &str, &str)] = &[
        ("/l", "/net/lab2", "/l", "-> /net/lab2"),
        ("/l", "/net/lab2", "/l/dev/ser1", "-> /net/lab2/dev/ser1"),
        ("/l", "/net/lab2/", "/l/dev", "-> /net/lab2/dev"),
        ("/l", "/net/lab2", "/l/", "-> /net/lab2/"),
        ("/l", "/net/lab2/", "/l", "-> /net/lab2/"),
        ("/dir/l", "other", "/dir/l", "~> /dir/other"),
        ("/dir/l", "../other", "/dir/l/x", "~> /other/x"),
        ("/dir/l", "../../..", "/dir/l/x", "~> /x"),
        ("/l", "x", "/l", "~> /x"),
        ("/l", ".", "/l", "~> //"),
        (
            "/l",
            "/net/lab2~preferred:en1",
            "/l/dev",
            "-> /net/lab2~preferred:en1/dev",
        ),
    ];
    for (link, target, path, expected) in rows {
        let mut tree = tree(&[("/", 5, DIR)]);
        tree.symlink(link.as_bytes(), target.as_bytes(), Registrar::Privileged)
            .unwrap();
        assert_eq!(
            answer(&tree, path, &CLIENT),
            *expected,
            "{link} {target} {path}"
        );
    }
}

// qnx: P62
#[test]
fn a_spliced_path_may_be_too_long() {
    let path = Pathname::parse(&[b"/l".to_vec(), b"/x".repeat(1500)].concat()).unwrap();
    let target = b"/y".repeat(600);
    assert_eq!(splice(&path, 2, &target), Err(Errno::ENAMETOOLONG));
    assert!(splice(&path, 2, &target[..1000]).is_ok());
    assert_eq!(splice(&path, 9000, b"x"), Err(Errno::EBADMSG));
    assert_eq!(splice(&path, 1, b"x"), Err(Errno::EBADMSG));
}

// qnx: P63
#[test]
fn a_symlink_itself_can_be_meant() {
    let mut tree = PrefixTree::new();
    tree.symlink(b"/l", b"/target", Registrar::Privileged)
        .unwrap();
    let itself = Asker {
        no_follow: true,
        ..CLIENT
    };
    assert_eq!(answer(&tree, "/l", &itself), "own:");
    assert_eq!(answer(&tree, "/l/", &itself), "-> /target/");
    assert_eq!(answer(&tree, "/l/x", &itself), "-> /target/x");
    assert_eq!(
        tree.describe(b"/l"),
        Ok(EntryKind::Symlink(b"/target".to_vec()))
    );
    let entry = ListEntry {
        name: b"l".to_vec(),
        kind: EntryKind::Symlink(b"/target".to_vec()),
    };
    assert_eq!(tree.list(b"/", b"", 9), Ok(vec![entry]));
}

// qnx: P62, P65
#[test]
fn longer_servers_go_before_a_symlink_and_automatic_directories_do_not() {
    let mut tree = tree(&[("/a/b/c", 5, DIR), ("/", 6, DIR)]);
    tree.symlink(b"/a", b"/target", Registrar::Privileged)
        .unwrap();
    check(
        &tree,
        &[
            ("/a", "-> /target"),
            ("/a/b", "-> /target/b"),
            ("/a/x", "-> /target/x"),
            ("/a/b/c", "5: link:b/c"),
            ("/a/b/c/d", "5:d link:b/c/d"),
            ("/x", "6:x"),
        ],
    );
    tree.symlink(b"/a/b", b"/longer", Registrar::Privileged)
        .unwrap();
    check(
        &tree,
        &[("/a/b/x", "-> /longer/x"), ("/a/b/c", "5: link:c")],
    );
}

#[test]
fn the_table_can_be_read_out() {
    let mut tree = tree(&[("/dev/ser1", 5, NONE), ("/", 6, DIR)]);
    tree.symlink(b"/l", b"/x", Registrar::Privileged).unwrap();
    let table: Vec<_> = tree
        .prefixes()
        .map(|(path, object)| match object {
            Object::Server { server, .. } => (path, server.pid.0),
            Object::Symlink { .. } => (path, 0),
        })
        .collect();
    let expected = [
        (b"/".to_vec(), 6),
        (b"/dev/ser1".to_vec(), 5),
        (b"/l".to_vec(), 0),
    ];
    assert_eq!(table, expected);
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
    tree.attach(&path[..4094], server(5, DIR), Registrar::Privileged)
        .unwrap();
    assert!(resolve(&tree, &path[..4094], &CLIENT).is_ok());
}

#[test]
fn the_table_is_bounded() {
    let mut tree = PrefixTree::new();
    let mut attach = || tree.attach(b"/x", server(5, AFTER), Registrar::Privileged);
    let results: Vec<Result<_>> = (0..=OBJECTS_MAX).map(|_| attach()).collect();
    assert_eq!(
        results.iter().filter(|result| result.is_ok()).count(),
        OBJECTS_MAX
    );
    assert_eq!(results.last(), Some(&Err(Errno::ENOMEM)));
}

/// Short paths over few names, so that they meet.
fn short_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select(vec!["a", "b", "a-", "a\x01", "\u{e9}"]),
        1..4,
    )
    .prop_map(|names| format!("/{}", names.join("/")))
}

proptest! {
    #[test]
    fn listings_agree_with_a_plain_list_of_paths(
        paths in proptest::collection::vec(short_path(), 0..20),
        removed in proptest::collection::vec(any::<bool>(), 20),
        directory in short_path(),
    ) {
        let mut tree = PrefixTree::new();
        let mut kept = Vec::new();
        for (path, remove) in paths.iter().zip(removed) {
            let by = Registrar::Privileged;
            let id = tree.attach(path.as_bytes(), server(5, NONE), by).unwrap();
            if remove {
                tree.detach(id).unwrap();
            } else {
                kept.push(path.clone());
            }
        }
        let below = format!("{directory}/");
        let mut expected: Vec<Vec<u8>> = kept
            .iter()
            .filter_map(|path| path.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap().as_bytes().to_vec())
            .collect();
        expected.sort();
        expected.dedup();
        let mut listed = Vec::new();
        let mut after = Vec::new();
        while let Ok(entries) = tree.list(directory.as_bytes(), &after, 2) {
            let Some(last) = entries.last() else { break };
            after = last.name.clone();
            listed.extend(entries.into_iter().map(|entry| entry.name));
        }
        prop_assert_eq!(listed, expected);
    }

    #[test]
    fn any_bytes_resolve_or_are_refused(path in proptest::collection::vec(any::<u8>(), 0..200)) {
        let tree = tree(&[("/", 5, DIR), ("/a/b", 6, NONE)]);
        let _ = resolve(&tree, &path, &CLIENT);
    }
}
