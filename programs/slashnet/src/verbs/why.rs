//! `slashnet why`: whether somebody may do something here, and what decides it.

use std::os::unix::ffi::OsStrExt;

use abi::flags::mode;
use abi::io::Stat;
use abi::system::{Because, Identity, Reply, Request, Why};
use abi::{Errno, Gid, Uid};
use client::Namespace;
use rights::Operation;
use rights::text::{PathText, user};
use serde_json::{Value, json};

use crate::command::{GlobalOptions, WhyOptions};
use crate::daemon::{Daemon, parsed_name, unexpected};
use crate::failure::{Failure, Outcome};
use crate::notation::{self, printable, sentence};
use crate::users::Users;
use crate::{daemon, output};

/// The exit status when there is no verdict: 1 says that it may not be done.
const NO_VERDICT: u8 = 2;

/// Prints what decides; the exit status says how.
pub(crate) fn run(global: &GlobalOptions, options: &WhyOptions) -> Outcome {
    let verdict = decide(global, options);
    match verdict.map_err(|failure| failure.with_status(NO_VERDICT))? {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::said()),
        None => Err(Failure::said_with(NO_VERDICT.into())),
    }
}

/// Whether it is allowed, if that can be told.
fn decide(global: &GlobalOptions, options: &WhyOptions) -> Outcome<Option<bool>> {
    let daemon = Daemon::of(global)?;
    let question = question(&daemon, options)?;
    let operation = Operation::from_number(question.operation).ok_or_else(|| unexpected("why"))?;
    let reply = daemon.ask(&printable(&question.path), &Request::Why(question.clone()))?;
    let Reply::Because(because) = reply else {
        return Err(unexpected("why"));
    };
    let identity = identity(&because);
    let permission = if because.is_allowed && is_about_files(operation) {
        let namespace = daemon::namespace(global)?;
        Some(Permission::of(
            &namespace,
            &identity,
            operation,
            &question.path,
        ))
    } else {
        None
    };
    let verdict = verdict(&because, permission.as_ref());
    if options.json {
        let value = as_json(
            &question,
            operation,
            &because,
            &identity,
            permission.as_ref(),
            verdict,
        );
        output::line(notation::json(&value))?;
    } else {
        output::line(in_words(
            &question,
            operation,
            &because,
            &identity,
            permission.as_ref(),
            verdict,
        ))?;
    }
    Ok(verdict)
}

/// What rules and file permissions come to together.
fn verdict(because: &Because, permission: Option<&Permission>) -> Option<bool> {
    match permission {
        Some(permission) if because.is_allowed => permission.is_allowed,
        _ => Some(because.is_allowed),
    }
}

const fn in_word(verdict: Option<bool>) -> &'static str {
    match verdict {
        Some(true) => "allowed",
        Some(false) => "denied",
        None => "cannot be told",
    }
}

fn question(daemon: &Daemon, options: &WhyOptions) -> Outcome<Why> {
    let (who, node) = match options.who.rsplit_once('@') {
        Some((who, node)) => (who, parsed_name(node)?),
        None => (options.who.as_str(), daemon.node_name()),
    };
    let user = user(who, &Users).map_err(|bad| Failure::usage("USER", bad.to_string()))?;
    let operation = Operation::from_word(&options.operation).ok_or_else(|| {
        let expected = "expected look, list, read, write, create, remove, change, lock, devctl, attach or link";
        Failure::usage("OPERATION", format!("found '{}', {expected}", options.operation))
    })?;
    let path = options.path.as_bytes();
    let own = format!("/net/{}", daemon.node_name());
    let path = match path.strip_prefix(own.as_bytes()) {
        Some(b"") => b"/",
        Some(rest @ [b'/', ..]) => rest,
        _ => path,
    };
    if !path.starts_with(b"/") || path.starts_with(b"/net/") {
        let why = "expected an absolute path of this node; ask another node about its paths there";
        return Err(Failure::usage(printable(path), why));
    }
    Ok(Why {
        node,
        user,
        operation: operation.number(),
        path: path.to_vec(),
    })
}

/// Whom file permissions see. What groups a user of another node is in, only its programs know; this machine's list is
/// the best guess.
fn identity(because: &Because) -> Identity {
    let known = because.identity.clone();
    known
        .or_else(|| Users.identity_of(because.user))
        .unwrap_or(Identity {
            uid: because.user,
            gid: Gid(NOBODY),
            groups: Vec::new(),
        })
}

const fn is_about_files(operation: Operation) -> bool {
    !matches!(operation, Operation::Attach | Operation::Link)
}

/// What file permissions say.
struct Permission {
    /// None if what decides cannot be looked at from here.
    is_allowed: Option<bool>,
    why: String,
}

impl Permission {
    fn of(namespace: &Namespace, who: &Identity, operation: Operation, path: &[u8]) -> Self {
        match Self::look(namespace, who, operation, path) {
            Ok(seen) => seen,
            Err((path, errno)) => Self {
                // Nothing can be done to what is not there; all else says only that this user cannot look.
                is_allowed: match errno {
                    Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Some(false),
                    _ => None,
                },
                why: format!("{}: {}", printable(&path), errno.text()),
            },
        }
    }

