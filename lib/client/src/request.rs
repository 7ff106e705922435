//! One request by pathname: the walk is asked whom to ask, and they are.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;

use abi::connect::{Connect, ConnectStatus, ConnectType, Extra, Redirect, SymlinkReply};
use abi::{Candidate, Decode, Encode, Errno, FileType, Nd, OpenFlags, PathFlags, Result};
use ipc::{Delivery, Failure, Reply};
use paths::{Answer, Intent, Step, Walk, WalkOptions};

use crate::Namespace;
use crate::carrier::Line;
use crate::resolver::{Question, answer_of};

/// What is to be done to a path.
#[derive(Clone, Copy)]
pub(crate) struct Deed<'a> {
    pub(crate) subtype: ConnectType,
    pub(crate) flags: OpenFlags,
    pub(crate) mode: u32,
    pub(crate) extra: Extra<'a>,
    pub(crate) options: WalkOptions,
    /// Room for the reply in bytes.
    pub(crate) room: usize,
}

/// Who did it.
pub(crate) enum Doer {
    Server {
        line: Arc<dyn Line>,
        candidate: Candidate,
        path: Vec<u8>,
        body: Vec<u8>,
    },
    /// A process manager has to: the path is a directory of its tree, or a symlink itself.
    Manager { nd: Nd, path: Vec<u8> },
}

impl Doer {
    /// The server that has opened something, and what it said; a directory of a manager's tree is no file.
    pub(crate) fn opened(self) -> Result<(Arc<dyn Line>, Candidate, Vec<u8>)> {
        match self {
            Self::Server {
                line,
                candidate,
                body,
                ..
            } => Ok((line, candidate, body)),
            Self::Manager { .. } => Err(Errno::EISDIR),
        }
    }
}

/// Sees what is asked and answered, for `trace`.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&Step, &Answer);

impl Default for Deed<'_> {
    fn default() -> Self {
        Self {
            subtype: ConnectType::Open,
            flags: OpenFlags::empty(),
            mode: 0,
            extra: Extra::None,
            options: WalkOptions::default(),
            room: REPLY_ROOM,
        }
    }
}

impl<'a> Deed<'a> {
    /// One I/O message to what is at a path: open, message and close in one exchange (R20).
    pub(crate) fn combined(io: &'a [u8]) -> Self {
        Self {
            subtype: ConnectType::CombineClose,
            extra: Extra::Combined(io),
            ..Self::default()
        }
    }

    /// A change of what is there, which a server may have no callout for (P37).
    pub(crate) fn change(subtype: ConnectType) -> Self {
        let intent = if subtype == ConnectType::Link {
            Intent::Link
        } else {
            Intent::Change
        };
        let options = WalkOptions {
            no_follow: true,
            intent,
            ..WalkOptions::default()
        };
        Self {
            subtype,
            options,
            ..Self::default()
        }
    }
}

/// One try of a request.
struct Attempt<'a> {
    namespace: &'a Namespace,
    deed: &'a Deed<'a>,
    /// A kept answer was used; how old the oldest is.
    kept_for: Option<Duration>,
    /// A server may have done the deed although it was not answered.
    doubtful: bool,
    /// A server was not there at all.
    missed: bool,
}

impl Namespace {
    /// Does a request by path. `accept` is called for each server or manager that did its part, in order, and may refuse
    /// it; once, unless the walk is to visit every one.
    pub(crate) fn perform(
        &self,
        path: &[u8],
        deed: &Deed<'_>,
        accept: &mut dyn FnMut(Doer) -> Result,
    ) -> Result {
        self.perform_observed(path, deed, accept, &mut |_, _| {})
    }

