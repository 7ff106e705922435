//! Rules as people write them.

// What cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use abi::{Decode as _, Encode as _, Gid, Malformed, NodeName, Uid};
use slashnet_rights::text::{self, Names, NoNames};
use slashnet_rights::{Client, Identity, Operation, Rules};

struct House;

impl Names for House {
    fn user(&self, name: &str) -> Option<Uid> {
        (name == "pi").then_some(Uid(1000))
    }
    fn identity(&self, name: &str) -> Option<Identity> {
        (name == "pi").then(|| Identity {
            uid: Uid(1000),
            gid: Gid(100),
            groups: vec![Gid(20)],
        })
    }
}

#[test]
fn a_rule_is_printed_as_it_can_be_written() {
    let cases = [
        (
            "allow pi@lab1 read,write /dev/ser1",
            "allow 1000@lab1 read,write /dev/ser1",
        ),
        ("deny *@* all /", "deny *@* all /"),
        (
            "  allow  7@lab*  all,attach  /srv/  ",
            "allow 7@lab* all,attach /srv",
        ),
        (
            "allow *@lab2 list / as pi # guests",
            "allow *@lab2 list / as 1000:100,20",
        ),
        ("allow *@lab2 list / as 5:6", "allow *@lab2 list / as 5:6"),
        (
            "deny *@* write /a\\x20b/\\xff",
            "deny *@* write /a\\x20b/\\xff",
        ),
        ("deny *@* write /a\\x23", "deny *@* write /a\\x23"),
    ];
    for (written, printed) in cases {
        let rule = text::rule(written, &House).unwrap();
        assert_eq!(rule.to_string(), printed);
        assert_eq!(text::rule(printed, &NoNames).unwrap(), rule, "{printed}");
    }
}

#[test]
fn every_bad_rule_is_refused_with_found_and_expected() {
    let cases = [
        ("", "found nothing, expected 'allow' or 'deny'"),
        ("permit pi@lab1 read /", "found 'permit', expected 'allow'"),
        ("allow", "found nothing, expected USER@NODE"),
        ("allow pi read /", "found 'pi', expected USER@NODE"),
        ("allow bob@lab1 read /", "found 'bob', expected a user"),
        ("allow pi@la.b read /", "found 'la.b', expected a node"),
        ("allow pi@ read /", "found nothing, expected a node"),
        ("allow pi@lab1", "found nothing, expected operations"),
        (
            "allow pi@lab1 read,look /",
            "found 'look', expected operations",
        ),
        (
            "allow pi@lab1 read, /",
            "found nothing, expected operations",
        ),
        (
            "allow pi@lab1 read",
            "found nothing, expected an absolute path",
        ),
        (
            "allow pi@lab1 read dev",
            "found 'dev', expected an absolute path",
        ),
        (
            "allow pi@lab1 read /a/../b",
            "found '/a/../b', expected an absolute path",
        ),
        (
            "allow pi@lab1 read /a\\n",
            "expected '\\xHH' behind a backslash",
        ),
        ("allow pi@lab1 read /a\\x00", "expected an absolute path"),
        (
            "allow pi@lab1 read / to",
            "found 'to', expected the end of the rule, or 'as USER'",
        ),
        (
            "allow pi@lab1 read / as",
            "found nothing, expected a user of this machine",
        ),
        (
            "allow pi@lab1 read / as bob",
            "found 'bob', expected a user of this machine",
        ),
        (
            "allow pi@lab1 read / as 4294967295:1",
            "expected a user of this machine",
        ),
        ("deny pi@lab1 read / as pi", "found 'as', expected nothing"),
        (
            "allow pi@lab1 read / as pi x",
            "found 'x', expected the end",
        ),
    ];
    for (written, said) in cases {
        let bad = text::rule(written, &House).unwrap_err().to_string();
        assert!(bad.contains(said), "{written:?}: {bad}");
    }
}