    fn look(
        namespace: &Namespace,
        who: &Identity,
        operation: Operation,
        path: &[u8],
    ) -> Result<Self, (Vec<u8>, Errno)> {
        let stat = |path: &[u8]| namespace.stat(path).map_err(|errno| (path.to_vec(), errno));
        for directory in ancestors(path) {
            let there = stat(directory)?;
            if !matches!(there.mode & mode::S_IFMT, 0 | mode::S_IFDIR) {
                return Err((directory.to_vec(), Errno::ENOTDIR));
            }
            let seen = Self::decide(who, &there, EXECUTE, directory);
            if seen.is_allowed != Some(true) {
                return Ok(seen);
            }
        }
        let parent = ancestors(path).last().unwrap_or(b"/");
        Ok(match operation {
            Operation::Look => {
                stat(path)?;
                Self {
                    is_allowed: Some(true),
                    why: "every directory on the way may be searched".to_owned(),
                }
            }
            Operation::List | Operation::Read | Operation::Lock | Operation::Devctl => {
                Self::decide(who, &stat(path)?, READ, path)
            }
            Operation::Write => Self::decide(who, &stat(path)?, WRITE, path),
            Operation::Change => Self::owner(who, &stat(path)?, path),
            Operation::Create | Operation::Remove => {
                Self::decide(who, &stat(parent)?, WRITE | EXECUTE, parent)
            }
            Operation::Attach | Operation::Link => Self {
                is_allowed: Some(true),
                why: String::new(),
            },
        })
    }

    fn decide(who: &Identity, stat: &Stat, rights: u32, path: &[u8]) -> Self {
        let is_member = who.gid == stat.gid || who.groups.contains(&stat.gid);
        let (class, bits) = if who.uid == stat.uid {
            ("owner", stat.mode >> 6)
        } else if is_member {
            ("group", stat.mode >> 3)
        } else {
            ("others", stat.mode)
        };
        let is_allowed = who.uid == Uid::ROOT || bits & rights == rights;
        let class = if who.uid == Uid::ROOT { "root" } else { class };
        let is_device = stat.mode & mode::S_IFMT == mode::S_IFCHR;
        let hint = match is_allowed {
            false if is_device => "; who offers a port may do so with mode=666",
            _ => "",
        };
        Self {
            is_allowed: Some(is_allowed),
            why: format!("{}, as {class}{hint}", described(stat, path)),
        }
    }

    fn owner(who: &Identity, stat: &Stat, path: &[u8]) -> Self {
        Self {
            is_allowed: Some(who.uid == Uid::ROOT || who.uid == stat.uid),
            why: format!("{}, only the owner may", described(stat, path)),
        }
    }
}

fn described(stat: &Stat, path: &[u8]) -> String {
    let is_typed = stat.mode & mode::S_IFMT != 0;
    let shown = notation::mode(stat.mode);
    let shown = if is_typed {
        shown.as_str()
    } else {
        &shown[1..]
    };
    format!(
        "{shown} {} {} {}",
        Users.name(stat.uid),
        Users.group(stat.gid),
        printable(path)
    )
}

/// The directories on the way to `path`, from the root on.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes
        .map(|(at, _)| if at == 0 { &path[..1] } else { &path[..at] })
        .filter(move |directory| *directory != path)
}

fn in_words(
    question: &Why,
    operation: Operation,
    because: &Because,
    identity: &Identity,
    permission: Option<&Permission>,
    verdict: Option<bool>,
) -> String {
    let path = PathText(&question.path);
    let mut text = format!(
        "{}@{} {operation} {path}: {}\n",
        Users.name(question.user),
        question.node,
        in_word(verdict)
    );
    let said = sentence(&because.text);
    text.push_str(&match because.rule {
        Some(rule) => format!(
            "rules: {} by rule {}: {said}\n",
            in_word(Some(because.is_allowed)),
            rule + 1
        ),
        None if !said.is_empty() => format!("rules: denied: {said}\n"),
        None if because.is_allowed => "rules: no rule says otherwise\n".to_owned(),
        None => "rules: denied: it takes a rule, or root or the owner of the node\n".to_owned(),
    });
    let groups = identity.groups.iter().map(|group| Users.group(*group));
    let groups: Vec<String> = std::iter::once(Users.group(identity.gid))
        .chain(groups)
        .collect();
    text.push_str(&format!(
        "file permissions see: user {}, groups {}",
        Users.name(identity.uid),
        groups.join(" ")
    ));
    if let Some(permission) = permission {
        let verdict = in_word(permission.is_allowed);
        text.push_str(&format!(
            "\nfile permissions: {verdict}: {}",
            permission.why
        ));
    }
    text
}

fn as_json(
    question: &Why,
    operation: Operation,
    because: &Because,
    identity: &Identity,
    permission: Option<&Permission>,
    verdict: Option<bool>,
) -> Value {
    let permission = permission.map_or(
        Value::Null,
        |permission| json!({ "allowed": permission.is_allowed, "why": permission.why }),
    );
    let groups = std::iter::once(&identity.gid).chain(&identity.groups);
    let groups: Vec<u32> = groups.map(|group| group.0).collect();
    json!({
        "user": question.user.0,
        "node": question.node.as_str(),
        "operation": operation.word(),
        "path": notation::exact(&question.path),
        "allowed": verdict,
        "rule": because.rule.map(|rule| rule + 1),
        "rule_text": sentence(&because.text),
        "rule_allows": because.is_allowed,
        "uid": identity.uid.0,
        "gid": identity.gid.0,
        "groups": groups,
        "permissions": permission,
    })
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
/// The group of a user that this machine does not know.
const NOBODY: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_path_goes_through_its_directories() {
        let way = |path: &'static str| -> Vec<&str> {
            let on_the_way = ancestors(path.as_bytes());
            on_the_way
                .map(|part| std::str::from_utf8(part).unwrap_or("?"))
                .collect()
        };
        assert_eq!(way("/"), Vec::<&str>::new());
        assert_eq!(way("/dev"), ["/"]);
        assert_eq!(way("/dev/ser1"), ["/", "/dev"]);
    }
}