    pub(crate) fn perform_observed(
        &self,
        path: &[u8],
        deed: &Deed<'_>,
        accept: &mut dyn FnMut(Doer) -> Result,
        observe: Observer<'_>,
    ) -> Result {
        let mut attempt = Attempt::new(self, deed);
        let outcome = attempt.run(path, accept, observe);
        let Err(errno) = outcome else { return outcome };
        if !attempt.is_worth_repeating(errno) {
            return outcome;
        }
        // What was known of the names is out of date.
        self.resolver.forget();
        Attempt::new(self, deed).run(path, accept, observe)
    }
}

impl<'a> Attempt<'a> {
    const fn new(namespace: &'a Namespace, deed: &'a Deed<'a>) -> Self {
        Self {
            namespace,
            deed,
            kept_for: None,
            doubtful: false,
            missed: false,
        }
    }

    /// Whether kept answers may have been wrong, and nothing was done yet.
    fn is_worth_repeating(&self, errno: Errno) -> bool {
        let Some(kept_for) = self.kept_for else {
            return false;
        };
        // Where the whole node does not answer, asking again only doubles the wait.
        let is_unreachable = matches!(
            errno,
            Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::ETIMEDOUT
        );
        if self.doubtful || is_unreachable {
            return false;
        }
        self.missed || (errno.continues_union() && kept_for >= BELIEVED)
    }

    fn run(
        &mut self,
        path: &[u8],
        accept: &mut dyn FnMut(Doer) -> Result,
        observe: Observer<'_>,
    ) -> Result {
        let mut walk = Walk::new(path, self.deed.options);
        loop {
            let step = walk.next();
            let answer = match &step {
                Step::Done(outcome) => return *outcome,
                Step::Resolve {
                    nd,
                    path,
                    file_type,
                    no_follow,
                } => self.ask(&Question::Resolve {
                    nd: *nd,
                    path: path.clone(),
                    file_type: *file_type,
                    no_follow: *no_follow,
                }),
                Step::Network { nd, path } => self.ask(&Question::Network {
                    nd: *nd,
                    path: path.clone(),
                }),
                Step::Own { nd, path, .. } => {
                    let (nd, path) = (*nd, path.clone());
                    accept(Doer::Manager { nd, path }).map(|()| Answer::Done)
                }
                Step::Connect {
                    candidate,
                    path,
                    path_flags,
                    file_type,
                    ..
                } => self.connect(candidate, path, (*path_flags, *file_type), accept),
                Step::Probe {
                    candidate,
                    path,
                    path_flags,
                    file_type,
                } => self.probe(candidate, path, (*path_flags, *file_type)),
            };
            let answer = answer.unwrap_or_else(Answer::Failed);
            observe(&step, &answer);
            walk.answered(answer);
        }
    }

    fn ask(&mut self, question: &Question) -> Result<Answer> {
        let (reply, age) = self.namespace.resolver.ask(question)?;
        self.kept_for = self.kept_for.max(age);
        Ok(answer_of(reply))
    }

    fn connect(
        &mut self,
        candidate: &Candidate,
        path: &[u8],
        looks: (PathFlags, FileType),
        accept: &mut dyn FnMut(Doer) -> Result,
    ) -> Result<Answer> {
        let (line, reply, body) = self.send(self.deed, candidate, path, looks)?;
        let answer = understood(&reply, &body)?;
        if let Answer::Done = answer {
            accept(Doer::Server {
                line,
                candidate: *candidate,
                path: path.to_vec(),
                body,
            })?;
        }
        Ok(answer)
    }

    /// An open and close of nothing, to see whether the server knows better whom to ask (P37).
    fn probe(
        &mut self,
        candidate: &Candidate,
        path: &[u8],
        looks: (PathFlags, FileType),
    ) -> Result<Answer> {
        let deed = Deed {
            subtype: ConnectType::CombineClose,
            extra: Extra::Combined(&[]),
            ..Deed::default()
        };
        let (_, reply, body) = self.send(&deed, candidate, path, looks)?;
        understood(&reply, &body)
    }

