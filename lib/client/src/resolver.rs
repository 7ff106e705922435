//! Answers of process and network managers, kept while they hold.
//!
//! The node page has a number that changes whenever any name may have come to mean something else, here or on a
//! node that was asked. While it stays, an answer stays; so a path that is opened again costs one exchange with its
//! server and none with managers. Below a prefix that has no other prefix under it, one answer serves every path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::connect;
use abi::system::{List, NETWORK_PREFIX, Network, Redirect, Reply, Request, Resolve, Resolved};
use abi::{AttachFlags, Candidate, Errno, FileType, Handle, Nd, PathFlags, Result};
use paths::Answer;
use std::time::{Duration, Instant};

use crate::carrier::Carrier;

/// A question to a manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// Process manager of `nd`: who owns the path?
    Resolve {
        nd: Nd,
        path: Vec<u8>,
        file_type: FileType,
        no_follow: bool,
    },
    /// Network manager of `nd`: whose process manager? The path is what follows `/net/`.
    Network { nd: Nd, path: Vec<u8> },
}

/// Asks managers and keeps their answers.
pub(crate) struct Resolver {
    carrier: Arc<dyn Carrier>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Everything below was answered at this generation.
    generation: u64,
    answers: HashMap<Question, (Instant, Reply)>,
    /// Whose paths all have the same owners, whatever follows the prefix.
    prefixes: HashMap<Prefix, Standing>,
    /// Where the network manager of a node sends for each component below its `/net`, whatever follows it.
    ways: HashMap<(Nd, Vec<u8>), (Instant, Redirect)>,
}

/// A prefix on a node, for a type of file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Prefix {
    nd: Nd,
    file_type: FileType,
    path: Vec<u8>,
}

enum Standing {
    /// One path below it was resolved.
    Met,
    /// Nothing else is attached below it.
    Undivided(Instant, Resolved),
    Divided,
}

impl Resolver {
    pub(crate) fn new(carrier: Arc<dyn Carrier>) -> Self {
        Self {
            carrier,
            kept: Mutex::new(Kept::default()),
        }
    }

    pub(crate) fn carrier(&self) -> &Arc<dyn Carrier> {
        &self.carrier
    }

    /// The answer, and its age if it was a kept one.
    pub(crate) fn ask(&self, question: &Question) -> Result<(Reply, Option<Duration>)> {
        // Before asking, so that a change while the answer is under way makes it stale.
        let generation = self.carrier.generation();
        if let Some((given, reply)) = self.kept(generation).find(question) {
            return Ok((reply, Some(given.elapsed())));
        }
        let begun = Instant::now();
        let reply = match self.carrier.request(&question.request())? {
            Reply::Error(refusal) => return Err(refusal.errno),
            reply => reply,
        };
        self.keep(generation, begun, question, &reply);
        Ok((reply, None))
    }

    /// Drops every kept answer: one has turned out wrong.
    pub(crate) fn forget(&self) {
        *self.lock() = Kept::default();
    }

    fn keep(&self, generation: u64, begun: Instant, question: &Question, reply: &Reply) {
        let met = {
            let mut kept = self.kept(generation);
            if kept.answers.len() >= ANSWERS_MAX {
                kept.answers.clear();
            }
            kept.answers
                .insert(question.clone(), (begun, reply.clone()));
            match (question, reply) {
                (Question::Resolve { nd, file_type, .. }, Reply::Resolved(resolved)) => {
                    kept.meet(*nd, *file_type, resolved)
                }
                (Question::Network { nd, path }, Reply::Redirect(redirect)) => {
                    kept.learn_way(*nd, path, begun, redirect);
                    None
                }
                _ => None,
            }
        };
        if let (Some(prefix), Reply::Resolved(resolved)) = (met, reply) {
            let standing = match self.is_undivided(&prefix) {
                Ok(true) => Standing::Undivided(begun, resolved.clone()),
                Ok(false) => Standing::Divided,
                Err(_) => return,
            };
            self.kept(generation).prefixes.insert(prefix, standing);
        }
    }

    /// Whether no other prefix lies below this one.
    fn is_undivided(&self, prefix: &Prefix) -> Result<bool> {
        if prefix.path == NETWORK_PREFIX.as_bytes() {
            // What is listed there are nodes; nothing can be attached inside (P53).
            return Ok(true);
        }
        let path = if prefix.path.is_empty() {
            b"/".to_vec()
        } else {
            prefix.path.clone()
        };
        let list = List {
            nd: prefix.nd,
            path,
            after: Vec::new(),
        };
        let answer = match self.carrier.request(&Request::List(list)) {
            Ok(Reply::Error(refusal)) => Err(refusal.errno),
            answer => answer,
        };
        match answer {
            Ok(Reply::Listing(listing)) => Ok(listing.entries.is_empty() && !listing.more),
            Ok(_) => Err(Errno::EBADMSG),
            // Not a directory of the tree: nothing is below it.
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(true),
            Err(errno) => Err(errno),
        }
    }

    /// The kept answers, emptied if names have changed since they were given.
    fn kept(&self, generation: u64) -> MutexGuard<'_, Kept> {
        let mut kept = self.lock();
        if kept.generation != generation {
            *kept = Kept {
                generation,
                ..Kept::default()
            };
        }
        kept
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn request(&self) -> Request {
        match self.clone() {
            Self::Resolve {
                nd,
                path,
                file_type,
                no_follow,
            } => Request::Resolve(Resolve {
                nd,
                path,
                file_type,
                no_follow,
            }),
            Self::Network { nd, path } => Request::Network(Network { nd, path }),
        }
    }
}

