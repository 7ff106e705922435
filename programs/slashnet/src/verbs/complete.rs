//! `slashnet complete`: what may follow in a command line. The scripts of `slashnet completion` ask it for names that only
//! the node knows.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use abi::Nd;
use abi::flags::mode::is_directory;
use abi::system::{QueryKind, Rows};

use crate::command::{CompleteOptions, GlobalOptions};
use crate::daemon::{self, Daemon};
use crate::failure::Outcome;
use crate::output;

/// How long a shell may be kept by a directory whose server does not answer.
const LIMIT: Duration = Duration::from_secs(1);
/// Nobody reads more.
const PROPOSALS_MAX: usize = 1000;
/// Where the kernel lists network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// Verbs whose plain words are paths of the path space.
const PATH_VERBS: [&[u8]; 18] = [
    b"cat", b"cp", b"find", b"ln", b"ls", b"mkdir", b"mv", b"open", b"port", b"rfc2217", b"rm",
    b"run", b"stat", b"tree", b"tty", b"who", b"why", b"write",
];
/// Words behind a node's name and `~`, and whether a link follows.
const POLICIES: [(&str, bool); 4] = [
    ("loadbalance", false),
    ("preferred", true),
    ("exclusive", true),
    ("exclusive-wait", true),
];

/// Prints one proposal for the last word in a line. Says nothing about what does not work: somebody is typing.
pub(crate) fn run(global: &GlobalOptions, options: &CompleteOptions) -> Outcome {
    let words: Vec<&[u8]> = options.words.iter().map(|word| word.as_bytes()).collect();
    let Some((last, before)) = words.split_last() else {
        return Ok(());
    };
    let mut global = global.clone();
    if let Some(at) = before.iter().position(|word| *word == b"--dir") {
        let typed = before.get(at + 1).map(|dir| OsStr::from_bytes(dir).into());
        global.dir = typed.or(global.dir);
    }
    let mut proposals = proposals(&global, before, last);
    // A shell takes lines apart at blanks.
    proposals
        .retain(|proposal| proposal.starts_with(last) && proposal.iter().all(u8::is_ascii_graphic));
    proposals.sort();
    proposals.truncate(PROPOSALS_MAX);
    let mut text = proposals.join(&b'\n');
    if !text.is_empty() {
        text.push(b'\n');
    }
    output::write(&text)
}

fn proposals(global: &GlobalOptions, before: &[&[u8]], last: &[u8]) -> Vec<Vec<u8>> {
    let is_path = before.iter().any(|word| PATH_VERBS.contains(word));
    match before.last() {
        Some(&b"forget" | &b"-n" | &b"--node") => entries(global, b"/net/")
            .into_iter()
            .filter_map(|node| Some(node.strip_prefix(b"/net/")?.strip_suffix(b"/")?.to_vec()))
            .collect(),
        Some(&b"--link") => interfaces(),
        _ if !is_path || !last.starts_with(b"/") => Vec::new(),
        _ => match policy_of(last) {
            Some(node) => policies(global, node),
            None => entries(
                global,
                &last[..=last.iter().rposition(|byte| *byte == b'/').unwrap_or(0)],
            ),
        },
    }
}

/// The path to a node behind whose name a policy is being written.
fn policy_of(path: &[u8]) -> Option<&[u8]> {
    let node = path.strip_prefix(b"/net/")?;
    let tilde = node.iter().position(|byte| *byte == b'~')?;
    (!node.contains(&b'/')).then(|| &path[..b"/net/".len() + tilde])
}

fn policies(global: &GlobalOptions, node: &[u8]) -> Vec<Vec<u8>> {
    let links = links(global).unwrap_or_default();
    let mut all = Vec::new();
    for (policy, has_link) in POLICIES {
        let whole = |link: &[u8]| [node, b"~", policy.as_bytes(), link, b"/"].concat();
        if has_link {
            all.extend(
                links
                    .iter()
                    .map(|link| whole(&[b":", link.as_slice()].concat())),
            );
        } else {
            all.push(whole(b""));
        }
    }
    all
}

/// The node's own links.
fn links(global: &GlobalOptions) -> Outcome<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    Daemon::of(global)?.rows(QueryKind::Links, Nd::LOCAL, |rows| {
        if let Rows::Links(rows) = rows {
            let own = rows.into_iter().filter(|row| row.peer.is_none());
            names.extend(own.map(|row| row.name));
        }
    })?;
    Ok(names)
}

fn interfaces() -> Vec<Vec<u8>> {
    let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect()
}

/// What is in a directory, whose path ends with a slash; directories have one, too.
fn entries(global: &GlobalOptions, directory: &[u8]) -> Vec<Vec<u8>> {
    let Ok(namespace) = daemon::namespace(global) else {
        return Vec::new();
    };
    let namespace = namespace.with_time_limit(LIMIT);
    let Ok(entries) = namespace.read_directory(directory) else {
        return Vec::new();
    };
    let path = |entry: client::DirectoryEntry| {
        let slash: &[u8] = if is_directory(entry.mode) { b"/" } else { b"" };
        [directory, &entry.name, slash].concat()
    };
    // What was listed before an error may be what is looked for.
    entries.map_while(Result::ok).map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_behind_the_name_of_a_node() {
        assert_eq!(policy_of(b"/net/lab2~exc"), Some(&b"/net/lab2"[..]));
        assert_eq!(policy_of(b"/net/lab2~exclusive:eth0/dev"), None);
        assert_eq!(policy_of(b"/net/lab2"), None);
        assert_eq!(policy_of(b"/srv/a~b"), None);
    }
}