    /// Sends a connect message, on a connection of its own if something stays open on it. A kept connection whose
    /// server is gone is replaced once.
    fn send(
        &mut self,
        deed: &Deed<'_>,
        candidate: &Candidate,
        path: &[u8],
        looks: (PathFlags, FileType),
    ) -> Result<(Arc<dyn Line>, Reply, Vec<u8>)> {
        let message = message(deed, candidate, path, looks)?;
        let mut body = vec![0; deed.room];
        let namespace = self.namespace;
        let address = (candidate.nd, candidate.pid, candidate.chid);
        let mut last = Errno::ESRCH;
        for _ in 0..2 {
            let carrier = namespace.resolver.carrier().as_ref();
            let attached =
                namespace
                    .connections
                    .get(carrier, address, namespace.identity.as_deref());
            let kept = match attached {
                Ok(kept) => kept,
                Err(errno) => {
                    self.missed = true;
                    return Err(errno);
                }
            };
            let own = match deed.subtype.stays_open() {
                true => kept.duplicate(),
                false => Ok(Arc::clone(&kept)),
            };
            let sent = own.map_err(local).and_then(|line| {
                let request = [IoSlice::new(&message)];
                let mut room = [IoSliceMut::new(&mut body)];
                let reply = line.send(&request, &mut room, &namespace.options())?;
                Ok((line, reply))
            });
            match sent {
                Ok((line, reply)) => {
                    body.truncate(reply.len);
                    return Ok((line, reply, body));
                }
                Err(failure) if failure.cause == ipc::Cause::Answer => return Err(failure.errno),
                Err(failure) => {
                    last = told(&failure);
                    if ended_here(&failure) {
                        return Err(last);
                    }
                    namespace.connections.forget(address, &kept);
                    if failure.delivery == Delivery::Unknown {
                        self.doubtful = true;
                        return Err(last);
                    }
                    self.missed = true;
                }
            }
        }
        Err(last)
    }
}

/// A failure of this process that leaves the message unsent.
fn local(errno: Errno) -> Failure {
    Failure {
        errno,
        delivery: Delivery::NotDone,
        cause: ipc::Cause::Channel,
        peer: abi::Incarnation(0),
    }
}

/// The error for who asked by a path: a node that does not answer is not a server that died, which a send that was
/// under way has the same number for (I69).
const fn told(failure: &Failure) -> Errno {
    match (failure.errno, failure.cause) {
        (Errno::ESRCH, ipc::Cause::Link | ipc::Cause::Node) => Errno::EHOSTDOWN,
        (errno, _) => errno,
    }
}

/// Whether the caller gave up, so that nothing is wrong with the connection.
fn ended_here(failure: &Failure) -> bool {
    matches!(
        failure.cause,
        ipc::Cause::Interrupted | ipc::Cause::TimedOut
    )
}

fn message(
    deed: &Deed<'_>,
    candidate: &Candidate,
    path: &[u8],
    (path_flags, file_type): (PathFlags, FileType),
) -> Result<Vec<u8>> {
    let connect = Connect {
        subtype: deed.subtype,
        handle: candidate.handle,
        file_type,
        flags: deed.flags,
        mode: deed.mode,
        umask: 0,
        path_flags,
        path,
        extra: deed.extra,
    };
    Ok(connect.to_bytes()?)
}

/// A server's answer in the walk's terms.
fn understood(reply: &Reply, body: &[u8]) -> Result<Answer> {
    Ok(match ConnectStatus::from_status(reply.status)? {
        ConnectStatus::Ok => Answer::Done,
        ConnectStatus::Redirect => Answer::Redirect(Redirect::from_bytes(body)?),
        ConnectStatus::Symlink => Answer::Spliced(SymlinkReply::from_bytes(body)?),
        ConnectStatus::FileType => Answer::FileType(FileType::from_bytes(body)?),
    })
}

/// Room for the largest redirect: 256 candidates and a path.
const REPLY_ROOM: usize = 16 << 10;

/// How long a kept answer is believed when a server says that the path is not there.
const BELIEVED: Duration = Duration::from_secs(1);
