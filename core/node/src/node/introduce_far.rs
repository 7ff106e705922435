//! Introductions between programs of two nodes.

use alloc::string::String;
use alloc::vec::Vec;

use abi::system::peer::{Accepted, Introduce, Mtu, PeerRequest};
use abi::system::{Lane, Notice, Offer, OpenSession, Reply, SessionRole, SessionSecret, Ticket};
use abi::{Credentials, Encode, Errno, Incarnation, Instant, Nd, SessionId};
use rights::Operation;
use transport::IncomingKey;
use transport::config::SLOTS_MAX;

use super::Node;
use super::offers::{Client, Pending};
use super::peer_answers::Ask;
use super::requests::{Call, Refused, plainly};
use crate::interface::{Attached, ProgramKey};
use crate::limits::{LINKS_MAX, OFFER_WAIT, OFFERS_PER_PEER, SESSIONS_PER_PROGRAM};
use crate::network_manager::lanes::{LanePlan, is_protected};
use crate::process_manager::sessions::Session;

impl Node {
    pub(super) fn introduce_far(
        &mut self,
        now: Instant,
        call: Call,
        open: OpenSession,
        credentials: Credentials,
    ) -> Result<(), Refused> {
        let Call { program, serial } = call;
        let node = open.nd.node();
        self.may_reach_nd(now, program, open.nd)?;
        // The policy in the node descriptor is for the connections of the session, which has all lanes.
        self.network.policy_text(open.nd)?;
        let sockets = self.checked_sockets(&open.sockets)?;
        self.extensions.learn(program, &sockets);
        if sockets.is_empty() {
            let text = "the program has no socket on any link";
            return Err((Errno::EHOSTUNREACH, String::from(text)));
        }
        let mtu = sockets
            .iter()
            .map(|s| Mtu {
                bytes: self.config.links[usize::from(s.link)].mtu,
            })
            .collect();
        let incarnation = self
            .processes
            .programs
            .get(program)
            .map_or(Incarnation(0), |p| p.incarnation);
        let introduce = Introduce {
            client: self.fresh_session(),
            nonce: self.network.nonce(),
            credentials,
            incarnation,
            target: open.pid,
            sockets,
            mtu,
        };
        let request = PeerRequest::Introduce(introduce.clone());
        let ask = Ask::Introduced {
            program,
            serial,
            nd: open.nd,
            introduce: alloc::boxed::Box::new(introduce),
        };
        self.ask(now, node, ask, &request).map_err(plainly)?;
        if let Some(known) = self.processes.programs.get_mut(program) {
            known.waiting += 1;
        }
        Ok(())
    }

    /// Another node introduces a client.
    pub(super) fn peer_introduces(
        &mut self,
        now: Instant,
        node: u16,
        incoming: IncomingKey,
        introduce: &Introduce,
    ) -> Result<(), Errno> {
        if self.offers.of_node(node) >= OFFERS_PER_PEER {
            return Err(Errno::EAGAIN);
        }
        let server = self
            .processes
            .programs
            .with_pid(introduce.target)
            .ok_or(Errno::ESRCH)?;
        if introduce.client.0 == 0 || introduce.sockets.len() != introduce.mtu.len() {
            return Err(Errno::EBADMSG);
        }
        if self.processes.sessions.of_program(server).count() >= SESSIONS_PER_PROGRAM {
            return Err(Errno::EAGAIN);
        }
        let user = introduce.credentials.uid;
        self.must_have_right(now, (node, user), Operation::Look, b"/")?;
        let credentials = self.network.map_identity(node, &introduce.credentials)?;
        let lanes = self.network.plan_lanes(incoming.session(), introduce);
        if lanes.is_empty() {
            return Err(Errno::EHOSTUNREACH);
        }
        let (local, nonce) = (self.fresh_session(), self.network.nonce());
        let binding = binding(introduce, local, &nonce);
        let secret = self
            .network
            .session_secret(incoming.session(), &binding)
            .ok_or(Errno::ESTALE)?;
        let incarnation = self
            .processes
            .programs
            .get(server)
            .map_or(Incarnation(0), |known| known.incarnation);
        let mut offer = Offer {
            user,
            rights: self.rights_bytes(node, user),
            local,
            peer: introduce.client,
            incarnation: introduce.incarnation,
            secret: Some(secret),
            lanes: lanes.iter().map(LanePlan::for_server).collect(),
            credentials,
            proof: [0; 16],
        };
        let pending = Pending {
            server,
            server_pid: introduce.target,
            incarnation,
            local,
            peer: introduce.client,
            uid: offer.credentials.uid,
            user,
            rights: self.rights.generation(),
            client: Client::Peer {
                node,
                incoming,
                pid: introduce.credentials.pid,
                nonce,
            },
            lanes,
            doorbells: None,
            deadline: now.checked_add(OFFER_WAIT).unwrap_or(now),
        };
        offer.proof = self.proof(&pending.server_end(now, node, introduce.credentials.pid));
        let number = self.offers.add(pending);
        self.send(server, number, &Notice::Offer(offer), Attached::Nothing);
        Ok(())
    }

