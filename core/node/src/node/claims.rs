//! Sessions that outlive their node daemon: programs come back and claim them, with the proof that their node gave them.

use alloc::vec::Vec;

use abi::system::{DeathCause, LiveSession, SessionRole};
use abi::{Encode, Instant, Pid, SessionId, Uid, Writer};

use super::Node;
use crate::crypto::same;
use crate::interface::ProgramKey;
use crate::process_manager::sessions::Session;

impl Node {
    /// What a process shows to a later run of this node if it wants to keep its end of a session: nobody else can make
    /// it, and no other process is believed with it. Whoever may claim a session is told the client's rights and counts
    /// its denials, so no process may claim what was never its own.
    pub(super) fn proof(&self, session: &Session) -> [u8; 16] {
        let mut bytes = Vec::new();
        let mut w = Writer::growing(&mut bytes);
        if let Some(known) = self.processes.programs.get(session.program) {
            w.u64(self.config.boot);
            known.caller.pid.encode(&mut w);
            w.u64(known.caller.started);
        }
        w.u8(match session.role {
            SessionRole::Client => 0,
            SessionRole::Server => 1,
        });
        session.local.encode(&mut w);
        session.peer.encode(&mut w);
        session.peer_pid.encode(&mut w);
        if session.role == SessionRole::Server {
            session.user.encode(&mut w);
        }
        // A node that was forgotten and comes back under its name with another key is another node.
        if let Some(key) = self.network.key_of(session.node) {
            w.bytes(&key.0);
        }
        self.network.own_mac(&bytes)
    }

    /// Sessions of a program that was here before this daemon started. It has a while for that; what is claimed
    /// later is lost, as the other ends have been told by then.
    pub(super) fn adopt_sessions(
        &mut self,
        now: Instant,
        program: ProgramKey,
        pid: Pid,
        sessions: &[LiveSession],
    ) {
        let mut void = Vec::new();
        let mut served = Vec::new();
        for live in sessions {
            match self.claimed(now, program, pid, live) {
                Some(session) => {
                    if session.role == SessionRole::Server {
                        served.push(session.local);
                    }
                    self.processes.sessions.insert(session);
                }
                None => void.push((program, live.local)),
            }
        }
        self.notify_death(&void, DeathCause::Session);
        self.tell_rights(&served);
    }

    /// The session that a program says it has, if it had it.
    fn claimed(
        &self,
        now: Instant,
        program: ProgramKey,
        pid: Pid,
        live: &LiveSession,
    ) -> Option<Session> {
        let is_free = live.local != SessionId(0)
            && self.processes.sessions.get(live.local).is_none()
            && !self.offers.uses(live.local);
        if now >= self.knows_at || !is_free {
            return None;
        }
        let node = match &live.node {
            None => 0,
            Some(name) if *name == self.config.name => 0,
            Some(name) => self.network.number_of_name(name)?,
        };
        let session = Session {
            local: live.local,
            peer: live.peer,
            role: live.role,
            program,
            pid,
            node,
            peer_pid: live.pid,
            uid: Uid(u32::MAX),
            user: live.user,
            since: now,
            lanes: live.lanes.clone(),
        };
        same(&self.proof(&session), &live.proof).then_some(session)
    }
}
