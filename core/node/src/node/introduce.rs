//! Introductions: a client wants a session, its server takes it, both get what they need.

use alloc::string::String;
use alloc::vec::Vec;

use abi::system::peer::{Accepted, PeerReply};
use abi::system::{
    Accept, Lane, Notice, Offer, OpenSession, Reply, SessionRole, SocketOnLink, Ticket,
};
use abi::{Credentials, Errno, Incarnation, Instant, Nd, Pid};
use rights::Operation;
use transport::config::SLOTS_MAX;

use super::Node;
use super::offers::{Client, Pending};
use super::requests::{Call, Refused, plainly};
use crate::interface::{Attached, Descriptors, ProgramKey};
use crate::limits::{LINKS_MAX, OFFER_WAIT, SESSIONS_PER_PROGRAM};
use crate::network_manager::lanes::{self, LanePlan};
use crate::process_manager::sessions::Session;

impl Node {
    pub(super) fn open_session(
        &mut self,
        now: Instant,
        call: Call,
        open: OpenSession,
        descriptors: Option<Descriptors>,
    ) -> Result<(), Refused> {
        let credentials = match self.introducible(call.program, &open) {
            Ok(credentials) => credentials,
            Err(refused) => {
                self.discard(descriptors);
                return Err(refused);
            }
        };
        if !open.nd.is_local() {
            self.discard(descriptors);
            return self.introduce_far(now, call, open, credentials);
        }
        let outcome = self.offer_locally(now, call, &open, credentials, descriptors);
        if outcome.is_err() {
            self.discard(descriptors);
        }
        outcome
    }

    /// Who the client may speak as, if it may have another session at all.
    fn introducible(
        &self,
        program: ProgramKey,
        open: &OpenSession,
    ) -> Result<Credentials, Refused> {
        self.may_wait(program)?;
        if self.processes.sessions.of_program(program).count() >= SESSIONS_PER_PROGRAM {
            return Err(plainly(Errno::ENOSPC));
        }
        if open.pid == Pid::PROCESS_MANAGER {
            let text = "the process manager is asked over the node's socket, not by a session";
            return Err((Errno::EINVAL, String::from(text)));
        }
        let known = self
            .processes
            .programs
            .get(program)
            .ok_or_else(|| plainly(Errno::ESRCH))?;
        let caller = &known.caller;
        let mut credentials = Credentials::new(
            Nd::LOCAL,
            known.pid.unwrap_or_default(),
            caller.uid,
            caller.gid,
        );
        credentials.groups = caller.groups.clone();
        if let Some(identity) = &open.identity {
            self.must_manage(program, "speak for another user")?;
            credentials.uid = identity.uid;
            credentials.gid = identity.gid;
            credentials.groups = identity.groups.clone();
        }
        credentials.groups.truncate(abi::limits::GROUPS_MAX);
        Ok(credentials)
    }

    fn offer_locally(
        &mut self,
        now: Instant,
        call: Call,
        open: &OpenSession,
        credentials: Credentials,
        descriptors: Option<Descriptors>,
    ) -> Result<(), Refused> {
        let Call { program, serial } = call;
        let Some(memory) = descriptors.filter(|d| d.count == 1) else {
            let text = "a session on one node needs its memory: one memfd";
            return Err((Errno::EINVAL, String::from(text)));
        };
        let server = self
            .processes
            .programs
            .with_pid(open.pid)
            .ok_or_else(|| plainly(Errno::ESRCH))?;
        if self.processes.sessions.of_program(server).count() >= SESSIONS_PER_PROGRAM {
            return Err(plainly(Errno::EAGAIN));
        }
        let incarnation = |key| {
            self.processes
                .programs
                .get(key)
                .map_or(Incarnation(0), |known| known.incarnation)
        };
        let (client_life, server_life) = (incarnation(program), incarnation(server));
        let (peer, local) = (self.fresh_session(), self.fresh_session());
        let client = Client::Program {
            key: program,
            serial,
            pid: credentials.pid,
            nd: open.nd,
        };
        let user = credentials.uid;
        self.must_have_right(now, (0, user), Operation::Look, b"/")
            .map_err(plainly)?;
        let mut offer = Offer {
            user,
            rights: self.rights_bytes(0, user),
            local,
            peer,
            incarnation: client_life,
            secret: None,
            lanes: Vec::new(),
            credentials,
            proof: [0; 16],
        };
        let pending = Pending {
            server,
            server_pid: open.pid,
            incarnation: server_life,
            local,
            peer,
            uid: offer.credentials.uid,
            user,
            rights: self.rights.generation(),
            client,
            lanes: Vec::new(),
            doorbells: Some(memory),
            deadline: now.checked_add(OFFER_WAIT).unwrap_or(now),
        };
        offer.proof = self.proof(&pending.server_end(now, 0, offer.credentials.pid));
        let number = self.offers.add(pending);
        if let Some(known) = self.processes.programs.get_mut(program) {
            known.waiting += 1;
        }
        self.send(
            server,
            number,
            &Notice::Offer(offer),
            Attached::WithDoorbells(memory),
        );
        Ok(())
    }

