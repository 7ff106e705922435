//! What programs ask about names, and how they change them.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use abi::system::peer::{PeerList, PeerPath, PeerRequest, PeerResolve, Whose};
use abi::system::{self, Attach, Attached, Redirect, Reply, Request};
use abi::{ChannelId, Errno, FileType, Instant, Nd, Pid};
use paths::Registrar;
use rights::Operation;

use super::Node;
use super::requests::{Call, Refused, plainly};
use crate::interface::{Output, ProgramKey};
use crate::limits::{PREFIXES_PER_PROGRAM, PREFIXES_PER_USER};
use crate::process_manager::names::{Asker, Found};

impl Node {
    /// Attaches, detaches, links and unlinks.
    pub(super) fn change_names(
        &mut self,
        now: Instant,
        program: ProgramKey,
        request: &Request,
    ) -> Result<Reply, Refused> {
        let reply = match request {
            Request::Attach(attach) => self.attach(now, program, attach)?,
            Request::Detach(detach) => self.detach(program, detach.id)?,
            Request::Link(link) => {
                self.may_change_names(now, program, Operation::Link, &link.path)?;
                self.processes
                    .names
                    .link(&link.path, &link.target)
                    .map_err(plainly)?;
                Reply::Done
            }
            Request::Unlink(unlink) => {
                self.may_change_names(now, program, Operation::Link, &unlink.path)?;
                self.processes.names.unlink(&unlink.path).map_err(plainly)?;
                Reply::Done
            }
            _ => return Err(plainly(Errno::ENOSYS)),
        };
        self.outputs.push_back(Output::NamesChanged);
        self.tell_watchers();
        Ok(reply)
    }

    /// Answers a question about names, or passes it on to the node that is asked: then there is no answer yet.
    pub(super) fn ask_names(
        &mut self,
        now: Instant,
        call: Call,
        request: Request,
    ) -> Result<Option<Reply>, Refused> {
        let asker = self.pid(call.program);
        self.may_ask_names(now, call.program, &request)
            .map_err(plainly)?;
        let (nd, question) = match request {
            Request::Lookup(lookup) => {
                let nd = self.network.nd_of_name(&lookup.node, &self.config.name)?;
                return Ok(Some(redirect(nd, Vec::new())));
            }
            Request::Resolve(resolve) if resolve.nd.is_local() => {
                let system::Resolve {
                    nd,
                    path,
                    file_type,
                    no_follow,
                } = resolve;
                let asker = Asker {
                    node: 0,
                    pid: asker,
                    root: self.root_of(call.program, nd),
                };
                let found = self
                    .processes
                    .names
                    .resolve(&asker, &path, file_type, no_follow);
                return Ok(Some(match found.map_err(plainly)? {
                    Found::Owners(resolved) => Reply::Resolved(resolved),
                    Found::Elsewhere(symlink) => Reply::Symlink(symlink),
                }));
            }
            Request::Network(network) if network.nd.is_local() => {
                return self.network_path(&network.path).map(Some);
            }
            Request::List(list) if list.nd.is_local() => {
                let listing = self.list(&list.path, &list.after).map_err(plainly)?;
                return Ok(Some(Reply::Listing(listing)));
            }
            Request::Stat(stat) if stat.nd.is_local() => {
                let description = self.stat(&stat.path).map_err(plainly)?;
                return Ok(Some(Reply::Described(description)));
            }
            request => self.question_for_peer(call.program, request)?,
        };
        self.forward(now, call, nd, &question)?;
        Ok(None)
    }

    /// A question about names of another node, as its daemon is asked.
    fn question_for_peer(
        &self,
        program: ProgramKey,
        request: Request,
    ) -> Result<(Nd, PeerRequest), Refused> {
        let (asker, user) = (self.pid(program), self.user(program));
        Ok(match request {
            Request::Resolve(resolve) => {
                let system::Resolve {
                    nd,
                    path,
                    file_type,
                    no_follow,
                } = resolve;
                (
                    nd,
                    PeerRequest::Resolve(PeerResolve {
                        path,
                        file_type,
                        no_follow,
                        asker,
                        user,
                    }),
                )
            }
            Request::Network(network) => (
                network.nd,
                PeerRequest::Network(PeerPath {
                    path: network.path,
                    user,
                }),
            ),
            Request::List(list) => (
                list.nd,
                PeerRequest::List(PeerList {
                    path: list.path,
                    after: list.after,
                    user,
                }),
            ),
            Request::Stat(stat) => (
                stat.nd,
                PeerRequest::Stat(PeerPath {
                    path: stat.path,
                    user,
                }),
            ),
            _ => return Err(plainly(Errno::ENOSYS)),
        })
    }

