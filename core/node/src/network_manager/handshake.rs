//! How two nodes that trust each other get a channel.
//!
//! The first message goes out over every way that may lead to the peer; the first answer wins. Strangers, replays
//! and broken packets are answered with silence.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use abi::system::VERSION;
use abi::system::peer::Greeting;
use abi::{Decode, Encode, Incarnation, Instant, LinkAddress, SessionId};
use transport::{LaneParams, LinkIndex, Role, SessionKey, SessionParams, keys};

use super::load::{self, Admission};
use super::monitor::Keyring;
use super::peer::{Attempt, Channel, Standing};
use super::{Life, NetworkEvent, NetworkManager, lanes, wire};
use crate::crypto::{HandshakeKeys, Pattern, PublicKey, Secret};
use crate::limits::{
    HANDSHAKE_RETRY, HANDSHAKE_WAIT, PEER_MESSAGE_MAX, RECONNECT_MAX, RECONNECT_MIN,
    REPLACED_GRACE, UNCONFIRMED_MAX,
};

/// Operations that may be outstanding in one direction of a channel.
const SLOTS: u16 = 1024;
/// Ways tried with one first message: every address of a node, and on repetition every link to each.
const WAYS_MAX: usize = 64;

/// Which end of a handshake this node was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Initiator,
    Responder,
}

/// What both ends said in a handshake.
struct Agreement {
    asking: SessionId,
    answering: SessionId,
    theirs: Greeting,
    keys: HandshakeKeys,
    end: End,
    link: u8,
    address: LinkAddress,
}

impl NetworkManager {
    pub(super) fn start_handshake(&mut self, now: Instant, number: u16) {
        let (asking, answering) = (self.random_session(), self.random_session());
        let index = self.next_random() as u32;
        let greeting = self.greeting(asking, answering);
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let (key, secret) = (
            peer.record.key,
            peer.record.secret.clone().unwrap_or(Secret::ZERO),
        );
        let Ok(payload) = greeting.to_bytes() else {
            return;
        };
        let Ok((initiator, noise)) = self.crypto.initiate(Pattern::Node, &key, &secret, &payload)
        else {
            // A key that no handshake can be made with: nobody will ever answer it.
            return self.attempt_failed(now, number);
        };
        let packet = wire::build_hello(&*self.crypto, Pattern::Node, index, [0; 8], &noise, &key);
        peer.retry = None;
        peer.attempt = Some(Attempt {
            index,
            initiator,
            packet,
            asking,
            answering,
            cookie: None,
            tries: 0,
            next: now,
            ends: now.checked_add(HANDSHAKE_WAIT).unwrap_or(now),
        });
        self.drive_attempt(now, number);
    }

    fn greeting(&mut self, asking: SessionId, answering: SessionId) -> Greeting {
        Greeting {
            version: VERSION,
            timestamp: self.crypto.wall_clock(),
            incarnation: self.incarnation,
            boot: self.boot,
            asking,
            answering,
        }
    }

    pub(super) fn drive_attempt(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(attempt) = &mut peer.attempt else {
            return;
        };
        if attempt.ends <= now {
            peer.attempt = None;
            return self.attempt_failed(now, number);
        }
        if attempt.next > now {
            return;
        }
        let wait = HANDSHAKE_RETRY.saturating_mul(1 << attempt.tries.min(8));
        attempt.next = now.checked_add(wait).unwrap_or(Instant::MAX);
        attempt.tries += 1;
        let everywhere = attempt.tries > 1;
        let packet = attempt.packet.clone();
        let addresses = peer.record.addresses.clone();
        for (link, address) in self.ways(&addresses, everywhere) {
            self.packets.push_back((link, address, packet.clone()));
        }
    }

    /// Links and addresses over which a node may be reached.
    pub(super) fn ways(
        &self,
        addresses: &[LinkAddress],
        everywhere: bool,
    ) -> Vec<(u8, LinkAddress)> {
        let mut ways = BTreeSet::new();
        for address in addresses {
            if everywhere {
                let fits = |link: &crate::interface::LinkConfig| {
                    lanes::shared_bits(&link.address, address).is_some()
                };
                let links = self.links.iter().zip(0_u8..).filter(|(link, _)| fits(link));
                ways.extend(links.map(|(_, index)| (index, *address)));
            } else {
                ways.extend(lanes::nearest_link(&self.links, address).map(|link| (link, *address)));
            }
        }
        ways.into_iter().take(WAYS_MAX).collect()
    }

    /// Nobody has answered. A channel that still works is kept; without one, whoever waits is told.
    fn attempt_failed(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        peer.retry = now.checked_add(peer.pause);
        peer.pause = (peer.pause * 2).min(RECONNECT_MAX);
        let lately = peer
            .heard
            .is_some_and(|at| now.saturating_since(at) < HANDSHAKE_WAIT);
        if peer.usable(now).is_some() && lately {
            return;
        }
        let was_up = peer.standing == Standing::Up;
        if was_up {
            peer.standing = Standing::Down;
            let soon = now.checked_add(REPLACED_GRACE);
            for channel in &mut peer.channels {
                channel.closes = channel.closes.or(soon);
            }
            self.monitor.silent(now, number);
            self.events.push_back(NetworkEvent::Silent { peer: number });
        }
        self.give_up_all(now, number);
    }

