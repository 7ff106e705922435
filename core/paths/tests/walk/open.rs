use abi::connect::{Redirect, SymlinkReply};
use abi::{AttachFlags, Candidate, ChannelId, Errno, Handle, Nd, PathFlags, Pid};
use paths::{Answer, WalkOptions};

use super::world::{World, to_process_manager, to_server};

const NONE: AttachFlags = AttachFlags::empty();
const DIR: AttachFlags = AttachFlags::DIR;

// qnx: P50, P51
#[test]
fn an_open_of_a_remote_device_takes_four_steps() {
    let mut world = World::new();
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Done);
    let report = world.open("/net/lab2/dev/ser1");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace,
        [
            "0 resolve /net/lab2/dev/ser1",
            "0 network lab2/dev/ser1",
            "2 resolve /dev/ser1",
            "2.30 connect  as /net/lab2/dev/ser1",
        ]
    );
}

// qnx: P30
#[test]
fn a_local_open_asks_the_own_process_manager_first() {
    let mut world = World::new();
    world.always((0, "/dev/ser1"), 30, NONE, Answer::Done);
    let report = world.open("//dev/../dev/./ser1");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace,
        ["0 resolve /dev/ser1", "0.30 connect  as /dev/ser1"]
    );
}

// qnx: P32
#[test]
fn a_server_sees_what_follows_its_prefix() {
    let mut world = World::new();
    world.serve((2, "/srv"), 30, DIR, |request| {
        let wanted = request.path == "a/b" && request.path_flags == PathFlags::DIR;
        if wanted {
            Answer::Done
        } else {
            Answer::Failed(Errno::EIO)
        }
    });
    assert_eq!(world.open("/net/lab2/srv/a//b/").outcome, Ok(()));
}

// qnx: P51
#[test]
fn a_failed_step_is_the_error_of_the_open() {
    let mut world = World::new();
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Failed(Errno::EACCES));
    assert_eq!(world.open("/net/lab9/dev/ser1").outcome, Err(Errno::ENOENT));
    assert_eq!(world.open("/net/lab2/dev/ser2").outcome, Err(Errno::ENOENT));
    assert_eq!(world.open("/net/lab2/dev/ser1").outcome, Err(Errno::EACCES));
}

// qnx: P52, P2
#[test]
fn the_network_directory_and_directories_of_other_nodes_are_their_managers() {
    let mut world = World::new();
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Done);
    assert_eq!(
        world.open("/net").trace,
        ["0 resolve /net", "0 own /net as /net"]
    );
    assert_eq!(world.open("/net/").outcome, Ok(()));
    let report = world.open("/net/lab2");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(report.trace.last().unwrap(), "2 own / as /net/lab2");
    let report = world.open("/net/lab2/dev/");
    assert_eq!(report.trace.last().unwrap(), "2 own /dev as /net/lab2/dev");
}

// qnx: P54
#[test]
fn a_path_may_go_through_a_node() {
    let mut world = World::new();
    world.always((3, "/dev/ser1"), 30, NONE, Answer::Done);
    let report = world.open("/net/lab2/net/lab3/dev/ser1");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace,
        [
            "0 resolve /net/lab2/net/lab3/dev/ser1",
            "0 network lab2/net/lab3/dev/ser1",
            "2 resolve /net/lab3/dev/ser1",
            "2 network lab3/dev/ser1",
            "3 resolve /dev/ser1",
            "3.30 connect  as /net/lab2/net/lab3/dev/ser1",
        ]
    );
}

// qnx: Q2
#[test]
fn the_link_policy_stays_in_the_path() {
    let mut world = World::new();
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Done);
    let report = world.open("/net/lab2~exclusive:en0/dev/ser1");
    assert_eq!(report.trace[1], "0 network lab2~exclusive:en0/dev/ser1");
    assert_eq!(
        report.trace[3],
        "2.30 connect  as /net/lab2~exclusive:en0/dev/ser1"
    );
}

