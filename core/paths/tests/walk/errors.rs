use abi::{AttachFlags, Candidate, ChannelId, Errno, FileType, Handle, Nd, Pid, Result};
use paths::{Answer, Intent, Server, WalkOptions};

use super::world::{World, to_server};

const NONE: AttachFlags = AttachFlags::empty();
const AFTER: AttachFlags = AttachFlags::AFTER;

/// The outcome of a union whose servers fail with these in turn (`None` succeeds), and how many
/// were asked.
fn union(errors: &[Option<Errno>], options: WalkOptions) -> (Result, usize) {
    let mut world = World::new();
    for (pid, error) in (30..).zip(errors) {
        let answer = error.map_or(Answer::Done, Answer::Failed);
        world.always((0, "/u"), pid, AttachFlags::BEFORE, answer);
    }
    let report = world.walk("/u", options);
    let asked = report.count("connect");
    (report.outcome, asked)
}

// qnx: P33
#[test]
fn absence_and_network_trouble_go_on_and_everything_else_ends_the_search() {
    for &error in Errno::ALL {
        let expected = if error.continues_union() {
            (Ok(()), 2)
        } else {
            (Err(error), 1)
        };
        assert_eq!(
            union(&[Some(error), None], WalkOptions::default()),
            expected,
            "{error}"
        );
    }
}

// qnx: P34
#[test]
fn the_first_error_that_says_something_is_kept() {
    use Errno as E;
    let rows: &[(&[Errno], Errno)] = &[
        (&[E::ENOENT, E::ENOSYS], E::ENOENT),
        (&[E::ENOSYS, E::ENOENT], E::ENOENT),
        (&[E::EROFS, E::ENOENT], E::EROFS),
        (&[E::ENOENT, E::EROFS], E::ENOENT),
        (&[E::ENOSYS, E::ENOSYS], E::ENOSYS),
        (&[E::ENOSYS, E::EHOSTDOWN, E::ENOENT], E::EHOSTDOWN),
        (&[E::ENXIO, E::ESRCH, E::EBADFSYS], E::ENXIO),
        (&[E::ENOENT, E::EACCES], E::EACCES),
        (&[E::EACCES, E::ENOENT], E::EACCES),
        (&[E::EROFS, E::ENOTDIR, E::ENOENT], E::ENOTDIR),
    ];
    for (errors, expected) in rows {
        let servers: Vec<_> = errors.iter().map(|error| Some(*error)).collect();
        let (outcome, _) = union(&servers, WalkOptions::default());
        assert_eq!(outcome, Err(*expected), "{errors:?}");
    }
}

// qnx: P32, P33
#[test]
fn a_nested_union_counts_as_the_server_that_redirected_to_it() {
    let mut world = World::new();
    world.always(
        (0, "/u"),
        30,
        AttachFlags::BEFORE,
        Answer::Redirect(to_server(50, "x", 0)),
    );
    world.always((0, "/hidden"), 50, NONE, Answer::Failed(Errno::EROFS));
    world.always(
        (0, "/u"),
        31,
        AttachFlags::BEFORE,
        Answer::Failed(Errno::ENOENT),
    );
    assert_eq!(world.open("/u").outcome, Err(Errno::EROFS));
    world.always((0, "/u"), 32, AttachFlags::BEFORE, Answer::Done);
    assert_eq!(world.open("/u").outcome, Ok(()));
}

// qnx: P33
#[test]
fn an_unreachable_node_lets_the_search_go_on() {
    let mut world = World::new();
    world.always(
        (0, "/u"),
        30,
        AttachFlags::BEFORE,
        Answer::Failed(Errno::EHOSTUNREACH),
    );
    world.link(0, "/far", "/net/lab9/x");
    assert_eq!(world.open("/u").outcome, Err(Errno::EHOSTUNREACH));
    world.always((0, "/u"), 31, AFTER, Answer::Done);
    assert_eq!(world.open("/u").outcome, Ok(()));
    assert_eq!(world.open("/far").outcome, Err(Errno::ENOENT));
}

/// A server that wants to be asked for message queues.
fn wants_queues(request: &super::world::Request<'_>) -> Answer {
    if request.file_type == FileType::MQUEUE {
        Answer::Failed(Errno::ENOENT)
    } else {
        Answer::FileType(FileType::MQUEUE)
    }
}