    /// What another node calls a node (N11).
    pub(super) fn remote_nd(
        &mut self,
        now: Instant,
        call: Call,
        remote: system::RemoteNd,
    ) -> Result<Option<Reply>, Refused> {
        let system::RemoteNd { remote, local } = remote;
        if remote.is_local() {
            return Ok(Some(Reply::Nd(local)));
        }
        if remote.node() == local.node() {
            return Ok(Some(Reply::Nd(Nd::LOCAL)));
        }
        let whose = if local.is_local() {
            Whose::Yours
        } else {
            let key = self.network.key_of(local.node());
            Whose::Other(key.ok_or_else(|| plainly(Errno::ENOENT))?.0)
        };
        self.forward(now, call, remote, &PeerRequest::Number(whose))?;
        Ok(None)
    }

    fn attach(
        &mut self,
        now: Instant,
        program: ProgramKey,
        attach: &Attach,
    ) -> Result<Reply, Refused> {
        let (pid, prefixes, of_user, manages) = {
            let Some(known) = self.processes.programs.get(program) else {
                return Err(plainly(Errno::ESRCH));
            };
            let manages = self.processes.may_manage(&known.caller);
            let of_user = self.processes.programs.prefixes_of(known.caller.uid);
            let pid = known.pid.unwrap_or_default();
            (pid, known.prefixes.len(), of_user, manages)
        };
        let is_name = !manages && attach.file_type == FileType::NAME;
        if is_name {
            self.may_attach_name(now, program, &attach.path)?;
        } else {
            self.may_change_names(now, program, Operation::Attach, &attach.path)?;
        }
        if prefixes >= PREFIXES_PER_PROGRAM {
            return Err((
                Errno::ENOSPC,
                format!("a program may own {PREFIXES_PER_PROGRAM} prefixes, not more"),
            ));
        }
        if !manages && of_user >= PREFIXES_PER_USER {
            return Err((
                Errno::ENOSPC,
                format!("a user may own {PREFIXES_PER_USER} prefixes, not more"),
            ));
        }
        let by = if is_name {
            Registrar::Ordinary
        } else {
            Registrar::Privileged
        };
        let (id, sticky) = self
            .processes
            .names
            .attach(pid, attach, by)
            .map_err(plainly)?;
        if !sticky {
            self.processes.programs.own(program, id);
        }
        Ok(Reply::Attached(Attached { id }))
    }

    fn detach(&mut self, program: ProgramKey, id: u32) -> Result<Reply, Refused> {
        let owned = self.processes.programs.disown(program, id);
        if !owned {
            return Err(plainly(Errno::EBADF));
        }
        self.processes.names.detach(id);
        Ok(Reply::Done)
    }

    /// `lab2/dev/ser1` is lab2's process manager with `dev/ser1` left to ask (P50).
    pub(super) fn network_path(&self, path: &[u8]) -> Result<Reply, Refused> {
        let start = path
            .iter()
            .position(|&byte| byte != b'/')
            .unwrap_or(path.len());
        let path = &path[start..];
        if path.is_empty() {
            return Err((
                Errno::EISDIR,
                String::from("/net itself is a directory of nodes"),
            ));
        }
        let end = path
            .iter()
            .position(|&byte| byte == b'/')
            .unwrap_or(path.len());
        let (component, rest) = path.split_at(end);
        let nd = self.network.nd_of(component, &self.config.name)?;
        let rest = rest
            .iter()
            .position(|&byte| byte != b'/')
            .map_or(&[][..], |start| &rest[start..]);
        Ok(redirect(nd, rest.to_vec()))
    }
}

fn redirect(nd: Nd, path: Vec<u8>) -> Reply {
    Reply::Redirect(Redirect {
        nd,
        pid: Pid::PROCESS_MANAGER,
        channel: ChannelId::PROCESS_MANAGER,
        path,
    })
}

/// A directory listing cut to what fits a packet.
pub(super) fn cut_listing(
    entries: impl Iterator<Item = system::Entry>,
    after: &[u8],
) -> system::Listing {
    let mut listing = system::Listing {
        entries: vec![],
        more: false,
    };
    let mut bytes = 0;
    for entry in entries.filter(|entry| after.is_empty() || entry.name.as_slice() > after) {
        bytes += entry.name.len() + 16;
        if bytes > crate::limits::LISTING_BYTES_MAX {
            listing.more = true;
            break;
        }
        listing.entries.push(entry);
    }
    listing
}