    pub(super) fn handshake_packet(
        &mut self,
        now: Instant,
        link: u8,
        from: &LinkAddress,
        packet: &[u8],
    ) {
        let Ok(parsed) = wire::parse(packet) else {
            return;
        };
        match parsed {
            wire::Packet::Hello(hello) => {
                if !wire::is_for(&*self.crypto, packet, &self.me) {
                    return;
                }
                match self
                    .load
                    .admit(now, &mut *self.crypto, from, hello.index, packet)
                {
                    Admission::Ignore => {}
                    Admission::Challenge(cookie) => self.packets.push_back((link, *from, cookie)),
                    Admission::Take if hello.pattern == Pattern::Node => {
                        self.respond(now, link, from, hello.index, hello.noise);
                    }
                    Admission::Take => self.respond_to_join(now, link, from, &hello),
                }
            }
            wire::Packet::Answer {
                pattern: Pattern::Node,
                index,
                noise,
            } => {
                self.conclude(now, link, from, index, noise);
            }
            wire::Packet::Answer {
                pattern: Pattern::Join,
                index,
                noise,
            } => {
                self.conclude_join(now, from, index, noise);
            }
            wire::Packet::Cookie {
                index,
                nonce,
                sealed,
            } => self.take_cookie(now, index, &nonce, &sealed),
        }
    }

    /// Somebody begins a handshake.
    fn respond(&mut self, now: Instant, link: u8, from: &LinkAddress, index: u32, noise: &[u8]) {
        let Ok(responder) = self.crypto.respond(Pattern::Node, &Secret::ZERO, noise) else {
            return;
        };
        let Some(&number) = self.by_key.get(&responder.peer()) else {
            return;
        };
        let Ok(theirs) = Greeting::from_bytes(responder.payload()) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        if theirs.version != VERSION || !peer.greets(theirs.boot, theirs.timestamp) {
            return;
        }
        let secret = peer.record.secret.clone().unwrap_or(Secret::ZERO);
        let (asking, answering) = (self.random_session(), self.random_session());
        let Ok(payload) = self.greeting(asking, answering).to_bytes() else {
            return;
        };
        let Ok((noise, keys)) = responder.answer(&secret, &payload) else {
            return;
        };
        let end = End::Responder;
        let agreement = Agreement {
            asking,
            answering,
            theirs,
            keys,
            end,
            link,
            address: *from,
        };
        if self.open_channel(now, number, &agreement).is_some() {
            let answer = wire::build_answer(Pattern::Node, index, &noise);
            self.packets.push_back((link, *from, answer));
        }
    }

    /// Somebody answers our handshake.
    fn conclude(&mut self, now: Instant, link: u8, from: &LinkAddress, index: u32, noise: &[u8]) {
        let ours =
            |peer: &super::peer::Peer| peer.attempt.as_ref().is_some_and(|a| a.index == index);
        let Some((&number, peer)) = self.peers.iter_mut().find(|(_, peer)| ours(peer)) else {
            return;
        };
        let Some(attempt) = &mut peer.attempt else {
            return;
        };
        let Ok((payload, keys)) = attempt.initiator.finish(noise) else {
            return;
        };
        let (asking, answering) = (attempt.asking, attempt.answering);
        peer.attempt = None;
        let Ok(theirs) = Greeting::from_bytes(&payload) else {
            return;
        };
        if theirs.version != VERSION {
            return self.attempt_failed(now, number);
        }
        let end = End::Initiator;
        let agreement = Agreement {
            asking,
            answering,
            theirs,
            keys,
            end,
            link,
            address: *from,
        };
        match self.open_channel(now, number, &agreement) {
            Some(session) => {
                self.confirm(now, number, session);
                // The other end may use the channel only when it has heard from us.
                self.ping(now, number);
            }
            None => self.attempt_failed(now, number),
        }
    }

