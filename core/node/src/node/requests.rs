//! What programs ask of their node.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use abi::system::peer::{PeerList, PeerPath, PeerRequest, PeerResolve};
use abi::system::{
    self, Attach, Attached as AttachedReply, Code, Hello, NodeLink, Redirect, Reply, Request,
    Welcome,
};
use abi::{ChannelId, Errno, FileType, Instant, Nd, NodeName, Pid};

use paths::Registrar;

use super::Node;
use super::peer_answers::Ask;
use crate::interface::{Attached, Descriptors, Level, Output, ProgramKey};
use crate::limits::{
    INVITE_TTL_MAX, PREFIXES_PER_PROGRAM, SESSIONS_PER_PROGRAM, WAITING_PER_PROGRAM,
};
use crate::process_manager::names::Asker;

/// An error number and what to tell a person.
pub(super) type Refused = (Errno, String);

/// A refusal whose text is the error's own.
pub(super) fn plainly(errno: Errno) -> Refused {
    (errno, errno.text().to_string())
}

impl Node {
    pub(super) fn packet(
        &mut self,
        now: Instant,
        program: ProgramKey,
        bytes: &[u8],
        descriptors: Option<Descriptors>,
    ) {
        let Some(known) = self.processes.programs.get(program) else {
            return self.discard(descriptors);
        };
        let said_hello = known.pid.is_some();
        let (serial, request) = match system::unpack::<Request>(bytes) {
            Ok((serial, Ok(request))) => (serial, request),
            Ok((serial, Err(malformed))) => {
                self.discard(descriptors);
                return self.refuse(program, serial, malformed.into(), &malformed.to_string());
            }
            Err(_) => {
                self.discard(descriptors);
                return self.disconnected_by_us(now, program);
            }
        };
        if !said_hello && !matches!(request, Request::Hello(_)) {
            self.discard(descriptors);
            return self.refuse(program, serial, Errno::EPERM, "say hello first");
        }
        // Only an introduction on the own node has a use for descriptors.
        let descriptors = if matches!(request, Request::OpenSession(_)) {
            descriptors
        } else {
            self.discard(descriptors);
            None
        };
        if let Err((errno, text)) = self.request(now, program, serial, request, descriptors) {
            self.refuse(program, serial, errno, &text);
        }
    }