// qnx: P32, P35
#[test]
fn a_changed_type_is_asked_again_and_the_whole_search_restarts_once() {
    let mut world = World::new();
    world.serve((0, "/q"), 30, AttachFlags::BEFORE, wants_queues);
    let queues = Server {
        nd: Nd::LOCAL,
        pid: Pid(31),
        chid: ChannelId(1),
        handle: Handle(31),
        file_type: FileType::MQUEUE,
        flags: AttachFlags::FTYPEONLY,
    };
    let report = world.open("/q");
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(
        report.trace,
        [
            "0 resolve /q",
            "0.30 connect  as /q",
            "0.30 connect  as /q",
            "0 resolve /q",
            "0.30 connect  as /q"
        ]
    );
    world.always((0, "/elsewhere"), 31, NONE, Answer::Done);
    world
        .tree(0)
        .attach(b"/q", queues, paths::Registrar::Privileged)
        .unwrap();
    let report = world.open("/q");
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(report.trace.last().unwrap(), "0.31 connect  as /q");
    assert_eq!(report.count("resolve"), 2);
}

// qnx: P35
#[test]
fn a_search_for_a_certain_type_does_not_restart() {
    let mut world = World::new();
    world.serve((0, "/q"), 30, AttachFlags::BEFORE, wants_queues);
    let options = WalkOptions {
        file_type: FileType::SEM,
        ..WalkOptions::default()
    };
    let report = world.walk("/q", options);
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(report.count("resolve"), 1);
}

// qnx: P35
#[test]
fn a_server_that_changes_the_type_for_ever_is_passed_over() {
    let mut world = World::new();
    world.serve((0, "/q"), 30, AttachFlags::BEFORE, |request| {
        Answer::FileType(FileType(request.file_type.0 + 1))
    });
    world.always((0, "/q"), 31, AFTER, Answer::Done);
    assert_eq!(world.open("/q").outcome, Ok(()));
}

// qnx: P35
#[test]
fn each_server_of_a_union_may_change_the_type_once() {
    let mut world = World::new();
    let asks_for = |wanted: u32| {
        move |request: &super::world::Request<'_>| match request.file_type {
            FileType(given) if given == wanted => Answer::Failed(Errno::ENOENT),
            _ => Answer::FileType(FileType(wanted)),
        }
    };
    world.serve((0, "/q"), 30, AttachFlags::BEFORE, asks_for(6));
    world.serve((0, "/q"), 31, AttachFlags::BEFORE, asks_for(8));
    let report = world.open("/q");
    let first: Vec<_> = report.trace.iter().take(5).skip(1).collect();
    assert_eq!(
        first,
        [
            "0.30 connect  as /q",
            "0.30 connect  as /q",
            "0.31 connect  as /q",
            "0.31 connect  as /q"
        ]
    );
}

// qnx: P35
#[test]
fn after_a_matched_type_errors_do_not_fall_through() {
    let mut world = World::new();
    world.always(
        (0, "/q"),
        30,
        AttachFlags::BEFORE,
        Answer::FileType(FileType::MATCHED),
    );
    world.always(
        (0, "/q"),
        31,
        AttachFlags::BEFORE,
        Answer::Failed(Errno::ENOENT),
    );
    world.always((0, "/q"), 32, AttachFlags::BEFORE, Answer::Done);
    let report = world.open("/q");
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(report.trace.last().unwrap(), "0.31 connect  as /q");
}

// qnx: P37
#[test]
fn a_server_without_the_callout_is_probed_for_a_redirect() {
    let mut world = World::new();
    world.serve((0, "/u"), 30, AttachFlags::DIR, |request| {
        if request.probe {
            Answer::Redirect(to_server(50, request.path, 0))
        } else {
            Answer::Failed(Errno::ENOSYS)
        }
    });
    world.always((0, "/hidden"), 50, NONE, Answer::Done);
    let change = WalkOptions {
        intent: Intent::Change,
        ..WalkOptions::default()
    };
    let report = world.walk("/u/x", change);
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(
        report.trace,
        [
            "0 resolve /u/x",
            "0.30 connect x as /u/x",
            "0.30 probe x",
            "0.50 connect x as /u/x"
        ]
    );
    assert_eq!(world.open("/u/x").outcome, Err(Errno::ENOSYS));
}

