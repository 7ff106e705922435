//! Rules as people write them, one in a line:
//!
//! ```text
//! allow pi@lab1 read,write /dev/ser1
//! allow root@lab* all /srv as backup      # lab1, lab2, ... but not this node
//! deny *@* all /
//! ```
//!
//! `allow` or `deny`; user and node; operations; path; and perhaps whom the client becomes there. In a path `\x20` is
//! the byte 0x20. From `#` on, at the beginning of a line or behind a blank, a line is for people.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use abi::{Gid, NodeName, Uid};

use crate::limits::{PREFIX_MAX, RULES_MAX, TEXT_MAX};
use crate::operation::{Operation, Operations};
use crate::path::is_prefix;
use crate::rule::{Identity, NodePattern, Rule, UserPattern, Verdict};
use crate::rules::Rules;

/// Where names of users are looked up.
pub trait Names {
    /// The number of a user.
    fn user(&self, name: &str) -> Option<Uid>;
    /// The user of this name or number with all its groups.
    fn identity(&self, name: &str) -> Option<Identity>;
}

/// No names: users are written as numbers, and whom a client becomes as `UID:GID,GID...`.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Names for NoNames {
    fn user(&self, _: &str) -> Option<Uid> {
        None
    }
    fn identity(&self, _: &str) -> Option<Identity> {
        None
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule {
    /// The part that is wrong.
    pub found: String,
    /// What should be there.
    pub expected: &'static str,
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found.is_empty() {
            write!(f, "found nothing, expected {}", self.expected)
        } else {
            write!(f, "found '{}', expected {}", self.found, self.expected)
        }
    }
}

impl core::error::Error for BadRule {}

/// Reads one rule.
///
/// # Errors
/// [`BadRule`].
pub fn rule(text: &str, names: &dyn Names) -> Result<Rule, BadRule> {
    if text.len() > TEXT_MAX {
        return Err(bad("", "a rule of at most 8192 bytes"));
    }
    let mut words = words(text);
    let mut next = || words.next().unwrap_or_default();
    let verdict = match next() {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        other => return Err(bad(other, "'allow' or 'deny'")),
    };
    let (user, node) = who(next(), names)?;
    let operations = operations(next())?;
    let prefix = prefix(next())?;
    let identity = match next() {
        "" => None,
        "as" if verdict == Verdict::Allow => Some(identity(next(), names)?),
        "as" => return Err(bad("as", "nothing behind the path of a rule that denies")),
        other => return Err(bad(other, "the end of the rule, or 'as USER'")),
    };
    match next() {
        "" => {}
        other => return Err(bad(other, "the end of the rule")),
    }
    Ok(Rule {
        verdict,
        node,
        user,
        operations,
        prefix,
        identity,
    })
}

/// Reads rules, one in a line; lines may be empty.
///
/// # Errors
/// The number of the line, from 1, and what is wrong with it.
pub fn rules(text: &str, names: &dyn Names) -> Result<Rules, (usize, BadRule)> {
    let mut list = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if words(line).next().is_none() {
            continue;
        }
        if list.len() >= RULES_MAX {
            return Err((number, bad(line, "at most 512 rules")));
        }
        list.push(rule(line, names).map_err(|bad| (number, bad))?);
    }
    Rules::new(list).map_err(|_| (1, bad("", "rules of at most 32768 bytes together")))
}

/// A user on a node, as in `pi@lab1`.
///
/// # Errors
/// [`BadRule`].
pub fn who(text: &str, names: &dyn Names) -> Result<(UserPattern, NodePattern), BadRule> {
    let Some((user, node)) = text.split_once('@') else {
        return Err(bad(text, "USER@NODE, such as pi@lab1, *@lab1 or *@*"));
    };
    let pattern = match user {
        "*" => UserPattern::Anybody,
        user => UserPattern::User(self::user(user, names)?),
    };
    let node = match node.strip_suffix('*') {
        Some("") => NodePattern::Others,
        Some(start) => NodePattern::Beginning(node_name(start)?),
        None => NodePattern::Named(node_name(node)?),
    };
    Ok((pattern, node))
}

