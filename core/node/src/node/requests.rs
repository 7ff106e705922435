//! What programs ask of their node.

use alloc::format;
use alloc::string::{String, ToString};

use abi::system::peer::PeerRequest;
use abi::system::{self, Hello, Reply, Request, Welcome};
use abi::{Errno, Instant, Nd, Pid, Uid};

use super::Node;
use super::peer_answers::Ask;
use crate::interface::{Attached, Descriptors, ProgramKey};
use crate::limits::{SESSIONS_PER_PROGRAM, WAITING_PER_PROGRAM};

/// Which program asks, under which serial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) program: ProgramKey,
    pub(super) serial: u32,
}

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
        let call = Call { program, serial };
        let request = match self.within_view(call, request) {
            Ok(request) => request,
            Err((errno, text)) => {
                self.discard(descriptors);
                return self.refuse(program, serial, errno, &text);
            }
        };
        let takes_memory = matches!(request, Request::OpenSession(_) | Request::Relay);
        let descriptors = if takes_memory {
            descriptors
        } else {
            self.discard(descriptors);
            None
        };
        if let Err((errno, text)) = self.request(now, call, request, descriptors) {
            self.refuse(program, serial, errno, &text);
        }
    }

    fn request(
        &mut self,
        now: Instant,
        call: Call,
        request: Request,
        descriptors: Option<Descriptors>,
    ) -> Result<(), Refused> {
        let reply = match request {
            Request::Hello(hello) => return self.hello(now, call, &hello),
            Request::OpenSession(open) => return self.open_session(now, call, open, descriptors),
            Request::CloseSession(close) => {
                Some(self.close_session(now, call.program, close.session)?)
            }
            Request::Accept(accept) => {
                self.accepted(now, call, &accept);
                None
            }
            Request::Refuse(refuse) => {
                self.refused(now, call, refuse.errno);
                None
            }
            Request::Suspect(suspect) => {
                let session = self.processes.sessions.get(suspect.session);
                let own = session.filter(|session| session.program == call.program);
                if let Some(node) = own.map(|session| session.node)
                    && self.may_suspect(now, call.program)
                {
                    self.network.suspect(now, node);
                }
                None
            }
            Request::Policy(nd) => Some(Reply::Policy(system::Policy {
                text: self.network.policy_text(nd)?,
            })),
            Request::Traffic(traffic) => {
                self.traffic(now, call.program, &traffic);
                None
            }
            Request::Sockets(own) => {
                self.sockets(now, call.program, &own);
                None
            }
            Request::TookLanes(own) => {
                self.took_lanes(now, call, &own);
                None
            }
            Request::Relay => return self.relay(call, descriptors),
            Request::Narrow(narrow) => return self.narrow(call, &narrow),
            Request::RemoteNd(remote) => self.remote_nd(now, call, remote)?,
            Request::Query(query) => return self.query(now, call, &query),
            Request::Attach(_) | Request::Detach(_) | Request::Link(_) | Request::Unlink(_) => {
                Some(self.change_names(now, call.program, &request)?)
            }
            Request::Resolve(_)
            | Request::Network(_)
            | Request::Lookup(_)
            | Request::List(_)
            | Request::Stat(_) => self.ask_names(now, call, request)?,
            Request::Rights | Request::SetRights(_) | Request::Why(_) | Request::Denied(_) => {
                self.manage_rights(now, call, &request)?
            }
            Request::Invite(_) | Request::Join(_) | Request::Forget(_) | Request::Shutdown => {
                self.manage(now, call, &request)?
            }
        };
        if let Some(reply) = reply {
            self.reply(call.program, call.serial, &reply);
        }
        Ok(())
    }

    fn hello(&mut self, now: Instant, call: Call, hello: &Hello) -> Result<(), Refused> {
        let Call { program, serial } = call;
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
        let welcome = Reply::Welcome(Welcome {
            version: system::VERSION,
            pid,
            node: self.config.name,
            incarnation: self.config.incarnation,
            links: self.links(),
        });
        self.send(program, serial, &welcome, Attached::NodePage);
        self.adopt_sessions(now, program, pid, &hello.sessions);
        Ok(())
    }

    /// Sends a program's question to another node; the answer comes as an event.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        call: Call,
        nd: Nd,
        request: &PeerRequest,
    ) -> Result<(), Refused> {
        let Call { program, serial } = call;
        self.may_wait(program)?;
        self.may_reach_nd(now, program, nd)?;
        self.ask(
            now,
            nd.node(),
            Ask::Forwarded {
                program,
                serial,
                nd,
            },
            request,
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

    /// As whom a program connected.
    pub(super) fn user(&self, program: ProgramKey) -> Uid {
        let known = self.processes.programs.get(program);
        known.map_or(Uid(u32::MAX), |known| known.caller.uid)
    }

    pub(super) fn pid(&self, program: ProgramKey) -> Pid {
        self.processes
            .programs
            .get(program)
            .and_then(|known| known.pid)
            .unwrap_or_default()
    }
}