    /// A program may name only its own ports on this node's links: the peer will send packets there.
    pub(super) fn checked_sockets(
        &self,
        sockets: &[SocketOnLink],
    ) -> Result<Vec<SocketOnLink>, Refused> {
        let own = |socket: &SocketOnLink| {
            let link = self.config.links.get(usize::from(socket.link));
            link.is_some_and(|link| lanes::same_host(&link.address, &socket.address))
        };
        if sockets.len() > LINKS_MAX || !sockets.iter().all(own) {
            let text = "a socket is not on the link that it is said to be on";
            return Err((Errno::EADDRNOTAVAIL, String::from(text)));
        }
        Ok(sockets.to_vec())
    }

    /// A server takes an offer.
    pub(super) fn accepted(&mut self, now: Instant, call: Call, accept: &Accept) {
        let Call { program, serial } = call;
        let offered = self.offers.by_serial.get(&serial);
        if offered.is_none_or(|pending| pending.server != program) {
            return;
        }
        let Some(pending) = self.offers.take(serial) else {
            return;
        };
        let Some(lanes) = self.granted_lanes(&pending, accept) else {
            self.refuse_client(now, &pending, Errno::EBADMSG);
            return self.notify_death(
                &[(program, pending.local)],
                abi::system::DeathCause::Session,
            );
        };
        let (server_end, told) = (pending.local, pending.rights);
        match pending.client {
            Client::Program {
                key,
                serial,
                pid,
                nd,
            } => {
                let proof = self.conclude_locally(now, &pending, key, pid);
                let ticket = Ticket {
                    local: pending.peer,
                    peer: pending.local,
                    nd,
                    pid: pending.server_pid,
                    incarnation: pending.incarnation,
                    secret: None,
                    lanes,
                    slots: accept.slots,
                    unscheduled: accept.unscheduled,
                    proof,
                };
                self.no_longer_waiting(key);
                self.hand_over(key, serial, ticket, pending.doorbells);
            }
            Client::Peer {
                node,
                incoming,
                pid,
                nonce,
            } => {
                let taken = |lane: &Lane| accept.sockets.iter().any(|s| s.link == lane.link);
                let ours = pending.lanes.iter().map(LanePlan::for_server);
                let ours: Vec<Lane> = ours.filter(taken).collect();
                self.processes.sessions.insert(Session {
                    lanes: ours.clone(),
                    ..pending.server_end(now, node, pid)
                });
                self.route(pending.local, &ours);
                let accepted = Accepted {
                    server: pending.local,
                    nonce,
                    incarnation: pending.incarnation,
                    lanes,
                    slots: accept.slots,
                    unscheduled: accept.unscheduled,
                };
                self.network
                    .answer(now, incoming, &PeerReply::Accepted(accepted));
            }
        }
        // The rules may have changed since the offer.
        if told != self.rights.generation() {
            self.tell_rights(&[server_end]);
        }
    }

