//! The network manager: which nodes there are, channels to them, and `/net`.

mod channel;
mod code;
mod handshake;
pub(crate) mod identity_map;
mod join;
pub(crate) mod lanes;
mod lanes_of_channel;
mod letters;
mod link_table;
mod load;
mod monitor;
mod net_directory;
mod peer;
pub(crate) mod trust;
mod wire;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::Joined;
use abi::system::peer::{PeerLane, PeerReply, PeerRequest};
use abi::{Errno, Instant, LinkAddress, NodeName, SessionId};
use paths::LinkPolicy;
use transport::{IncomingKey, LinkIndex, OpKey, SessionKey, Transport};

use crate::crypto::{Crypto, PublicKey};
use crate::interface::{Config, Level, LinkConfig, Output, ProgramKey};
use crate::process_manager::programs::mix;
use channel::CODE_FORGOTTEN;
use join::Joining;
use letters::Letters;
use link_table::LinkCount;
use load::Load;
use monitor::Monitor;
use peer::{Peer, Standing};
use trust::TrustRecord;

/// A question that [`NetworkManager::ask`] was given; chosen by the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(pub(crate) u64);

/// Questions that the network manager asks for itself have this bit.
const OWN_TAG: u64 = 1 << 63;
/// Sessions of the node itself have this bit in their numbers, those of programs do not: so a host that passes on
/// packets of programs never takes one of the node's.
pub(crate) const OWN_SESSION: u32 = 1 << 31;

/// What the network manager asks for itself.
#[derive(Debug)]
pub(crate) enum Own {
    /// The answer does not matter.
    Plain,
    /// The channel gets these lanes when the other end has them.
    Lanes { channel: u32, lanes: Vec<PeerLane> },
}

/// Room for one batch of packets.
const SPACE: usize = 65_536;
/// How old the newest sign of life may be before a table is made without asking the node again.
const FRESH: Duration = Duration::from_secs(2);

/// What the rest of the node has to know.
#[derive(Debug)]
pub(crate) enum NetworkEvent {
    /// Another node asks.
    Asked {
        peer: u16,
        incoming: IncomingKey,
        request: Box<PeerRequest>,
    },
    /// Another node has answered, or will not.
    Answered {
        peer: u16,
        tag: Tag,
        session: Option<SessionKey>,
        answer: Result<PeerReply, Errno>,
    },
    /// Another node can be reached.
    Up { peer: u16, life: Life },
    /// Another node cannot be reached any more.
    Silent { peer: u16 },
    /// Lanes to another node have changed: programs that talk to it look at the node page.
    Lanes { peer: u16 },
    /// Another node is trusted now, as a program of ours wanted or one of theirs.
    Trusted {
        peer: u16,
        promised: Option<ProgramKey>,
    },
    /// Another node was reached at a new address.
    Moved,
    /// Joining has come to an end.
    Joined {
        program: ProgramKey,
        serial: u32,
        outcome: Result<Joined, (Errno, String)>,
    },
    /// For the log.
    Log(Level, String),
}

/// Who answers for a node that can be reached, beside who did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The same daemon.
    Same,
    /// Another daemon, or the first one: the node's programs may live.
    AnotherDaemon,
    /// The machine was started anew: its programs are gone.
    AnotherBoot,
}

/// Everything a node knows about other nodes.
pub(crate) struct NetworkManager {
    pub(super) crypto: Box<dyn Crypto>,
    me: PublicKey,
    name: NodeName,
    incarnation: abi::Incarnation,
    boot: u64,
    links: Vec<LinkConfig>,
    counts: Vec<LinkCount>,
    peers: BTreeMap<u16, Peer>,
    by_key: BTreeMap<PublicKey, u16>,
    by_name: BTreeMap<NodeName, u16>,
    by_session: BTreeMap<SessionKey, u16>,
    by_op: BTreeMap<OpKey, (u16, Tag)>,
    /// What the network manager asks for itself.
    own: BTreeMap<Tag, Own>,
    detect: abi::system::Detect,
    policies: Vec<LinkPolicy>,
    /// Which of them took the place of another one last.
    policy_reused: usize,
    transport: Transport,
    letters: Letters,
    load: Load,
    joining: Joining,
    pub(crate) monitor: Monitor,
    rows: VecDeque<(u16, Option<abi::system::LaneRow>)>,
    events: VecDeque<NetworkEvent>,
    packets: VecDeque<(u8, LinkAddress, Vec<u8>)>,
    random: u64,
    last_own: u64,
    /// Messages about our links so far.
    links_told: u64,
    space: Vec<u8>,
}

