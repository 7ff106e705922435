//! What other nodes ask of this one.

use alloc::format;
use alloc::vec::Vec;

use abi::system::peer::{
    Check, PeerCandidate, PeerPrefix, PeerPrefixes, PeerRedirect, PeerReply, PeerRequest,
    PeerResolve, PeerResolved, PeerTable,
};
use abi::{Errno, Instant};
use paths::{NodeComponent, Pathname};
use rights::Operation;
use transport::IncomingKey;

use super::Node;
use crate::interface::Level;
use crate::process_manager::names::{Asker, Found};

impl Node {
    pub(super) fn peer_asks(
        &mut self,
        now: Instant,
        peer: u16,
        incoming: IncomingKey,
        request: PeerRequest,
    ) {
        let answer = match request {
            PeerRequest::Ping => Ok(PeerReply::Done),
            PeerRequest::Links(links) => {
                self.network.peer_links(now, peer, links);
                self.refresh_routes(Some(peer));
                Ok(PeerReply::Done)
            }
            PeerRequest::Lanes(lanes) => {
                self.network.take_lanes(now, peer, &lanes);
                Ok(PeerReply::Done)
            }
            PeerRequest::Number(whose) => self.number_here(peer, whose).map(PeerReply::Number),
            PeerRequest::Resolve(resolve) => {
                self.watchers.insert(peer);
                self.must_have_right(now, (peer, resolve.user), Operation::Look, &resolve.path)
                    .and_then(|()| self.peer_resolve(peer, &resolve))
            }
            PeerRequest::List(list) => {
                self.watchers.insert(peer);
                self.must_have_right(now, (peer, list.user), Operation::List, &list.path)
                    .and_then(|()| self.list(&list.path, &list.after))
                    .map(PeerReply::Listing)
            }
            PeerRequest::Stat(stat) => {
                self.watchers.insert(peer);
                self.must_have_right(now, (peer, stat.user), Operation::Look, &stat.path)
                    .and_then(|()| self.stat(&stat.path))
                    .map(PeerReply::Described)
            }
            PeerRequest::Network(path) => self
                .may_go_to(now, (peer, path.user), &path.path)
                .and_then(|()| self.peer_network(peer, &path.path)),
            PeerRequest::Prefixes(part) => self.peer_prefixes(peer, &part),
            PeerRequest::Introduce(introduce) => {
                match self.peer_introduces(now, peer, incoming, &introduce) {
                    Ok(()) => return,
                    Err(errno) => Err(errno),
                }
            }
            PeerRequest::Extend(extend) => match self.peer_extends(now, peer, incoming, &extend) {
                Ok(()) => return,
                Err(errno) => Err(errno),
            },
            PeerRequest::Ended(ended) => {
                self.other_ends_gone(peer, &ended.sessions, ended.cause);
                Ok(PeerReply::Done)
            }
            PeerRequest::Check(check) => self.peer_check(now, peer, check),
            PeerRequest::Changed => {
                self.far_names_changed(now);
                Ok(PeerReply::Done)
            }
            PeerRequest::Goodbye => {
                let name = self.network.name_of(peer);
                self.log(Level::Info, format!("{name} says goodbye"));
                self.network.answer(now, incoming, &PeerReply::Done);
                self.network.goodbye(now, peer);
                return;
            }
        };
        match answer {
            Ok(reply) => self.network.answer(now, incoming, &reply),
            Err(errno) => self.network.refuse(now, incoming, errno),
        }
    }

    fn peer_resolve(&self, peer: u16, resolve: &PeerResolve) -> Result<PeerReply, Errno> {
        let asker = Asker {
            node: peer,
            pid: resolve.asker,
            root: Pathname::root(),
        };
        let found = self.processes.names.resolve(
            &asker,
            &resolve.path,
            resolve.file_type,
            resolve.no_follow,
        )?;
        Ok(match found {
            Found::Owners(resolved) => {
                let candidates = resolved.candidates.into_iter().filter_map(|candidate| {
                    Some(PeerCandidate {
                        node: self.whose(peer, candidate.nd)?,
                        candidate,
                    })
                });
                PeerReply::Resolved(PeerResolved {
                    candidates: candidates.collect(),
                    path: resolved.path,
                    path_flags: resolved.path_flags,
                })
            }
            Found::Elsewhere(symlink) => PeerReply::Symlink(symlink),
        })
    }

    /// A link policy in the path is the asker's business: its links are meant, not ours.
    fn peer_network(&self, peer: u16, path: &[u8]) -> Result<PeerReply, Errno> {
        let start = path
            .iter()
            .position(|&byte| byte != b'/')
            .ok_or(Errno::EISDIR)?;
        let (component, rest) = NodeComponent::split(&path[start..])?;
        let first = path[start..].split(|&byte| byte == b'/').next();
        let policy = first.and_then(|first| first.splitn(2, |&byte| byte == b'~').nth(1));
        let nd = self.network.nd_of_name(&component.name, &self.config.name);
        let nd = nd.map_err(|(errno, _)| errno)?;
        let slashes = rest.iter().take_while(|&&byte| byte == b'/').count();
        Ok(PeerReply::Redirect(PeerRedirect {
            node: self.whose(peer, nd).ok_or(Errno::ENOENT)?,
            path: rest[slashes..].to_vec(),
            policy: policy.unwrap_or_default().to_vec(),
        }))
    }

    /// Those that the asker may look up.
    fn peer_prefixes(&mut self, peer: u16, part: &PeerTable) -> Result<PeerReply, Errno> {
        let (rows, next) = self.processes.names.rows(part.from);
        let rights = self.rights_of(peer, part.user).clone();
        let rows: Vec<PeerPrefix> = rows
            .into_iter()
            .filter(|row| rights.below(b"/", &row.path).allows(Operation::Look))
            .filter_map(|row| {
                Some(PeerPrefix {
                    node: self.whose(peer, row.nd)?,
                    row,
                })
            })
            .collect();
        Ok(PeerReply::Prefixes(PeerPrefixes { rows, next }))
    }

    /// Which of these sessions have no end here.
    fn peer_check(&self, now: Instant, peer: u16, check: Check) -> Result<PeerReply, Errno> {
        if now < self.knows_at {
            return Err(Errno::EAGAIN);
        }
        let mut sessions = check.sessions;
        sessions.retain(|&pair| self.processes.sessions.named(peer, pair).is_none());
        Ok(PeerReply::Unknown(Check { sessions }))
    }
}