    fn hand_over(
        &mut self,
        client: ProgramKey,
        serial: u32,
        ticket: Ticket,
        doorbells: Option<Descriptors>,
    ) {
        match doorbells {
            Some(doorbells) if self.awaits(client, serial) => self.send(
                client,
                serial,
                &Reply::Ticket(ticket),
                Attached::Passed(doorbells),
            ),
            _ => self.discard(doorbells),
        }
    }

    /// The lanes as the client sees them, if the server's answer makes sense.
    fn granted_lanes(&self, pending: &Pending, accept: &Accept) -> Option<Vec<Lane>> {
        if !(1..=SLOTS_MAX).contains(&accept.slots) {
            return None;
        }
        let sockets = self.checked_sockets(&accept.sockets).ok()?;
        let planned = pending.lanes.iter();
        let lanes: Vec<Lane> = planned
            .filter_map(|plan| plan.for_client(&sockets))
            .collect();
        // A server that has no socket on some link has fewer lanes, but not none.
        (pending.lanes.is_empty() || !lanes.is_empty()).then_some(lanes)
    }

    /// Notes both ends; gives the proof for the client's.
    fn conclude_locally(
        &mut self,
        now: Instant,
        pending: &Pending,
        client: ProgramKey,
        pid: Pid,
    ) -> [u8; 16] {
        if self.processes.programs.get(client).is_none() {
            let gone = [(pending.server, pending.local)];
            self.notify_death(&gone, abi::system::DeathCause::Process);
            return [0; 16];
        }
        let server_end = pending.server_end(now, 0, pid);
        let client_end = Session {
            local: pending.peer,
            peer: pending.local,
            role: SessionRole::Client,
            program: client,
            pid,
            peer_pid: pending.server_pid,
            ..server_end.clone()
        };
        let proof = self.proof(&client_end);
        self.processes.sessions.insert(server_end);
        self.processes.sessions.insert(client_end);
        proof
    }

    /// A server does not want a session.
    pub(super) fn refused(&mut self, now: Instant, call: Call, errno: Errno) {
        let Call { program, serial } = call;
        if self
            .offers
            .by_serial
            .get(&serial)
            .is_some_and(|pending| pending.server == program)
            && let Some(pending) = self.offers.take(serial)
        {
            self.refuse_client(now, &pending, errno);
        }
    }

    fn refuse_client(&mut self, now: Instant, pending: &Pending, errno: Errno) {
        self.discard(pending.doorbells);
        match pending.client {
            Client::Program { key, serial, .. } => {
                self.no_longer_waiting(key);
                self.refuse(key, serial, errno, errno.text());
            }
            Client::Peer { incoming, .. } => self.network.refuse(now, incoming, errno),
        }
    }

    pub(super) fn no_longer_waiting(&mut self, program: ProgramKey) {
        if let Some(known) = self.processes.programs.get_mut(program) {
            known.waiting = known.waiting.saturating_sub(1);
        }
    }

    pub(super) fn expire_offers(&mut self, now: Instant) {
        for serial in self.offers.matching(|pending| pending.deadline <= now) {
            if let Some(pending) = self.offers.take(serial) {
                self.refuse_client(now, &pending, Errno::ETIMEDOUT);
                self.notify_death(
                    &[(pending.server, pending.local)],
                    abi::system::DeathCause::Session,
                );
            }
        }
    }

    /// The server of these offers is gone.
    pub(super) fn drop_offers_to(&mut self, now: Instant, program: ProgramKey) {
        for serial in self.offers.matching(|pending| pending.server == program) {
            if let Some(pending) = self.offers.take(serial) {
                self.refuse_client(now, &pending, Errno::ESRCH);
            }
        }
    }

    /// A node is not trusted any more: its clients get no answers.
    pub(super) fn drop_offers_from(&mut self, peer: u16) {
        for serial in self
            .offers
            .matching(|p| matches!(p.client, Client::Peer { node, .. } if node == peer))
        {
            if let Some(pending) = self.offers.take(serial) {
                let gone = [(pending.server, pending.local)];
                self.notify_death(&gone, abi::system::DeathCause::Session);
            }
        }
    }
}