/// A user by number or name.
///
/// # Errors
/// [`BadRule`].
pub fn user(text: &str, names: &dyn Names) -> Result<Uid, BadRule> {
    let number = text.parse().ok().map(Uid);
    number.or_else(|| names.user(text)).ok_or_else(|| {
        bad(
            text,
            "a user of this machine, a user number, or '*' for everybody",
        )
    })
}

/// Operations by their words.
///
/// # Errors
/// [`BadRule`].
pub fn operations(text: &str) -> Result<Operations, BadRule> {
    const EXPECTED: &str = "operations: all, or some of list, read, write, create, remove, change, lock, devctl, \
                            attach and link with commas between them";
    let mut set = Operations::NONE;
    for word in text.split(',') {
        let named = match word {
            "all" => Operations::FILES,
            word => Operation::from_word(word)
                .filter(|operation| *operation != Operation::Look)
                .map(Operations::of)
                .ok_or_else(|| bad(word, EXPECTED))?,
        };
        set = set.or(named);
    }
    Ok(set)
}

/// An absolute path, in which `\xHH` is a byte. One slash may be at its end.
///
/// # Errors
/// [`BadRule`].
pub fn prefix(text: &str) -> Result<Vec<u8>, BadRule> {
    const EXPECTED: &str =
        "an absolute path of at most 1024 bytes, without '.', '..' and doubled slashes";
    let mut path = unescape(text).ok_or_else(|| bad(text, "'\\xHH' behind a backslash"))?;
    if path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    if path.len() <= PREFIX_MAX && is_prefix(&path) {
        Ok(path)
    } else {
        Err(bad(text, EXPECTED))
    }
}

fn identity(text: &str, names: &dyn Names) -> Result<Identity, BadRule> {
    const EXPECTED: &str = "a user of this machine, or UID:GID[,GID...]";
    let wrong = || bad(text, EXPECTED);
    let Some((uid, gids)) = text.split_once(':') else {
        return names.identity(text).ok_or_else(wrong);
    };
    let uid = uid.parse().map(Uid).map_err(|_| wrong())?;
    let mut gids = gids.split(',').map(|gid| gid.parse().map(Gid));
    let gid = gids.next().and_then(Result::ok).ok_or_else(wrong)?;
    let groups: Vec<Gid> = gids.collect::<Result<_, _>>().map_err(|_| wrong())?;
    Some(Identity { uid, gid, groups })
        .filter(Identity::is_sound)
        .ok_or_else(wrong)
}

fn node_name(text: &str) -> Result<NodeName, BadRule> {
    NodeName::parse(text).map_err(|_| {
        bad(
            text,
            "a node: its name, the beginning of names as in lab*, or '*' for all others",
        )
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
        .take_while(|word| !word.starts_with('#'))
}

fn bad(found: &str, expected: &'static str) -> BadRule {
    let found = found.chars().take(FOUND_MAX).collect::<String>();
    BadRule {
        found: found.escape_debug().to_string(),
        expected,
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let [b'x', high, low, after @ ..] = after else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = after;
    }
    Some(bytes)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        write!(f, "{verdict} {}@{}", self.user, self.node)?;
        write!(f, " {} {}", self.operations, PathText(&self.prefix))?;
        match &self.identity {
            Some(identity) => write!(f, " as {identity}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("*"),
            Self::User(uid) => write!(f, "{}", uid.0),
        }
    }
}

impl fmt::Display for NodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Others => f.write_str("*"),
            Self::Beginning(start) => write!(f, "{start}*"),
            Self::Named(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid.0, self.gid.0)?;
        self.groups
            .iter()
            .try_for_each(|gid| write!(f, ",{}", gid.0))
    }
}

/// A path as it stands in a rule: blanks and bytes that are no text are written as `\xHH`.
#[derive(Clone, Copy, Debug)]
pub struct PathText<'a>(pub &'a [u8]);

impl fmt::Display for PathText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                let is_plain = !letter.is_whitespace()
                    && !letter.is_control()
                    && letter != '\\'
                    && letter != '#';
                if is_plain {
                    write!(f, "{letter}")?;
                } else {
                    let mut bytes = [0; 4];
                    hex(f, letter.encode_utf8(&mut bytes).as_bytes())?;
                }
            }
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes
        .iter()
        .try_for_each(|byte| f.write_str(&format!("\\x{byte:02x}")))
}

/// Letters of a wrong part that are repeated to the person who wrote it.
const FOUND_MAX: usize = 80;
