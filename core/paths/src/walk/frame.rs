use alloc::vec::Vec;

use abi::system::NETWORK_MANAGER;
use abi::{Candidate, ChannelId, Errno, FileType, Nd, Pid, Result};

use super::{Step, with_flags};
use crate::pathname::{Pathname, below, join};
use crate::resolve::{HANDLE_OWN, HANDLE_SYMLINK, is_own};

/// One nesting of the search: a path at one process manager or behind one redirect.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// How the client sees the root that `path` starts at.
    pub(super) base: Vec<u8>,
    pub(super) path: Pathname,
    /// How many bytes of `path` are above the client's root, so that it does not see them.
    pub(super) root_len: usize,
    pub(super) work: Work,
    /// How many redirects and symlinks led here.
    pub(super) depth: u32,
    /// The error that the candidates so far amount to (P34).
    pub(super) saved: Option<Errno>,
    /// The present candidate refused with this and is now probed (P37).
    pub(super) probing: Option<Errno>,
    /// The present candidate has changed the type already.
    pub(super) retyped: bool,
    /// Whose process manager is asked first.
    pub(super) nd: Nd,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Ask the process manager who owns the path.
    Ask,
    /// Try these.
    List {
        candidates: Vec<Candidate>,
        next: usize,
        asked: Nd,
        resolved: bool,
    },
    /// Nobody is left.
    Over,
}

/// What a frame wants.
pub(super) enum Target {
    Step(Step),
    Descend {
        nd: Nd,
        base: Vec<u8>,
        root_len: usize,
        path: Pathname,
    },
    Malformed,
    Exhausted,
}

impl Frame {
    pub(super) fn ask(nd: Nd, base: Vec<u8>, path: Pathname, depth: u32) -> Self {
        Self {
            nd,
            ..Self::list(base, path, Work::Ask, depth)
        }
    }

    pub(super) fn list(base: Vec<u8>, path: Pathname, work: Work, depth: u32) -> Self {
        Self {
            base,
            path,
            root_len: 0,
            work,
            depth,
            saved: None,
            probing: None,
            retyped: false,
            nd: Nd::LOCAL,
        }
    }

    pub(super) fn target(&self) -> Target {
        let (candidate, asked, resolved) = match &self.work {
            Work::Over => return Target::Exhausted,
            Work::Ask => return Target::Step(self.resolve(with_flags(&self.path), self.nd)),
            Work::List {
                candidates,
                next,
                asked,
                resolved,
            } => match candidates.get(*next) {
                Some(candidate) => (*candidate, *asked, *resolved),
                None => return Target::Exhausted,
            },
        };
        let Some(rest) = below(self.path.as_bytes(), candidate.prefix_len) else {
            return Target::Malformed;
        };
        if resolved && is_own(&candidate, HANDLE_OWN) {
            return Target::Step(self.own(asked));
        }
        if resolved && is_own(&candidate, HANDLE_SYMLINK) {
            let link = self.path_at(asked, usize::from(candidate.prefix_len));
            return Target::Step(self.resolve(link, asked));
        }
        if candidate.pid == Pid::PROCESS_MANAGER {
            return self.manager(&candidate, rest);
        }
        let (path, path_flags, file_type) = (rest.to_vec(), self.path.flags(), FileType::ANY);
        Target::Step(match self.probing {
            Some(_) => Step::Probe {
                candidate,
                path,
                path_flags,
                file_type,
            },
            None => Step::Connect {
                candidate,
                path,
                path_flags,
                file_type,
                view: self.view(),
            },
        })
    }

    fn resolve(&self, path: Vec<u8>, nd: Nd) -> Step {
        Step::Resolve {
            nd,
            path,
            file_type: FileType::ANY,
            no_follow: false,
        }
    }

    fn own(&self, nd: Nd) -> Step {
        Step::Own {
            nd,
            path: self.path_at(nd, self.path.as_bytes().len()),
            view: self.view(),
        }
    }