// qnx: P60, P62, P64
#[test]
fn a_symlink_of_the_process_manager_leads_to_another_node_and_can_be_moved() {
    let mut world = World::new();
    world.always((2, "/sql"), 30, DIR, Answer::Done);
    world.always((3, "/sql"), 31, DIR, Answer::Done);
    world.link(0, "/remote/sql_server", "/net/lab2~preferred:en1");
    let report = world.open("/remote/sql_server/sql/x");
    assert_eq!(
        report.trace,
        [
            "0 resolve /remote/sql_server/sql/x",
            "0 resolve /net/lab2~preferred:en1/sql/x",
            "0 network lab2~preferred:en1/sql/x",
            "2 resolve /sql/x",
            "2.30 connect x as /net/lab2~preferred:en1/sql/x",
        ]
    );
    let by = paths::Registrar::Privileged;
    world.tree(0).unlink(b"/remote/sql_server", by).unwrap();
    world.link(0, "/remote/sql_server", "/net/lab3");
    let last = world.open("/remote/sql_server/sql/x").trace.pop().unwrap();
    assert_eq!(last, "3.31 connect x as /net/lab3/sql/x");
}

// qnx: P62
#[test]
fn symlinks_of_another_node_start_at_its_directory_or_at_the_clients_root() {
    let mut world = World::new();
    world.always((2, "/dev/ser1"), 30, NONE, Answer::Done);
    world.always((0, "/dev/ser1"), 40, NONE, Answer::Done);
    world.link(2, "/dev/modem", "ser1");
    world.link(2, "/dev/abs", "/dev/ser1");
    let last = |path| world.open(path).trace.pop().unwrap();
    assert_eq!(
        last("/net/lab2/dev/modem"),
        "2.30 connect  as /net/lab2/dev/ser1"
    );
    assert_eq!(last("/net/lab2/dev/abs"), "0.40 connect  as /dev/ser1");
}

// qnx: P62
#[test]
fn a_symlink_of_a_server_is_spliced_into_the_clients_path() {
    let mut world = World::new();
    world.serve((2, "/srv"), 30, DIR, |request| {
        let link = |target: &str, rest: &str| {
            Answer::Spliced(SymlinkReply {
                target: target.into(),
                rest: rest.into(),
            })
        };
        match request.path {
            "dir/up/x" => link("../other", "x"),
            "dir/out" => link("../../dev/ser1", ""),
            "abs/y/z" => link("/dev", "y/z"),
            "other/x" => Answer::Done,
            "liar/x" => link("t", "not/the/rest"),
            _ => Answer::Failed(Errno::ENOENT),
        }
    });
    world.always((2, "/dev/ser1"), 31, NONE, Answer::Done);
    world.always((0, "/dev"), 40, DIR, Answer::Done);
    let last = |path| world.open(path).trace.pop().unwrap();
    assert_eq!(
        last("/net/lab2/srv/dir/up/x"),
        "2.30 connect other/x as /net/lab2/srv/other/x"
    );
    assert_eq!(
        last("/net/lab2/srv/dir/out"),
        "2.31 connect  as /net/lab2/dev/ser1"
    );
    assert_eq!(
        last("/net/lab2/srv/abs/y/z"),
        "0.40 connect y/z as /dev/y/z"
    );
    assert_eq!(
        world.open("/net/lab2/srv/liar/x").outcome,
        Err(Errno::EBADMSG)
    );
}

// qnx: P63
#[test]
fn a_symlink_itself_is_its_process_managers() {
    let mut world = World::new();
    world.link(2, "/l", "/nowhere");
    let itself = WalkOptions {
        no_follow: true,
        ..WalkOptions::default()
    };
    let report = world.walk("/net/lab2/l", itself);
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(report.trace.last().unwrap(), "2 own /l as /net/lab2/l");
    assert_eq!(world.open("/net/lab2/l").outcome, Err(Errno::ENOENT));
}