impl NetworkManager {
    pub(crate) fn new(now: Instant, config: &Config, crypto: Box<dyn Crypto>) -> Self {
        let mut manager = Self {
            me: crypto.public_key(),
            crypto,
            name: config.name,
            incarnation: config.incarnation,
            boot: config.boot,
            links: config.links.clone(),
            counts: config.links.iter().map(|_| LinkCount::new(now)).collect(),
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_session: BTreeMap::new(),
            by_op: BTreeMap::new(),
            own: BTreeMap::new(),
            detect: config.detect,
            policies: Vec::from([LinkPolicy::LoadBalance]),
            policy_reused: 0,
            transport: Transport::new(transport::Config::default()),
            letters: Letters::default(),
            load: Load::default(),
            joining: Joining::default(),
            monitor: Monitor::new(now, config.detect, &config.links, config.seed),
            rows: VecDeque::new(),
            events: VecDeque::new(),
            packets: VecDeque::new(),
            random: mix(config.seed ^ 2),
            last_own: 0,
            links_told: 0,
            space: Vec::new(),
        };
        manager.index_policies();
        manager.restore_invites(now, &config.kept.invites);
        for record in config.kept.trust.iter().cloned() {
            let name = record.name;
            if manager.add_peer(record).is_none() {
                let text = format!("{name} is in the trust store twice, or is this node: left out");
                manager
                    .events
                    .push_back(NetworkEvent::Log(Level::Warn, text));
            }
        }
        // One greeting to everybody, so that `slashnet nodes` tells who is there. Nobody insists.
        let numbers: Vec<u16> = manager.peers.keys().copied().collect();
        for peer in numbers {
            manager.start_handshake(now, peer);
        }
        manager
    }

    pub(crate) fn event(&mut self) -> Option<NetworkEvent> {
        self.events.pop_front()
    }

    /// Whether a packet is for the link monitor.
    pub(crate) fn is_probe(packet: &[u8]) -> bool {
        monitor::is_probe(packet)
    }

