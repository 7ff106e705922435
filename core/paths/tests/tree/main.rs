//! The prefix tree and what it resolves to, row by row.
#![allow(clippy::unwrap_used)]

extern crate slashnet_paths as paths;

mod registration;
mod resolution;

use abi::{AttachFlags, Candidate, ChannelId, FileType, Handle, Nd, PathFlags, Pid};
use paths::resolve::{HANDLE_OWN, HANDLE_SYMLINK};
use paths::{Asker, Pathname, PrefixTree, Registrar, Resolution, Server, resolve};
use proptest::prelude::*;

pub(crate) const NONE: AttachFlags = AttachFlags::empty();
pub(crate) const BEFORE: AttachFlags = AttachFlags::BEFORE;
pub(crate) const AFTER: AttachFlags = AttachFlags::AFTER;
pub(crate) const DIR: AttachFlags = AttachFlags::DIR;
pub(crate) const OPAQUE: AttachFlags = AttachFlags::OPAQUE;
pub(crate) const CLIENT: Asker = Asker::local(Pid(999));

pub(crate) fn server(pid: u32, flags: AttachFlags) -> Server {
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
pub(crate) fn tree(rows: &[(&str, u32, AttachFlags)]) -> PrefixTree {
    let mut tree = PrefixTree::new();
    for (path, pid, flags) in rows {
        tree.attach(path.as_bytes(), server(*pid, *flags), Registrar::Privileged)
            .unwrap();
    }
    tree
}

/// The answer in words: "pid:rest pid:rest", with `own` and `link` for the process manager's own
/// candidates, "-> path" for a symlink, or the error.
pub(crate) fn answer(tree: &PrefixTree, path: &str, asker: &Asker) -> String {
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

pub(crate) fn check(tree: &PrefixTree, rows: &[(&str, &str)]) {
    for (path, expected) in rows {
        assert_eq!(answer(tree, path, &CLIENT), *expected, "{path}");
    }
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

    // qnx: P30
    #[test]
    fn a_normal_path_is_its_own_normal_form(
        parts in proptest::collection::vec(
            proptest::sample::select(vec!["", ".", "..", "a", "...", "b c"]),
            1..12,
        ),
    ) {
        let path = format!("/{}", parts.join("/"));
        let normal = Pathname::parse(path.as_bytes()).unwrap();
        let again = Pathname::parse(normal.as_bytes()).unwrap();
        prop_assert_eq!(again.as_bytes(), normal.as_bytes());
        let mut stack = Vec::new();
        for part in parts {
            match part {
                "" | "." => {}
                ".." => {
                    stack.pop();
                }
                name => stack.push(name),
            }
        }
        let expected = format!("/{}", stack.join("/"));
        prop_assert_eq!(normal.as_bytes(), expected.as_bytes());
        prop_assert_eq!(normal.components().count(), stack.len());
    }
}