    fn request(
        &mut self,
        now: Instant,
        program: ProgramKey,
        serial: u32,
        request: Request,
        descriptors: Option<Descriptors>,
    ) -> Result<(), Refused> {
        let reply = match request {
            Request::Hello(hello) => return self.hello(now, program, serial, &hello),
            Request::Attach(attach) => self.attach(program, &attach)?,
            Request::Detach(detach) => self.detach(program, detach.id)?,
            Request::Link(link) => {
                self.must_manage(program, "make a symlink in the process manager")?;
                self.processes
                    .names
                    .link(&link.path, &link.target)
                    .map_err(plainly)?;
                self.names_changed(now)
            }
            Request::Unlink(unlink) => {
                self.must_manage(program, "remove a name from the process manager")?;
                self.processes.names.unlink(&unlink.path).map_err(plainly)?;
                self.names_changed(now)
            }
            Request::Resolve(resolve) => {
                if resolve.nd.is_local() {
                    let asker = Asker {
                        node: 0,
                        pid: self.pid(program),
                    };
                    self.processes
                        .names
                        .resolve(asker, &resolve.path, resolve.file_type, resolve.no_follow)
                        .map_err(plainly)?
                } else {
                    let asker = self.pid(program);
                    let system::Resolve {
                        nd,
                        path,
                        file_type,
                        no_follow,
                    } = resolve;
                    let request = PeerRequest::Resolve(PeerResolve {
                        path,
                        file_type,
                        no_follow,
                        asker,
                    });
                    return self.forward(now, program, serial, nd, request);
                }
            }
            Request::Network(network) if network.nd.is_local() => {
                self.network_path(&network.path)?
            }
            Request::Network(network) => {
                let request = PeerRequest::Network(PeerPath { path: network.path });
                return self.forward(now, program, serial, network.nd, request);
            }
            Request::Lookup(lookup) => {
                let nd = self.node_named(&lookup.node)?;
                redirect(nd, Vec::new())
            }
            Request::List(list) => {
                if !list.nd.is_local() {
                    let request = PeerRequest::List(PeerList {
                        path: list.path,
                        after: list.after,
                    });
                    return self.forward(now, program, serial, list.nd, request);
                }
                self.list(&list.path, &list.after).map_err(plainly)?
            }
            Request::Stat(stat) => {
                if !stat.nd.is_local() {
                    let request = PeerRequest::Stat(PeerPath { path: stat.path });
                    return self.forward(now, program, serial, stat.nd, request);
                }
                self.stat(&stat.path).map_err(plainly)?
            }
            Request::OpenSession(open) => {
                return self.open_session(now, program, serial, open, descriptors);
            }
            Request::CloseSession(close) => self.close_session(now, program, close.session)?,
            Request::Accept(accept) => {
                self.accepted(now, program, serial, &accept);
                return Ok(());
            }
            Request::Refuse(refuse) => {
                self.refused(now, program, serial, refuse.errno);
                return Ok(());
            }
            Request::Suspect(suspect) => {
                let session = self.processes.sessions.get(suspect.session);
                if let Some(node) = session.filter(|s| s.program == program).map(|s| s.node) {
                    self.network.suspect(now, node);
                }
                return Ok(());
            }
            Request::Query(query) => return self.query(now, program, serial, &query),
            Request::Invite(invite) => {
                self.must_manage(program, "invite a node")?;
                if invite.ttl.is_zero() || invite.ttl > INVITE_TTL_MAX {
                    return Err((
                        Errno::EINVAL,
                        String::from("a code can live from 1 second to 7 days"),
                    ));
                }
                let code = self.network.invite(now, invite.ttl).map_err(|errno| {
                    (
                        errno,
                        String::from("too many codes are open; wait until some expire"),
                    )
                })?;
                Reply::Code(Code {
                    code: code.into_bytes(),
                })
            }
            Request::Join(join) => {
                self.must_manage(program, "join a node")?;
                return self.network.join(now, program, serial, &join.code);
            }
            Request::Forget(forget) => {
                self.must_manage(program, "forget a node")?;
                self.forget(now, &forget.node)?
            }
            Request::Shutdown => {
                self.must_manage(program, "stop the node")?;
                self.stop(now);
                Reply::Done
            }
        };
        self.reply(program, serial, &reply);
        Ok(())
    }

    fn hello(
        &mut self,
        now: Instant,
        program: ProgramKey,
        serial: u32,
        hello: &Hello,
    ) -> Result<(), Refused> {
        if hello.version != system::VERSION {
            let text = format!(
                "the program speaks version {} of the protocol, the node {}: install the same release of both",
                hello.version,
                system::VERSION
            );
            return Err((Errno::ENOTSUP, text));
        }
        if hello.program.len() > 255 || hello.sessions.len() > SESSIONS_PER_PROGRAM {
            return Err(plainly(Errno::EMSGSIZE));
        }
        let pid = self
            .processes
            .programs
            .hello(program, hello.previous, &hello.program, self.config.boot)
            .map_err(plainly)?;
        let links = self
            .config
            .links
            .iter()
            .zip(0..)
            .map(|(link, index)| NodeLink {
                index,
                name: link.name.clone().into_bytes(),
                address: link.address,
                mtu: link.mtu,
                device: link.device.clone().into_bytes(),
            });
        let welcome = Reply::Welcome(Welcome {
            version: system::VERSION,
            pid,
            node: self.config.name,
            incarnation: self.config.incarnation,
            links: links.collect(),
        });
        self.send(program, serial, &welcome, Attached::NodePage);
        self.adopt_sessions(now, program, pid, &hello.sessions);
        Ok(())
    }

