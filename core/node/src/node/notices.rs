//! Who has to be told when something ends: a program, a session, a node, the trust in one.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use abi::system::peer::{Check, Ended, PeerRequest, SessionPair};
use abi::system::{self, Death, DeathCause, Notice, Reply, Revoke, Verify};
use abi::{Duration, Instant, SessionId};

use super::Node;
use super::peer_answers::Ask;
use super::requests::{Refused, plainly};
use crate::interface::{Attached, Level, Output, ProgramKey};
use crate::limits::{NEWS_BURST, NEWS_PER_SECOND, RETURN_GRACE, SESSIONS_PER_MESSAGE};
use crate::network_manager::Life;
use crate::process_manager::sessions::Session;

impl Node {
    pub(super) fn disconnected_by_us(&mut self, now: Instant, program: ProgramKey) {
        self.outputs.push_back(Output::Disconnect(program));
        self.disconnected(now, program);
    }

    /// A program is gone: its prefixes vanish, and whoever it talked to is told.
    pub(super) fn disconnected(&mut self, now: Instant, program: ProgramKey) {
        let Some(gone) = self.processes.programs.disconnect(program) else {
            return;
        };
        let had_names = !gone.prefixes.is_empty();
        for id in gone.prefixes {
            self.processes.names.detach(id);
        }
        self.drop_offers_to(now, program);
        self.forget_sockets(now, program);
        let sessions: Vec<Session> = self
            .processes
            .sessions
            .of_program(program)
            .cloned()
            .collect();
        self.end_sessions(now, sessions, DeathCause::Process);
        self.talked.retain(|(talker, _)| *talker != program);
        if had_names {
            self.outputs.push_back(Output::NamesChanged);
            self.tell_watchers();
        }
    }

    pub(super) fn close_session(
        &mut self,
        now: Instant,
        program: ProgramKey,
        id: SessionId,
    ) -> Result<Reply, Refused> {
        let session = self
            .processes
            .sessions
            .get(id)
            .filter(|session| session.program == program);
        let session = session.cloned().ok_or_else(|| plainly(abi::Errno::EBADF))?;
        self.end_sessions(now, [session], DeathCause::Session);
        Ok(Reply::Done)
    }

    /// Forgets sessions whose end here is over, and tells their other ends.
    fn end_sessions(
        &mut self,
        now: Instant,
        sessions: impl IntoIterator<Item = Session>,
        cause: DeathCause,
    ) {
        let mut near = Vec::new();
        let mut far: BTreeMap<u16, Vec<SessionPair>> = BTreeMap::new();
        for session in sessions {
            self.processes.sessions.remove(session.local);
            if session.node != 0 {
                self.talked.insert((session.program, session.node));
                far.entry(session.node).or_default().push(session.pair());
            } else if self
                .processes
                .sessions
                .get(session.peer)
                .is_some_and(|other| other.peer == session.local)
                && let Some(other) = self.processes.sessions.remove(session.peer)
            {
                near.push((other.program, other.local));
            }
        }
        self.notify_death(&near, cause);
        for (node, pairs) in far {
            self.tell_ended(now, node, pairs, cause);
        }
    }

    /// Tells another node that sessions are over. If it cannot be reached now, it will ask when it is back.
    pub(super) fn tell_ended(
        &mut self,
        now: Instant,
        node: u16,
        pairs: Vec<SessionPair>,
        cause: DeathCause,
    ) {
        for chunk in pairs.chunks(SESSIONS_PER_MESSAGE) {
            let request = PeerRequest::Ended(Ended {
                sessions: chunk.to_vec(),
                cause,
            });
            if self.ask(now, node, Ask::Told, &request).is_err() {
                self.log(
                    Level::Debug,
                    format!("node {node} is not told of ended sessions: not reachable"),
                );
            }
        }
    }

    /// Tells programs that the other ends of these sessions are gone for sure.
    pub(super) fn notify_death(&mut self, gone: &[(ProgramKey, SessionId)], cause: DeathCause) {
        self.notify(gone, |sessions| Notice::Death(Death { sessions, cause }));
    }

    fn notify(
        &mut self,
        gone: &[(ProgramKey, SessionId)],
        notice: impl Fn(Vec<SessionId>) -> Notice,
    ) {
        let mut by_program: BTreeMap<ProgramKey, Vec<SessionId>> = BTreeMap::new();
        for &(program, session) in gone {
            by_program.entry(program).or_default().push(session);
        }
        for (program, sessions) in by_program {
            if self.processes.programs.get(program).is_none() {
                continue;
            }
            for chunk in sessions.chunks(SESSIONS_PER_MESSAGE) {
                self.send(
                    program,
                    system::UNSOLICITED,
                    &notice(chunk.to_vec()),
                    Attached::Nothing,
                );
            }
        }
    }

    /// The time to come back is over: whoever is missing is gone.
    pub(super) fn look_for_lost_sessions(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for id in self.processes.sessions.half_local() {
            if let Some(session) = self.processes.sessions.remove(id) {
                lost.push((session.program, id));
            }
        }
        self.notify_death(&lost, DeathCause::Process);
        let nodes: Vec<u16> = self.network.numbers().collect();
        for node in nodes {
            self.check_sessions(now, node);
        }
    }

