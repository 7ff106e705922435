//! Questions and answers over the channel between two nodes.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::peer::{Introduce, PeerReply, PeerRequest};
use abi::system::{Lane, Refusal, SessionSecret};
use abi::{Credentials, Decode, Encode, Errno, Instant, Nd};
use transport::{Delivery, Event, Failure, IncomingKey, OpKey, Request, SessionKey, keys};

use super::lanes::{self, Known, LanePlan};
use super::monitor::WayState;
use super::peer::{Channel, Question, Standing};
use super::{Life, NetworkEvent, NetworkManager, OWN_TAG, Own, Tag};
use crate::interface::Level;
use crate::limits::{ASKS_PER_PEER, PEER_MESSAGE_MAX, REKEY_AFTER, SILENCE};

/// How often one question is sent again over new channels.
const TIMES_MAX: u32 = 4;
/// With this code a node closes a channel to one that it has forgotten.
pub(super) const CODE_FORGOTTEN: u16 = 2;

impl NetworkManager {
    /// Asks another node something. Exactly one [`NetworkEvent::Answered`] follows, within `wait`.
    ///
    /// # Errors
    /// ENOENT for an unknown node, EAGAIN if too many questions wait for it, EMSGSIZE.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        number: u16,
        tag: Tag,
        request: &PeerRequest,
        wait: Duration,
    ) -> Result<(), Errno> {
        let bytes = request.to_bytes()?;
        let peer = self.peers.get_mut(&number).ok_or(Errno::ENOENT)?;
        if peer.questions.len() >= ASKS_PER_PEER {
            return Err(Errno::EAGAIN);
        }
        let repeatable = !matches!(request, PeerRequest::Introduce(_) | PeerRequest::Extend(_));
        if is_use(request) {
            self.monitor.used(now, number);
        }
        let deadline = now.checked_add(wait).unwrap_or(Instant::MAX);
        peer.questions.insert(
            tag,
            Question {
                bytes,
                deadline,
                repeatable,
                sent: None,
                times: 0,
            },
        );
        self.pump(now, number);
        Ok(())
    }

    pub(super) fn ping(&mut self, now: Instant, number: u16) {
        let pinging = self
            .peers
            .get(&number)
            .is_some_and(|peer| peer.questions.keys().any(|tag| tag.0 & OWN_TAG != 0));
        if !pinging {
            self.ask_own(now, number, Own::Plain, &PeerRequest::Ping);
        }
    }

    /// Sends what waits, or gets a channel to send it over.
    pub(super) fn pump(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(channel) = peer.usable(now) else {
            if !peer.questions.is_empty() && peer.attempt.is_none() {
                self.start_handshake(now, number);
            }
            return;
        };
        let (session, old) = (
            channel.asking,
            now.saturating_since(channel.since) > REKEY_AFTER,
        );
        for (&tag, question) in peer
            .questions
            .iter_mut()
            .filter(|(_, question)| question.sent.is_none())
        {
            let request = Request {
                control: true,
                ..Request::new(
                    transport::Meta::EMPTY,
                    question.bytes.len() as u64,
                    PEER_MESSAGE_MAX,
                )
            };
            let Ok(op) = self.transport.send(now, session, request) else {
                break;
            };
            self.letters.asked(op, question.bytes.clone());
            self.by_op.insert(op, (number, tag));
            question.sent = Some((op, now));
            question.times += 1;
        }
        if old && peer.attempt.is_none() {
            self.start_handshake(now, number);
        }
    }

    pub(crate) fn answer(&mut self, now: Instant, incoming: IncomingKey, reply: &PeerReply) {
        let too_big = || PeerReply::Error(Refusal::new(Errno::EMSGSIZE, ""));
        let fitting = |bytes: &Vec<u8>| bytes.len() as u64 <= PEER_MESSAGE_MAX;
        let Some(bytes) = reply
            .to_bytes()
            .ok()
            .filter(fitting)
            .or_else(|| too_big().to_bytes().ok())
        else {
            return;
        };
        let len = bytes.len() as u64;
        self.letters.answer(incoming, bytes);
        if self.transport.reply(now, incoming, 0, len).is_err() {
            self.letters.released(incoming);
        }
        self.transport_events(now);
    }

    pub(crate) fn refuse(&mut self, now: Instant, incoming: IncomingKey, errno: Errno) {
        // If the question is gone, so is the need to refuse it.
        let _ = self.transport.fail(now, incoming, errno.number());
        self.transport_events(now);
    }

    pub(super) fn transport_events(&mut self, now: Instant) {
        while let Some(event) = self.transport.event() {
            match event {
                Event::Request {
                    incoming,
                    session,
                    len,
                    available,
                    one_way,
                    ..
                } => {
                    self.asked(now, incoming, session, len == available && !one_way);
                }
                Event::Replied { op, .. } => {
                    let bytes = self.letters.take_reply(op);
                    let reply = PeerReply::from_bytes(&bytes).map_err(|_| Errno::EBADMSG);
                    self.answered(now, op, reply);
                }
                Event::Refused { op, errno } => {
                    self.letters.take_reply(op);
                    let errno = Errno::from_wire(errno);
                    self.answered(now, op, Err(errno));
                }
                Event::Failed { op, failure } => {
                    self.letters.take_reply(op);
                    self.failed(now, op, failure);
                }
                Event::Withdrawn { incoming } => {
                    self.letters.take_incoming(incoming);
                    self.letters.released(incoming);
                }
                Event::Released { incoming } => self.letters.released(incoming),
                Event::Closed { session, code, .. } => self.session_closed(now, session, code),
                Event::Unblock { incoming, .. } => self.refuse(now, incoming, Errno::EINTR),
                Event::LaneChanged { .. }
                | Event::Transferred { .. }
                | Event::TransferFailed { .. } => {}
            }
        }
    }

    fn asked(&mut self, now: Instant, incoming: IncomingKey, session: SessionKey, whole: bool) {
        let bytes = self.letters.take_incoming(incoming);
        let Some(&number) = self.by_session.get(&session) else {
            return self.refuse(now, incoming, Errno::EACCES);
        };
        self.heard(now, number, session);
        if !whole {
            return self.refuse(now, incoming, Errno::EMSGSIZE);
        }
        match PeerRequest::from_bytes(&bytes) {
            Ok(request) => {
                if is_use(&request) {
                    self.monitor.used(now, number);
                }
                self.events.push_back(NetworkEvent::Asked {
                    peer: number,
                    incoming,
                    request: Box::new(request),
                });
            }
            Err(malformed) => {
                let name = self.name_of(number);
                self.log(
                    Level::Warn,
                    format!("{name} sends what makes no sense: {malformed}"),
                );
                self.refuse(now, incoming, Errno::EBADMSG);
            }
        }
    }

    /// An authentic packet has come from a node: it lives, and it has the keys of that channel.
    fn heard(&mut self, now: Instant, number: u16, session: SessionKey) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        peer.heard = Some(now);
        let unconfirmed = peer
            .channels
            .iter()
            .any(|c| c.answering == session && !c.confirmed);
        if unconfirmed {
            self.confirm(now, number, session);
        }
    }

    fn answered(&mut self, now: Instant, op: OpKey, answer: Result<PeerReply, Errno>) {
        let Some((number, tag)) = self.by_op.remove(&op) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        peer.heard = Some(now);
        let Some(question) = peer.questions.remove(&tag) else {
            return;
        };
        if let Some((_, sent)) = question.sent.filter(|_| question.times == 1) {
            let took = now.saturating_since(sent);
            peer.round_trip = Some(peer.round_trip.map_or(took, |best| best.min(took)));
        }
        match self.own.remove(&tag) {
            Some(Own::Lanes { channel, lanes }) if answer == Ok(PeerReply::Done) => {
                self.add_lanes(now, number, channel, &lanes);
            }
            Some(_) => {}
            None => self.events.push_back(NetworkEvent::Answered {
                peer: number,
                tag,
                session: Some(op.session()),
                answer,
            }),
        }
        self.pump(now, number);
    }

    /// The transport gave a question up: it goes over another channel, unless it may have been done already and must
    /// not be done twice.
    fn failed(&mut self, now: Instant, op: OpKey, failure: Failure) {
        let Some((number, tag)) = self.by_op.remove(&op) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(question) = peer.questions.get_mut(&tag) else {
            return;
        };
        if question.sent.is_none_or(|(sent, _)| sent != op) {
            return;
        }
        let again = question.repeatable || failure.delivery == Delivery::NotDone;
        if again && question.times < TIMES_MAX && question.deadline > now {
            question.sent = None;
            return self.pump(now, number);
        }
        self.give_up(number, tag, Errno::EHOSTDOWN);
    }

    fn give_up(&mut self, number: u16, tag: Tag, errno: Errno) {
        let Some(question) = self
            .peers
            .get_mut(&number)
            .and_then(|peer| peer.questions.remove(&tag))
        else {
            return;
        };
        if let Some((op, _)) = question.sent {
            self.by_op.remove(&op);
        }
        if self.own.remove(&tag).is_none() {
            self.events.push_back(NetworkEvent::Answered {
                peer: number,
                tag,
                session: None,
                answer: Err(errno),
            });
        }
    }

    /// Every question that waits for a node fails: it cannot be reached.
    pub(super) fn give_up_all(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        let ops: Vec<OpKey> = peer
            .questions
            .values()
            .filter_map(|q| q.sent.map(|(op, _)| op))
            .collect();
        let tags: Vec<Tag> = peer.questions.keys().copied().collect();
        for op in ops {
            self.transport.cancel(now, op, 0);
        }
        for tag in tags {
            self.give_up(number, tag, Errno::EHOSTDOWN);
        }
    }

    pub(super) fn expire_questions(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        let talks = peer
            .heard
            .is_some_and(|heard| now.saturating_since(heard) < SILENCE);
        let mut late = Vec::new();
        let mut silent = false;
        for (&tag, question) in &peer.questions {
            if question.deadline <= now {
                late.push((
                    tag,
                    question.sent,
                    if talks {
                        Errno::ETIMEDOUT
                    } else {
                        Errno::EHOSTDOWN
                    },
                ));
            }
            let quiet =
                |at: Instant| now.saturating_since(at.max(peer.heard.unwrap_or(at))) >= SILENCE;
            silent |= question.sent.is_some_and(|(_, at)| quiet(at));
        }
        if silent && peer.attempt.is_none() {
            self.start_handshake(now, number);
        }
        for (tag, sent, errno) in late {
            if let Some((op, _)) = sent {
                self.transport.cancel(now, op, 0);
            }
            self.give_up(number, tag, errno);
        }
    }

    /// Questions that were asked over channels which a newer one replaces, and that are not answered: once more.
    pub(super) fn ask_again(&mut self, now: Instant, number: u16, life: Life) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let stale = |question: &Question| {
            let quiet = question
                .sent
                .is_some_and(|(_, at)| now.saturating_since(at) >= SILENCE);
            life != Life::Same || (quiet && question.repeatable)
        };
        let mut dropped = Vec::new();
        for question in peer
            .questions
            .values_mut()
            .filter(|q| stale(q) && q.times < TIMES_MAX)
        {
            dropped.extend(question.sent.take().map(|(op, _)| op));
        }
        for op in dropped {
            self.by_op.remove(&op);
            self.transport.cancel(now, op, 0);
        }
        self.pump(now, number);
    }

    /// Ends one half of a channel; nothing of it stays.
    pub(super) fn close_session(&mut self, now: Instant, session: SessionKey, code: u16) {
        self.by_session.remove(&session);
        self.transport.close(now, session, code);
        self.transport_events(now);
        self.letters.forget(session);
    }

    /// Ends both halves of a channel.
    pub(super) fn close_channel(&mut self, now: Instant, number: u16, channel: &Channel) {
        self.monitor.closed(now, number, channel.probes);
        self.close_session(now, channel.asking, 0);
        self.close_session(now, channel.answering, 0);
    }

    fn session_closed(&mut self, now: Instant, session: SessionKey, code: Option<u16>) {
        let Some(number) = self.by_session.remove(&session) else {
            return;
        };
        if code == Some(CODE_FORGOTTEN) && self.monitor.forgotten(now, number) {
            let name = self.name_of(number);
            self.log(Level::Warn, format!("{name} has forgotten this node"));
        }
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        for channel in &mut peer.channels {
            if channel.asking == session || channel.answering == session {
                channel.closes.get_or_insert(Instant::from_nanos(0));
            }
        }
    }

    pub(super) fn close_old_channels(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let due = |channel: &mut Channel| channel.closes.is_some_and(|at| at <= now);
        let closed: Vec<Channel> = peer.channels.extract_if(.., due).collect();
        for channel in closed {
            self.close_channel(now, number, &channel);
        }
    }

    pub(crate) fn is_up(&self, number: u16) -> bool {
        self.peers
            .get(&number)
            .is_some_and(|peer| peer.standing == Standing::Up)
    }

    /// The key of a session between two programs, from the channel over which it was introduced.
    pub(crate) fn session_secret(
        &self,
        session: SessionKey,
        agreed: &[u8],
    ) -> Option<SessionSecret> {
        let peer = self.peers.get(self.by_session.get(&session)?)?;
        let channel = peer
            .channels
            .iter()
            .find(|c| c.asking == session || c.answering == session)?;
        Some(SessionSecret(keys::session(&channel.exporter, agreed).0))
    }

    pub(crate) fn plan_lanes(&self, session: SessionKey, introduce: &Introduce) -> Vec<LanePlan> {
        let ways = self.ways_of(session);
        lanes::plan(&self.links, introduce, &self.known_of(session, &ways))
    }

    /// What a session of a client there can get beside these lanes.
    pub(crate) fn plan_more_lanes(
        &self,
        session: SessionKey,
        client: lanes::Sockets<'_>,
        lanes: &[Lane],
    ) -> Vec<LanePlan> {
        let ways = self.ways_of(session);
        lanes::plan_more(&self.links, client, &self.known_of(session, &ways), lanes)
    }

    fn ways_of(&self, session: SessionKey) -> Vec<WayState> {
        let number = self.by_session.get(&session).copied().unwrap_or(0);
        self.monitor.ways(number)
    }

    fn known_of<'a>(&'a self, session: SessionKey, ways: &'a [WayState]) -> Known<'a> {
        let number = self.by_session.get(&session).copied().unwrap_or(0);
        let channels = self.peers.get(&number).map(|peer| peer.channels.iter());
        let channel = channels.and_then(|mut all| all.find(|c| c.answering == session));
        Known {
            ways,
            theirs: self.monitor.links_of(number),
            working: channel.map(|channel| (channel.link, channel.address)),
        }
    }

    pub(crate) fn map_identity(
        &self,
        number: u16,
        theirs: &Credentials,
    ) -> Result<Credentials, Errno> {
        let peer = self.peers.get(&number).ok_or(Errno::EACCES)?;
        peer.record.identities.map(Nd::new(number, 0), theirs)
    }
}

/// Whether a question means that somebody needs the other node, and not only that nodes look after themselves.
const fn is_use(request: &PeerRequest) -> bool {
    !matches!(
        request,
        PeerRequest::Ping
            | PeerRequest::Links(_)
            | PeerRequest::Lanes(_)
            | PeerRequest::Extend(_)
            | PeerRequest::Check(_)
            | PeerRequest::Changed
            | PeerRequest::Goodbye
    )
}