// qnx: P37
#[test]
fn a_probe_that_finds_nothing_leaves_the_first_error() {
    for answer in [Answer::Done, Answer::Failed(Errno::EACCES)] {
        let mut world = World::new();
        world.serve((0, "/u"), 30, AttachFlags::BEFORE, move |request| {
            if request.probe {
                answer.clone()
            } else {
                Answer::Failed(Errno::ENOSYS)
            }
        });
        let change = WalkOptions {
            intent: Intent::Change,
            ..WalkOptions::default()
        };
        assert_eq!(world.walk("/u", change).outcome, Err(Errno::ENOSYS));
        world.always((0, "/u"), 31, AFTER, Answer::Done);
        assert_eq!(world.walk("/u", change).outcome, Ok(()));
    }
}

// qnx: P37
#[test]
fn hard_links_are_probed_after_enxio_too() {
    for (intent, probes) in [(Intent::Open, 0), (Intent::Change, 0), (Intent::Link, 1)] {
        let mut world = World::new();
        world.always(
            (0, "/u"),
            30,
            AttachFlags::BEFORE,
            Answer::Failed(Errno::ENXIO),
        );
        let report = world.walk(
            "/u",
            WalkOptions {
                intent,
                ..WalkOptions::default()
            },
        );
        assert_eq!(report.outcome, Err(Errno::ENXIO));
        let probed = report.count("probe");
        assert_eq!(probed, probes, "{intent:?}");
    }
}

// qnx: P37
#[test]
fn a_second_path_at_another_server_is_another_device() {
    let mut world = World::new();
    world.always((0, "/a"), 30, AttachFlags::DIR, Answer::Done);
    world.always((0, "/b"), 31, AttachFlags::DIR, Answer::Done);
    let at = |pid| Candidate {
        pid: Pid(pid),
        chid: ChannelId(1),
        handle: Handle(pid),
        ..Candidate::default()
    };
    let rename = |pid| WalkOptions {
        intent: Intent::Change,
        same_server: Some(at(pid)),
        ..WalkOptions::default()
    };
    assert_eq!(world.walk("/a/new", rename(30)).outcome, Ok(()));
    let report = world.walk("/b/new", rename(30));
    assert_eq!(report.outcome, Err(Errno::EXDEV));
    assert_eq!(report.trace, ["0 resolve /b/new"]);
    assert_eq!(world.walk("/", rename(30)).outcome, Err(Errno::EXDEV));
    world.always((2, "/a"), 30, AttachFlags::DIR, Answer::Done);
    assert_eq!(
        world.walk("/net/lab2/a/new", rename(30)).outcome,
        Err(Errno::EXDEV)
    );
}

// qnx: P38
#[test]
fn a_listing_visits_every_server_of_the_union() {
    let every = WalkOptions {
        every: true,
        ..WalkOptions::default()
    };
    let (ok, no) = (None, Some(Errno::ENOENT));
    assert_eq!(union(&[ok, no, ok], every), (Ok(()), 3));
    assert_eq!(union(&[no, no], every), (Err(Errno::ENOENT), 2));
    assert_eq!(union(&[ok, Some(Errno::EACCES), ok], every), (Ok(()), 3));
    assert_eq!(
        union(&[Some(Errno::EACCES), ok], every),
        (Err(Errno::EACCES), 1)
    );
    let mut world = World::new();
    world.always((2, "/d"), 30, AttachFlags::DIR, Answer::Done);
    world.always((2, "/d/below"), 31, NONE, Answer::Done);
    world.always((2, "/"), 32, AttachFlags::DIR, Answer::Done);
    let report = world.walk("/net/lab2/d", every);
    assert_eq!((report.outcome, report.found), (Ok(()), 3));
    let asked: Vec<_> = report.trace.iter().skip(3).collect();
    assert_eq!(
        asked,
        [
            "2.30 connect  as /net/lab2/d",
            "2.32 connect d as /net/lab2/d",
            "2 own /d as /net/lab2/d"
        ]
    );
}

// qnx: P43
#[test]
fn a_node_that_has_nothing_there_says_enoent() {
    let world = World::new();
    let report = world.open("/net/lab2/nothing");
    assert_eq!(report.outcome, Err(Errno::ENOENT));
    assert_eq!(report.trace.last().unwrap(), "2 resolve /nothing");
}

#[test]
fn an_answer_that_does_not_fit_ends_the_walk() {
    let mut walk = paths::Walk::new(b"/x", WalkOptions::default());
    walk.next();
    walk.answered(Answer::Done);
    assert_eq!(walk.next(), paths::Step::Done(Err(Errno::EBADMSG)));
    walk.answered(Answer::Done);
    assert_eq!(walk.next(), paths::Step::Done(Err(Errno::EBADMSG)));
}