    fn attach(&mut self, program: ProgramKey, attach: &Attach) -> Result<Reply, Refused> {
        let (pid, prefixes, manages) = {
            let Some(known) = self.processes.programs.get(program) else {
                return Err(plainly(Errno::ESRCH));
            };
            let manages = self.processes.may_manage(&known.caller);
            (known.pid.unwrap_or_default(), known.prefixes.len(), manages)
        };
        if !manages && attach.file_type != FileType::NAME {
            return Err((
                Errno::EPERM,
                String::from("only root and the owner of the node may attach a prefix"),
            ));
        }
        if prefixes >= PREFIXES_PER_PROGRAM {
            return Err((
                Errno::ENOSPC,
                format!("a program may own {PREFIXES_PER_PROGRAM} prefixes, not more"),
            ));
        }
        let by = if manages {
            Registrar::Privileged
        } else {
            Registrar::Ordinary
        };
        let (id, sticky) = self
            .processes
            .names
            .attach(pid, attach, by)
            .map_err(plainly)?;
        if let Some(known) = self.processes.programs.get_mut(program).filter(|_| !sticky) {
            known.prefixes.insert(id);
        }
        self.outputs.push_back(Output::NamesChanged);
        self.tell_watchers();
        Ok(Reply::Attached(AttachedReply { id }))
    }

    fn detach(&mut self, program: ProgramKey, id: u32) -> Result<Reply, Refused> {
        let owned = self
            .processes
            .programs
            .get_mut(program)
            .is_some_and(|known| known.prefixes.remove(&id));
        if !owned {
            return Err(plainly(Errno::EBADF));
        }
        self.processes.names.detach(id);
        self.outputs.push_back(Output::NamesChanged);
        self.tell_watchers();
        Ok(Reply::Done)
    }

    /// `lab2/dev/ser1` is lab2's process manager with `dev/ser1` left to ask (P50).
    pub(super) fn network_path(&mut self, path: &[u8]) -> Result<Reply, Refused> {
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

    fn node_named(&self, name: &NodeName) -> Result<Nd, Refused> {
        self.network.nd_of_name(name, &self.config.name)
    }

    /// Sends a program's question to another node; the answer comes as an event.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        program: ProgramKey,
        serial: u32,
        nd: Nd,
        request: PeerRequest,
    ) -> Result<(), Refused> {
        self.may_wait(program)?;
        self.ask(
            now,
            nd.node(),
            Ask::Forwarded {
                program,
                serial,
                nd,
            },
            &request,
        )
        .map_err(plainly)?;
        if let Some(known) = self.processes.programs.get_mut(program) {
            known.waiting += 1;
        }
        Ok(())
    }

    pub(super) fn may_wait(&self, program: ProgramKey) -> Result<(), Refused> {
        let waiting = self
            .processes
            .programs
            .get(program)
            .map_or(0, |known| known.waiting);
        if waiting < WAITING_PER_PROGRAM {
            return Ok(());
        }
        Err((
            Errno::EAGAIN,
            format!("{WAITING_PER_PROGRAM} requests of this program wait already"),
        ))
    }

    pub(super) fn must_manage(&self, program: ProgramKey, what: &str) -> Result<(), Refused> {
        let caller = self
            .processes
            .programs
            .get(program)
            .map(|known| &known.caller);
        if caller.is_some_and(|caller| self.processes.may_manage(caller)) {
            return Ok(());
        }
        Err((
            Errno::EPERM,
            format!("only root and the owner of the node may {what}"),
        ))
    }

    pub(super) fn pid(&self, program: ProgramKey) -> Pid {
        self.processes
            .programs
            .get(program)
            .and_then(|known| known.pid)
            .unwrap_or_default()
    }

    pub(super) fn names_changed(&mut self, _now: Instant) -> Reply {
        self.outputs.push_back(Output::NamesChanged);
        self.tell_watchers();
        Reply::Done
    }

    fn forget(&mut self, now: Instant, name: &NodeName) -> Result<Reply, Refused> {
        let Some(peer) = self.network.number_of_name(name) else {
            return Err((
                Errno::ENOENT,
                format!("no node is called {name}; see `slashnet nodes`"),
            ));
        };
        self.end_trust(now, peer);
        self.log(Level::Info, format!("{name} is forgotten"));
        Ok(Reply::Done)
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