#[test]
fn a_file_is_refused_with_the_line_that_is_wrong() {
    let good =
        "# who may use the ports\n\nallow pi@lab1 all /dev\n  # the rest\ndeny *@* all /dev\n";
    assert_eq!(text::rules(good, &House).unwrap().list().len(), 2);
    let (line, bad) = text::rules("\nallow *@* all /\nallow *@*\n", &House).unwrap_err();
    assert_eq!(line, 3);
    assert!(bad.to_string().contains("expected operations"));
    let many = "deny *@* all /\n".repeat(513);
    assert_eq!(text::rules(&many, &House).unwrap_err().0, 513);
    let long = format!("deny *@* all /{}\n", "a".repeat(1000)).repeat(40);
    let (_, bad) = text::rules(&long, &House).unwrap_err();
    assert!(bad.to_string().contains("32768 bytes together"), "{bad}");
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = "deny 1000@lab1 write /dev/ser1\n\
                 allow *@lab1 read,write /dev\n\
                 allow root@lab1 all /srv as 5:6\n\
                 deny *@* all /\n";
    struct Root;
    impl Names for Root {
        fn user(&self, name: &str) -> Option<Uid> {
            (name == "root").then_some(Uid(0))
        }
        fn identity(&self, _: &str) -> Option<Identity> {
            None
        }
    }
    let rules = text::rules(rules, &Root).unwrap();
    let decide = |user, node: &str, operation, path: &[u8]| {
        let client = Client {
            node: NodeName::parse(node).unwrap(),
            is_own: node == "lab2",
            user: Uid(user),
        };
        let rights = rules.for_client(&client);
        let at = rights.at(path);
        let decision = rights.decision(&at, operation);
        let identity = rights.identity(&at, operation).map(|who| who.uid.0);
        (decision.is_allowed, decision.rule, identity)
    };
    let (read, write, look) = (Operation::Read, Operation::Write, Operation::Look);
    assert_eq!(
        decide(1000, "lab1", write, b"/dev/ser1"),
        (false, Some(0), None)
    );
    assert_eq!(
        decide(1000, "lab1", read, b"/dev/ser1"),
        (true, Some(1), None)
    );
    assert_eq!(
        decide(1000, "lab1", write, b"/dev/ser10"),
        (true, Some(1), None)
    );
    assert_eq!(
        decide(7, "lab1", write, b"/dev/ser1"),
        (true, Some(1), None)
    );
    assert_eq!(
        decide(7, "lab3", read, b"/dev/ser1"),
        (false, Some(3), None)
    );
    assert_eq!(
        decide(0, "lab1", Operation::Lock, b"/srv/x"),
        (true, Some(2), Some(5))
    );
    // Directories on the way to what is allowed can be looked up, not listed.
    assert_eq!(decide(0, "lab1", look, b"/"), (true, Some(1), None));
    assert_eq!(
        decide(0, "lab1", Operation::List, b"/"),
        (false, Some(3), None)
    );
    assert_eq!(decide(0, "lab3", look, b"/srv"), (false, Some(3), None));
    // Programs of the node itself are not "others".
    assert_eq!(decide(7, "lab2", write, b"/dev/ser1"), (true, None, None));
    assert_eq!(
        decide(7, "lab2", Operation::Attach, b"/dev/x"),
        (false, None, None)
    );
}

#[test]
fn a_client_that_climbs_gets_nothing_where_there_are_rules() {
    let rules = text::rules("deny *@* read /srv/secret", &NoNames).unwrap();
    let client = Client {
        node: NodeName::parse("lab1").unwrap(),
        is_own: false,
        user: Uid(1000),
    };
    let rights = rules.for_client(&client);
    let read = |rest: &[u8]| rights.below(b"/srv", rest).allows(Operation::Read);
    assert!(read(b"open"));
    assert!(!read(b"secret") && !read(b".//secret/x") && !read(b"open/../secret"));
    let free = Rules::default().for_client(&client);
    assert!(free.below(b"/srv", b"a/../b").allows(Operation::Read));
}

#[test]
fn rules_have_fixed_bytes() {
    let rules = text::rules("allow 7@lab1 read /d as 5:6,8\ndeny *@x* all /", &NoNames).unwrap();
    let golden = [
        2, 0, //
        1, 2, 4, 0, b'l', b'a', b'b', b'1', 1, 7, 0, 0, 0, 2, 0, 2, 0, b'/', b'd', //
        1, 5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 8, 0, 0, 0, //
        0, 1, 1, 0, b'x', 0, 0xff, 0, 1, 0, b'/', 0,
    ];
    assert_eq!(rules.to_bytes().unwrap(), golden);
}

#[test]
fn a_rule_that_another_one_forestalls_is_found() {
    let rule = |text| text::rule(text, &NoNames).unwrap();
    let first = rule("deny *@lab* read,write /dev");
    for later in ["allow 7@lab* read /dev/ser1", "deny *@lab1* write /dev"] {
        assert!(first.covers(&rule(later)), "{later}");
    }
    for later in [
        "allow 7@lab* all /dev",
        "allow 7@* read /dev",
        "allow 7@lab* read /device",
        // It may be the node itself, which the pattern does not mean.
        "allow 7@lab1 read /dev",
    ] {
        assert!(!first.covers(&rule(later)), "{later}");
    }
}

#[test]
fn nobody_becomes_what_the_kernel_takes_for_no_change() {
    let good = text::rules("allow 7@lab1 read /d as 5:6,8", &NoNames).unwrap();
    let good = good.to_bytes().unwrap();
    let identity = good.len() - 14..good.len();
    assert_eq!(
        good[identity.clone()],
        [5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 8, 0, 0, 0]
    );
    for at in [0, 4, 10] {
        let mut bytes = good.clone();
        let start = identity.start + at;
        bytes[start..start + 4].fill(0xff);
        assert_eq!(Rules::from_bytes(&bytes), Err(Malformed::Invalid), "{at}");
    }
}
