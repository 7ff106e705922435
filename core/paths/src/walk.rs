//! The client's way from a path to the server that opens it.
//!
//! A [`Walk`] is a pure machine: [`Walk::next`] says whom to ask what, the owner asks and hands the
//! answer to [`Walk::answered`], until the step is [`Step::Done`]. It tries candidates in order,
//! follows redirects and symlinks, and merges errors as P32 to P37 say.

mod frame;
mod step;

use alloc::vec::Vec;

use abi::connect::{Redirect, SymlinkReply};
use abi::limits::SYMLOOP_MAX;
use abi::{Candidate, Errno, FileType, Nd, PathFlags, Result};

use crate::pathname::{Pathname, below};
use crate::resolve::splice_at;
use frame::{Frame, Target, Work};

pub use step::{Answer, Intent, Step, WalkOptions};

/// Most steps of one walk; a search that needs more is answered `ELOOP`.
pub const STEPS_MAX: u32 = 1024;

/// One search. Start with [`Walk::new`], then take turns with [`Walk::next`] and [`Walk::answered`].
#[derive(Clone, Debug)]
pub struct Walk {
    path: Vec<u8>,
    options: WalkOptions,
    frames: Vec<Frame>,
    file_type: FileType,
    type_changed: bool,
    type_matched: bool,
    restarted: bool,
    found: u32,
    steps: u32,
    outcome: Option<Result>,
}

impl Walk {
    /// A search for `path`, which the client's process manager sees from its root.
    #[must_use]
    pub fn new(path: &[u8], options: WalkOptions) -> Self {
        let mut walk = Self {
            path: Vec::new(),
            options,
            frames: Vec::new(),
            file_type: options.file_type,
            type_changed: false,
            type_matched: false,
            restarted: false,
            found: 0,
            steps: 0,
            outcome: None,
        };
        match Pathname::parse(path) {
            Ok(path) => {
                walk.path = with_flags(&path);
                walk.frames.push(Frame::ask(Nd::LOCAL, Vec::new(), path, 0));
            }
            Err(error) => walk.outcome = Some(Err(error)),
        }
        walk
    }

    /// The normalised path of the search; ends in a slash if it must be a directory.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many servers have done the request; more than one only with [`WalkOptions::every`].
    #[must_use]
    pub const fn found(&self) -> u32 {
        self.found
    }