    /// Asks another node which of the sessions with it have lost their other end.
    pub(super) fn check_sessions(&mut self, now: Instant, node: u16) {
        let pairs: Vec<SessionPair> = self
            .processes
            .sessions
            .with_node(node)
            .map(Session::pair)
            .collect();
        for chunk in pairs.chunks(SESSIONS_PER_MESSAGE) {
            let request = PeerRequest::Check(Check {
                sessions: chunk.to_vec(),
            });
            if self.ask(now, node, Ask::Checked, &request).is_err() {
                self.log(
                    Level::Debug,
                    format!("node {node} cannot be asked for its sessions now"),
                );
            }
        }
    }

    /// Another node has lost these ends.
    pub(super) fn other_ends_gone(
        &mut self,
        node: u16,
        sessions: &[SessionPair],
        cause: DeathCause,
    ) {
        let mut gone = Vec::new();
        for &pair in sessions {
            let known = self
                .processes
                .sessions
                .named(node, pair)
                .map(|session| session.local);
            if let Some(session) = known.and_then(|id| self.processes.sessions.remove(id)) {
                self.talked.insert((session.program, node));
                gone.push((session.program, session.local));
            }
        }
        self.notify_death(&gone, cause);
    }

    pub(super) fn peer_up(&mut self, now: Instant, peer: u16, life: Life) {
        let name = self.network.name_of(peer);
        self.log(Level::Info, format!("{name} is up"));
        if life == Life::AnotherBoot {
            self.log(
                Level::Warn,
                format!("{name} was started anew: its sessions are gone"),
            );
            let pairs: Vec<SessionPair> = self
                .processes
                .sessions
                .with_node(peer)
                .map(|session| SessionPair {
                    mine: session.peer,
                    yours: session.local,
                })
                .collect();
            self.other_ends_gone(peer, &pairs, DeathCause::Node);
        }
        let patience = match life {
            Life::Same => Duration::ZERO,
            // A daemon that has just started knows its programs only when they have come back to it.
            Life::AnotherDaemon | Life::AnotherBoot => {
                self.outputs.push_back(Output::NamesChanged);
                RETURN_GRACE
            }
        };
        self.schedule_check(now, peer, patience);
    }

    pub(super) fn peer_silent(&mut self, peer: u16) {
        let name = self.network.name_of(peer);
        self.log(Level::Warn, format!("{name} does not answer"));
        let sessions: Vec<(ProgramKey, SessionId)> = self
            .processes
            .sessions
            .with_node(peer)
            .map(|session| (session.program, session.local))
            .collect();
        self.notify(&sessions, |sessions| Notice::Verify(Verify { sessions }));
        self.outputs.push_back(Output::NamesChanged);
    }

    pub(super) fn trusted(&mut self, now: Instant, peer: u16, promised: Option<ProgramKey>) {
        let name = self.network.name_of(peer);
        self.log(Level::Info, format!("{name} is trusted now"));
        self.keep(now, promised);
        self.outputs.push_back(Output::NamesChanged);
    }

    /// Ends the trust in a node: nothing of its sessions may go on.
    pub(super) fn end_trust(&mut self, now: Instant, peer: u16, promised: ProgramKey) {
        let sessions: Vec<Session> = self.processes.sessions.with_node(peer).cloned().collect();
        let mut revoked = Vec::new();
        for session in &sessions {
            self.processes.sessions.remove(session.local);
            revoked.push((session.program, session.local));
        }
        self.notify(&revoked, |sessions| Notice::Revoke(Revoke { sessions }));
        self.drop_offers_from(peer);
        self.watchers.remove(&peer);
        self.network.forget(now, peer);
        self.keep(now, Some(promised));
        self.outputs.push_back(Output::NamesChanged);
        self.tell_watchers();
    }

    /// Nodes that asked for names here learn that their answers may be old. Told once; they ask again if they care.
    pub(super) fn tell_watchers(&mut self) {
        self.news.append(&mut self.watchers);
    }

    /// Another node says that names have changed there. Programs forget what they know of all names then, so those who say
    /// it all the time are not heard at once.
    pub(super) fn far_names_changed(&mut self, now: Instant) {
        if self.far_news.take(now, NEWS_BURST, NEWS_PER_SECOND) {
            self.outputs.push_back(Output::NamesChanged);
        } else if self.far_news_at.is_none() {
            self.far_news_at = now.checked_add(Duration::from_secs(1) / NEWS_PER_SECOND);
        }
    }

    pub(super) fn send_news(&mut self, now: Instant) {
        for peer in core::mem::take(&mut self.news) {
            // A node that cannot be told learns it when it asks again: its programs keep remote names for a second.
            if self.network.is_up(peer)
                && self
                    .ask(now, peer, Ask::Told, &PeerRequest::Changed)
                    .is_err()
            {
                self.log(
                    Level::Debug,
                    format!("node {peer} is not told of changed names"),
                );
            }
        }
    }

    pub(super) fn say_goodbye(&mut self, now: Instant) {
        let nodes: Vec<u16> = self
            .network
            .numbers()
            .filter(|&peer| self.network.is_up(peer))
            .collect();
        for peer in nodes {
            if self
                .ask(now, peer, Ask::Told, &PeerRequest::Goodbye)
                .is_err()
            {
                self.log(Level::Debug, format!("node {peer} is not told goodbye"));
            }
        }
    }
}