impl Kept {
    fn find(&self, question: &Question) -> Option<(Instant, Reply)> {
        if let Some(reply) = self.answers.get(question) {
            return Some(reply.clone());
        }
        let (nd, path, file_type) = match question {
            Question::Resolve {
                nd,
                path,
                file_type,
                ..
            } => (nd, path, file_type),
            Question::Network { nd, path } => return self.way(*nd, path),
        };
        let (path, path_flags) = plain(path)?;
        // The longest prefix decides; at every slash of the path one may end.
        let ends = (1..path.len())
            .rev()
            .filter(|&at| path.get(at) == Some(&b'/'));
        for end in ends.chain([0]) {
            let prefix = Prefix {
                nd: *nd,
                file_type: *file_type,
                path: path[..end].to_vec(),
            };
            match self.prefixes.get(&prefix) {
                Some(Standing::Undivided(given, resolved)) => {
                    let candidates = resolved.candidates.clone();
                    let resolved = Resolved {
                        path: path.to_vec(),
                        path_flags,
                        root: 0,
                        candidates,
                    };
                    return Some((*given, Reply::Resolved(resolved)));
                }
                Some(_) => return None,
                None => {}
            }
        }
        None
    }

    /// The redirect for a path below `/net`, from that for another path through the same node.
    fn way(&self, nd: Nd, path: &[u8]) -> Option<(Instant, Reply)> {
        let (component, rest) = first_component(path)?;
        let (given, redirect) = self.ways.get(&(nd, component.to_vec()))?;
        let redirect = Redirect {
            path: rest.to_vec(),
            ..redirect.clone()
        };
        Some((*given, Reply::Redirect(redirect)))
    }

    fn learn_way(&mut self, nd: Nd, path: &[u8], given: Instant, redirect: &Redirect) {
        // Only where nothing but the component was taken off.
        if let Some((component, rest)) = first_component(path)
            && redirect.path == rest
        {
            if self.ways.len() >= PREFIXES_MAX {
                self.ways.clear();
            }
            let way = (nd, component.to_vec());
            self.ways.insert(way, (given, redirect.clone()));
        }
    }

    /// Notes that a path below a prefix was resolved. Returns the prefix when it is worth finding out whether it
    /// is undivided: at the second time.
    fn meet(&mut self, nd: Nd, file_type: FileType, resolved: &Resolved) -> Option<Prefix> {
        let longest = resolved
            .candidates
            .iter()
            .max_by_key(|candidate| candidate.prefix_len)?;
        let end = usize::from(longest.prefix_len);
        let is_below = resolved.path.len() > end;
        // With a root of its own the process sees other paths than the prefix is in.
        if resolved.root > 0 || !is_below || !longest.flags.contains(AttachFlags::DIR) {
            return None;
        }
        let path = resolved.path.get(..end)?.to_vec();
        let prefix = Prefix {
            nd,
            file_type,
            path,
        };
        if self.prefixes.len() >= PREFIXES_MAX {
            self.prefixes.clear();
        }
        match self.prefixes.get(&prefix) {
            Some(Standing::Met) => Some(prefix),
            Some(_) => None,
            None => {
                self.prefixes.insert(prefix, Standing::Met);
                None
            }
        }
    }
}

/// A manager's reply in the walk's terms.
pub(crate) fn answer_of(reply: Reply) -> Answer {
    match reply {
        Reply::Resolved(Resolved {
            path,
            path_flags,
            root,
            candidates,
        }) => Answer::Resolved {
            path,
            path_flags,
            root,
            candidates,
        },
        Reply::Symlink(symlink) => Answer::Symlink {
            path: symlink.path,
            absolute: symlink.absolute,
        },
        Reply::Redirect(to) => {
            let candidate = Candidate {
                nd: to.nd,
                pid: to.pid,
                chid: to.channel,
                handle: Handle(0),
                file_type: FileType::ANY,
                flags: AttachFlags::DIR,
                prefix_len: 0,
            };
            let path_flags = PathFlags::empty();
            Answer::Redirect(connect::Redirect {
                candidates: vec![candidate],
                path: to.path,
                path_flags,
            })
        }
        Reply::Error(refusal) => Answer::Failed(refusal.errno),
        _ => Answer::Failed(Errno::EBADMSG),
    }
}

/// The first component of a path below `/net`, and what follows it.
fn first_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().position(|&byte| byte == b'/');
    let (component, rest) = path.split_at(slash.unwrap_or(path.len()));
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let is_plain = !matches!(component, b"" | b"." | b"..") && !rest.starts_with(b"/");
    is_plain.then_some((component, rest))
}

/// The path as a process manager would normalise it, if nothing but a slash at the end is to be done (P30).
fn plain(path: &[u8]) -> Option<(&[u8], PathFlags)> {
    let (path, flags) = match path.strip_suffix(b"/") {
        Some(rest) if !rest.is_empty() => (rest, PathFlags::DIR),
        _ => (path, PathFlags::empty()),
    };
    let inner = path.strip_prefix(b"/")?;
    let mut components = inner.split(|&byte| byte == b'/');
    let is_plain = components.all(|name| !matches!(name, b"" | b"." | b".."));
    is_plain.then_some((path, flags))
}

/// Kept answers about single paths; all are dropped when there are more.
const ANSWERS_MAX: usize = 4096;
/// Prefixes of which the standing is kept; all are dropped when there are more.
const PREFIXES_MAX: usize = 256;