    /// Opens both sessions of a channel; answers the one in which the other node asks.
    fn open_channel(
        &mut self,
        now: Instant,
        number: u16,
        agreed: &Agreement,
    ) -> Option<SessionKey> {
        let epoch = keys::epoch(
            &agreed.keys.hash,
            &agreed.keys.initiator_to_responder,
            &agreed.keys.responder_to_initiator,
        );
        let exporter = keys::exporter(&epoch);
        let initiator_asks = keys::purpose(&epoch, b"slashnet initiator asks", b"");
        let responder_asks = keys::purpose(&epoch, b"slashnet responder asks", b"");
        let (we_ask, they_ask) = match agreed.end {
            End::Initiator => (initiator_asks, responder_asks),
            End::Responder => (responder_asks, initiator_asks),
        };
        let asking = self.open_session(
            now,
            agreed,
            (agreed.asking, agreed.theirs.answering),
            Role::Client,
            &we_ask,
        )?;
        let answering = self.open_session(
            now,
            agreed,
            (agreed.answering, agreed.theirs.asking),
            Role::Server,
            &they_ask,
        );
        let Some(answering) = answering else {
            self.transport.close(now, asking, 0);
            return None;
        };
        let peer = self.peers.get_mut(&number)?;
        if let Some(surplus) = peer.surplus_channel() {
            self.close_channel(now, number, &surplus);
        }
        let peer = self.peers.get_mut(&number)?;
        let initiator = agreed.end == End::Initiator;
        let (ours, theirs) = (agreed.asking.0, agreed.theirs.asking.0);
        let ring = Keyring::new(&exporter, ours, theirs, initiator);
        self.monitor.opened(now, number, ring);
        peer.channels.push(Channel {
            asking,
            answering,
            probes: ours,
            probes_there: theirs,
            initiator,
            lanes: Vec::new(),
            exporter,
            since: now,
            link: agreed.link,
            address: agreed.address,
            listed: None,
            incarnation: agreed.theirs.incarnation,
            boot: agreed.theirs.boot,
            confirmed: false,
            closes: now.checked_add(UNCONFIRMED_MAX),
        });
        self.by_session.insert(asking, number);
        self.by_session.insert(answering, number);
        Some(answering)
    }

    fn open_session(
        &mut self,
        now: Instant,
        agreed: &Agreement,
        (local, peer): (SessionId, SessionId),
        role: Role,
        secret: &Secret,
    ) -> Option<SessionKey> {
        let mtu = self.links.get(usize::from(agreed.link))?.mtu;
        let mut params = SessionParams::new(local, peer, role);
        params.lanes = Vec::from([LaneParams::new(
            0,
            LinkIndex(agreed.link.into()),
            agreed.address,
            mtu.into(),
        )]);
        params.cipher = Some(
            self.crypto
                .cipher(&abi::system::SessionSecret(secret.0), role),
        );
        let mut challenge = Secret::ZERO;
        self.crypto.random(&mut challenge.0);
        params.challenge = Some(challenge);
        params.slots = SLOTS;
        params.unscheduled = PEER_MESSAGE_MAX as u32;
        self.transport.open(now, params).ok()
    }

    /// Both ends have the keys: the channel is used from now on, and older ones end soon.
    pub(super) fn confirm(&mut self, now: Instant, number: u16, answering: SessionKey) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(place) = peer.channels.iter().position(|c| c.answering == answering) else {
            return;
        };
        let channel = &mut peer.channels[place];
        (channel.confirmed, channel.closes) = (true, None);
        let (address, link, probes) = (channel.address, channel.link, channel.probes);
        let now_known: (Incarnation, u64) = (channel.incarnation, channel.boot);
        let soon = now.checked_add(REPLACED_GRACE);
        for older in &mut peer.channels[..place] {
            older.closes = older.closes.or(soon);
        }
        let life = match peer.known.replace(now_known) {
            Some((_, boot)) if boot != now_known.1 => Life::AnotherBoot,
            Some((daemon, _)) if daemon == now_known.0 => Life::Same,
            _ => Life::AnotherDaemon,
        };
        if life != Life::Same {
            peer.links_heard = 0;
        }
        let was_up = core::mem::replace(&mut peer.standing, Standing::Up) == Standing::Up;
        (peer.retry, peer.pause, peer.heard) = (None, RECONNECT_MIN, Some(now));
        self.monitor.confirmed(now, number, probes, (link, address));
        if peer.reached_at(address) {
            self.events.push_back(NetworkEvent::Moved);
        }
        if !was_up || life != Life::Same {
            let peer = number;
            self.events.push_back(NetworkEvent::Up { peer, life });
        }
        self.tell_links(now, number);
        self.ask_again(now, number, life);
    }

    fn take_cookie(&mut self, now: Instant, index: u32, nonce: &[u8; 24], sealed: &[u8; 32]) {
        let crypto = &*self.crypto;
        let peers = self
            .peers
            .values_mut()
            .filter_map(|p| Some((p.record.key, p.attempt.as_mut()?)));
        for (key, attempt) in
            peers.filter(|(_, attempt)| attempt.index == index && attempt.cookie.is_none())
        {
            let sealing = load::sealing_key(crypto, &key);
            let bound = load::bound(&attempt.packet);
            if let Ok(cookie) = crypto.open_cookie(&sealing, nonce, &bound, sealed) {
                wire::add_cookie(crypto, &mut attempt.packet, &cookie);
                attempt.cookie = Some(cookie);
                attempt.next = now;
            }
        }
        self.joining.take_cookie(now, crypto, index, nonce, sealed);
    }

    pub(super) fn fingerprint(key: &PublicKey) -> [u8; 8] {
        let [a, b, c, d, .., w, x, y, z] = key.0;
        [a, b, c, d, w, x, y, z]
    }
}
