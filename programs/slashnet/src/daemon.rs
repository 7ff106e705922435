//! Questions to the node daemon.

use std::path::Path;

use abi::system::{Lookup, Query, QueryKind, Reply, Request, Rows};
use abi::{Errno, Nd, NodeName};
use client::Namespace;
use ipc::Endpoint;

use crate::command::GlobalOptions;
use crate::failure::{Explain, Failure, Outcome};
use crate::{directory, machine};

/// A table longer than this is not one of ours: pages of rows are asked for one by one.
const PAGES_MAX: usize = 10_000;

/// The node daemon that the command line means.
#[derive(Debug)]
pub(crate) struct Daemon {
    endpoint: Endpoint,
}

impl Daemon {
    /// Registers with the daemon.
    pub(crate) fn of(global: &GlobalOptions) -> Outcome<Self> {
        let dir = directory::of(global.dir.as_deref());
        Ok(Self {
            endpoint: endpoint(&dir)?,
        })
    }

    /// Asks, and turns a refusal into the words that came with it.
    pub(crate) fn ask(&self, what: &str, request: &Request) -> Outcome<Reply> {
        ask(&self.endpoint, what, request)
    }

    /// As [`ask`](Self::ask), but one error is an answer, too: `false`.
    pub(crate) fn ask_unless(&self, what: &str, request: &Request, known: Errno) -> Outcome<bool> {
        match self.endpoint.ask(request) {
            Ok(Reply::Error(refusal)) if refusal.errno == known => Ok(false),
            reply => answered(what, reply).map(|_| true),
        }
    }

    /// What the node is called.
    pub(crate) fn node_name(&self) -> NodeName {
        self.endpoint.node_name()
    }

    /// All rows of a table, piece by piece. `take` gets the rows of the right kind.
    pub(crate) fn rows(&self, what: QueryKind, nd: Nd, mut take: impl FnMut(Rows)) -> Outcome {
        let mut from = 0;
        for _ in 0..PAGES_MAX {
            let reply = self.ask(subject(what), &Request::Query(Query { what, nd, from }))?;
            let Reply::Table(table) = reply else {
                return Err(unexpected("table"));
            };
            take(table.rows);
            match table.next {
                Some(next) if next > from => from = next,
                Some(_) => return Err(unexpected("table")),
                None => return Ok(()),
            }
        }
        Err(Failure::new("table", Errno::EFBIG))
    }
}

/// What a table is called by whoever asks for it.
const fn subject(what: QueryKind) -> &'static str {
    match what {
        QueryKind::Denials => "rights denials",
        QueryKind::Links => "links",
        QueryKind::Nodes => "nodes",
        QueryKind::Processes => "ps",
        QueryKind::Sessions => "sessions",
        _ => "table",
    }
}

/// Asks the daemon, and turns a refusal into the words that came with it.
pub(crate) fn ask(endpoint: &Endpoint, what: &str, request: &Request) -> Outcome<Reply> {
    answered(what, endpoint.ask(request))
}

fn answered(what: &str, reply: abi::Result<Reply>) -> Outcome<Reply> {
    match reply {
        Ok(Reply::Error(refusal)) if !refusal.text.is_empty() => {
            let text = crate::notation::sentence(&refusal.text);
            Err(Failure::new(what, text))
        }
        Ok(Reply::Error(refusal)) => Err(Failure::new(what, refusal.errno)),
        Ok(reply) => Ok(reply),
        Err(errno) => Err(Failure::new(what, errno)),
    }
}

/// The node descriptor of a node's name.
pub(crate) fn lookup(endpoint: &Endpoint, name: &str) -> Outcome<Nd> {
    let node = parsed_name(name)?;
    match ask(endpoint, name, &Request::Lookup(Lookup { node }))? {
        Reply::Redirect(redirect) => Ok(redirect.nd),
        _ => Err(unexpected(name)),
    }
}

/// The path space that the command line means.
pub(crate) fn namespace(global: &GlobalOptions) -> Outcome<Namespace> {
    endpoint(&directory::of(global.dir.as_deref())).map(|endpoint| Namespace::of(&endpoint))
}

/// A place at the node whose directory is `dir`, with a hint for whoever has none.
pub(crate) fn endpoint(dir: &Path) -> Outcome<Endpoint> {
    Endpoint::connect(dir).map_err(|errno| {
        let socket = dir.join(abi::system::SOCKET_NAME);
        let why = match errno {
            Errno::ENOENT | Errno::ECONNREFUSED => {
                "no node daemon there; 'slashnet up' starts one, '--dir' names another".to_owned()
            }
            Errno::EACCES => {
                "permission denied: it is closed to this user, or run by another one who is not \
                              root; '--dir' names another node"
                    .to_owned()
            }
            errno => errno.explain(),
        };
        Failure::new(socket.display(), why)
    })
}

/// A node's name from the command line.
pub(crate) fn parsed_name(name: &str) -> Outcome<NodeName> {
    machine::node_name(name).map_err(|why| Failure::usage("NODE", why))
}

/// The daemon answered something that does not belong to the question.
pub(crate) fn unexpected(what: &str) -> Failure {
    Failure::new(
        what,
        "the node daemon gave an answer that does not fit the question",
    )
}
