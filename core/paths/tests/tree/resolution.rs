use abi::{AttachFlags, Candidate, ChannelId, Errno, FileType, Nd, PathFlags, Pid};
use paths::prefix_tree::{EntryKind, ListEntry};
use paths::resolve::{splice, translate};
use paths::{Asker, Pathname, PrefixTree, Registrar, Resolution, Server, resolve};

use super::{CLIENT, DIR, NONE, OPAQUE, answer, check, server, tree};

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
    attach(
        9,
        FileType::TYMEM,
        AttachFlags::FTYPEONLY | AttachFlags::FTYPEALL,
    );
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
    assert_eq!(wants(FileType::ANY), "9:q 8:q 7:q");
    assert_eq!(wants(FileType::FILE), "9:q 8:q 7:q");
    assert_eq!(wants(FileType::MQUEUE), "9:q 8:q 7:q 5:q");
    assert_eq!(wants(FileType::SEM), "9:q 8:q 7:q 6:q");
}

// qnx: P4
#[test]
fn a_name_of_an_ordinary_user_stands_before_nobody_elses_files() {
    let mut tree = tree(&[("/srv", 6, DIR)]);
    let name = |flags| Server {
        file_type: FileType::NAME,
        ..server(5, flags)
    };
    let ordinary = Registrar::Ordinary;
    for more in [DIR, AttachFlags::BEFORE, AttachFlags::STICKY] {
        let taken = tree.attach(b"/srv/tool", name(more), ordinary);
        assert_eq!(taken, Err(Errno::EPERM), "{more:?}");
    }
    tree.attach(b"/srv/tool", name(AttachFlags::empty()), ordinary)
        .unwrap();
    let wants = |file_type| {
        answer(
            &tree,
            "/srv/tool",
            &Asker {
                file_type,
                ..CLIENT
            },
        )
    };
    assert_eq!(wants(FileType::NAME), "5: 6:tool");
    assert_eq!(wants(FileType::ANY), "6:tool");
    assert_eq!(wants(FileType::FILE), "6:tool");
}

// qnx: P45
#[test]
fn a_name_is_offered_for_exactly_its_path() {
    let mut tree = tree(&[("/dev", 6, DIR)]);
    let name = Server {
        file_type: FileType::NAME,
        ..server(5, DIR)
    };
    tree.attach(b"/dev/name/local/x", name, Registrar::Privileged)
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
    assert_eq!(splice(&path, 0, 2, &target), Err(Errno::ENAMETOOLONG));
    assert!(splice(&path, 0, 2, &target[..1000]).is_ok());
    assert_eq!(splice(&path, 0, 2, b""), Err(Errno::ENOENT));
    assert_eq!(splice(&path, 0, 9000, b"x"), Err(Errno::EBADMSG));
    assert_eq!(splice(&path, 0, 1, b"x"), Err(Errno::EBADMSG));
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
    tree.attach(b"/l/below", server(5, NONE), Registrar::Privileged)
        .unwrap();
    assert_eq!(answer(&tree, "/l", &itself), "own:");
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
