//! Who serves a path.

use abi::flags::mode;
use abi::io::Request;
use abi::system::{NETWORK_MANAGER, NETWORK_PREFIX};
use abi::{AttachFlags, ChannelId, Encode, Errno, FileType, Handle, Nd, Pid, Result};
use paths::{Answer, Step, WalkOptions};

use crate::Namespace;
use crate::request::Deed;

/// One who serves a path: a resource manager, or a node's own process or network manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its node.
    pub nd: Nd,
    /// Its process; 1 for a node's own managers.
    pub pid: Pid,
    /// The channel on which it receives.
    pub channel: ChannelId,
    /// Its own number for the prefix.
    pub handle: Handle,
    /// What it serves.
    pub file_type: FileType,
    /// Where it stands among others, and what it takes.
    pub flags: AttachFlags,
    /// The path that it owns, as this process sees it.
    pub prefix: Vec<u8>,
    /// What it sees of the path asked for.
    pub rest: Vec<u8>,
}

impl Owner {
    /// Whether this is the process or network manager of a node.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.pid == Pid::PROCESS_MANAGER
    }
}

impl Namespace {
    /// Who has what a path leads to, in the order of the search: the first serves an open, all have a part in a listing
    /// (P38). Each is asked, so that those are left out that have nothing at that path.
    ///
    /// # Errors
    /// Those of every call by path.
    pub fn owners(&self, path: impl AsRef<[u8]>) -> Result<Vec<Owner>> {
        let io = Request::Stat.to_bytes()?;
        let deed = Deed {
            mode: mode::S_IFLNK,
            options: WalkOptions {
                every: true,
                no_follow: true,
                ..WalkOptions::default()
            },
            ..Deed::combined(&io)
        };
        let mut owners = Vec::new();
        let mut observe = |step: &Step, answer: &Answer| {
            if *answer == Answer::Done {
                owners.extend(owner(step));
            }
        };
        self.perform_observed(path.as_ref(), &deed, &mut |_| Ok(()), &mut observe)?;
        if owners.is_empty() {
            return Err(Errno::ENOENT);
        }
        Ok(owners)
    }
}

fn owner(step: &Step) -> Option<Owner> {
    match step {
        Step::Connect {
            candidate,
            path,
            view,
            ..
        } => {
            let end = view.len().saturating_sub(path.len());
            let prefix = view.get(..end).unwrap_or_default();
            Some(Owner {
                nd: candidate.nd,
                pid: candidate.pid,
                channel: candidate.chid,
                handle: candidate.handle,
                file_type: candidate.file_type,
                flags: candidate.flags,
                prefix: or_root(prefix),
                rest: path.clone(),
            })
        }
        Step::Own { nd, path, view } => {
            let is_network = path == NETWORK_PREFIX.as_bytes();
            Some(Owner {
                nd: *nd,
                pid: Pid::PROCESS_MANAGER,
                channel: if is_network {
                    NETWORK_MANAGER
                } else {
                    ChannelId::PROCESS_MANAGER
                },
                handle: Handle(0),
                file_type: FileType::ANY,
                flags: AttachFlags::DIR,
                prefix: or_root(view),
                rest: Vec::new(),
            })
        }
        _ => None,
    }
}

fn or_root(path: &[u8]) -> Vec<u8> {
    match path.strip_suffix(b"/").unwrap_or(path) {
        [] => Vec::from(*b"/"),
        path => path.to_vec(),
    }
}
