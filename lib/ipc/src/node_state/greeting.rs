//! The first words between a program and its daemon.

use std::os::fd::OwnedFd;

use abi::system::{self, Hello, LiveSession, Reply, Request, SessionRole, Welcome};
use abi::{Errno, NodeName, Pid, Result};
use transport::Role;

use super::{Asker, Pending};
use crate::node_socket::{NodeSocket, Packet};
use crate::shared::State;

impl State {
    /// What to say to a daemon that does not know us, or not any more.
    pub(super) fn hello(&self, previous: Pid) -> Hello {
        let sessions = self.sessions.iter().filter_map(|session| {
            let node = match session.nd {
                nd if nd.is_local() => None,
                nd => {
                    let name = self.node.old_sessions.get(&session.local);
                    Some(*name.or_else(|| self.node.names.get(&nd.node()))?)
                }
            };
            let role = match session.role() {
                Role::Client => SessionRole::Client,
                Role::Server => SessionRole::Server,
            };
            let (local, peer, pid) = (session.local, session.remote(), session.pid);
            Some(LiveSession {
                local,
                peer,
                role,
                node,
                pid,
                lanes: session.known_lanes(),
                user: session.client_user(),
                proof: session.proof,
            })
        });
        Hello {
            version: system::VERSION,
            program: program_name(),
            previous,
            sessions: sessions.collect(),
        }
    }

    /// Claims prefixes again and repeats requests that the last daemon has not answered.
    pub(super) fn claim_again(&mut self) {
        let Some(mut socket) = self.node.socket.take() else {
            return;
        };
        self.node
            .pending
            .retain(|pending| matches!(pending.asker, Asker::Thread(_)));
        let claims: Vec<_> = self
            .node
            .prefixes
            .iter()
            .map(|prefix| (prefix.id, prefix.attach.clone()))
            .collect();
        for (id, attach) in claims {
            let serial = self.node.serial();
            let Ok(bytes) = system::packet(serial, &Request::Attach(attach)) else {
                continue;
            };
            let packet = Packet {
                bytes,
                descriptors: Vec::new(),
            };
            let _ = socket.send(packet.clone());
            let asker = Asker::Prefix(id);
            self.node.pending.push(Pending {
                serial,
                packet,
                asker,
                answer: None,
            });
        }
        for pending in &self.node.pending {
            if pending.answer.is_none() && matches!(pending.asker, Asker::Thread(_)) {
                let _ = socket.send(pending.packet.clone());
            }
        }
        self.node.socket = Some(socket);
    }
}

/// A daemon that has said its first words.
pub(super) struct Greeted {
    pub(super) socket: NodeSocket,
    pub(super) welcome: Welcome,
    pub(super) page: OwnedFd,
}

pub(super) fn greet(directory: &std::path::Path, hello: &Hello) -> Result<Greeted> {
    let mut socket = NodeSocket::connect(directory)?;
    let bytes = system::packet(HELLO_SERIAL, &Request::Hello(hello.clone()))
        .map_err(|_| Errno::EMSGSIZE)?;
    let (len, descriptors) = socket.exchange(&Packet {
        bytes,
        descriptors: Vec::new(),
    })?;
    let (_, reply) = system::unpack::<Reply>(socket.bytes(len)).map_err(|_| Errno::EPROTO)?;
    match reply {
        Ok(Reply::Welcome(welcome)) => {
            let page = descriptors.into_iter().next().ok_or(Errno::EPROTO)?;
            Ok(Greeted {
                socket,
                welcome,
                page,
            })
        }
        Ok(Reply::Error(refusal)) => Err(refusal.errno),
        Ok(_) | Err(_) => Err(Errno::EPROTO),
    }
}

/// What an endpoint believes before its daemon has told it.
pub(super) fn unknown_name() -> Result<NodeName> {
    NodeName::parse("unknown").map_err(Errno::from)
}

/// What tables call this program.
fn program_name() -> Vec<u8> {
    // What the process calls itself, which a program with several tasks sets to the task; else how it was called.
    if let Ok(mut name) = std::fs::read("/proc/self/comm") {
        name.truncate(name.trim_ascii_end().len());
        return name;
    }
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().unwrap_or_default();
    let mut name = name.as_encoded_bytes().to_vec();
    name.truncate(255);
    name
}

/// Serial of the first packet.
const HELLO_SERIAL: u32 = u32::MAX;