    /// The first `len` bytes of the path as the process manager of `nd` is asked for them: the own one starts at the
    /// client's root.
    fn path_at(&self, nd: Nd, len: usize) -> Vec<u8> {
        let above = if nd == Nd::LOCAL { self.root_len } else { 0 };
        match self.path.as_bytes().get(above..len).unwrap_or_default() {
            [] => Vec::from(*b"/"),
            path => path.to_vec(),
        }
    }

    /// A candidate that is a manager of a node: another process manager, or the network manager.
    fn manager(&self, candidate: &Candidate, rest: &[u8]) -> Target {
        if candidate.chid == NETWORK_MANAGER {
            if rest.is_empty() {
                return Target::Step(self.own(candidate.nd));
            }
            return Target::Step(Step::Network {
                nd: candidate.nd,
                path: rest.to_vec(),
            });
        }
        if candidate.chid != ChannelId::PROCESS_MANAGER {
            return Target::Malformed;
        }
        match Pathname::parse(&join(b"/", rest)) {
            Ok(path) => Target::Descend {
                nd: candidate.nd,
                base: self.prefix_view(candidate.prefix_len),
                root_len: self
                    .root_len
                    .saturating_sub(usize::from(candidate.prefix_len)),
                path: path.with_flags(self.path.flags()),
            },
            Err(_) => Target::Malformed,
        }
    }

    /// The next candidate's turn.
    pub(super) fn advance(&mut self) {
        self.retyped = false;
        match &mut self.work {
            Work::List { next, .. } => *next += 1,
            Work::Ask | Work::Over => self.work = Work::Over,
        }
    }

    /// Keeps the first error that says more than "no such callout" (P34).
    pub(super) fn save(&mut self, error: Errno) {
        if matches!(self.saved, None | Some(Errno::ENOSYS)) {
            self.saved = Some(error);
        }
    }

    /// The whole path as the client sees it.
    pub(super) fn view(&self) -> Vec<u8> {
        join(&self.base, self.seen(self.path.as_bytes().len()))
    }

    /// What the client sees of the first `len` bytes of the path.
    fn seen(&self, len: usize) -> &[u8] {
        let path = self.path.as_bytes();
        path.get(self.root_len..len).unwrap_or_default()
    }

    /// The first `prefix_len` bytes of the path as the client sees them.
    fn prefix_view(&self, prefix_len: u16) -> Vec<u8> {
        let prefix = self.seen(usize::from(prefix_len));
        match join(&self.base, prefix) {
            root if root == b"/" => Vec::new(),
            view => view,
        }
    }

    pub(super) fn is_network(&self) -> bool {
        self.present()
            .is_some_and(|candidate| candidate.chid == NETWORK_MANAGER)
    }

    fn present(&self) -> Option<&Candidate> {
        match &self.work {
            Work::List {
                candidates, next, ..
            } => candidates.get(*next),
            Work::Ask | Work::Over => None,
        }
    }

    /// How the client sees the root of the redirect `path`: what is left of its own view if that ends
    /// in `path`, else the prefix of the one who redirected. And how many bytes of `path` are above the client's root.
    pub(super) fn base_for(&self, path: &Pathname) -> (Vec<u8>, usize) {
        let view = self.view();
        if path.is_root() {
            return (view, 0);
        }
        if let Some(base) = view.strip_suffix(path.as_bytes()) {
            return (base.to_vec(), 0);
        }
        let prefix_len = self.present().map_or(0, |c| c.prefix_len);
        let above = match self.path.as_bytes().strip_suffix(path.as_bytes()) {
            Some(head) => self.root_len.saturating_sub(head.len()),
            None => 0,
        };
        (self.prefix_view(prefix_len), above)
    }

    /// The path a process manager's symlink leads to; a symlink that was only a candidate does not
    /// have the rest of the path in it yet.
    pub(super) fn spliced_by_manager(&self, spliced: &[u8]) -> Result<Pathname> {
        let mut whole = spliced.to_vec();
        if let Some(candidate) = self.present() {
            let rest = below(self.path.as_bytes(), candidate.prefix_len).ok_or(Errno::EBADMSG)?;
            whole = join(spliced, rest);
            if self.path.flags().contains(abi::PathFlags::DIR) {
                whole.push(b'/');
            }
        }
        Pathname::parse(&whole)
    }
}