    /// The other node took the introduction: the client gets its ticket.
    pub(super) fn introduced(
        &mut self,
        now: Instant,
        client: (ProgramKey, u32, Nd),
        introduce: &Introduce,
        accepted: &Accepted,
        session: transport::SessionKey,
    ) {
        let (program, serial, nd) = client;
        self.no_longer_waiting(program);
        let binding = binding(introduce, accepted.server, &accepted.nonce);
        let secret: Option<SessionSecret> = self.network.session_secret(session, &binding);
        let ours = |lane: &Lane| {
            introduce
                .sockets
                .iter()
                .any(|socket| socket.link == lane.link)
        };
        let protected = |lane: &Lane| is_protected(&self.config.links, lane);
        let sound = !accepted.lanes.is_empty()
            && accepted.lanes.len() <= LINKS_MAX
            && accepted.lanes.iter().all(ours)
            && accepted.lanes.iter().all(protected)
            && (1..=SLOTS_MAX).contains(&accepted.slots)
            && accepted.server.0 != 0;
        let alive = self.processes.programs.get(program).is_some();
        let entry = Session {
            local: introduce.client,
            peer: accepted.server,
            role: SessionRole::Client,
            program,
            pid: introduce.credentials.pid,
            node: nd.node(),
            peer_pid: introduce.target,
            uid: introduce.credentials.uid,
            user: introduce.credentials.uid,
            since: now,
            lanes: accepted.lanes.clone(),
        };
        let Some(secret) = secret.filter(|_| sound && alive) else {
            self.tell_ended(
                now,
                nd.node(),
                alloc::vec![entry.pair()],
                abi::system::DeathCause::Process,
            );
            return self.refuse(
                program,
                serial,
                Errno::EPROTO,
                "the other node's answer makes no sense",
            );
        };
        let proof = self.proof(&entry);
        self.processes.sessions.insert(entry);
        self.route(introduce.client, &accepted.lanes);
        let ticket = Ticket {
            local: introduce.client,
            peer: accepted.server,
            nd,
            pid: introduce.target,
            incarnation: accepted.incarnation,
            secret: Some(secret),
            lanes: accepted.lanes.clone(),
            slots: accepted.slots,
            unscheduled: accepted.unscheduled,
            proof,
        };
        self.reply(program, serial, &Reply::Ticket(ticket));
    }
}

/// What a session's key is bound to: who the client is, whom it wants, and both ends' fresh numbers. If the two nodes
/// do not agree on every byte of it, nothing decrypts.
fn binding(introduce: &Introduce, server: SessionId, nonce: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = abi::Writer::growing(&mut bytes);
    introduce.encode(&mut w);
    server.encode(&mut w);
    w.bytes(nonce);
    bytes
}