// qnx: P65
#[test]
fn a_symlink_is_tried_after_the_servers_of_longer_prefixes() {
    let mut world = World::new();
    world.always((0, "/a/b"), 30, DIR, Answer::Failed(Errno::ENOENT));
    world.always((0, "/target"), 31, DIR, Answer::Done);
    world.link(0, "/a", "/target");
    let report = world.open("/a/b/c");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace,
        [
            "0 resolve /a/b/c",
            "0.30 connect c as /a/b/c",
            "0 resolve /a",
            "0 resolve /target/b/c",
            "0.31 connect b/c as /target/b/c",
        ]
    );
}

// qnx: P65
#[test]
fn a_symlink_that_was_replaced_meanwhile_is_passed_over() {
    let link = Candidate {
        prefix_len: 2,
        handle: paths::resolve::HANDLE_SYMLINK,
        ..MANAGER
    };
    let own = Candidate {
        prefix_len: 4,
        ..MANAGER
    };
    let resolved = |path: &[u8], candidates| Answer::Resolved {
        path: path.to_vec(),
        path_flags: PathFlags::empty(),
        root: 0,
        candidates,
    };
    let mut walk = paths::Walk::new(b"/a/b", WalkOptions::default());
    walk.answered(resolved(b"/a/b", vec![link, own]));
    walk.answered(resolved(
        b"/a",
        vec![Candidate {
            pid: Pid(30),
            ..own
        }],
    ));
    let paths::Step::Own { path, .. } = walk.next() else {
        panic!("the next candidate")
    };
    assert_eq!(path, b"/a/b");
}

const MANAGER: Candidate = Candidate {
    nd: Nd::LOCAL,
    pid: Pid::PROCESS_MANAGER,
    chid: ChannelId::PROCESS_MANAGER,
    handle: Handle(0),
    file_type: abi::FileType::ANY,
    flags: NONE,
    prefix_len: 0,
};

// qnx: P65
#[test]
fn a_directory_stays_one_behind_a_symlink() {
    let mut world = World::new();
    world.always((0, "/a/b"), 30, DIR, Answer::Failed(Errno::ENOENT));
    world.link(0, "/a", "/target");
    let report = world.open("/a/b/c/");
    assert_eq!(report.trace.last().unwrap(), "0 resolve /target/b/c/");
}

// qnx: P32
#[test]
fn a_redirect_may_rewrite_the_path_below_its_prefix() {
    let mut world = World::new();
    world.always(
        (2, "/hub"),
        30,
        DIR,
        Answer::Redirect(to_server(31, "/port7/x", 6)),
    );
    world.always((2, "/hidden"), 31, DIR, Answer::Done);
    let report = world.open("/net/lab2/hub/seven/x");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace.last().unwrap(),
        "2.31 connect x as /net/lab2/hub/port7/x"
    );
}

// qnx: P32, P36
#[test]
fn a_server_that_redirects_to_its_own_process_manager_is_a_loop() {
    let mut world = World::new();
    let back = to_process_manager(Nd::LOCAL, b"a/x");
    world.always((0, "/a"), 30, DIR, Answer::Redirect(back));
    let report = world.open("/a/x");
    assert_eq!(report.outcome, Err(Errno::ELOOP));
    assert_eq!(report.trace.len(), 32);
}

#[test]
fn a_manager_has_no_other_channels() {
    let mut world = World::new();
    let mut redirect = to_server(1, "x", 0);
    redirect.candidates[0].chid = ChannelId(7);
    world.always((2, "/hub"), 30, DIR, Answer::Redirect(redirect));
    assert_eq!(world.open("/net/lab2/hub/x").outcome, Err(Errno::EBADMSG));
}

// qnx: P32
#[test]
fn a_server_redirects_to_another_of_its_node() {
    let mut world = World::new();
    world.always(
        (2, "/hub"),
        30,
        DIR,
        Answer::Redirect(to_server(31, "/port/7", 5)),
    );
    world.always((2, "/hidden"), 31, DIR, Answer::Done);
    let report = world.open("/net/lab2/hub/port/7");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace.last().unwrap(),
        "2.31 connect 7 as /net/lab2/hub/port/7"
    );
}

