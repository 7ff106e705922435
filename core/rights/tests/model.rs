//! What the crate says, against a model that is slow and plain.

// What cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use abi::{Decode as _, Encode as _, Gid, NodeName, Uid};
use proptest::prelude::*;
use slashnet_rights::text::{self, NoNames};
use slashnet_rights::{
    Client, ClientRights, Identity, NodePattern, Operation, Operations, Rule, Rules, UserPattern,
    Verdict,
};

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

/// Few components, so that rules meet.
fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 0..4).prop_map(|parts| {
        let path: String = parts.iter().map(|part| format!("/{part}")).collect();
        if path.is_empty() {
            b"/".to_vec()
        } else {
            path.into_bytes()
        }
    })
}

fn node() -> impl Strategy<Value = NodePattern> {
    prop_oneof![
        Just(NodePattern::Others),
        Just(NodePattern::Beginning(name("lab"))),
        prop::sample::select(vec!["lab1", "lab2", "own"]).prop_map(|n| NodePattern::Named(name(n))),
    ]
}

fn user() -> impl Strategy<Value = UserPattern> {
    prop_oneof![
        Just(UserPattern::Anybody),
        (0..3_u32).prop_map(|uid| UserPattern::User(Uid(uid))),
    ]
}

prop_compose! {
    fn rule()(
        allow in any::<bool>(),
        node in node(),
        user in user(),
        bits in 1..0x400_u16,
        prefix in path(),
        identity in prop::option::of(5..9_u32),
    ) -> Rule {
        let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
        let identity = identity.filter(|_| allow).map(|uid| Identity {
            uid: Uid(uid),
            gid: Gid(uid),
            groups: vec![Gid(1)],
        });
        let operations = Operations::from_bits(bits).unwrap();
        Rule { verdict, node, user, operations, prefix, identity }
    }
}

fn client() -> impl Strategy<Value = Client> {
    let node = prop::sample::select(vec!["lab1", "lab2", "other", "own"]);
    (node, 0..3_u32).prop_map(|(node, user)| Client {
        node: name(node),
        is_own: node == "own",
        user: Uid(user),
    })
}

/// `/a/b` as `["a", "b"]`.
fn parts(path: &[u8]) -> Vec<String> {
    let text = String::from_utf8(path.to_vec()).unwrap();
    text.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_for(rule: &Rule, client: &Client) -> bool {
    let node = match &rule.node {
        NodePattern::Others => !client.is_own,
        NodePattern::Beginning(start) => {
            !client.is_own && client.node.as_str().starts_with(start.as_str())
        }
        NodePattern::Named(name) => *name == client.node,
    };
    let user = match rule.user {
        UserPattern::Anybody => true,
        UserPattern::User(uid) => uid == client.user,
    };
    node && user
}

/// The first rule that fits, looked for one after the other.
fn first(rules: &[Rule], client: &Client, operation: Operation, path: &[u8]) -> Option<usize> {
    rules.iter().position(|rule| {
        is_for(rule, client)
            && rule.operations.has(operation)
            && parts(path).starts_with(&parts(&rule.prefix))
    })
}

fn may(rules: &[Rule], client: &Client, operation: Operation, path: &[u8]) -> bool {
    match first(rules, client, operation, path) {
        Some(rule) => rules[rule].verdict == Verdict::Allow,
        None => !matches!(operation, Operation::Attach | Operation::Link),
    }
}

/// Somewhere at `path` or below it something may be done. Below it, only paths of rules can be different.
fn may_look(rules: &[Rule], client: &Client, path: &[u8]) -> bool {
    let below = rules.iter().map(|rule| &rule.prefix);
    let below = below.filter(|prefix| parts(prefix).starts_with(&parts(path)));
    let mut places = below.map(Vec::as_slice).chain([path]);
    places.any(|place| {
        let files = Operation::ALL.into_iter().take(8);
        files
            .into_iter()
            .any(|operation| may(rules, client, operation, place))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decisions_are_those_of_the_first_rule_that_fits(
        list in prop::collection::vec(rule(), 0..8),
        client in client(),
        path in path(),
    ) {
        let rules = Rules::new(list.clone()).unwrap();
        let rights = rules.for_client(&client);
        let rights = ClientRights::from_bytes(&rights.to_bytes().unwrap()).unwrap();
        let at = rights.at(&path);
        for operation in Operation::ALL.into_iter().take(10) {
            let rule = first(&list, &client, operation, &path);
            let decision = rights.decision(&at, operation);
            prop_assert_eq!(decision.is_allowed, may(&list, &client, operation, &path), "{}", operation);
            prop_assert_eq!(decision.rule.map(usize::from), rule, "{}", operation);
            let identity = rule.and_then(|rule| list[rule].identity.as_ref());
            prop_assert_eq!(rights.identity(&at, operation), identity, "{}", operation);
        }
        let look = rights.decision(&at, Operation::Look).is_allowed;
        prop_assert_eq!(look, may_look(&list, &client, &path));
        prop_assert_eq!(rights.is_anything_allowed(), may_look(&list, &client, b"/"));
    }

    #[test]
    fn rules_come_back_from_the_wire_and_from_text(list in prop::collection::vec(rule(), 0..8)) {
        let rules = Rules::new(list).unwrap();
        let bytes = rules.to_bytes().unwrap();
        prop_assert_eq!(Rules::from_bytes(&bytes), Ok(rules.clone()));
        for cut in 0..bytes.len() {
            prop_assert!(Rules::from_bytes(&bytes[..cut]).is_err(), "cut at {}", cut);
        }
        let text: String = rules.list().iter().map(|rule| format!("{rule}\n")).collect();
        prop_assert_eq!(text::rules(&text, &NoNames), Ok(rules));
    }

    #[test]
    fn bytes_and_text_from_anywhere_are_refused_or_sound(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        line in ".{0,80}",
    ) {
        if let Ok(rules) = Rules::from_bytes(&bytes) {
            prop_assert!(rules.list().iter().all(Rule::is_sound));
        }
        let _ = ClientRights::from_bytes(&bytes);
        if let Ok(rule) = text::rule(&line, &NoNames) {
            prop_assert!(rule.is_sound());
        }
    }
}

#[test]
fn who_has_no_rights_known_may_do_nothing() {
    let nothing = ClientRights::nothing();
    for operation in Operation::ALL {
        let at = nothing.at(b"/dev/ser1");
        let decision = nothing.decision(&at, operation);
        assert_eq!(
            (decision.is_allowed, decision.rule),
            (false, None),
            "{operation}"
        );
    }
    assert!(!nothing.is_anything_allowed());
    assert!(ClientRights::default_rights().is_anything_allowed());
}