    /// Whom to ask next. The same until it is answered.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would not wait for answers"
    )]
    pub fn next(&mut self) -> Step {
        loop {
            if let Some(outcome) = self.outcome {
                return Step::Done(outcome);
            }
            let Some(frame) = self.frames.last() else {
                self.outcome = Some(Err(Errno::ENOENT));
                continue;
            };
            match frame.target() {
                Target::Exhausted => self.exhausted(),
                Target::Descend {
                    nd,
                    base,
                    root_len,
                    path,
                } => {
                    let depth = frame.depth;
                    self.frames.push(Frame {
                        root_len,
                        ..Frame::ask(nd, base, path, depth)
                    });
                }
                Target::Malformed => self.fail(Errno::EBADMSG),
                Target::Step(step) => match self.refuse(&step) {
                    Some(error) => self.fail(error),
                    None => return self.typed(step),
                },
            }
        }
    }

    fn typed(&self, mut step: Step) -> Step {
        match &mut step {
            Step::Resolve {
                file_type,
                no_follow,
                ..
            } => {
                *file_type = self.file_type;
                *no_follow = self.options.no_follow;
            }
            Step::Connect { file_type, .. } | Step::Probe { file_type, .. } => {
                *file_type = self.file_type;
            }
            Step::Network { .. } | Step::Own { .. } | Step::Done(_) => {}
        }
        step
    }

    /// Why a step is not taken: another server than the one that is demanded (P37), or too many.
    fn refuse(&self, step: &Step) -> Option<Errno> {
        if self.steps >= STEPS_MAX {
            return Some(Errno::ELOOP);
        }
        let demanded = self.options.same_server?;
        match step {
            Step::Connect { candidate: c, .. } => {
                let same = c.nd.same_node(demanded.nd)
                    && (c.pid, c.chid, c.handle) == (demanded.pid, demanded.chid, demanded.handle);
                (!same).then_some(Errno::ENXIO)
            }
            Step::Own { .. } => Some(Errno::ENXIO),
            _ => None,
        }
    }

    /// Goes on with the answer to what [`Self::next`] said. An answer that does not belong to that
    /// step ends the search with `EBADMSG`; after the end answers are ignored.
    pub fn answered(&mut self, answer: Answer) {
        let step = self.next();
        if matches!(step, Step::Done(_)) {
            return;
        }
        self.steps += 1;
        match (&step, answer) {
            (Step::Probe { .. }, Answer::Done | Answer::Failed(_) | Answer::FileType(_)) => {
                self.probed();
            }
            (_, Answer::Failed(error)) => self.failed(&step, error),
            (Step::Own { .. } | Step::Connect { .. }, Answer::Done) => self.done(),
            (
                Step::Resolve { nd, .. },
                Answer::Resolved {
                    path,
                    path_flags,
                    root,
                    candidates,
                },
            ) => {
                self.resolved(*nd, (&path, path_flags), root, candidates);
            }
            (Step::Resolve { nd, .. }, Answer::Symlink { path, absolute }) => {
                self.symlink(*nd, &path, absolute);
            }
            (Step::Network { .. }, Answer::Redirect(redirect)) => {
                self.redirect(Nd::LOCAL, redirect)
            }
            (
                Step::Connect { candidate, .. } | Step::Probe { candidate, .. },
                Answer::Redirect(redirect),
            ) => self.redirect(candidate.nd, redirect),
            (Step::Connect { .. } | Step::Probe { .. }, Answer::Spliced(reply)) => {
                self.spliced(&reply);
            }
            (Step::Connect { .. }, Answer::FileType(file_type)) => self.changed_type(file_type),
            _ => self.outcome = Some(Err(Errno::EBADMSG)),
        }
    }

    fn done(&mut self) {
        self.found += 1;
        if self.options.every {
            self.advance();
        } else {
            self.outcome = Some(Ok(()));
        }
    }

    fn advance(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.advance();
        }
    }

    fn failed(&mut self, step: &Step, error: Errno) {
        let probe = match self.options.intent {
            Intent::Open => false,
            Intent::Change => error == Errno::ENOSYS,
            Intent::Link => matches!(error, Errno::ENOSYS | Errno::ENXIO),
        };
        match (step, self.frames.last_mut()) {
            (Step::Connect { .. }, Some(frame)) if probe => frame.probing = Some(error),
            _ => self.fail(error),
        }
    }

    fn probed(&mut self) {
        let before = self
            .frames
            .last_mut()
            .and_then(|frame| frame.probing.take());
        self.fail(before.unwrap_or(Errno::ENOSYS));
    }

    /// The present candidate ends with `error`: on to the next one, or the end (P33, P34, P35).
    fn fail(&mut self, error: Errno) {
        let passes = error.continues_union() && !self.type_matched;
        if !passes && self.found == 0 {
            self.outcome = Some(Err(self.worded(error)));
            return;
        }
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        frame.save(error);
        frame.advance();
    }

    /// The last frame has nobody left to ask: its error is that of the candidate it came from.
    fn exhausted(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let error = frame.saved.unwrap_or(Errno::ENOENT);
        if !self.frames.is_empty() {
            self.fail(error);
        } else if self.found > 0 {
            self.outcome = Some(Ok(()));
        } else if self.must_restart(error) {
            self.restart();
        } else {
            self.outcome = Some(Err(self.worded(error)));
        }
    }

    fn worded(&self, error: Errno) -> Errno {
        if self.options.same_server.is_some() && error == Errno::ENXIO {
            Errno::EXDEV
        } else {
            error
        }
    }

    fn must_restart(&self, error: Errno) -> bool {
        self.options.file_type == FileType::ANY
            && self.type_changed
            && !self.restarted
            && matches!(error, Errno::ENOSYS | Errno::ENOENT)
    }

    fn restart(&mut self) {
        self.restarted = true;
        match Pathname::parse(&self.path) {
            Ok(path) => self.frames.push(Frame::ask(Nd::LOCAL, Vec::new(), path, 0)),
            Err(error) => self.outcome = Some(Err(error)),
        }
    }

    fn changed_type(&mut self, file_type: FileType) {
        if file_type == FileType::MATCHED {
            if let Some(frame) = self.frames.last_mut() {
                frame.save(Errno::ENOSYS);
                frame.advance();
            }
            self.type_matched = true;
            return;
        }
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if frame.retyped {
            self.fail(Errno::ENOSYS);
            return;
        }
        frame.retyped = true;
        self.file_type = file_type;
        self.type_changed = true;
    }

    fn resolved(
        &mut self,
        nd: Nd,
        (path, flags): (&[u8], PathFlags),
        root: u16,
        candidates: Vec<Candidate>,
    ) {
        let Ok(path) = Pathname::parse(path) else {
            return self.fail(Errno::EBADMSG);
        };
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        if !matches!(frame.work, Work::Ask) {
            // A symlink stood here when the list was made; now a server does. Its list comes first.
            return self.fail(Errno::ENOENT);
        }
        if nd == Nd::LOCAL {
            frame.root_len = usize::from(root);
        }
        frame.path = path.with_flags(flags);
        frame.work = Work::List {
            candidates,
            next: 0,
            asked: nd,
            resolved: true,
        };
    }

    /// Goes down into `path`, or says `ELOOP` when that was done too often (P36).
    fn nest(&mut self, nd: Nd, base: Vec<u8>, path: Result<Pathname>) {
        let Some(depth) = self.deeper() else {
            return self.fail(Errno::ELOOP);
        };
        let root_len = match self.frames.last() {
            Some(frame) if nd != Nd::LOCAL => frame.root_len,
            _ => 0,
        };
        match path {
            Ok(path) => self.frames.push(Frame {
                root_len,
                ..Frame::ask(nd, base, path, depth)
            }),
            Err(error) => self.fail(error),
        }
    }

    fn deeper(&self) -> Option<u32> {
        let depth = self.frames.last()?.depth + 1;
        (depth < SYMLOOP_MAX).then_some(depth)
    }

    fn symlink(&mut self, nd: Nd, path: &[u8], absolute: bool) {
        let Some(frame) = self.frames.last() else {
            return;
        };
        let spliced = frame.spliced_by_manager(path);
        let (nd, base) = if absolute || nd == Nd::LOCAL {
            (Nd::LOCAL, Vec::new())
        } else {
            (nd, frame.base.clone())
        };
        self.nest(nd, base, spliced);
    }

    /// A server met a symbolic link: the client splices it into its own view of the path (P62).
    fn spliced(&mut self, reply: &SymlinkReply) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        frame.probing = None;
        let view = frame.view();
        let flags = frame.path.flags();
        let link = match reply.rest.as_slice() {
            b"" => Some(view.as_slice()),
            rest => view
                .strip_suffix(rest)
                .and_then(|link| link.strip_suffix(b"/")),
        };
        let path = match link {
            Some(link) => splice_at(link, &reply.target, &reply.rest, flags),
            None => Err(Errno::EBADMSG),
        };
        self.nest(Nd::LOCAL, Vec::new(), path);
    }

    fn redirect(&mut self, from: Nd, redirect: Redirect) {
        let Some(depth) = self.deeper() else {
            return self.fail(Errno::ELOOP);
        };
        let Ok(path) = Pathname::parse(&[b"/", redirect.path.as_slice()].concat()) else {
            return self.fail(Errno::EBADMSG);
        };
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        frame.probing = None;
        let (base, root_len) = frame.base_for(&path);
        let mut path_flags = redirect.path_flags;
        if frame.is_network() {
            path_flags |= frame.path.flags();
        }
        let mut candidates = redirect.candidates;
        if !from.is_local() {
            // What the server calls another node means nothing here (P44).
            candidates.retain_mut(|candidate| {
                let known = candidate.nd.is_local();
                candidate.nd = from;
                known
            });
        }
        if candidates
            .iter()
            .any(|c| below(path.as_bytes(), c.prefix_len).is_none())
        {
            return self.fail(Errno::EBADMSG);
        }
        let work = Work::List {
            candidates,
            next: 0,
            asked: from,
            resolved: false,
        };
        self.frames.push(Frame {
            root_len,
            ..Frame::list(base, path.with_flags(path_flags), work, depth)
        });
    }
}

/// The path with a slash at the end if it must be a directory.
fn with_flags(path: &Pathname) -> Vec<u8> {
    let mut bytes = path.as_bytes().to_vec();
    if path.flags().contains(PathFlags::DIR) && !path.is_root() {
        bytes.push(b'/');
    }
    bytes
}
