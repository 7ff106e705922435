//! The steps behind an open, for people (DESIGN section 2).

use std::fmt;

use abi::{Candidate, Errno, Nd, OpenFlags, Result};
use paths::{Answer, Step};

use crate::Namespace;
use crate::file::File;
use crate::request::{Deed, Doer};

/// One step of an open: who was asked, which path it saw, what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// 1 for the first.
    pub number: usize,
    /// Who was asked.
    pub asked: Asked,
    /// The path as the asked one saw it: without a leading slash everywhere but at the own process manager.
    pub path: Vec<u8>,
    /// What it answered.
    pub answer: Answered,
}

/// Who is asked in a step. Displays as `lab2 serial manager`-like words: the node's name, then what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A node's process manager.
    ProcessManager {
        /// Name of the node.
        node: String,
        /// Its descriptor.
        nd: Nd,
    },
    /// A node's network manager.
    NetworkManager {
        /// Name of the node.
        node: String,
        /// Its descriptor.
        nd: Nd,
    },
    /// A server, with the connect message.
    Server {
        /// Name of its node.
        node: String,
        /// The server and its handle.
        candidate: Candidate,
    },
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The connection is now an open file.
    Opened,
    /// It is a directory of the manager's own tree.
    OwnDirectory,
    /// Ask one of these, in order.
    Candidates(Vec<Asked>),
    /// Ask this process manager.
    Redirect(Asked),
    /// A symbolic link: go on with this path, or text.
    Link(Vec<u8>),
    /// Refused.
    Failed(Errno),
}

impl Namespace {
    /// Opens a path as [`open`](Self::open) does, without anything known before, closes it and returns the steps. A failed open
    /// has steps too: the last one says why.
    ///
    /// # Errors
    /// Those of asking the node for names; never those of the open itself.
    pub fn trace(&self, path: impl AsRef<[u8]>, flags: OpenFlags) -> Result<Vec<TraceStep>> {
        let names: Vec<(Nd, String)> = self
            .nodes()?
            .into_iter()
            .map(|row| (row.nd, row.name.to_string()))
            .collect();
        let name = |nd: Nd| {
            let known = names.iter().find(|(known, _)| known.same_node(nd));
            known.map_or_else(|| format!("node {}", nd.node()), |(_, name)| name.clone())
        };
        self.trace_with(path, flags, &name)
    }

    pub(crate) fn trace_with(
        &self,
        path: impl AsRef<[u8]>,
        flags: OpenFlags,
        name: &dyn Fn(Nd) -> String,
    ) -> Result<Vec<TraceStep>> {
        self.resolver.forget();
        let mut steps = Vec::new();
        let deed = Deed {
            flags,
            ..Deed::default()
        };
        let mut accept = |doer| {
            if let Doer::Server {
                line,
                candidate,
                body,
                ..
            } = doer
            {
                let opened = abi::Decode::from_bytes(&body)?;
                drop(File::new(line, candidate, opened, flags));
            }
            Ok(())
        };
        let mut observe = |step: &Step, answer: &Answer| {
            let number = steps.len() + 1;
            steps.extend(told(number, step, answer, name));
        };
        let outcome = self.perform_observed(path.as_ref(), &deed, &mut accept, &mut observe);
        match (outcome, steps.is_empty()) {
            // Refused before anybody was asked: the path itself is bad.
            (Err(errno), true) => Err(errno),
            _ => Ok(steps),
        }
    }
}

fn told(
    number: usize,
    step: &Step,
    answer: &Answer,
    name: &dyn Fn(Nd) -> String,
) -> Option<TraceStep> {
    let (asked, path) = asked_by(step, name)?;
    Some(TraceStep {
        number,
        asked,
        path,
        answer: answered(step, answer, name),
    })
}

/// Who is asked in this step, and the path that is seen there.
fn asked_by(step: &Step, name: &dyn Fn(Nd) -> String) -> Option<(Asked, Vec<u8>)> {
    let process_manager = |nd| Asked::ProcessManager { node: name(nd), nd };
    Some(match step {
        Step::Resolve { nd, path, .. } if nd.is_local() => (process_manager(*nd), path.clone()),
        Step::Resolve { nd, path, .. } | Step::Own { nd, path, .. } => {
            (process_manager(*nd), relative(path))
        }
        Step::Network { nd, path } => {
            let (node, nd) = (name(*nd), *nd);
            (Asked::NetworkManager { node, nd }, path.clone())
        }
        Step::Connect {
            candidate, path, ..
        }
        | Step::Probe {
            candidate, path, ..
        } => {
            let (node, candidate) = (name(candidate.nd), *candidate);
            (Asked::Server { node, candidate }, path.clone())
        }
        Step::Done(_) => return None,
    })
}

fn answered(step: &Step, answer: &Answer, name: &dyn Fn(Nd) -> String) -> Answered {
    let all = |candidates: &[Candidate]| {
        let all = candidates.iter().map(|to| asked_of(to, name));
        Answered::Candidates(all.collect())
    };
    match answer {
        Answer::Done if matches!(step, Step::Own { .. }) => Answered::OwnDirectory,
        Answer::Done => Answered::Opened,
        Answer::Resolved { candidates, .. } => all(candidates),
        Answer::Redirect(redirect) => match redirect.candidates.as_slice() {
            [one] => Answered::Redirect(asked_of(one, name)),
            many => all(many),
        },
        Answer::Symlink { path, .. } => Answered::Link(path.clone()),
        Answer::Spliced(reply) => Answered::Link(reply.target.clone()),
        Answer::FileType(_) => Answered::Failed(Errno::ENOSYS),
        Answer::Failed(errno) => Answered::Failed(*errno),
    }
}

fn relative(path: &[u8]) -> Vec<u8> {
    path.strip_prefix(b"/").unwrap_or(path).to_vec()
}

fn asked_of(candidate: &Candidate, name: &dyn Fn(Nd) -> String) -> Asked {
    let (node, nd) = (name(candidate.nd), candidate.nd);
    if candidate.pid != abi::Pid::PROCESS_MANAGER {
        Asked::Server {
            node,
            candidate: *candidate,
        }
    } else if candidate.chid == abi::system::NETWORK_MANAGER {
        Asked::NetworkManager { node, nd }
    } else {
        Asked::ProcessManager { node, nd }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessManager { node, .. } => write!(f, "{node} process manager"),
            Self::NetworkManager { node, .. } => write!(f, "{node} network manager"),
            Self::Server {
                node,
                candidate: to,
            } => {
                write!(
                    f,
                    "{node} pid {}, channel {}, handle {}",
                    to.pid, to.chid, to.handle
                )
            }
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("EOK; the connection is the descriptor"),
            Self::OwnDirectory => f.write_str("a directory of its own tree"),
            Self::Redirect(to) => write!(f, "redirect: {to}"),
            Self::Link(to) => write!(f, "link: {}", String::from_utf8_lossy(to)),
            Self::Failed(errno) => write!(f, "{errno}"),
            Self::Candidates(candidates) => {
                for (at, to) in candidates.iter().enumerate() {
                    let word = match to {
                        Asked::Server { .. } => "candidate",
                        _ => "redirect",
                    };
                    write!(f, "{}{word}: {to}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}