// qnx: P44
#[test]
fn a_servers_word_for_a_third_node_is_not_believed() {
    let mut world = World::new();
    let mut redirect = to_server(31, "x", 0);
    redirect.candidates[0].nd = Nd(3);
    world.always((2, "/hub"), 30, DIR, Answer::Redirect(redirect));
    world.always((3, "/hidden"), 31, DIR, Answer::Done);
    assert_eq!(world.open("/net/lab2/hub/x").outcome, Err(Errno::ENOENT));
}

#[test]
fn a_redirect_with_a_prefix_outside_its_path_is_no_answer() {
    let mut world = World::new();
    world.always(
        (2, "/hub"),
        30,
        DIR,
        Answer::Redirect(to_server(31, "ab", 2)),
    );
    assert_eq!(world.open("/net/lab2/hub/x").outcome, Err(Errno::EBADMSG));
}

// qnx: P36
#[test]
fn sixteen_nestings_are_a_loop() {
    let mut world = World::new();
    world.always((0, "/end"), 30, NONE, Answer::Done);
    for n in 0..15 {
        world.link(0, &format!("/l{n}"), &format!("/l{}", n + 1));
    }
    world.link(0, "/l15", "/end");
    assert_eq!(world.open("/l1").outcome, Ok(()));
    assert_eq!(world.open("/l0").outcome, Err(Errno::ELOOP));
    world.link(0, "/self", "/self");
    assert_eq!(world.open("/self").outcome, Err(Errno::ELOOP));
}

// qnx: P36
#[test]
fn servers_that_redirect_in_a_circle_are_a_loop() {
    let mut world = World::new();
    world.always((0, "/a"), 30, DIR, Answer::Redirect(to_server(31, "x", 0)));
    world.always((0, "/b"), 31, DIR, Answer::Redirect(to_server(30, "x", 0)));
    let report = world.open("/a/x");
    assert_eq!(report.outcome, Err(Errno::ELOOP));
    assert_eq!(report.trace.len(), 17);
}

// qnx: P36
#[test]
fn unions_of_redirects_do_not_multiply_without_bound() {
    let mut world = World::new();
    let back = Candidate {
        pid: Pid(30),
        chid: ChannelId(1),
        handle: Handle(30),
        ..Candidate::default()
    };
    let nothing = Candidate {
        pid: Pid(77),
        ..back
    };
    let candidates = [vec![nothing; 100], vec![back]].concat();
    let redirect = Redirect {
        candidates,
        path: b"x".to_vec(),
        path_flags: PathFlags::empty(),
    };
    world.always((0, "/a"), 30, DIR, Answer::Redirect(redirect));
    let report = world.open("/a/x");
    assert_eq!(report.outcome, Err(Errno::ELOOP));
    assert!(report.trace.len() <= 1024, "{} steps", report.trace.len());
}

#[test]
fn paths_that_cannot_be_are_refused_before_anybody_is_asked() {
    let world = World::new();
    let long_name = format!("/net/{}", "n".repeat(256));
    let long_path = "/a".repeat(2048);
    for (path, errno) in [
        ("", Errno::ENOENT),
        (long_name.as_str(), Errno::ENAMETOOLONG),
        (long_path.as_str(), Errno::ENAMETOOLONG),
        ("/a\0b", Errno::EINVAL),
    ] {
        let report = world.open(path);
        assert_eq!(report.outcome, Err(errno));
        assert!(report.trace.is_empty());
    }
    assert_eq!(
        world.open(&format!("/{}", "n".repeat(255))).outcome,
        Err(Errno::ENOENT)
    );
}

// qnx: P53
#[test]
fn nothing_can_be_made_in_the_network_directory() {
    let world = World::new();
    let report = world.open("/net/new-file");
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(
        report.trace,
        ["0 resolve /net/new-file", "0 network new-file"]
    );
}