    /// A packet came in.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        link: u8,
        from: &LinkAddress,
        packet: &mut [u8],
    ) {
        if let Some(count) = self.counts.get_mut(usize::from(link)) {
            count.received += packet.len() as u64;
        }
        if wire::is_handshake(packet) {
            self.handshake_packet(now, link, from, packet);
        } else if monitor::is_probe(packet) {
            self.monitor
                .receive(now, (link, from), packet, &*self.crypto);
        } else {
            self.transport
                .receive(now, LinkIndex(link.into()), from, packet, &mut self.letters);
        }
        self.transport_events(now);
    }

    /// The next packets to send.
    pub(crate) fn transmit(&mut self, now: Instant) -> Option<Output> {
        self.monitored(now);
        if let Some((index, row)) = self.rows.pop_front() {
            return Some(Output::LaneRow { index, row });
        }
        if let Some((link, to, bytes)) = self.packets.pop_front() {
            self.count_sent(link, bytes.len());
            return Some(Output::Datagram {
                link,
                to,
                segment: bytes.len(),
                bytes,
            });
        }
        // Every link that offers itself and then has nothing to send would offer itself again.
        for _ in 0..self.links.len() {
            let link = self.transport.next_link(now)?;
            self.space.resize(SPACE, 0);
            let sent = self
                .transport
                .transmit(now, link, &mut self.space, &mut self.letters);
            if let Some(sent) = sent {
                let bytes = self.space[..sent.len].to_vec();
                let index = link.0 as u8;
                self.count_sent(index, sent.len);
                return Some(Output::Datagram {
                    link: index,
                    to: sent.to,
                    bytes,
                    segment: sent.segment,
                });
            }
        }
        None
    }

    fn count_sent(&mut self, link: u8, bytes: usize) {
        if let Some(count) = self.counts.get_mut(usize::from(link)) {
            count.sent += bytes as u64;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(Peer::deadline).min();
        [
            peers,
            self.transport.timeout(),
            self.joining.deadline(),
            self.monitor.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.transport.timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        self.transport_events(now);
        self.monitor.run(now, &*self.crypto);
        let numbers: Vec<u16> = self.peers.keys().copied().collect();
        for peer in numbers {
            self.close_old_channels(now, peer);
            self.expire_questions(now, peer);
            self.drive_attempt(now, peer);
        }
        self.drive_joins(now);
        self.transport_events(now);
    }

    /// Keeps channels alive to nodes with which programs have sessions.
    pub(crate) fn keep_up(&mut self, now: Instant, wanted: impl Fn(u16) -> bool) {
        let numbers: Vec<u16> = self.peers.keys().copied().collect();
        for number in numbers {
            let wanted = wanted(number);
            self.monitor.set_sessions(now, number, wanted);
            let Some(peer) = self.peers.get_mut(&number) else {
                continue;
            };
            if !wanted {
                peer.retry = None;
                peer.next_ping = None;
                continue;
            }
            if peer.usable(now).is_some() {
                peer.retry = None;
                let due = *peer.next_ping.get_or_insert(now);
                if due <= now {
                    peer.next_ping = now.checked_add(crate::limits::PING_EVERY);
                    self.ping(now, number);
                }
            } else if peer.attempt.is_none() {
                peer.next_ping = None;
                if peer.retry.is_none_or(|at| at <= now) {
                    self.start_handshake(now, number);
                }
            }
        }
        self.transport_events(now);
    }

    /// Somebody looks at the table of nodes: nodes that have not been heard of lately are asked whether they live, so
    /// that the next look tells.
    pub(crate) fn refresh(&mut self, now: Instant) {
        let old = |peer: &Peer| peer.heard.is_none_or(|at| now.saturating_since(at) > FRESH);
        let numbers: Vec<u16> = self
            .peers
            .iter()
            .filter(|(_, p)| old(p) && p.attempt.is_none())
            .map(|(&n, _)| n)
            .collect();
        for number in numbers {
            self.ping(now, number);
        }
    }

    /// Somebody says that a node may be silent.
    pub(crate) fn suspect(&mut self, now: Instant, peer: u16) {
        self.monitor.suspect(now, peer);
        if self
            .peers
            .get(&peer)
            .is_some_and(|peer| peer.usable(now).is_some())
        {
            self.ping(now, peer);
        }
    }

    fn log(&mut self, level: Level, text: String) {
        self.events.push_back(NetworkEvent::Log(level, text));
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// A number for one of our own sessions. The transport refuses the few that are taken.
    fn random_session(&mut self) -> SessionId {
        SessionId(self.next_random() as u32 | OWN_SESSION)
    }

    /// Fresh random bytes for a session's key.
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.crypto.random(&mut nonce);
        nonce
    }

    /// What only this node can have said, in any of its runs.
    pub(crate) fn own_mac(&self, message: &[u8]) -> [u8; 16] {
        self.crypto.own_mac(message)
    }

    /// Takes a node into the tables; `None` if its name, number or key is taken.
    fn add_peer(&mut self, record: TrustRecord) -> Option<u16> {
        let number = record.number;
        let taken = number == 0
            || record.key == self.me
            || record.name == self.name
            || self.peers.contains_key(&number)
            || self.by_key.contains_key(&record.key)
            || self.by_name.contains_key(&record.name);
        if taken {
            return None;
        }
        self.by_key.insert(record.key, number);
        self.by_name.insert(record.name, number);
        self.peers.insert(number, Peer::new(record));
        Some(number)
    }

    /// Ends the trust in a node: it is told so, and nothing it sends is understood any more.
    pub(crate) fn forget(&mut self, now: Instant, number: u16) {
        let Some(peer) = self.peers.remove(&number) else {
            return;
        };
        self.by_key.remove(&peer.record.key);
        self.by_name.remove(&peer.record.name);
        self.monitor.forget(number);
        for channel in &peer.channels {
            self.close_session(now, channel.asking, CODE_FORGOTTEN);
            self.close_session(now, channel.answering, CODE_FORGOTTEN);
        }
        for tag in peer.questions.into_keys() {
            if self.own.remove(&tag).is_some() {
                continue;
            }
            self.events.push_back(NetworkEvent::Answered {
                peer: number,
                tag,
                session: None,
                answer: Err(Errno::ENOENT),
            });
        }
    }

    /// A node says that it stops: programs go on, the channel does not.
    pub(crate) fn goodbye(&mut self, now: Instant, number: u16) {
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.standing = Standing::Down;
            peer.retry = now.checked_add(peer.pause);
            let closes = now.checked_add(Duration::from_millis(200));
            for channel in &mut peer.channels {
                channel.closes = closes;
            }
        }
    }
}
